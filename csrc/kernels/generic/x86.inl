// Registers of 256 bits for generic/linear_int8.inl and generic/attention.inl; with VNNI also of 128 and 512 bits.
// Needs generic/vector.inl and <immintrin.h>.

// The compiler makes two instructions of a comparison and a choice.
#if defined(__AVX512VNNI__)
template <>
inline __attribute__((always_inline)) Vector<16>::F smaller(Vector<16>::F first, Vector<16>::F second) {
  return (Vector<16>::F)_mm512_min_ps((__m512)first, (__m512)second);
}
template <>
inline __attribute__((always_inline)) Vector<16>::F larger(Vector<16>::F first, Vector<16>::F second) {
  return (Vector<16>::F)_mm512_max_ps((__m512)first, (__m512)second);
}
template <>
inline __attribute__((always_inline)) Vector<16>::F fused(Vector<16>::F a, Vector<16>::F b, Vector<16>::F c) {
  return (Vector<16>::F)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
template <>
inline __attribute__((always_inline)) Vector<16>::F nearest(Vector<16>::F x) {
  return (Vector<16>::F)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
template <>
inline __attribute__((always_inline)) Vector<16>::F times_power<Vector<16>::F, Vector<16>::I>(Vector<16>::F x,
                                                                                             Vector<16>::F n) {
  return (Vector<16>::F)_mm512_scalef_ps((__m512)x, (__m512)n);
}
template <>
inline __attribute__((always_inline)) Vector<16>::F pick<Vector<16>::F, Vector<16>::I>(const float (&table)[16],
                                                                                      Vector<16>::I index) {
  return (Vector<16>::F)_mm512_permutexvar_ps((__m512i)index, _mm512_loadu_ps(table));
}
template <>
inline __attribute__((always_inline)) Vector<8>::F pick<Vector<8>::F, Vector<8>::I>(const float (&table)[16],
                                                                                   Vector<8>::I index) {
  return (Vector<8>::F)_mm256_permutex2var_ps(_mm256_loadu_ps(table), (__m256i)index, _mm256_loadu_ps(table + 8));
}
template <>
inline __attribute__((always_inline)) Vector<4>::F pick<Vector<4>::F, Vector<4>::I>(const float (&table)[16],
                                                                                   Vector<4>::I index) {
  const __m512i wide = _mm512_castsi128_si512((__m128i)index);
  return (Vector<4>::F)_mm512_castps512_ps128(_mm512_permutexvar_ps(wide, _mm512_loadu_ps(table)));
}
#else
template <>
inline __attribute__((always_inline)) Vector<8>::F pick<Vector<8>::F, Vector<8>::I>(const float (&table)[16],
                                                                                   Vector<8>::I index) {
  const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), (__m256i)index);
  const __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), (__m256i)index);
  // The choice goes by the sign: bit 3 of the index.
  return (Vector<8>::F)_mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32((__m256i)index, 28)));
}
#endif
template <>
inline __attribute__((always_inline)) Vector<8>::F smaller(Vector<8>::F first, Vector<8>::F second) {
  return (Vector<8>::F)_mm256_min_ps((__m256)first, (__m256)second);
}
template <>
inline __attribute__((always_inline)) Vector<8>::F larger(Vector<8>::F first, Vector<8>::F second) {
  return (Vector<8>::F)_mm256_max_ps((__m256)first, (__m256)second);
}
template <>
inline __attribute__((always_inline)) Vector<8>::F fused(Vector<8>::F a, Vector<8>::F b, Vector<8>::F c) {
  return (Vector<8>::F)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}

#if defined(__AVX512VNNI__)
struct Xmm {
  static constexpr int lanes = 4;
  static constexpr int32_t kOffset = 0;
  using F = Vector<4>::F;
  using I = Vector<4>::I;
  typedef uint8_t B __attribute__((vector_size(16)));

  PRUNEOFA_INLINE B adopt(B levels) { return levels; }
  PRUNEOFA_INLINE I counting() { return I{0, 1, 2, 3}; }
  PRUNEOFA_INLINE F to_float(I x) { return (F)_mm_cvtepi32_ps((__m128i)x); }
  PRUNEOFA_INLINE I round(F x) { return (I)_mm_cvtps_epi32((__m128)x); }
  PRUNEOFA_INLINE I round_bounded(F x) { return (I)_mm_cvtps_epi32(_mm_min_ps((__m128)x, _mm_set1_ps(32767.0f))); }
  PRUNEOFA_INLINE I dot4(I sum, B levels, I weights) {
    return (I)_mm_dpbusd_epi32((__m128i)sum, (__m128i)levels, (__m128i)weights);
  }
  PRUNEOFA_INLINE void interleave4(B a, B b, B c, B d, B (&out)[4]) {
    const __m128i ab_low = _mm_unpacklo_epi8((__m128i)a, (__m128i)b),
                  ab_high = _mm_unpackhi_epi8((__m128i)a, (__m128i)b);
    const __m128i cd_low = _mm_unpacklo_epi8((__m128i)c, (__m128i)d),
                  cd_high = _mm_unpackhi_epi8((__m128i)c, (__m128i)d);
    out[0] = (B)_mm_unpacklo_epi16(ab_low, cd_low);
    out[1] = (B)_mm_unpackhi_epi16(ab_low, cd_low);
    out[2] = (B)_mm_unpacklo_epi16(ab_high, cd_high);
    out[3] = (B)_mm_unpackhi_epi16(ab_high, cd_high);
  }
  PRUNEOFA_INLINE void natural(I (&)[4]) {}
  PRUNEOFA_INLINE B pack_levels(const I (&n)[4], int32_t zero_point) {
    const __m128i zero = _mm_set1_epi16(static_cast<int16_t>(zero_point));
    const __m128i low = _mm_adds_epi16(_mm_packs_epi32((__m128i)n[0], (__m128i)n[1]), zero);
    const __m128i high = _mm_adds_epi16(_mm_packs_epi32((__m128i)n[2], (__m128i)n[3]), zero);
    return (B)_mm_packus_epi16(low, high);
  }
};
#endif

struct Ymm {
  static constexpr int lanes = 8;
  static constexpr int32_t kOffset = 0;
  using F = Vector<8>::F;
  using I = Vector<8>::I;
  typedef uint8_t B __attribute__((vector_size(32)));

  PRUNEOFA_INLINE B adopt(B levels) { return levels; }
  PRUNEOFA_INLINE I counting() { return I{0, 1, 2, 3, 4, 5, 6, 7}; }
  PRUNEOFA_INLINE F to_float(I x) { return (F)_mm256_cvtepi32_ps((__m256i)x); }
  PRUNEOFA_INLINE I round(F x) { return (I)_mm256_cvtps_epi32((__m256)x); }
  PRUNEOFA_INLINE I round_bounded(F x) {
    return (I)_mm256_cvtps_epi32(_mm256_min_ps((__m256)x, _mm256_set1_ps(32767.0f)));
  }
#if defined(__AVX512VNNI__)
  PRUNEOFA_INLINE I dot4(I sum, B levels, I weights) {
    return (I)_mm256_dpbusd_epi32((__m256i)sum, (__m256i)levels, (__m256i)weights);
  }
#else
  // Even and odd bytes apart, as 16-bit numbers: products of two fit into 32 bits, where the instruction for bytes
  // would saturate at 16.
  PRUNEOFA_INLINE I dot4(I sum, B levels, I weights) {
    const __m256i even = _mm256_and_si256((__m256i)levels, _mm256_set1_epi32(0x00FF00FF));
    const __m256i odd = _mm256_srli_epi16((__m256i)levels, 8);
    const __m256i even_weights = _mm256_srai_epi16(_mm256_slli_epi16((__m256i)weights, 8), 8);
    const __m256i odd_weights = _mm256_srai_epi16((__m256i)weights, 8);
    const __m256i first = _mm256_madd_epi16(even, even_weights), second = _mm256_madd_epi16(odd, odd_weights);
    return (I)_mm256_add_epi32((__m256i)sum, _mm256_add_epi32(first, second));
  }
#endif
  PRUNEOFA_INLINE void interleave4(B a, B b, B c, B d, B (&out)[4]) {
    const __m256i ab_low = _mm256_unpacklo_epi8((__m256i)a, (__m256i)b);
    const __m256i ab_high = _mm256_unpackhi_epi8((__m256i)a, (__m256i)b);
    const __m256i cd_low = _mm256_unpacklo_epi8((__m256i)c, (__m256i)d);
    const __m256i cd_high = _mm256_unpackhi_epi8((__m256i)c, (__m256i)d);
    out[0] = (B)_mm256_unpacklo_epi16(ab_low, cd_low);
    out[1] = (B)_mm256_unpackhi_epi16(ab_low, cd_low);
    out[2] = (B)_mm256_unpacklo_epi16(ab_high, cd_high);
    out[3] = (B)_mm256_unpackhi_epi16(ab_high, cd_high);
  }
  PRUNEOFA_INLINE void natural(I (&x)[4]) {
    const __m256i a = (__m256i)x[0], b = (__m256i)x[1], c = (__m256i)x[2], d = (__m256i)x[3];
    x[0] = (I)_mm256_permute2x128_si256(a, b, 0x20);
    x[1] = (I)_mm256_permute2x128_si256(c, d, 0x20);
    x[2] = (I)_mm256_permute2x128_si256(a, b, 0x31);
    x[3] = (I)_mm256_permute2x128_si256(c, d, 0x31);
  }
  PRUNEOFA_INLINE B pack_levels(const I (&n)[4], int32_t zero_point) {
    const __m256i zero = _mm256_set1_epi16(static_cast<int16_t>(zero_point));
    const __m256i low = _mm256_adds_epi16(_mm256_packs_epi32((__m256i)n[0], (__m256i)n[1]), zero);
    const __m256i high = _mm256_adds_epi16(_mm256_packs_epi32((__m256i)n[2], (__m256i)n[3]), zero);
    return (B)_mm256_packus_epi16(low, high);
  }
};

#if defined(__AVX512VNNI__)
struct Zmm {
  static constexpr int lanes = 16;
  static constexpr int32_t kOffset = 0;
  using F = Vector<16>::F;
  using I = Vector<16>::I;
  typedef uint8_t B __attribute__((vector_size(64)));

  PRUNEOFA_INLINE B adopt(B levels) { return levels; }
  PRUNEOFA_INLINE I counting() { return I{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}; }
  PRUNEOFA_INLINE F to_float(I x) { return (F)_mm512_cvtepi32_ps((__m512i)x); }
  PRUNEOFA_INLINE I round(F x) { return (I)_mm512_cvtps_epi32((__m512)x); }
  PRUNEOFA_INLINE I round_bounded(F x) {
    return (I)_mm512_cvtps_epi32(_mm512_min_ps((__m512)x, _mm512_set1_ps(32767.0f)));
  }
  PRUNEOFA_INLINE I dot4(I sum, B levels, I weights) {
    return (I)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)levels, (__m512i)weights);
  }
  PRUNEOFA_INLINE void interleave4(B a, B b, B c, B d, B (&out)[4]) {
    const __m512i ab_low = _mm512_unpacklo_epi8((__m512i)a, (__m512i)b);
    const __m512i ab_high = _mm512_unpackhi_epi8((__m512i)a, (__m512i)b);
    const __m512i cd_low = _mm512_unpacklo_epi8((__m512i)c, (__m512i)d);
    const __m512i cd_high = _mm512_unpackhi_epi8((__m512i)c, (__m512i)d);
    out[0] = (B)_mm512_unpacklo_epi16(ab_low, cd_low);
    out[1] = (B)_mm512_unpackhi_epi16(ab_low, cd_low);
    out[2] = (B)_mm512_unpacklo_epi16(ab_high, cd_high);
    out[3] = (B)_mm512_unpackhi_epi16(ab_high, cd_high);
  }
  // A 4 x 4 transposition of 128-bit parts.
  PRUNEOFA_INLINE void natural(I (&x)[4]) {
    const __m512i ab_low = _mm512_shuffle_i32x4((__m512i)x[0], (__m512i)x[1], 0x44);
    const __m512i ab_high = _mm512_shuffle_i32x4((__m512i)x[0], (__m512i)x[1], 0xEE);
    const __m512i cd_low = _mm512_shuffle_i32x4((__m512i)x[2], (__m512i)x[3], 0x44);
    const __m512i cd_high = _mm512_shuffle_i32x4((__m512i)x[2], (__m512i)x[3], 0xEE);
    x[0] = (I)_mm512_shuffle_i32x4(ab_low, cd_low, 0x88);
    x[1] = (I)_mm512_shuffle_i32x4(ab_low, cd_low, 0xDD);
    x[2] = (I)_mm512_shuffle_i32x4(ab_high, cd_high, 0x88);
    x[3] = (I)_mm512_shuffle_i32x4(ab_high, cd_high, 0xDD);
  }
  PRUNEOFA_INLINE B pack_levels(const I (&n)[4], int32_t zero_point) {
    const __m512i zero = _mm512_set1_epi16(static_cast<int16_t>(zero_point));
    const __m512i low = _mm512_adds_epi16(_mm512_packs_epi32((__m512i)n[0], (__m512i)n[1]), zero);
    const __m512i high = _mm512_adds_epi16(_mm512_packs_epi32((__m512i)n[2], (__m512i)n[3]), zero);
    return (B)_mm512_packus_epi16(low, high);
  }
};
#endif

#if defined(__AVX512VNNI__)
// Packing leaves 4 tokens of each register side by side; one permutation puts all 64 into their order.
template <>
inline __attribute__((always_inline)) void store_row<4, 16>(uint8_t* to, const Vector<16>::F (&values)[4],
                                                            const Grid& grid) {
  Zmm::I rounded[4];
  for (int v = 0; v < 4; ++v) rounded[v] = Zmm::round_bounded(values[v] * grid.inverse_scale);
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  store(to, _mm512_permutexvar_epi32(order, (__m512i)Zmm::pack_levels(rounded, grid.zero_point)));
}
#endif
