// Sets of bits, least significant first.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

namespace pruneofa::file {

// Number of bytes that hold `bits` bits.
constexpr std::size_t bytes_of(std::size_t bits) { return bits / 8 + (bits % 8 != 0); }

// Up to eight bytes as a number, from a place that holds `left` bytes.
inline uint64_t load_word(const uint8_t* bytes, std::size_t left) {
  uint64_t word = 0;
  if (left >= 8) {  // a size that the compiler knows
    std::memcpy(&word, bytes, 8);
  } else {
    std::memcpy(&word, bytes, left);
  }
  return word;
}

// Call each(index) for every bit that is set in `bytes`, in rising order.
template <class Each>
void for_each_bit(const uint8_t* bytes, std::size_t size, Each&& each) {
  for (std::size_t at = 0; at < size; at += 8) {
    for (uint64_t word = load_word(bytes + at, size - at); word != 0; word &= word - 1) {
      each(8 * at + static_cast<std::size_t>(std::countr_zero(word)));
    }
  }
}

inline std::size_t count_bits(const uint8_t* bytes, std::size_t size) {
  std::size_t count = 0;
  for (std::size_t at = 0; at < size; at += 8) count += std::popcount(load_word(bytes + at, size - at));
  return count;
}

// Bits from `begin` to before `end`; begin < end.
inline std::size_t count_bits_between(const uint8_t* bytes, std::size_t begin, std::size_t end) {
  const auto below = [&](std::size_t at) -> std::size_t {  // in the byte of `at`
    return at % 8 == 0 ? 0 : std::popcount(bytes[at / 8] & ((1u << at % 8) - 1));
  };
  return count_bits(bytes + begin / 8, end / 8 - begin / 8) - below(begin) + below(end);
}

// Bits, all zero at first.
class Bits {
 public:
  explicit Bits(std::size_t count) : size_(bytes_of(count)), bytes_(new uint8_t[size_]()) {}

  std::size_t size() const { return size_; }
  uint8_t* data() { return bytes_.get(); }
  const uint8_t* data() const { return bytes_.get(); }
  void set(std::size_t index) { bytes_[index / 8] |= static_cast<uint8_t>(1u << index % 8); }

 private:
  std::size_t size_;
  std::unique_ptr<uint8_t[]> bytes_;
};

}  // namespace pruneofa::file
