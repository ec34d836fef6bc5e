#include "tests/packing.hpp"

#include <algorithm>
#include <array>
#include <deque>
#include <map>

#include "file/positions.hpp"
#include "file/scale_classes.hpp"

namespace pruneofa::testing {
namespace {

using file::Frequencies;

struct Run {
  std::vector<uint8_t> symbols;
  std::vector<const Frequencies*> tables;  // one for each symbol
};

// Frequencies in 1/4096 that leave no symbol of `symbols` out; good enough, not best.
Frequencies frequencies_of(const std::vector<uint8_t>& symbols) {
  Frequencies result;
  result.bits = 12;
  for (const uint8_t symbol : symbols) result.of[symbol] = 1;
  if (symbols.empty()) result.of[0] = 1;
  uint32_t used = 0;
  for (const uint32_t frequency : result.of) used += frequency;
  *std::find(result.of.begin(), result.of.end(), 1u) += (1u << result.bits) - used;
  return result;
}

void append_table(const Frequencies& table, std::vector<uint8_t>& bytes) {
  std::size_t first = 0, last = 255;
  while (table.of[first] == 0) ++first;
  while (table.of[last] == 0) --last;
  bytes.push_back(static_cast<uint8_t>(table.bits));
  bytes.push_back(static_cast<uint8_t>(first));
  bytes.push_back(static_cast<uint8_t>(last - first));
  for (std::size_t symbol = first; symbol <= last; ++symbol) {
    uint32_t value = table.of[symbol];
    for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<uint8_t>(value & 0x7F) | 0x80);
    bytes.push_back(static_cast<uint8_t>(value));
  }
}

Run run_of(const std::vector<uint8_t>& symbols, const Frequencies& table) {
  return {symbols, std::vector<const Frequencies*>(symbols.size(), &table)};
}

std::vector<uint16_t> encode(const std::vector<Run>& runs, uint32_t lane_bits) {
  const std::size_t lanes = std::size_t{1} << lane_bits;
  std::vector<uint32_t> states(lanes, 1u << 16);
  std::vector<uint16_t> words;
  for (auto run = runs.rbegin(); run != runs.rend(); ++run) {
    for (std::size_t i = run->symbols.size(); i-- > 0;) {
      const Frequencies& table = *run->tables[i];
      const uint32_t symbol = run->symbols[i], frequency = table.of[symbol];
      uint32_t start = 0;
      for (uint32_t below = 0; below < symbol; ++below) start += table.of[below];
      uint32_t& state = states[i % lanes];
      if (state >= uint64_t{frequency} << (32 - table.bits)) {
        words.push_back(static_cast<uint16_t>(state));
        state >>= 16;
      }
      state = ((state / frequency) << table.bits) + state % frequency + start;
    }
  }
  std::vector<uint16_t> stream;
  for (const uint32_t state : states) {
    stream.push_back(static_cast<uint16_t>(state));
    stream.push_back(static_cast<uint16_t>(state >> 16));
  }
  stream.insert(stream.end(), words.rbegin(), words.rend());
  return stream;
}

std::vector<uint8_t> in_turn(std::size_t count, uint32_t classes) {
  std::vector<uint8_t> result(count);
  for (std::size_t i = 0; i < count; ++i) result[i] = static_cast<uint8_t>(i % classes);
  return result;
}

}  // namespace

PackedBytes pack_bytes(const std::vector<uint8_t>& matrix, std::size_t rows, std::size_t columns,
                       const PackedChoice& choice) {
  PackedBytes packed;
  const uint32_t unit = choice.scales.empty() ? 0 : file::class_of_scale(choice.scales[0]);
  packed.tables = {static_cast<uint8_t>(choice.lane_bits), static_cast<uint8_t>(choice.row_classes),
                   static_cast<uint8_t>(choice.column_classes), static_cast<uint8_t>(choice.group), 1};
  packed.scales = choice.scales;
  if (!choice.scales.empty()) {
    packed.tables[4] |= 0x80;
    packed.tables.push_back(static_cast<uint8_t>(unit));
    packed.tables.push_back(static_cast<uint8_t>(unit >> 8));
  }
  const std::vector<uint8_t> row_classes = in_turn(rows, choice.row_classes);
  const std::vector<uint8_t> column_classes = in_turn(columns, choice.column_classes);
  const Frequencies row_table = frequencies_of(row_classes), column_table = frequencies_of(column_classes);
  std::vector<Run> runs;
  if (choice.row_classes > 1) {
    append_table(row_table, packed.tables);
    runs.push_back(run_of(row_classes, row_table));
  }
  if (choice.column_classes > 1) {
    append_table(column_table, packed.tables);
    runs.push_back(run_of(column_classes, column_table));
  }
  std::vector<Frequencies> blocks;
  blocks.reserve(std::size_t{choice.row_classes} * choice.column_classes);
  Run mask;
  for (uint32_t a = 0; a < choice.row_classes; ++a) {
    for (uint32_t b = 0; b < choice.column_classes; ++b) {
      std::vector<bool> bits;
      for (std::size_t row = a; row < rows; row += choice.row_classes) {
        for (std::size_t column = b; column < columns; column += choice.column_classes) {
          bits.push_back(matrix[row * columns + column] != 0);
        }
      }
      const std::size_t ones = static_cast<std::size_t>(std::count(bits.begin(), bits.end(), true));
      const uint32_t probability = ones == 0 ? 0 : ones == bits.size() ? 65535 : 6000;
      packed.tables.push_back(static_cast<uint8_t>(probability));
      packed.tables.push_back(static_cast<uint8_t>(probability >> 8));
      if (probability == 0 || probability == 65535) continue;
      blocks.push_back(file::group_frequencies(static_cast<uint16_t>(probability), choice.group));
      for (std::size_t i = 0; i < bits.size(); i += choice.group) {
        uint32_t symbol = 0;
        for (std::size_t j = i; j < std::min(bits.size(), i + choice.group); ++j)
          symbol |= uint32_t{bits[j]} << (j - i);
        mask.symbols.push_back(static_cast<uint8_t>(symbol));
        mask.tables.push_back(&blocks.back());
      }
    }
  }
  runs.push_back(std::move(mask));
  std::vector<uint8_t> values;
  for (const uint8_t value : matrix) {
    if (value != 0) values.push_back(static_cast<uint8_t>(value ^ 0x80));
  }
  const Frequencies value_table = frequencies_of(values);
  append_table(value_table, packed.tables);
  std::deque<Frequencies> class_tables;  // a deque, since runs point into it
  if (choice.scales.empty()) {
    runs.push_back(run_of(values, value_table));
  } else {
    std::map<uint32_t, std::vector<uint8_t>> by_class;
    for (std::size_t i = 0; i < matrix.size(); ++i) {
      if (matrix[i] == 0) continue;
      by_class[file::class_of_scale(choice.scales[i / columns])].push_back(static_cast<uint8_t>(matrix[i] ^ 0x80));
    }
    for (const auto& [of_class, symbols] : by_class) {
      class_tables.push_back(file::class_frequencies(value_table, unit, of_class));
      runs.push_back(run_of(symbols, class_tables.back()));
    }
  }
  packed.stream = encode(runs, choice.lane_bits);
  return packed;
}

std::vector<uint8_t> sparse_bytes(Random& random, std::size_t size, double density) {
  std::vector<uint8_t> matrix(size);
  for (uint8_t& value : matrix) {
    if (random.chance(density)) value = static_cast<uint8_t>(random.between(1, 255));
  }
  return matrix;
}

}  // namespace pruneofa::testing
