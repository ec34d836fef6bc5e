// Vectors of N floats or integers in the compiler's own notation, the same in every instruction set.
//
// Included inside the unnamed namespace of each instruction set's file: code that is compiled with different flags must
// not share a symbol. Floating-point contraction is off in these files, so all instruction sets round alike.

#define PRUNEOFA_INLINE static inline __attribute__((always_inline))

template <int N>
struct Vector {
  typedef float F __attribute__((vector_size(4 * N)));
  typedef int32_t I __attribute__((vector_size(4 * N)));
  typedef uint32_t U __attribute__((vector_size(4 * N)));
  typedef uint8_t U8 __attribute__((vector_size(N)));
  typedef uint16_t U16 __attribute__((vector_size(2 * N)));
};

template <class T>
PRUNEOFA_INLINE T load(const void* from) {
  T result;
  __builtin_memcpy(&result, from, sizeof(T));
  return result;
}

template <class T>
PRUNEOFA_INLINE void store(void* to, T value) {
  __builtin_memcpy(to, &value, sizeof(T));
}

// Like the instructions of x86: the second where neither is smaller (or one is no number).
template <class T>
PRUNEOFA_INLINE T smaller(T first, T second) {
  return first < second ? first : second;
}

template <class T>
PRUNEOFA_INLINE T larger(T first, T second) {
  return first > second ? first : second;
}

// a * b + c, rounded once. Sets whose instructions do that replace this.
template <class F>
PRUNEOFA_INLINE F fused(F a, F b, F c) {
  F result;
  for (std::size_t i = 0; i < sizeof(F) / sizeof(float); ++i) result[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return result;
}

// table[index % 16], lane by lane. Sets whose registers hold such a table replace this.
template <class F, class I>
PRUNEOFA_INLINE F pick(const float (&table)[16], I index) {
  F result;
  for (std::size_t i = 0; i < sizeof(F) / sizeof(float); ++i) result[i] = table[index[i] & 15];
  return result;
}

// Adding this rounds a float of magnitude up to 2^22 to a whole number, half to even, which then stands in the low
// bits.
constexpr float kRounding = 12582912.0f;
// What such numbers leave beside the whole ones when four are added up as the bytes of one integer.
constexpr uint32_t kRoundingQuad = 0x8B400000u;

// rint(steps) + zero_point, clamped to 0..255, as 32-bit integers whose low byte counts.
template <int N>
PRUNEOFA_INLINE typename Vector<N>::I bits_of_steps(typename Vector<N>::F steps, int32_t zero_point) {
  using F = typename Vector<N>::F;
  using I = typename Vector<N>::I;
  const float low = static_cast<float>(-zero_point);
  // Both ends are whole numbers, so clamping before rounding is the same as after it.
  const F bounded = smaller<F>(larger<F>(steps, F{} + low), F{} + (low + 255.0f));
  return (I)(bounded + kRounding) + zero_point;
}

// The same of value * inverse_scale.
template <int N>
PRUNEOFA_INLINE typename Vector<N>::I level_bits(typename Vector<N>::F value, const Grid& grid) {
  return bits_of_steps<N>(value * grid.inverse_scale, grid.zero_point);
}

template <int N>
PRUNEOFA_INLINE void store_levels(uint8_t* to, typename Vector<N>::I bits) {
  store(to, __builtin_convertvector(bits & 255, typename Vector<N>::U8));
}

// The levels of V registers of N values that follow each other.
template <int V, int N>
PRUNEOFA_INLINE void store_row(uint8_t* to, const typename Vector<N>::F (&values)[V], const Grid& grid) {
  for (int v = 0; v < V; ++v) store_levels<N>(to + v * N, level_bits<N>(values[v], grid));
}

// float32 to bfloat16, to nearest, half to even.
template <int N>
PRUNEOFA_INLINE void store_bfloat16(uint16_t* to, typename Vector<N>::F value) {
  using I = typename Vector<N>::I;
  using U = typename Vector<N>::U;
  const U bits = (U)(I)value;
  const U rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  store(to, __builtin_convertvector(rounded, typename Vector<N>::U16));
}

// The nearest whole number, half to even, of what is at most 2^22 in magnitude.
template <class F>
PRUNEOFA_INLINE F nearest(F x) {
  return x + kRounding - kRounding;
}

// x * 2^n, of an x from a half to 2 and a whole n from -126 to 126.
template <class F, class I>
PRUNEOFA_INLINE F times_power(F x, F n) {
  return (F)((I)x + ((I)(n + kRounding) << 23));
}

// exp(x) for -87 < x < 88, relatively within 2e-7 + 5e-8 |x|; 2^-126 below. exp(0) is 1.
//
// 2^t with t = x * log2(e), split into a whole number and a rest of at most a half, for which a polynomial of degree 5
// stands (least maximum of the relative error).
template <class F, class I>
PRUNEOFA_INLINE F exponential(F x) {
  const F t = larger<F>(x * 1.44269504088896341f, F{} - 126.0f);
  const F whole = nearest<F>(t), rest = t - whole;
  F p = F{} + 1.3264652392e-3f;
  p = fused<F>(p, rest, F{} + 9.6715113244e-3f);
  p = fused<F>(p, rest, F{} + 5.5507339628e-2f);
  p = fused<F>(p, rest, F{} + 2.4022242124e-1f);
  p = fused<F>(p, rest, F{} + 6.9314697753e-1f);
  p = fused<F>(p, rest, F{} + 1.0f);
  return times_power<F, I>(p, whole);
}
