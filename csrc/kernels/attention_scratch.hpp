// Where attention keeps what it computes on the way, in the scratch memory of one thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.hpp"

namespace pruneofa {
// Unnamed, so that each file has its own: files compiled for different instruction sets must not share a function.
namespace {

// Byte offsets from the start of the scratch; each a multiple of 64.
struct AttentionScratch {
  uint32_t quads;             // groups of four features of a head, the last padded with zeros
  uint32_t keys;              // keys, rounded up to whole panels
  std::size_t query;          // [quads][64][4] levels
  std::size_t key;            // [panels][quads][64][4] levels - 128
  std::size_t key_sums;       // int32 [keys]: sums of a key's levels - 128
  std::size_t value;          // [head_size][keys] levels - 128
  std::size_t value_sums;     // int32 [head_size]: sums over the keys that are multiplied
  std::size_t scores;         // float [keys][64]
  std::size_t probabilities;  // [keys / 4][64][4] levels of P
  std::size_t bytes;

  AttentionScratch(uint32_t head_size, uint32_t key_end) {
    quads = (head_size + 3) / 4;
    keys = (key_end + kLanes - 1) / kLanes * kLanes;
    std::size_t at = 0;
    const auto take = [&at](std::size_t size) {
      const std::size_t start = at;
      at += (size + 63) / 64 * 64;
      return start;
    };
    query = take(std::size_t{quads} * 4 * kLanes);
    key = take(std::size_t{quads} * 4 * keys);
    key_sums = take(std::size_t{keys} * 4);
    value = take(std::size_t{head_size} * keys);
    value_sums = take(std::size_t{head_size} * 4);
    scores = take(std::size_t{keys} * kLanes * 4);
    probabilities = take(std::size_t{keys} * kLanes);
    bytes = at;
  }
};

}  // namespace
}  // namespace pruneofa
