// The section of tables of a packed tensor: its header, probabilities of blocks and frequencies of symbols.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace pruneofa::file {

inline constexpr uint32_t kMaxLaneBits = 16;
inline constexpr uint32_t kMaxClasses = 16;
inline constexpr uint32_t kMaxItemSize = 4;
inline constexpr uint32_t kMaxUnit = 4079;  // class of the largest finite scale

// Frequencies of byte symbols, which add up to 2^bits.
struct Frequencies {
  uint32_t bits = 0;
  std::array<uint32_t, 256> of{};
};

struct Tables {
  uint32_t lane_bits = 0;
  uint32_t row_classes = 1;
  uint32_t column_classes = 1;
  uint32_t group = 4;                                           // bits of the mask in a symbol
  std::optional<uint32_t> unit;                                 // class of scales that the only plane's table is for
  std::optional<Frequencies> classes[2];                        // of the rows, of the columns; none for one class
  std::vector<uint16_t> probabilities;                          // [row classes, column classes]
  std::array<std::optional<Frequencies>, kMaxItemSize> planes;  // none: the plane's bytes are stored as they are
};

// Read and check the whole section.
//   item_size: bytes per value, 1 to kMaxItemSize
//   all_coded: whether every plane must be coded, since the tensor has no section of planes
//   scaled: whether the table of the values may be stretched by the scales of rows
// Throws std::invalid_argument where anything is impossible, missing or left over.
Tables read_tables(const uint8_t* data, std::size_t size, uint32_t item_size, bool all_coded, bool scaled);

}  // namespace pruneofa::file
