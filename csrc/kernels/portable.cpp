// The portable kernels. Those for Linear layers and attention are the specification of all others: plain loops over
// lanes, integer sums exact, one rounding per float operation.
#include <cstddef>
#include <cstdint>

#include "kernels/attention_scratch.hpp"
#include "kernels/kernels.hpp"

namespace pruneofa {
namespace {

constexpr int kNative = 4;

#include "kernels/generic/vector.inl"

#include "kernels/generic/activation.inl"
#include "kernels/generic/panel.inl"

using F4 = Vector<4>::F;
using I4 = Vector<4>::I;

void finish(const LinearInt8& call, uint32_t row, const int32_t* sums) {
  const Int8Rows& weights = *call.weights;
  const F4 multiplier = F4{} + weights.multipliers[row], bias = F4{} + weights.bias[row];
  const std::size_t at = static_cast<std::size_t>(row - call.row_begin) * kLanes;
  for (uint32_t lane = 0; lane < kLanes; lane += 4) {
    const F4 sum = __builtin_convertvector(load<I4>(sums + lane), F4);
    if (call.levels != nullptr && weights.level_multipliers != nullptr) {
      const F4 steps = fused<F4>(sum, F4{} + weights.level_multipliers[row], F4{} + weights.level_bias[row]);
      store_levels<4>(call.levels + at + lane, bits_of_steps<4>(steps, call.grid.zero_point));
      continue;
    }
    F4 y = fused<F4>(sum, multiplier, bias);
    if (call.levels != nullptr) {
      store_levels<4>(call.levels + at + lane, level_bits<4>(activated<F4, I4>(y, call.activation), call.grid));
      continue;
    }
    if (call.residual != nullptr) y += load<F4>(call.residual + at + lane);
    store(call.values + at + lane, y);
  }
}

void linear_int8(const LinearInt8& call) {
  const Int8Rows& weights = *call.weights;
  int32_t sums[kTileRows][kLanes];
  for (uint32_t row = call.row_begin; row < call.row_end; ++row) {
    for (int32_t& sum : sums[row - call.row_begin]) sum = -weights.input_zero_point * weights.level_sums[row];
  }
  for (uint32_t block = 0; block < weights.blocks; ++block) {
    const uint8_t* const panel = call.panel + static_cast<std::size_t>(block) * weights.block_columns * kLanes;
    for (uint32_t row = call.row_begin; row < call.row_end; ++row) {
      const std::size_t index = static_cast<std::size_t>(block) * weights.rows + row;
      int32_t* const of_row = sums[row - call.row_begin];
      for (uint32_t g = weights.starts[index]; g < weights.starts[index + 1]; ++g) {
        const uint8_t* const group = weights.groups + static_cast<std::size_t>(g) * Int8Rows::kGroupBytes;
        for (int i = 0; i < 4; ++i) {
          const uint8_t* const column = panel + load<uint16_t>(group + 2 * i);
          const int32_t level = load<int8_t>(group + 8 + i);
          for (uint32_t lane = 0; lane < kLanes; ++lane) of_row[lane] += column[lane] * level;
        }
      }
    }
  }
  for (uint32_t row = call.row_begin; row < call.row_end; ++row) finish(call, row, sums[row - call.row_begin]);
}

void linear_float(const LinearFloat& call) {
  const FloatRows& weights = *call.weights;
  const float* const panel = static_cast<const float*>(call.panel);
  for (uint32_t row = call.row_begin; row < call.row_end; ++row) {
    float sums[kLanes];
    for (float& sum : sums) sum = weights.bias[row];
    for (uint32_t block = 0; block < weights.blocks; ++block) {
      const std::size_t index = static_cast<std::size_t>(block) * weights.rows + row;
      for (uint32_t i = weights.starts[index]; i < weights.starts[index + 1]; ++i) {
        const std::size_t number = static_cast<std::size_t>(block) * weights.block_columns + weights.columns[i];
        const float* const column = panel + number * kLanes;
        for (uint32_t lane = 0; lane < kLanes; ++lane) sums[lane] += weights.values[i] * column[lane];
      }
    }
    const std::size_t at = static_cast<std::size_t>(row - call.row_begin) * kLanes;
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      call.values[at + lane] = call.residual == nullptr ? sums[lane] : sums[lane] + call.residual[at + lane];
    }
  }
}

// The 64 scores of one key, before the bias, into `scores`.
void score(const Attention& call, uint32_t key, float* scores) {
  const std::size_t at = key / kLanes * call.panel_stride + key % kLanes;
  if (call.query_levels != nullptr) {
    int32_t sums[kLanes] = {};
    for (uint32_t feature = 0; feature < call.head_size; ++feature) {
      const int32_t k = call.key_levels[at + feature * kLanes] - call.key_zero_point;
      const uint8_t* const q = call.query_levels + feature * kLanes;
      for (uint32_t lane = 0; lane < kLanes; ++lane) sums[lane] += (q[lane] - call.query_zero_point) * k;
    }
    for (uint32_t lane = 0; lane < kLanes; ++lane) scores[lane] = static_cast<float>(sums[lane]) * call.score_scale;
    return;
  }
  float sums[kLanes] = {};
  for (uint32_t feature = 0; feature < call.head_size; ++feature) {
    const float k = call.key_values[at + feature * kLanes];
    const float* const q = call.query_values + feature * kLanes;
    for (uint32_t lane = 0; lane < kLanes; ++lane) sums[lane] += k * q[lane];
  }
  for (uint32_t lane = 0; lane < kLanes; ++lane) scores[lane] = sums[lane] * call.score_scale;
}

// All scores, biased and masked; their maxima per lane.
void all_scores(const Attention& call, float* scores, float* maxima) {
  for (uint32_t lane = 0; lane < kLanes; ++lane) maxima[lane] = -3.4028235e38f;
  for (uint32_t key = call.key_begin; key < call.key_end; ++key) {
    float* const row = scores + static_cast<std::size_t>(key) * kLanes;
    score(call, key, row);
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      if (call.bias != nullptr) row[lane] += call.bias[static_cast<std::size_t>(key) * kLanes + lane];
      if (call.lane_begin != nullptr && (lane < call.lane_begin[key] || lane >= call.lane_end[key])) {
        row[lane] = -3.4028235e38f;
      }
      maxima[lane] = larger(row[lane], maxima[lane]);  // in this order: what is no number is passed over
    }
  }
}

void keep_context(const Attention& call, uint32_t feature, const float* context) {
  const std::size_t at = static_cast<std::size_t>(feature) * kLanes;
  for (uint32_t lane = 0; lane < kLanes; lane += 4) {
    const F4 value = load<F4>(context + lane);
    if (call.context_levels != nullptr) {
      store_levels<4>(call.context_levels + at + lane, level_bits<4>(value, call.grid));
    } else {
      store(call.context_values + at + lane, value);
    }
  }
}

void attention(const Attention& call) {
  const AttentionScratch place(call.head_size, call.key_end);
  float* const scores = reinterpret_cast<float*>(call.scratch + place.scores);
  uint8_t* const weights = call.scratch + place.probabilities;  // here simply [keys][64]
  float maxima[kLanes];
  all_scores(call, scores, maxima);
  int32_t integer_totals[kLanes] = {};
  float totals[kLanes] = {};
  for (uint32_t key = call.key_begin; key < call.key_end; ++key) {
    for (uint32_t lane = 0; lane < kLanes; lane += 4) {
      const std::size_t at = static_cast<std::size_t>(key) * kLanes + lane;
      const F4 x = load<F4>(scores + at) - load<F4>(maxima + lane);
      const F4 e = x < -80.0f ? F4{} : exponential<F4, I4>(x);
      const I4 p = (I4)fused<F4>(e, F4{} + 255.0f, F4{} + kRounding) & 255;
      store(scores + at, e);
      store(totals + lane, load<F4>(totals + lane) + e);
      store(weights + at, __builtin_convertvector(p, Vector<4>::U8));
      store(integer_totals + lane, load<I4>(integer_totals + lane) + p);
    }
  }
  for (uint32_t feature = 0; feature < call.head_size; ++feature) {
    int32_t integer_sums[kLanes] = {};
    float context[kLanes] = {};
    for (uint32_t key = call.key_begin; key < call.key_end; ++key) {
      const std::size_t at = key / kLanes * call.panel_stride + feature * kLanes + key % kLanes;
      const std::size_t row = static_cast<std::size_t>(key) * kLanes;
      if (call.value_levels != nullptr) {
        const int32_t value = call.value_levels[at] - call.value_zero_point;
        for (uint32_t lane = 0; lane < kLanes; ++lane) integer_sums[lane] += weights[row + lane] * value;
      } else {
        const float value = call.value_values[at];
        for (uint32_t lane = 0; lane < kLanes; ++lane) context[lane] += value * scores[row + lane];
      }
    }
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      if (call.value_levels != nullptr) {
        const float ratio = call.value_scale / static_cast<float>(integer_totals[lane]);
        context[lane] = static_cast<float>(integer_sums[lane]) * ratio;
      } else {
        context[lane] *= 1.0f / totals[lane];
      }
    }
    keep_context(call, feature, context);
  }
}

bool is_supported() { return true; }

}  // namespace

extern const Kernels kPortableKernels;
const Kernels kPortableKernels = {
    "portable", is_supported, linear_int8, linear_float, nullptr,  attention,
    moments,    layer_norm,   map_levels,  convert,      activate,
};

}  // namespace pruneofa
