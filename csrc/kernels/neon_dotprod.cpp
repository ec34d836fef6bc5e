// ARM with the dot product extension (ARMv8.2): four products of signed bytes per 32-bit lane and instruction. Levels
// are made signed by taking 128 away, which the sums of the weights undo.
#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "kernels/attention_scratch.hpp"
#include "kernels/cpu.hpp"
#include "kernels/kernels.hpp"

namespace pruneofa {
namespace {

constexpr int kNative = 4;

#include "kernels/generic/vector.inl"

template <>
inline __attribute__((always_inline)) Vector<4>::F fused(Vector<4>::F a, Vector<4>::F b, Vector<4>::F c) {
  return (Vector<4>::F)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}

template <>
inline __attribute__((always_inline)) Vector<4>::F pick<Vector<4>::F, Vector<4>::I>(const float (&table)[16],
                                                                                   Vector<4>::I index) {
  const Vector<4>::I bytes = (index & 15) * 0x04040404 + 0x03020100;  // the four bytes of each float
  return (Vector<4>::F)vqtbl4q_u8(vld1q_u8_x4(reinterpret_cast<const uint8_t*>(table)), (uint8x16_t)bytes);
}

struct Neon {
  static constexpr int lanes = 4;
  static constexpr int32_t kOffset = 128;
  using F = Vector<4>::F;
  using I = Vector<4>::I;
  typedef uint8_t B __attribute__((vector_size(16)));

  PRUNEOFA_INLINE B adopt(B levels) { return levels ^ 0x80; }
  PRUNEOFA_INLINE I counting() { return I{0, 1, 2, 3}; }
  PRUNEOFA_INLINE F to_float(I x) { return __builtin_convertvector(x, F); }
  PRUNEOFA_INLINE I round(F x) { return (I)vcvtnq_s32_f32((float32x4_t)x); }
  PRUNEOFA_INLINE I round_bounded(F x) { return (I)vcvtnq_s32_f32((float32x4_t)x); }  // saturates by itself
  PRUNEOFA_INLINE I dot4(I sum, B levels, I weights) {
    return (I)vdotq_s32((int32x4_t)sum, (int8x16_t)levels, (int8x16_t)weights);
  }
  PRUNEOFA_INLINE void interleave4(B a, B b, B c, B d, B (&out)[4]) {
    const uint16x8_t ab_low = vreinterpretq_u16_u8(vzip1q_u8((uint8x16_t)a, (uint8x16_t)b));
    const uint16x8_t ab_high = vreinterpretq_u16_u8(vzip2q_u8((uint8x16_t)a, (uint8x16_t)b));
    const uint16x8_t cd_low = vreinterpretq_u16_u8(vzip1q_u8((uint8x16_t)c, (uint8x16_t)d));
    const uint16x8_t cd_high = vreinterpretq_u16_u8(vzip2q_u8((uint8x16_t)c, (uint8x16_t)d));
    out[0] = (B)vzip1q_u16(ab_low, cd_low);
    out[1] = (B)vzip2q_u16(ab_low, cd_low);
    out[2] = (B)vzip1q_u16(ab_high, cd_high);
    out[3] = (B)vzip2q_u16(ab_high, cd_high);
  }
  PRUNEOFA_INLINE void natural(I (&)[4]) {}
  PRUNEOFA_INLINE B pack_levels(const I (&n)[4], int32_t zero_point) {
    const int16x8_t zero = vdupq_n_s16(static_cast<int16_t>(zero_point));
    const int16x8_t low = vcombine_s16(vqmovn_s32((int32x4_t)n[0]), vqmovn_s32((int32x4_t)n[1]));
    const int16x8_t high = vcombine_s16(vqmovn_s32((int32x4_t)n[2]), vqmovn_s32((int32x4_t)n[3]));
    return (B)vcombine_u8(vqmovun_s16(vqaddq_s16(low, zero)), vqmovun_s16(vqaddq_s16(high, zero)));
  }
};

#include "kernels/generic/activation.inl"
#include "kernels/generic/attention.inl"
#include "kernels/generic/linear_float.inl"
#include "kernels/generic/linear_int8.inl"
#include "kernels/generic/panel.inl"

void linear_int8(const LinearInt8& call) { linear_int8_rows<Neon>(call); }

void attention(const Attention& call) {
  const AttentionPlan<Neon> plan = prepare_attention<Neon>(call);
  for (uint32_t lane = 0; lane < call.width; lane += 16) attention_lanes<Neon, 4>(plan, lane);
}

bool is_supported() { return cpu_features().neon_dotprod; }

}  // namespace

extern const Kernels kNeonDotprodKernels;
const Kernels kNeonDotprodKernels = {
    "neon_dotprod", is_supported, linear_int8, linear_float, nullptr,  attention,
    moments,        layer_norm,   map_levels,  convert,      activate,
};

}  // namespace pruneofa
