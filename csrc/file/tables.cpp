#include "file/tables.hpp"

#include <string>

#include "file/fault.hpp"

namespace pruneofa::file {
namespace {

constexpr std::size_t kHeaderBytes = 5;
constexpr uint32_t kMinBits = 8;
constexpr uint32_t kMaxBits = 16;
constexpr uint32_t kByScale = 0x80;  // in the byte of the coded planes: a unit follows

class Reader {
 public:
  Reader(const uint8_t* data, std::size_t size) : data_(data), size_(size) {}

  void header(Tables& tables, uint32_t item_size, bool all_coded, bool scaled, uint32_t& coded) {
    if (size_ < kHeaderBytes) {
      damaged("section packed_tables has " + std::to_string(size_) + " bytes, at least " +
              std::to_string(kHeaderBytes) + " are needed");
    }
    const uint32_t every = (1u << item_size) - 1;
    const uint32_t least = all_coded ? every : 0;
    tables.lane_bits = number("lane bits", data_[0], 0, kMaxLaneBits);
    tables.row_classes = number("row classes", data_[1], 1, kMaxClasses);
    tables.column_classes = number("column classes", data_[2], 1, kMaxClasses);
    tables.group = data_[3];
    if (tables.group != 4 && tables.group != 8) refuse("bits to a symbol", tables.group, "4 or 8");
    coded = data_[4];
    number("coded planes", scaled ? coded & ~kByScale : coded, least, every);
    position_ = kHeaderBytes;
  }

  uint32_t unit() {
    if (size_ - position_ < 2) {
      damaged("packed_tables ends at byte " + std::to_string(size_) + ", the unit of the scales needs " +
              std::to_string(position_ + 2));
    }
    const uint32_t unit = data_[position_] | static_cast<uint32_t>(data_[position_ + 1]) << 8;
    number("unit of the scales", unit, 0, kMaxUnit);
    position_ += 2;
    return unit;
  }

  Frequencies table(uint32_t symbols, const std::string& name) {
    const std::string where = "table of " + name + ": ";
    if (size_ - position_ < 3) cut_off(where);
    Frequencies result;
    result.bits = data_[position_];
    const uint32_t first = data_[position_ + 1], last = first + data_[position_ + 2];
    position_ += 3;
    if (result.bits < kMinBits || result.bits > kMaxBits) {
      damaged(where + "has " + std::to_string(result.bits) + " bits, allowed are 8 to 16");
    }
    if (last >= symbols) {
      damaged(where + "names the symbol " + std::to_string(last) + ", allowed are 0 to " + std::to_string(symbols - 1));
    }
    uint32_t total = 0;  // 256 numbers below 2^21
    for (uint32_t symbol = first; symbol <= last; ++symbol) total += result.of[symbol] = frequency(where);
    if (total != 1u << result.bits) {
      damaged(where + "frequencies add up to " + std::to_string(total) + ", " + std::to_string(1u << result.bits) +
              " is needed");
    }
    if (result.of[first] == 0 || result.of[last] == 0) {
      damaged(where + "its first or last frequency is 0, which it should leave out");
    }
    return result;
  }

  void probabilities(Tables& tables) {
    const std::size_t count = std::size_t{tables.row_classes} * tables.column_classes;
    if (size_ - position_ < 2 * count) {
      damaged("packed_tables ends at byte " + std::to_string(size_) + ", probabilities need " +
              std::to_string(position_ + 2 * count));
    }
    for (std::size_t i = 0; i < count; ++i, position_ += 2) {
      tables.probabilities.push_back(static_cast<uint16_t>(data_[position_] | data_[position_ + 1] << 8));
    }
  }

  void finish() const {
    if (position_ != size_) {
      damaged(std::to_string(size_ - position_) + " bytes follow the last of packed_tables");
    }
  }

 private:
  [[noreturn]] static void refuse(const char* name, uint32_t value, const std::string& allowed) {
    damaged("packed_tables says " + std::string(name) + " " + std::to_string(value) + ", allowed is " + allowed);
  }

  static uint32_t number(const char* name, uint32_t value, uint32_t least, uint32_t most) {
    if (value < least || value > most) refuse(name, value, std::to_string(least) + " to " + std::to_string(most));
    return value;
  }

  [[noreturn]] void cut_off(const std::string& where) const {
    damaged(where + "the table is cut off after " + std::to_string(size_) + " bytes");
  }

  // Groups of 7 bits, least significant first, at most three, in the shortest form.
  uint32_t frequency(const std::string& where) {
    uint32_t value = 0;
    for (uint32_t index = 0; index < 3; ++index) {
      if (position_ >= size_) cut_off(where);
      const uint32_t byte = data_[position_++];
      value |= (byte & 0x7F) << (7 * index);
      if (byte < 0x80) {
        if (byte == 0 && index != 0) break;
        return value;
      }
    }
    damaged(where + "a frequency is not in its shortest form or above 2**16");
  }

  const uint8_t* data_;
  std::size_t size_;
  std::size_t position_ = 0;  // never above size_
};

}  // namespace

Tables read_tables(const uint8_t* data, std::size_t size, uint32_t item_size, bool all_coded, bool scaled) {
  Tables tables;
  Reader reader(data, size);
  uint32_t coded = 0;
  reader.header(tables, item_size, all_coded, scaled, coded);
  if (coded & kByScale) tables.unit = reader.unit();
  if (tables.row_classes > 1) tables.classes[0] = reader.table(tables.row_classes, "row classes");
  if (tables.column_classes > 1) tables.classes[1] = reader.table(tables.column_classes, "column classes");
  reader.probabilities(tables);
  for (uint32_t plane = 0; plane < item_size; ++plane) {
    if (coded >> plane & 1) tables.planes[plane] = reader.table(256, "plane " + std::to_string(plane));
  }
  reader.finish();
  return tables;
}

}  // namespace pruneofa::file
