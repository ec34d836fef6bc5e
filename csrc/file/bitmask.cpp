#include "file/bitmask.hpp"

#include <algorithm>
#include <string>

#include "file/bits.hpp"
#include "file/fault.hpp"

namespace pruneofa::file {
namespace {

template <class T>
void check(const BitmaskMatrix<T>& matrix, std::size_t rows, std::size_t columns, int64_t* counts) {
  const std::size_t bytes = bytes_of(columns);
  std::size_t total = 0;
  bool padding = false;
  for (std::size_t row = 0; row < rows; ++row) {
    const uint8_t* const bits = matrix.mask + row * bytes;
    padding = padding || (columns % 8 != 0 && bits[bytes - 1] >> columns % 8 != 0);
    const std::size_t count = count_bits(bits, bytes);
    counts[row] = static_cast<int64_t>(count);
    total += count;
  }
  if (padding) damaged("bitmask has padding bits set beyond column " + std::to_string(columns) + ", 0 is needed");
  if (total != matrix.count) {
    damaged("bitmask has " + std::to_string(total) + " bits set, compressed holds " + std::to_string(matrix.count) +
            " elements");
  }
  int64_t expected = 0;
  for (std::size_t row = 0; row < rows; expected += counts[row++]) {
    if (matrix.row_offsets[row] == expected) continue;
    damaged("row_offsets[" + std::to_string(row) + "] is " + std::to_string(matrix.row_offsets[row]) +
            ", the bitmask asks for " + std::to_string(expected));
  }
  if (std::find(matrix.elements, matrix.elements + matrix.count, T{0}) != matrix.elements + matrix.count) {
    damaged("compressed holds a zero, which the bitmask should leave out");
  }
}

}  // namespace

template <class T>
void decode_bitmask(const BitmaskMatrix<T>& matrix, std::size_t rows, std::size_t columns, T* dense, int64_t* counts) {
  check(matrix, rows, columns, counts);
  const std::size_t bytes = bytes_of(columns);
  const T* element = matrix.elements;
  for (std::size_t row = 0; row < rows; ++row) {
    T* const out = dense + row * columns;
    for_each_bit(matrix.mask + row * bytes, bytes, [&](std::size_t column) { out[column] = *element++; });
  }
}

template void decode_bitmask(const BitmaskMatrix<uint8_t>&, std::size_t, std::size_t, uint8_t*, int64_t*);
template void decode_bitmask(const BitmaskMatrix<uint16_t>&, std::size_t, std::size_t, uint16_t*, int64_t*);
template void decode_bitmask(const BitmaskMatrix<uint32_t>&, std::size_t, std::size_t, uint32_t*, int64_t*);
template void decode_bitmask(const BitmaskMatrix<uint64_t>&, std::size_t, std::size_t, uint64_t*, int64_t*);

}  // namespace pruneofa::file
