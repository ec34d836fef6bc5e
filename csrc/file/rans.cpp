#include "file/rans.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "file/fault.hpp"

namespace pruneofa::file {
namespace {

constexpr uint32_t kLowestState = 1u << 16;
constexpr std::size_t kMaxSteps = 1u << 13;  // symbols of a run in one lane

}  // namespace

void SymbolTable::set(const Frequencies& frequencies) {
  bits_ = frequencies.bits;
  symbols_.resize(std::size_t{1} << bits_);
  uint32_t start = 0;
  for (uint32_t symbol = 0; symbol < 256; ++symbol) {
    const uint32_t frequency = frequencies.of[symbol];
    ranges_[symbol] = Range{frequency, start};
    std::memset(symbols_.data() + start, static_cast<int>(symbol), frequency);
    start += frequency;
  }
}

RansDecoder::RansDecoder(const uint16_t* stream, std::size_t words, uint32_t lane_bits) {
  const std::size_t lanes = std::size_t{1} << lane_bits;
  if (words < 2 * lanes) {
    damaged("the stream has " + std::to_string(words) + " words, " + std::to_string(2 * lanes) + " are needed for " +
            std::to_string(lanes) + " states");
  }
  states_.resize(lanes);
  for (std::size_t lane = 0; lane < lanes; ++lane) {
    states_[lane] = static_cast<uint32_t>(stream[2 * lane]) | static_cast<uint32_t>(stream[2 * lane + 1]) << 16;
    if (states_[lane] < kLowestState) damaged("a state is below " + std::to_string(kLowestState));
  }
  words_ = stream + 2 * lanes;
  size_ = words - 2 * lanes;
}

void RansDecoder::begin(std::size_t count) {
  if (count > states_.size() * kMaxSteps) {
    throw std::invalid_argument("has " + std::to_string(states_.size()) + " lanes for " + std::to_string(count) +
                                " symbols, allowed are " + std::to_string(kMaxSteps) +
                                " symbols in a lane; do not trust this file");
  }
  lane_ = 0;
}

void RansDecoder::decode(const SymbolTable& table, uint8_t* symbols, std::size_t count) {
  while (count != 0) {
    const std::size_t now = std::min(count, states_.size() - lane_);
    decode_lanes(table, symbols, now);
    symbols += now;
    count -= now;
    lane_ += now;
    if (lane_ == states_.size()) lane_ = 0;
  }
}

// One symbol from each of `count` lanes, from lane_ on.
void RansDecoder::decode_lanes(const SymbolTable& table, uint8_t* symbols, std::size_t count) {
  const uint8_t* const symbol_of = table.symbols_.data();
  const uint32_t bits = table.bits_, mask = (1u << bits) - 1;
  uint32_t* const states = states_.data() + lane_;
  const auto next = [&](std::size_t i) {
    const uint32_t state = states[i], slot = state & mask;
    const uint8_t symbol = symbol_of[slot];
    symbols[i] = symbol;
    const SymbolTable::Range range = table.ranges_[symbol];
    return range.frequency * (state >> bits) + slot - range.start;  // below 2^32: at most 2^bits * 2^(32 - bits) - 1
  };
  if (size_ - position_ >= count) {  // the words suffice whatever comes: no branch for each symbol
    std::size_t position = position_;
    for (std::size_t i = 0; i < count; ++i) {
      const uint32_t state = next(i);
      const uint32_t refilled = state << 16 | words_[position];
      const bool low = state < kLowestState;
      states[i] = low ? refilled : state;
      position += low;
    }
    position_ = position;
    return;
  }
  for (std::size_t i = 0; i < count; ++i) {
    uint32_t state = next(i);
    if (state < kLowestState) {
      if (position_ == size_) damaged("the stream ends before its last symbol");
      state = state << 16 | words_[position_++];
    }
    states[i] = state;
  }
}

void RansDecoder::finish() const {
  const std::size_t left = size_ - position_;
  const bool ended = std::all_of(states_.begin(), states_.end(), [](uint32_t state) { return state == kLowestState; });
  if (left != 0 || !ended) {
    damaged("the stream does not end with its last symbol (" + std::to_string(left) + " words are left over)");
  }
}

}  // namespace pruneofa::file
