// Decoder of the bit-mask form of a matrix, as docs/format.md describes it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pruneofa::file {

// What a file holds of a matrix [rows, columns]. Arrays stay the caller's.
template <class T>
struct BitmaskMatrix {
  const T* elements;  // [count], those that are not zero, row by row
  std::size_t count;
  const uint8_t* mask;         // [rows, ceil(columns / 8)]
  const int64_t* row_offsets;  // [rows]
};

// Check everything and write the matrix.
//   T: uint8_t, uint16_t, uint32_t or uint64_t, the bits of an element
//   dense: [rows, columns], all zero
//   counts: [rows], the number of elements of each row
// Throws std::invalid_argument with the words that the Python decoder would use.
template <class T>
void decode_bitmask(const BitmaskMatrix<T>& matrix, std::size_t rows, std::size_t columns, T* dense, int64_t* counts);

}  // namespace pruneofa::file
