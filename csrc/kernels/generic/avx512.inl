// What the AVX-512 sets share: everything but bfloat16 products. Both files that include this are compiled for the
// same features, so the code exists twice, once in each set's unnamed namespace.

constexpr int kNative = 16;

#include "kernels/generic/vector.inl"
#include "kernels/generic/x86.inl"

#include "kernels/generic/activation.inl"
#include "kernels/generic/attention.inl"
#include "kernels/generic/linear_float.inl"
#include "kernels/generic/linear_int8.inl"
#include "kernels/generic/panel.inl"

static void linear_int8(const LinearInt8& call) {
  if (call.width <= 16) return linear_int8_rows<Xmm>(call);
  if (call.width <= 32) return linear_int8_rows<Ymm>(call);
  return linear_int8_rows<Zmm>(call);
}

static void attention(const Attention& call) {
  const AttentionPlan<Zmm> plan = prepare_attention<Zmm>(call);
  if (call.width <= 16) return attention_lanes<Zmm, 1>(plan, 0);
  if (call.width <= 32) return attention_lanes<Zmm, 2>(plan, 0);
  if (call.width <= 48) return attention_lanes<Zmm, 3>(plan, 0);
  return attention_lanes<Zmm, 4>(plan, 0);
}

static void map_levels_best(uint8_t* levels, std::size_t count, const uint8_t* table) {
  static const bool has_vbmi = cpu_features().avx512_vbmi;
  has_vbmi ? map_levels_vbmi(levels, count, table) : map_levels(levels, count, table);
}
