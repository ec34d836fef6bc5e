// AVX-512 with VNNI and bfloat16: as avx512_vnni, and float layers in bfloat16, two non-zeros of a row at a time.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/attention_scratch.hpp"
#include "kernels/cpu.hpp"
#include "kernels/kernels.hpp"

namespace pruneofa {

namespace {

#include "kernels/generic/avx512.inl"

// Two columns of 16 V tokens, interleaved into pairs, in V registers of 16 pairs; in the order of `ordered`.
template <int V>
PRUNEOFA_INLINE void linear_bf16_row(const LinearFloat& call, uint32_t block, uint32_t row) {
  const FloatRows& weights = *call.weights;
  const std::size_t index = static_cast<std::size_t>(block) * weights.rows + row;
  const uint16_t* const panel =
      static_cast<const uint16_t*>(call.panel) + static_cast<std::size_t>(block) * weights.block_columns * kLanes;
  float* const kept = call.accumulators + static_cast<std::size_t>(row - call.row_begin) * kLanes;
  // One register of 32 bfloat16 tokens gives two of pairs.
  __m512 acc[2 * V];
  for (int v = 0; v < 2 * V; ++v) {
    acc[v] = block == 0 ? _mm512_set1_ps(weights.bias[row]) : _mm512_loadu_ps(kept + 16 * v);
  }
  const uint16_t* pair = weights.pairs + static_cast<std::size_t>(weights.starts[index]) * 4;
  const uint16_t* const end = weights.pairs + static_cast<std::size_t>(weights.starts[index + 1]) * 4;
  for (; pair != end; pair += 4) {
    __builtin_prefetch(pair + 256);
    const uint16_t* const first = panel + static_cast<std::size_t>(pair[0]) * kLanes;
    const uint16_t* const second = panel + static_cast<std::size_t>(pair[1]) * kLanes;
    const __m512bh weight = (__m512bh)_mm512_set1_epi32(load<int32_t>(pair + 2));
    for (int v = 0; v < V; ++v) {
      const __m512i a = _mm512_loadu_si512(first + 32 * v), b = _mm512_loadu_si512(second + 32 * v);
      acc[2 * v] = _mm512_dpbf16_ps(acc[2 * v], (__m512bh)_mm512_unpacklo_epi16(a, b), weight);
      acc[2 * v + 1] = _mm512_dpbf16_ps(acc[2 * v + 1], (__m512bh)_mm512_unpackhi_epi16(a, b), weight);
    }
  }
  if (block + 1 < weights.blocks) {
    for (int v = 0; v < 2 * V; ++v) _mm512_storeu_ps(kept + 16 * v, acc[v]);
    return;
  }
  // Unpacking left tokens 0-3, 8-11, ... in the first register and 4-7, 12-15, ... in the second.
  const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), high = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
  const std::size_t at = static_cast<std::size_t>(row - call.row_begin) * kLanes;
  for (int v = 0; v < V; ++v) {
    const __m512i even = _mm512_castps_si512(acc[2 * v]), odd = _mm512_castps_si512(acc[2 * v + 1]);
    __m512 ordered[2] = {_mm512_castsi512_ps(_mm512_permutex2var_epi64(even, low, odd)),
                         _mm512_castsi512_ps(_mm512_permutex2var_epi64(even, high, odd))};
    for (int i = 0; i < 2; ++i) {
      const std::size_t place = at + 32 * v + 16 * i;
      if (call.residual != nullptr) ordered[i] = _mm512_add_ps(ordered[i], _mm512_loadu_ps(call.residual + place));
      _mm512_storeu_ps(call.values + place, ordered[i]);
    }
  }
}

template <int V>
void linear_bf16_rows(const LinearFloat& call) {
  for (uint32_t block = 0; block < call.weights->blocks; ++block) {
    for (uint32_t row = call.row_begin; row < call.row_end; ++row) linear_bf16_row<V>(call, block, row);
  }
}

void linear_bf16(const LinearFloat& call) { call.width <= 32 ? linear_bf16_rows<1>(call) : linear_bf16_rows<2>(call); }

bool is_supported() { return cpu_features().avx512_vnni && cpu_features().avx512_bf16; }

}  // namespace

extern const Kernels kAvx512Bf16Kernels;
const Kernels kAvx512Bf16Kernels = {
    "avx512_bf16", is_supported, linear_int8,     linear_float, linear_bf16, attention,
    moments,       layer_norm,   map_levels_best, convert,      activate,
};

}  // namespace pruneofa
