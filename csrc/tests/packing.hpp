// A small writer of the packed form, by the words of docs/format.md: what the decoder is tested with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "file/packed.hpp"
#include "tests/check.hpp"

namespace pruneofa::testing {

// The parts of a packed matrix of bytes, kept together.
struct PackedBytes {
  std::vector<uint8_t> tables;
  std::vector<uint16_t> stream;
  std::vector<float> scales;  // of the rows; empty where the table of the values serves all of them

  file::PackedMatrix view() const {
    return {tables.data(), tables.size(), stream.data(), stream.size(), false, nullptr, 0, 0,
            scales.empty() ? nullptr : scales.data()};
  }
};

// How to write it. Classes of rows and columns are taken in turn.
struct PackedChoice {
  uint32_t lane_bits = 0;
  uint32_t row_classes = 1;
  uint32_t column_classes = 1;
  uint32_t group = 4;
  std::vector<float> scales = {};  // of the rows; the first one's class is the unit
};

PackedBytes pack_bytes(const std::vector<uint8_t>& matrix, std::size_t rows, std::size_t columns,
                       const PackedChoice& choice);

// A matrix of bytes of which some are not zero.
std::vector<uint8_t> sparse_bytes(Random& random, std::size_t size, double density);

}  // namespace pruneofa::testing
