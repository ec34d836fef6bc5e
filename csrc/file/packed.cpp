#include "file/packed.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/buffer.hpp"
#include "file/bits.hpp"
#include "file/fault.hpp"
#include "file/positions.hpp"
#include "file/rans.hpp"
#include "file/scale_classes.hpp"
#include "file/tables.hpp"

namespace pruneofa::file {
namespace {

constexpr std::size_t kValuesAtOnce = 1024;

std::vector<uint8_t> decode_classes(RansDecoder& decoder, const std::optional<Frequencies>& table, std::size_t size) {
  if (table) decoder.begin(size);
  std::vector<uint8_t> classes(size);
  if (table) decoder.decode(SymbolTable(*table), classes.data(), size);
  return classes;
}

// The symbols of `count` values in the order of the matrix, from a run for each class of rows of like scale.
std::unique_ptr<uint8_t[]> decode_by_scale(RansDecoder& decoder, const Tables& tables, const float* scales,
                                           const Bits& mask, std::size_t rows, std::size_t columns, std::size_t count) {
  decoder.begin(count);  // refuses more than the lanes may hold
  std::vector<std::pair<uint32_t, std::size_t>> by_class(rows);
  std::vector<std::size_t> begins(rows + 1);
  for (std::size_t row = 0; row < rows; ++row) {
    by_class[row] = {class_of_scale(scales[row]), row};
    begins[row + 1] = begins[row] + count_bits_between(mask.data(), row * columns, (row + 1) * columns);
  }
  std::sort(by_class.begin(), by_class.end());
  std::unique_ptr<uint8_t[]> result(new uint8_t[count]);
  std::vector<uint8_t> symbols;
  SymbolTable table;
  for (std::size_t first = 0, last = 0; first < rows; first = last) {
    const uint32_t of_class = by_class[first].first;
    std::size_t size = 0;
    for (; last < rows && by_class[last].first == of_class; ++last) {
      size += begins[by_class[last].second + 1] - begins[by_class[last].second];
    }
    if (size == 0) continue;
    symbols.resize(size);
    table.set(class_frequencies(*tables.planes[0], *tables.unit, of_class));
    decoder.begin(size);
    decoder.decode(table, symbols.data(), size);
    const uint8_t* from = symbols.data();
    for (std::size_t i = first; i < last; ++i) {
      const std::size_t row = by_class[i].second, length = begins[row + 1] - begins[row];
      std::memcpy(result.get() + begins[row], from, length);
      from += length;
    }
  }
  return result;
}

// The bytes of all values, one array for each place, the most significant first. The last plane that is coded is
// decoded while values are asked for, which saves most of the memory where it is the only one.
class Planes {
 public:
  Planes(RansDecoder& decoder, const Tables& tables, const PackedMatrix& packed, const Bits& mask, std::size_t rows,
         std::size_t columns, std::size_t item_size, std::size_t count)
      : decoder_(decoder) {
    std::size_t raw = 0;
    for (std::size_t i = 0; i < item_size; ++i) raw += !tables.planes[i];
    if (packed.has_planes && (packed.plane_count != raw || packed.plane_size != count)) {
      damaged("section packed_planes has shape [" + std::to_string(packed.plane_count) + ", " +
              std::to_string(packed.plane_size) + "], [" + std::to_string(raw) + ", " + std::to_string(count) +
              "] is needed");
    }
    if (tables.unit) {  // one plane, all of it decoded at once, since its runs are not in the matrix's order
      owned_[0] = decode_by_scale(decoder, tables, packed.scales, mask, rows, columns, count);
      at_[0] = owned_[0].get();
      return;
    }
    for (std::size_t i = 0; i < item_size; ++i) last_ = tables.planes[i] ? i : last_;
    const uint8_t* stored = packed.planes;
    for (std::size_t i = 0; i < item_size; ++i) {
      if (!tables.planes[i]) {
        at_[i] = stored;
        stored += count;
        continue;
      }
      decoder.begin(count);
      if (i == last_) {
        table_.set(*tables.planes[i]);
        continue;
      }
      owned_[i].reset(new uint8_t[count]);
      decoder.decode(SymbolTable(*tables.planes[i]), owned_[i].get(), count);
      at_[i] = owned_[i].get();
    }
  }

  // The next `count` values, at most kValuesAtOnce.
  template <class T>
  void next(std::size_t count, Turn turn, T* out) {
    if (last_ != kNone) decoder_.decode(table_, portion_.data(), count);
    const auto bytes = [&](std::size_t plane) { return plane == last_ ? portion_.data() : at_[plane] + taken_; };
    const uint8_t* const top = bytes(0);
    for (std::size_t i = 0; i < count; ++i) out[i] = top[i];
    for (std::size_t plane = 1; plane < sizeof(T); ++plane) {
      const uint8_t* const next = bytes(plane);
      for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<T>(out[i] << 8 | next[i]);
    }
    if (turn == Turn::kShift128) {
      for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<T>(out[i] ^ 0x80);
    } else if (turn == Turn::kSignLast) {
      for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<T>(out[i] >> 1 | out[i] << (8 * sizeof(T) - 1));
    }
    taken_ += count;
  }

 private:
  static constexpr std::size_t kNone = kMaxItemSize;

  RansDecoder& decoder_;
  std::size_t last_ = kNone;  // the coded plane that is decoded last, if any
  SymbolTable table_;         // of that plane
  std::array<uint8_t, kValuesAtOnce> portion_;
  std::size_t taken_ = 0;
  std::array<const uint8_t*, kMaxItemSize> at_{};
  std::array<std::unique_ptr<uint8_t[]>, kMaxItemSize> owned_;
};

}  // namespace

template <class T>
void decode_packed(const PackedMatrix& packed, std::size_t rows, std::size_t columns, Turn turn, T* dense) {
  constexpr std::size_t kMost = std::numeric_limits<uint32_t>::max();
  if (rows == 0 || columns == 0 || rows > kMost || columns > kMost) {
    throw std::invalid_argument("a packed matrix needs 1 to 2^32 rows and columns");
  }
  checked_product(rows, columns);
  const Tables tables =
      read_tables(packed.tables, packed.tables_size, sizeof(T), !packed.has_planes, packed.scales != nullptr);
  RansDecoder decoder(packed.stream, packed.stream_size, tables.lane_bits);
  const std::vector<uint8_t> row_classes = decode_classes(decoder, tables.classes[0], rows);
  const std::vector<uint8_t> column_classes = decode_classes(decoder, tables.classes[1], columns);
  const Bits mask = decode_mask(decoder, tables, row_classes, column_classes);
  const std::size_t count = count_bits(mask.data(), mask.size());
  Planes planes(decoder, tables, packed, mask, rows, columns, sizeof(T), count);
  // Values in portions that fit the cache; the mask says where each goes.
  std::array<T, kValuesAtOnce> portion;
  std::size_t taken = kValuesAtOnce, done = 0;
  bool zero = false;
  for_each_bit(mask.data(), mask.size(), [&](std::size_t place) {
    if (taken == kValuesAtOnce) {
      const std::size_t now = std::min(kValuesAtOnce, count - done);
      planes.next(now, turn, portion.data());
      zero = zero || std::find(portion.begin(), portion.begin() + now, T{0}) != portion.begin() + now;
      done += now;
      taken = 0;
    }
    dense[place] = portion[taken++];
  });
  decoder.finish();
  if (zero) damaged("holds a zero among the values, which the mask should leave out");
}

template void decode_packed(const PackedMatrix&, std::size_t, std::size_t, Turn, uint8_t*);
template void decode_packed(const PackedMatrix&, std::size_t, std::size_t, Turn, uint16_t*);
template void decode_packed(const PackedMatrix&, std::size_t, std::size_t, Turn, uint32_t*);

}  // namespace pruneofa::file
