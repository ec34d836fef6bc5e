// AVX2 with FMA. Without VNNI, a product of four bytes is made of two of 16-bit pairs.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/attention_scratch.hpp"
#include "kernels/cpu.hpp"
#include "kernels/kernels.hpp"

namespace pruneofa {
namespace {

constexpr int kNative = 8;

#include "kernels/generic/vector.inl"
#include "kernels/generic/x86.inl"

#include "kernels/generic/activation.inl"
#include "kernels/generic/attention.inl"
#include "kernels/generic/linear_float.inl"
#include "kernels/generic/linear_int8.inl"
#include "kernels/generic/panel.inl"

void linear_int8(const LinearInt8& call) { linear_int8_rows<Ymm>(call); }

void attention(const Attention& call) {
  const AttentionPlan<Ymm> plan = prepare_attention<Ymm>(call);
  for (uint32_t lane = 0; lane < call.width; lane += 16) attention_lanes<Ymm, 2>(plan, lane);
}

bool is_supported() { return cpu_features().avx2; }

}  // namespace

extern const Kernels kAvx2Kernels;
const Kernels kAvx2Kernels = {
    "avx2",  is_supported, linear_int8, linear_float, nullptr,  attention,
    moments, layer_norm,   map_levels,  convert,      activate,
};

}  // namespace pruneofa
