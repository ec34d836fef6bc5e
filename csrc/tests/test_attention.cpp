// Attention of every set of kernels against the portable one: integer products exactly, float ones within a bound.
#include <cmath>
#include <string>

#include "base/buffer.hpp"
#include "tests/check.hpp"

namespace pruneofa::testing {
namespace {

// Tensors of one head, in panels.
struct Head {
  uint32_t size, tokens, panels;
  std::vector<uint8_t> query, key, value;
  std::vector<float> query_values, key_values, value_values, bias;

  Head(uint32_t head_size, uint32_t count, uint64_t seed)
      : size(head_size), tokens(count), panels((count + kLanes - 1) / kLanes) {
    Random random(seed);
    const std::size_t elements = std::size_t{panels} * size * kLanes;
    for (std::vector<uint8_t>* levels : {&query, &key, &value}) {
      levels->resize(elements);
      for (uint8_t& level : *levels) level = static_cast<uint8_t>(random.between(0, 255));
    }
    for (std::vector<float>* values : {&query_values, &key_values, &value_values}) {
      values->resize(elements + kLanes);
      for (float& value : *values) value = random.normal(1);
    }
    bias.resize(std::size_t{panels} * kLanes * kLanes);
    for (float& value : bias) value = random.normal(2);
  }
};

enum Mode { kIntegers, kIntegerScores, kFloat };

Attention make_call(const Head& head, Mode mode, uint32_t panel, bool with_bias) {
  const std::size_t here = std::size_t{panel} * head.size * kLanes;
  Attention call{};
  call.head_size = head.size;
  call.width = std::min(kLanes, head.tokens - panel * kLanes);
  call.key_end = head.tokens;
  call.panel_stride = std::size_t{head.size} * kLanes;
  call.score_scale = 3.0f / (255.0f * 255.0f);
  if (mode == kFloat) {
    call.query_values = head.query_values.data() + here;
    call.key_values = head.key_values.data();
    call.score_scale = 1.0f / std::sqrt(static_cast<float>(head.size));
  } else {
    call.query_levels = head.query.data() + here;
    call.key_levels = head.key.data();
  }
  if (mode == kIntegers) {
    call.value_levels = head.value.data();
  } else {
    call.value_values = head.value_values.data();
  }
  call.query_zero_point = 117;
  call.key_zero_point = 131;
  call.value_zero_point = 140;
  call.value_scale = 0.02f;
  call.bias = with_bias ? head.bias.data() : nullptr;
  return call;
}

void run(const Kernels& kernels, Attention call, uint8_t* levels, float* values) {
  Buffer<uint8_t> scratch(attention_scratch_bytes(call.head_size, call.key_end));
  call.scratch = scratch.data();
  call.grid = Grid{0.01f, 100.0f, 120};
  call.context_levels = levels;
  call.context_values = values;
  kernels.attention(call);
}

void compare(const Head& head, Mode mode, bool with_bias, const std::vector<uint8_t>* begin = nullptr,
             const std::vector<uint8_t>* end = nullptr) {
  const std::size_t size = std::size_t{head.size} * kLanes;
  for (const Kernels* kernels : fast_kernels()) {
    for (uint32_t panel = 0; panel < head.panels; ++panel) {
      Attention call = make_call(head, mode, panel, with_bias);
      if (begin != nullptr) call.lane_begin = begin->data(), call.lane_end = end->data();
      std::vector<uint8_t> levels(size), expected_levels(size);
      std::vector<float> values(size), expected(size);
      run(*kernels, call, levels.data(), nullptr);
      run(*kernels, call, nullptr, values.data());
      run(portable_kernels(), call, expected_levels.data(), nullptr);
      run(portable_kernels(), call, nullptr, expected.data());
      for (std::size_t at = 0; at < size; ++at) {
        if (at % kLanes >= call.width) continue;
        const std::string where = std::string(kernels->name) + " head " + std::to_string(head.size) + " tokens " +
                                  std::to_string(head.tokens) + " mode " + std::to_string(mode) + " at " +
                                  std::to_string(at);
        if (mode == kIntegers) {
          check_equal(levels[at], expected_levels[at], where + ", level");
          check_equal(values[at], expected[at], where + ", value");
        } else {
          // Sums of `tokens` weights of at most 1 and values of magnitude below 6, and the scores' own rounding.
          check(std::fabs(values[at] - expected[at]) < 6 * (head.tokens + 8 * head.size) * 0x1p-24, where + ", value");
        }
      }
    }
  }
}

PRUNEOFA_TEST(attention_equals_the_portable_one) {
  for (const uint32_t size : {1u, 3u, 4u, 6u, 32u, 64u}) {
    for (const uint32_t tokens : {1u, 2u, 3u, 4u, 5u, 15u, 16u, 17u, 33u, 48u, 49u, 63u, 64u, 65u, 130u}) {
      const Head head(size, tokens, size * 1000 + tokens);
      compare(head, kIntegers, false);
      compare(head, kIntegerScores, false);
      compare(head, kFloat, false);
      compare(head, kIntegers, true);
      compare(head, kFloat, true);
    }
  }
}

PRUNEOFA_TEST(sequences_in_one_panel_see_only_themselves) {
  const Head head(32, 50, 5);
  std::vector<uint8_t> begin(kLanes), end(kLanes);
  for (const auto& [first, last] : {std::pair{0, 7}, {7, 8}, {8, 29}, {29, 50}}) {
    for (int i = first; i < last; ++i) begin[i] = static_cast<uint8_t>(first), end[i] = static_cast<uint8_t>(last);
  }
  for (const Mode mode : {kIntegers, kIntegerScores, kFloat}) compare(head, mode, false, &begin, &end);
  compare(head, kIntegers, true, &begin, &end);
  // The third sequence alone, at the start of a panel of its own.
  Head alone(32, 21, 5);
  for (uint32_t row = 0; row < 32; ++row) {
    for (uint32_t lane = 0; lane < 21; ++lane) {
      alone.query[row * kLanes + lane] = head.query[row * kLanes + 8 + lane];
      alone.key[row * kLanes + lane] = head.key[row * kLanes + 8 + lane];
      alone.value[row * kLanes + lane] = head.value[row * kLanes + 8 + lane];
    }
  }
  std::vector<float> together(32 * kLanes), single(32 * kLanes);
  for (const Kernels* kernels : fast_kernels()) {
    Attention call = make_call(head, kIntegers, 0, false);
    call.lane_begin = begin.data();
    call.lane_end = end.data();
    run(*kernels, call, nullptr, together.data());
    run(*kernels, make_call(alone, kIntegers, 0, false), nullptr, single.data());
    for (uint32_t row = 0; row < 32; ++row) {
      for (uint32_t lane = 0; lane < 21; ++lane) {
        check_equal(together[row * kLanes + 8 + lane], single[row * kLanes + lane], kernels->name);
      }
    }
  }
}

// A score that is no number (from a hostile model) neither hides a greater one nor is weighed itself.
PRUNEOFA_TEST(scores_that_are_no_number_are_passed_over) {
  Head head(16, 20, 11);
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    head.bias[0 * kLanes + lane] = 1000;
    head.bias[3 * kLanes + lane] = NAN;
  }
  std::vector<const Kernels*> all = fast_kernels();
  all.push_back(&portable_kernels());
  for (const Kernels* kernels : all) {
    for (const Mode mode : {kIntegers, kIntegerScores, kFloat}) {
      std::vector<float> context(16 * kLanes);
      run(*kernels, make_call(head, mode, 0, true), nullptr, context.data());
      for (uint32_t row = 0; row < 16; ++row) {
        const float value = mode == kIntegers ? 0.02f * static_cast<float>(head.value[row * kLanes] - 140)
                                              : head.value_values[row * kLanes];
        for (uint32_t lane = 0; lane < head.tokens; ++lane) {
          check(std::fabs(context[row * kLanes + lane] - value) < 1e-5f, std::string(kernels->name) + ", context");
        }
      }
    }
  }
}

// The portable kernel against softmax in double precision.
PRUNEOFA_TEST(portable_attention_equals_softmax) {
  const Head head(16, 70, 9);
  for (uint32_t panel = 0; panel < 2; ++panel) {
    std::vector<float> context(16 * kLanes);
    const Attention call = make_call(head, kFloat, panel, true);
    run(portable_kernels(), call, nullptr, context.data());
    for (uint32_t lane = 0; lane < call.width; ++lane) {
      std::vector<double> weights(70);
      double total = 0;
      for (uint32_t key = 0; key < 70; ++key) {
        double score = 0;
        for (uint32_t i = 0; i < 16; ++i) {
          score += double{call.query_values[i * kLanes + lane]} *
                   call.key_values[key / kLanes * call.panel_stride + i * kLanes + key % kLanes];
        }
        weights[key] = std::exp(score / 4 + head.bias[key * kLanes + lane]);
        total += weights[key];
      }
      for (uint32_t i = 0; i < 16; ++i) {
        double sum = 0;
        for (uint32_t key = 0; key < 70; ++key) {
          sum += weights[key] * call.value_values[key / kLanes * call.panel_stride + i * kLanes + key % kLanes];
        }
        check(std::fabs(sum / total - context[i * kLanes + lane]) < 2e-6, "context");
      }
    }
  }
}

}  // namespace
}  // namespace pruneofa::testing
