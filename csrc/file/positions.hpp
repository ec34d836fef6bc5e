// The mask of a packed tensor: bits in blocks of rows and columns of like density.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "file/bits.hpp"
#include "file/rans.hpp"
#include "file/tables.hpp"

namespace pruneofa::file {

// Frequencies, in 1/65536, of the symbols of `group` (4 or 8) independent bits that are one with probability / 65536.
Frequencies group_frequencies(uint16_t probability, uint32_t group);

// Decode the mask [rows, columns], row by row.
//   row_classes, column_classes: of each row and column, each below their number in `tables`
// Throws std::invalid_argument where the stream ends early or padding bits are set.
Bits decode_mask(RansDecoder& decoder, const Tables& tables, const std::vector<uint8_t>& row_classes,
                 const std::vector<uint8_t>& column_classes);

}  // namespace pruneofa::file
