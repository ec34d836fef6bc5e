// Rows of like scale: one table of frequencies, stretched by the ratio of scales, serves all rows of a matrix.
#pragma once

#include <cstdint>

#include "file/tables.hpp"

namespace pruneofa::file {

// The class of a row: its scale's exponent and the first four bits of its fraction; 0 to 8191.
uint32_t class_of_scale(float scale);

// Frequencies, in 1/65536 and each at least 1, of the levels of a class.
//   table: of levels rounded with scales of the class `unit`
Frequencies class_frequencies(const Frequencies& table, uint32_t unit, uint32_t of_class);

}  // namespace pruneofa::file
