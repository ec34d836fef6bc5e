// Small random models for tests.
#pragma once

#include "encoder/model.hpp"
#include "tests/check.hpp"

namespace pruneofa::testing {

struct ModelOptions {
  uint32_t hidden = 48;
  uint32_t embedding = 0;  // 0: hidden
  uint32_t heads = 4;
  uint32_t intermediate = 80;
  std::size_t layers = 2;
  double sparsity = 0.8;
  bool int8 = true;
  bool integer_attention = true;
  bool bfloat16 = false;
  bool relative_bias = false;
  HeadKind head = HeadKind::kFirstToken;
};

Parts random_parts(const ModelOptions& options, uint64_t seed);

// Sequences of random tokens.
struct Tokens {
  std::vector<int64_t> offsets{0};
  std::vector<int32_t> ids, types, positions, order;

  Tokens(const std::vector<int>& lengths, uint64_t seed);
  Batch batch() const;
  std::size_t count() const { return ids.size(); }
};

inline constexpr uint32_t kMaxTokens = 300;
inline constexpr int kWords = 50;

}  // namespace pruneofa::testing
