#include "file/scale_classes.hpp"

#include <algorithm>
#include <array>
#include <bit>

namespace pruneofa::file {
namespace {

constexpr uint32_t kClassShift = 19;
constexpr uint32_t kZero = 128;  // the symbol of the level 0, which is never coded
constexpr int64_t kLargestRatio = 1 << 24;
constexpr int64_t kUnit = 1 << 16;
constexpr int64_t kShared = kUnit - 256;  // what the symbols share beside the 1 that each has

// Scale of a class over that of the unit, in 1/65536, rounded down. A class stands for the middle of its scales,
// (33 + 2 f) / 32 times a power of two; beyond these shifts a ratio is 0 or the largest anyway.
int64_t ratio_of(uint32_t of_class, uint32_t unit) {
  const int shift = std::clamp(static_cast<int>(of_class >> 4) - static_cast<int>(unit >> 4), -24, 9);
  const int64_t ratio = (int64_t{33 + 2 * (of_class & 15)} << (shift + 40)) / int64_t{33 + 2 * (unit & 15)} >> 24;
  return std::min(ratio, kLargestRatio);
}

}  // namespace

uint32_t class_of_scale(float scale) { return std::bit_cast<uint32_t>(scale) >> kClassShift; }

Frequencies class_frequencies(const Frequencies& table, uint32_t unit, uint32_t of_class) {
  std::array<int64_t, 257> below{};
  for (uint32_t level = 0; level < 256; ++level) below[level + 1] = below[level] + table.of[level];
  // What lies below a place, which is counted in parts of 2^-17 of a level of the table, from the table's lower end.
  const auto mass_below = [&](int64_t place) {
    const int64_t level = place >> 17;
    const int64_t part = place - (level << 17);
    const auto index = static_cast<std::size_t>(level);
    return (below[index] << 17) + (part == 0 ? 0 : part * table.of[index]);
  };
  const int64_t ratio = ratio_of(of_class, unit);
  const auto begin_of = [&](int64_t symbol) {
    return std::clamp<int64_t>((2 * symbol - 257) * ratio + 257 * kUnit, 0, int64_t{256} << 17);
  };
  std::array<int64_t, 256> mass{};
  int64_t all = 0, before = mass_below(begin_of(0));
  for (uint32_t symbol = 0; symbol < 256; ++symbol) {
    const int64_t up_to = mass_below(begin_of(symbol + 1));
    mass[symbol] = symbol == kZero ? 0 : up_to - before;
    all += mass[symbol];
    before = up_to;
  }
  Frequencies result;
  result.bits = 16;
  int64_t left = kUnit;
  for (uint32_t symbol = 0; symbol < 256; ++symbol) {
    const int64_t share = 1 + kShared * mass[symbol] / std::max<int64_t>(all, 1);
    result.of[symbol] = static_cast<uint32_t>(share);
    left -= share;
  }
  *std::max_element(result.of.begin(), result.of.end()) += static_cast<uint32_t>(left);
  return result;
}

}  // namespace pruneofa::file
