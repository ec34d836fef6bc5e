// Element-wise work: the same bits from every set of kernels, and close to double precision.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "base/buffer.hpp"
#include "tests/check.hpp"
#include "weights/linear.hpp"
#include "weights/tables.hpp"

namespace pruneofa::testing {
namespace {

std::vector<float> wild_values(std::size_t count, uint64_t seed) {
  Random random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = random.normal(1) * std::exp2(static_cast<float>(random.between(-10, 10)));
  const float special[] = {0.0f, -0.0f, 0.5f, -0.5f, 1.5f, 2.5f, 1e30f, -1e30f, 3e38f, -3e38f, 1e-40f};
  for (std::size_t i = 0; i < std::size(special) && i < count; ++i) values[i] = special[i];
  return values;
}

PRUNEOFA_TEST(layer_norm_gives_the_same_bits) {
  for (const uint32_t features : {1u, 7u, 96u, 768u}) {
    Random random(features);
    std::vector<float> start(features * kLanes), gamma(features), beta(features);
    for (float& value : start) value = random.normal(2) + 1;
    for (float& value : gamma) value = random.normal(1);
    for (float& value : beta) value = random.normal(1);
    for (const auto& [begin, end] : {std::pair<uint32_t, uint32_t>{0, 64}, {0, 16}, {16, 64}, {32, 64}, {48, 64}}) {
      const auto run = [&](const Kernels& kernels, std::vector<float>& values, std::vector<uint8_t>& levels,
                           std::vector<uint16_t>& halves) {
        values = start;
        levels.assign(start.size(), 0);
        halves.assign(start.size(), 0);
        std::vector<Moments> moments((features + kTileRows - 1) / kTileRows);
        for (uint32_t k = 0; k < features; k += kTileRows) {
          kernels.moments(values.data() + k * kLanes, std::min(kTileRows, features - k), end, moments[k / kTileRows]);
        }
        LayerNorm call{};
        call.moments = moments.data();
        call.values = values.data();
        call.features = features;
        call.lane_begin = begin;
        call.lane_end = end;
        call.gamma = gamma.data();
        call.beta = beta.data();
        call.epsilon = 1e-12f;
        call.target_count = 2;
        call.targets[0].levels = levels.data();
        call.targets[0].grid = make_grid(0.03f, 111, "target");
        call.targets[1].bfloat16 = halves.data();
        kernels.layer_norm(call);
      };
      std::vector<float> values, expected;
      std::vector<uint8_t> levels, expected_levels;
      std::vector<uint16_t> halves, expected_halves;
      run(portable_kernels(), expected, expected_levels, expected_halves);
      for (const Kernels* kernels : fast_kernels()) {
        run(*kernels, values, levels, halves);
        check(std::memcmp(values.data(), expected.data(), values.size() * 4) == 0,
              std::string(kernels->name) + ", values");
        check(levels == expected_levels, std::string(kernels->name) + ", levels");
        check(halves == expected_halves, std::string(kernels->name) + ", bfloat16");
      }
      for (uint32_t lane = begin; features > 1 && lane < end; ++lane) {
        double mean = 0, variance = 0;
        for (uint32_t k = 0; k < features; ++k) mean += start[k * kLanes + lane] / features;
        for (uint32_t k = 0; k < features; ++k) variance += std::pow(start[k * kLanes + lane] - mean, 2) / features;
        for (uint32_t k = 0; k < features; ++k) {
          const double exact = (start[k * kLanes + lane] - mean) / std::sqrt(variance + 1e-12) * gamma[k] + beta[k];
          check(std::fabs(expected[k * kLanes + lane] - exact) < 2e-5 * (1 + std::fabs(exact)), "LayerNorm");
        }
      }
    }
  }
}

PRUNEOFA_TEST(levels_are_rounded_half_to_even_and_clamped) {
  const std::vector<float> values = wild_values(64 * 100, 1);
  for (const int64_t zero_point : {0, 1, 128, 255}) {
    const Grid grid = make_grid(0.25f, zero_point, "target");
    std::vector<const Kernels*> all = fast_kernels();
    all.push_back(&portable_kernels());
    for (const Kernels* kernels : all) {
      std::vector<uint8_t> levels(values.size());
      PanelTarget target{};
      target.levels = levels.data();
      target.grid = grid;
      kernels->convert(values.data(), values.size(), target);
      for (std::size_t i = 0; i < values.size(); ++i) {
        const double level = std::nearbyint(double{values[i] * grid.inverse_scale}) + static_cast<double>(zero_point);
        check_equal(levels[i], static_cast<uint8_t>(std::fmin(std::fmax(level, 0), 255)),
                    std::string(kernels->name) + ", value " + std::to_string(values[i]));
      }
    }
  }
}

PRUNEOFA_TEST(activations_give_the_same_bits_close_to_the_exact_ones) {
  std::vector<float> values = wild_values(64 * 40, 2);
  for (const Activation activation :
       {Activation::kNone, Activation::kGelu, Activation::kGeluTanh, Activation::kRelu, Activation::kTanh}) {
    std::vector<float> expected = values;
    portable_kernels().activate(expected.data(), expected.size(), activation);
    for (const Kernels* kernels : fast_kernels()) {
      std::vector<float> found = values;
      kernels->activate(found.data(), found.size(), activation);
      check(std::memcmp(found.data(), expected.data(), found.size() * 4) == 0, kernels->name);
    }
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double x = values[i];
      if (std::fabs(x) > 1e10) continue;
      double exact = x;
      if (activation == Activation::kGelu) exact = x / 2 * (1 + std::erf(x / std::sqrt(2.0)));
      if (activation == Activation::kGeluTanh) {
        exact = x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
      }
      if (activation == Activation::kRelu) exact = std::fmax(x, 0);
      if (activation == Activation::kTanh) exact = std::tanh(x);
      check(std::fabs(expected[i] - exact) <= 4e-7 * (1 + std::fabs(x)),
            "activation of " + std::to_string(x) + " is " + std::to_string(expected[i]));
    }
  }
}

// A NaN would become another level with each instruction set.
PRUNEOFA_TEST(activations_of_infinities_are_their_limits) {
  std::vector<const Kernels*> all = fast_kernels();
  all.push_back(&portable_kernels());
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const struct {
    Activation activation;
    float below, above;
  } kLimits[] = {{Activation::kNone, -kInfinity, kInfinity},
                 {Activation::kGelu, 0, kInfinity},
                 {Activation::kGeluTanh, 0, kInfinity},
                 {Activation::kRelu, 0, kInfinity},
                 {Activation::kTanh, -1, 1}};
  for (const Kernels* kernels : all) {
    for (const auto& [activation, below, above] : kLimits) {
      std::vector<float> values(64);
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = i % 2 == 0 ? -kInfinity : kInfinity;
      kernels->activate(values.data(), values.size(), activation);
      for (std::size_t i = 0; i < values.size(); ++i) {
        const float limit = i % 2 == 0 ? below : above;
        check(values[i] == limit || std::fabs(values[i] - limit) < 1e-6f,
              std::string(kernels->name) + ", limit " + std::to_string(limit) + " is " + std::to_string(values[i]));
      }
    }
  }
}

PRUNEOFA_TEST(tables_follow_their_definition) {
  const Grid from = make_grid(0.05f, 90, "from"), to = make_grid(0.02f, 10, "to");
  const Buffer<float> values = value_table(from, Activation::kGelu);
  const Buffer<uint8_t> levels = level_table(from, Activation::kGelu, to);
  for (int t = 0; t < 256; ++t) {
    const float v = static_cast<float>(t - 90) * 0.05f;
    const auto exact = static_cast<float>(double{v} / 2 * (1 + std::erf(double{v} / std::sqrt(2.0))));
    check_equal(values[t], exact, "value");
    const double level = std::nearbyint(double{exact * to.inverse_scale}) + 10;
    check_equal(levels[t], static_cast<uint8_t>(std::fmin(std::fmax(level, 0), 255)), "level");
  }
  Random random(3);
  for (const std::size_t count : {0u, 1u, 63u, 64u, 65u, 640u}) {
    std::vector<uint8_t> start(count);
    for (uint8_t& level : start) level = static_cast<uint8_t>(random.between(0, 255));
    for (const Kernels* kernels : fast_kernels()) {
      std::vector<uint8_t> mapped = start;
      kernels->map_levels(mapped.data(), count, levels.data());
      for (std::size_t i = 0; i < count; ++i) check_equal(mapped[i], levels[start[i]], kernels->name);
    }
  }
}

PRUNEOFA_TEST(kernels_are_chosen_by_name) {
  check_equal(std::string(select_kernels("portable").name) == "portable", true, "portable");
  check_refused([] { select_kernels("avx9"); }, "kernel 'avx9' is unknown; this build has", "unknown name");
  std::size_t count = 0;
  const Kernels* const* all = all_kernels(count);
  for (std::size_t i = 0; i < count; ++i) {
    if (all[i]->is_supported()) {
      check(&select_kernels(all[i]->name) == all[i], all[i]->name);
    } else {
      check_refused([&] { select_kernels(all[i]->name); }, "does not offer", all[i]->name);
    }
  }
}

}  // namespace
}  // namespace pruneofa::testing
