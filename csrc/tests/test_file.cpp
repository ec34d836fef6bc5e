// Decoders of compressed tensors: what was written comes back; damage is refused or read, never followed astray.
#include <cmath>
#include <string>

#include "file/bitmask.hpp"
#include "file/packed.hpp"
#include "file/scale_classes.hpp"
#include "tests/packing.hpp"

namespace pruneofa::testing {
namespace {

struct Shape {
  std::size_t rows, columns;
};
constexpr Shape kShapes[] = {{1, 1}, {1, 37}, {37, 1}, {5, 9}, {16, 40}, {64, 96}};

PRUNEOFA_TEST(packed_matrices_come_back) {
  Random random(1);
  for (const Shape& shape : kShapes) {
    for (const double density : {0.0, 0.1, 0.6, 1.0}) {
      const std::vector<uint8_t> matrix = sparse_bytes(random, shape.rows * shape.columns, density);
      for (const PackedChoice& choice : {PackedChoice{0, 1, 1, 4}, PackedChoice{3, 1, 1, 8}, PackedChoice{2, 3, 1, 8},
                                        PackedChoice{1, 1, 16, 4}, PackedChoice{6, 16, 16, 4}}) {
        const PackedBytes packed = pack_bytes(matrix, shape.rows, shape.columns, choice);
        std::vector<uint8_t> dense(matrix.size());
        file::decode_packed(packed.view(), shape.rows, shape.columns, file::Turn::kShift128, dense.data());
        check(dense == matrix, "decoded, " + std::to_string(shape.rows) + " rows");
      }
    }
  }
}

std::vector<float> some_scales(Random& random, std::size_t rows) {
  std::vector<float> scales(rows);
  for (float& scale : scales) scale = std::ldexp(1.0f + static_cast<float>(random.between(0, 1000)) / 1000.0f,
                                                        static_cast<int>(random.between(-9, 2)));
  return scales;
}

PRUNEOFA_TEST(packed_matrices_whose_table_follows_scales_come_back) {
  Random random(4);
  for (const Shape& shape : kShapes) {
    for (const double density : {0.0, 0.1, 1.0}) {
      const std::vector<uint8_t> matrix = sparse_bytes(random, shape.rows * shape.columns, density);
      for (const uint32_t lane_bits : {0u, 3u, 9u}) {
        PackedChoice choice{lane_bits, 1, 1, 8, some_scales(random, shape.rows)};
        choice.scales.back() = random.chance(0.5) ? 1e-45f : 3e38f;
        const PackedBytes packed = pack_bytes(matrix, shape.rows, shape.columns, choice);
        std::vector<uint8_t> dense(matrix.size());
        file::decode_packed(packed.view(), shape.rows, shape.columns, file::Turn::kShift128, dense.data());
        check(dense == matrix, "decoded, " + std::to_string(shape.rows) + " rows");
      }
    }
  }
}

PRUNEOFA_TEST(tables_of_classes_are_whole_and_complete) {
  Random random(5);
  for (int i = 0; i < 200; ++i) {
    file::Frequencies table;
    table.bits = 8;
    for (int given = 0; given < 256; ++given) ++table.of[static_cast<std::size_t>(random.between(0, 255))];
    const auto unit = static_cast<uint32_t>(random.between(0, file::kMaxUnit));
    for (const uint32_t of_class : {0u, unit, unit + 1, unit + 16, static_cast<uint32_t>(random.between(0, 8191))}) {
      const file::Frequencies found = file::class_frequencies(table, unit, of_class);
      uint32_t sum = 0;
      for (const uint32_t frequency : found.of) {
        check(frequency >= 1, "no level is left out");
        sum += frequency;
      }
      check(found.bits == 16 && sum == 1u << 16, "frequencies add up");
    }
  }
}

// Whether it was read; anything but std::invalid_argument goes on to the caller.
bool is_read(const PackedBytes& packed, std::size_t rows, std::size_t columns) {
  std::vector<uint8_t> dense(rows * columns);
  try {
    file::decode_packed(packed.view(), rows, columns, file::Turn::kShift128, dense.data());
  } catch (const std::invalid_argument&) {
    return false;
  }
  return true;
}

PRUNEOFA_TEST(damaged_packed_matrices_are_refused_or_read) {
  Random random(2);
  std::size_t refused = 0;
  for (int i = 0; i < 3000; ++i) {
    const PackedChoice choice{static_cast<uint32_t>(random.between(0, 3)), static_cast<uint32_t>(random.between(1, 3)),
                              static_cast<uint32_t>(random.between(1, 3)), random.chance(0.5) ? 4u : 8u,
                              random.chance(0.5) ? some_scales(random, 20) : std::vector<float>()};
    PackedBytes packed = pack_bytes(sparse_bytes(random, 20 * 30, 0.3), 20, 30, choice);
    if (random.chance(0.6)) {
      auto& byte = packed.tables[static_cast<std::size_t>(random.between(0, packed.tables.size() - 1))];
      byte = static_cast<uint8_t>(random.between(0, 255));
    }
    if (random.chance(0.3)) {
      auto& word = packed.stream[static_cast<std::size_t>(random.between(0, packed.stream.size() - 1))];
      word = static_cast<uint16_t>(random.between(0, 65535));
    }
    if (random.chance(0.2)) packed.tables.resize(static_cast<std::size_t>(random.between(0, packed.tables.size())));
    if (random.chance(0.2)) packed.stream.resize(static_cast<std::size_t>(random.between(0, packed.stream.size())));
    const std::size_t rows = random.chance(0.1) ? 31 : 20, columns = random.chance(0.1) ? 1 : 30;
    if (!packed.scales.empty()) packed.scales.resize(rows, -1.0f);
    refused += !is_read(packed, rows, columns);
  }
  check(refused > 1000, "most of them are refused");
}

PRUNEOFA_TEST(packed_matrices_without_a_size_are_refused) {
  const PackedBytes packed = pack_bytes({1, 0, 2, 3}, 2, 2, {});
  std::vector<uint8_t> dense(40 * 40);
  check_refused([&] { file::decode_packed(packed.view(), 0, 3, file::Turn::kNone, dense.data()); }, "rows and columns",
                "no rows");
  check_refused([&] { file::decode_packed(packed.view(), 40, 40, file::Turn::kNone, dense.data()); }, "stream",
                "more rows than were packed");
}

struct BitmaskParts {
  std::vector<uint32_t> elements;
  std::vector<uint8_t> mask;
  std::vector<int64_t> offsets;

  file::BitmaskMatrix<uint32_t> view() const { return {elements.data(), elements.size(), mask.data(), offsets.data()}; }
};

BitmaskParts masked(const std::vector<uint32_t>& matrix, std::size_t rows, std::size_t columns) {
  const std::size_t bytes = (columns + 7) / 8;
  BitmaskParts parts;
  parts.mask.resize(rows * bytes);
  for (std::size_t row = 0; row < rows; ++row) {
    parts.offsets.push_back(static_cast<int64_t>(parts.elements.size()));
    for (std::size_t column = 0; column < columns; ++column) {
      const uint32_t element = matrix[row * columns + column];
      if (element == 0) continue;
      parts.elements.push_back(element);
      parts.mask[row * bytes + column / 8] |= static_cast<uint8_t>(1u << column % 8);
    }
  }
  return parts;
}

PRUNEOFA_TEST(bit_masks_come_back_and_their_faults_are_named) {
  Random random(3);
  for (const Shape& shape : kShapes) {
    std::vector<uint32_t> matrix(shape.rows * shape.columns);
    for (uint32_t& element : matrix)
      element = random.chance(0.3) ? static_cast<uint32_t>(random.between(1, 1 << 30)) : 0;
    BitmaskParts parts = masked(matrix, shape.rows, shape.columns);
    std::vector<uint32_t> dense(matrix.size());
    std::vector<int64_t> counts(shape.rows);
    const auto decode = [&] {
      file::decode_bitmask(parts.view(), shape.rows, shape.columns, dense.data(), counts.data());
    };
    decode();
    check(dense == matrix, "decoded");
    if (shape.columns % 8 != 0) {
      parts.mask[(shape.columns + 7) / 8 - 1] ^= 0x80;
      check_refused(decode, "padding bits", "padding");
      parts.mask[(shape.columns + 7) / 8 - 1] ^= 0x80;
    }
    parts.offsets.back() += 1;
    check_refused(decode, "row_offsets", "offsets");
    parts.offsets.back() -= 1;
    parts.elements.push_back(5);
    check_refused(decode, "compressed holds", "one element more");
    parts.elements.pop_back();
    if (parts.elements.empty()) continue;
    parts.elements[0] = 0;
    check_refused(decode, "holds a zero", "a zero");
  }
}

}  // namespace
}  // namespace pruneofa::testing
