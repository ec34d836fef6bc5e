// Decoder of the packed form of a matrix, as docs/format.md describes it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pruneofa::file {

// How the bytes of a value were turned before they were counted.
enum class Turn { kNone, kShift128, kSignLast };

// What a file holds of a matrix. Arrays stay the caller's.
struct PackedMatrix {
  const uint8_t* tables;
  std::size_t tables_size;
  const uint16_t* stream;
  std::size_t stream_size;
  bool has_planes;        // false where the tensor has no section of planes, since all of them are coded
  const uint8_t* planes;  // [plane_count, plane_size]
  std::size_t plane_count;
  std::size_t plane_size;
  const float* scales = nullptr;  // [rows], of int8 rows whose table may depend on their scale; else null
};

// Check everything and write the matrix.
//   T: uint8_t, uint16_t or uint32_t, the bits of a value
//   dense: [rows, columns], all zero; left half-written where this throws
// Throws std::invalid_argument with the words that the Python decoder would use.
template <class T>
void decode_packed(const PackedMatrix& packed, std::size_t rows, std::size_t columns, Turn turn, T* dense);

}  // namespace pruneofa::file
