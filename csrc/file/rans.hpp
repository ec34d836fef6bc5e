// The entropy decoder: interleaved rANS with 32-bit states, which take 16 bits at a time from one stream of words.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "file/tables.hpp"

namespace pruneofa::file {

// A table of frequencies, made ready for decoding.
class SymbolTable {
 public:
  SymbolTable() = default;
  explicit SymbolTable(const Frequencies& frequencies) { set(frequencies); }

  // The frequencies must add up to 2^bits, bits at most 16.
  void set(const Frequencies& frequencies);

 private:
  friend class RansDecoder;
  struct Range {
    uint32_t frequency;
    uint32_t start;
  };
  uint32_t bits_ = 0;
  std::array<Range, 256> ranges_{};
  std::vector<uint8_t> symbols_;  // [2^bits]: the symbol whose range holds a slot
};

// Decodes the runs of a stream one after the other; symbol i of a run belongs to lane i mod lanes.
class RansDecoder {
 public:
  // Throws std::invalid_argument where the stream is too short for its states, or a state is out of range.
  RansDecoder(const uint16_t* stream, std::size_t words, uint32_t lane_bits);

  // Begin a run of `count` symbols in all; throws where so few lanes may not hold so many.
  void begin(std::size_t count);

  // The next `count` symbols of the run; throws where the stream ends early. No more than begin() was told.
  void decode(const SymbolTable& table, uint8_t* symbols, std::size_t count);

  // Throws unless the stream ends where its symbols do.
  void finish() const;

 private:
  void decode_lanes(const SymbolTable& table, uint8_t* symbols, std::size_t count);

  const uint16_t* words_;
  std::size_t size_;
  std::size_t position_ = 0;  // never above size_
  std::vector<uint32_t> states_;
  std::size_t lane_ = 0;
};

}  // namespace pruneofa::file
