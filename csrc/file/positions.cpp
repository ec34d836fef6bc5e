#include "file/positions.hpp"

#include <algorithm>
#include <array>
#include <string>

#include "file/fault.hpp"

namespace pruneofa::file {
namespace {

constexpr uint32_t kAllOnes = (1u << 16) - 1;
constexpr uint64_t kUnit = 1u << 16;
constexpr std::size_t kSymbolsAtOnce = 4096;

// Rows or columns sorted by class, those of a class in their order.
struct Sorted {
  std::vector<uint32_t> order;
  std::vector<std::size_t> begins;  // [classes + 1]

  Sorted(const std::vector<uint8_t>& classes, uint32_t count) : order(classes.size()), begins(count + 1) {
    for (const uint8_t each : classes) ++begins[each + 1];
    for (uint32_t i = 0; i < count; ++i) begins[i + 1] += begins[i];
    std::vector<std::size_t> next(begins.begin(), begins.end() - 1);
    for (std::size_t i = 0; i < classes.size(); ++i) order[next[classes[i]]++] = static_cast<uint32_t>(i);
  }
  std::size_t size(uint32_t of_class) const { return begins[of_class + 1] - begins[of_class]; }
};

struct Block {
  std::size_t first_row, rows, first_column, columns;
  uint16_t probability;
  std::size_t number;

  bool is_coded() const { return probability > 0 && probability < kAllOnes; }
  std::size_t size() const { return rows * columns; }
  std::size_t symbols(uint32_t group) const { return is_coded() ? size() / group + (size() % group != 0) : 0; }
};

std::vector<Block> blocks_of(const Tables& tables, const Sorted& rows, const Sorted& columns) {
  std::vector<Block> blocks;
  for (uint32_t a = 0; a < tables.row_classes; ++a) {
    for (uint32_t b = 0; b < tables.column_classes; ++b) {
      const std::size_t number = std::size_t{a} * tables.column_classes + b;
      blocks.push_back(
          {rows.begins[a], rows.size(a), columns.begins[b], columns.size(b), tables.probabilities[number], number});
    }
  }
  return blocks;
}

// `count` symbols as bits, from a byte of their own on.
void decode_bits(RansDecoder& decoder, const SymbolTable& table, uint32_t group, std::size_t count, uint8_t* bytes) {
  if (group == 8) {
    decoder.decode(table, bytes, count);
    return;
  }
  std::array<uint8_t, kSymbolsAtOnce> symbols;
  for (std::size_t done = 0; done < count; done += kSymbolsAtOnce) {
    const std::size_t now = std::min(kSymbolsAtOnce, count - done);
    decoder.decode(table, symbols.data(), now);
    if (now % 2 != 0) symbols[now] = 0;  // kSymbolsAtOnce is even, so there is room
    for (std::size_t i = 0; i < now; i += 2) {
      bytes[(done + i) / 2] = static_cast<uint8_t>(symbols[i] | symbols[i + 1] << 4);
    }
  }
}

void check_padding(const Block& block, const uint8_t* bits, std::size_t bytes) {
  const std::size_t size = block.size(), whole = size / 8;
  if (whole == bytes) return;
  if (bits[whole] >> size % 8 == 0 && count_bits(bits + whole + 1, bytes - whole - 1) == 0) return;
  damaged("block " + std::to_string(block.number) + " of the mask has padding bits set");
}

void place(const Block& block, const uint8_t* bits, const Sorted& rows, const Sorted& columns, Bits& mask) {
  const std::size_t width = columns.order.size();
  const uint32_t* const column_of = columns.order.data() + block.first_column;
  const uint32_t* row_of = rows.order.data() + block.first_row;
  std::size_t begin = 0;  // of the present row within the block
  for_each_bit(bits, bytes_of(block.size()), [&](std::size_t index) {
    while (index - begin >= block.columns) {
      begin += block.columns;
      ++row_of;
    }
    mask.set(*row_of * width + column_of[index - begin]);
  });
}

void fill(const Block& block, const Sorted& rows, const Sorted& columns, Bits& mask) {
  const std::size_t width = columns.order.size();
  for (std::size_t i = 0; i < block.rows; ++i) {
    for (std::size_t j = 0; j < block.columns; ++j) {
      mask.set(rows.order[block.first_row + i] * width + columns.order[block.first_column + j]);
    }
  }
}

// One block that is the whole matrix: its bits are the mask.
Bits decode_single(RansDecoder& decoder, const Tables& tables, const Block& block, std::size_t symbols) {
  const std::size_t size = block.size();
  Bits mask(size);
  if (block.probability == kAllOnes) {
    std::memset(mask.data(), 0xFF, size / 8);
    if (size % 8 != 0) mask.data()[size / 8] = static_cast<uint8_t>((1u << size % 8) - 1);
  } else if (symbols != 0) {
    const SymbolTable table(group_frequencies(block.probability, tables.group));
    decode_bits(decoder, table, tables.group, symbols, mask.data());
    check_padding(block, mask.data(), mask.size());
  }
  return mask;
}

}  // namespace

Frequencies group_frequencies(uint16_t probability, uint32_t group) {
  std::array<uint32_t, 9> with_ones{};
  for (uint32_t ones = 0; ones <= group; ++ones) {
    uint64_t value = uint64_t{1} << 32;  // at most 2^48 after a product
    for (uint32_t i = 0; i < ones; ++i) value = value * probability >> 16;
    for (uint32_t i = ones; i < group; ++i) value = value * (kUnit - probability) >> 16;
    with_ones[ones] = std::max<uint32_t>(static_cast<uint32_t>(value >> 16), 1);
  }
  Frequencies result;
  result.bits = 16;
  const uint32_t symbols = 1u << group;
  uint32_t sum = 0;
  for (uint32_t symbol = 0; symbol < symbols; ++symbol) {
    sum += result.of[symbol] = with_ones[static_cast<uint32_t>(std::popcount(symbol))];
  }
  result.of[probability <= kUnit / 2 ? 0 : symbols - 1] += static_cast<uint32_t>(kUnit) - sum;  // may take away
  return result;
}

Bits decode_mask(RansDecoder& decoder, const Tables& tables, const std::vector<uint8_t>& row_classes,
                 const std::vector<uint8_t>& column_classes) {
  const Sorted rows(row_classes, tables.row_classes), columns(column_classes, tables.column_classes);
  const std::vector<Block> blocks = blocks_of(tables, rows, columns);
  std::size_t symbols = 0, bytes = 0;
  for (const Block& block : blocks) {
    symbols += block.symbols(tables.group);
    bytes += bytes_of(block.symbols(tables.group) * tables.group);
  }
  decoder.begin(symbols);
  if (blocks.size() == 1) return decode_single(decoder, tables, blocks[0], symbols);
  Bits bits(8 * bytes);
  SymbolTable table;
  uint8_t* at = bits.data();
  for (const Block& block : blocks) {
    const std::size_t count = block.symbols(tables.group);
    if (count == 0) continue;
    table.set(group_frequencies(block.probability, tables.group));
    decode_bits(decoder, table, tables.group, count, at);
    at += bytes_of(count * tables.group);
  }
  Bits mask(row_classes.size() * column_classes.size());
  const uint8_t* from = bits.data();
  for (const Block& block : blocks) {
    if (block.probability == kAllOnes) fill(block, rows, columns, mask);
    const std::size_t count = block.symbols(tables.group);
    if (count == 0) continue;
    check_padding(block, from, bytes_of(count * tables.group));
    place(block, from, rows, columns, mask);
    from += bytes_of(count * tables.group);
  }
  return mask;
}

}  // namespace pruneofa::file
