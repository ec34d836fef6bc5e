// Vectors of N floats or integers in the compiler's own notation, the same in every instruction set.
//
// Included inside the unnamed namespace of each instruction set's file: code that is compiled with different flags must
// not share a symbol. Floating-point contraction is off in these files, so all instruction sets round alike.

#define PRUNEOFA_INLINE static inline __attribute__((always_inline))

template <int N>
struct Vector {
  typedef float F __attribute__((vector_size(4 * N)));
  typedef int32_t I __attribute__((vector_size(4 * N)));
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

// Adding this rounds a float of magnitude up to 2^22 to a whole number, half to even, which then stands in the low
// bits.
constexpr float kRounding = 12582912.0f;
constexpr int32_t kRoundingBits = 0x4B400000;

// rint(value * inverse_scale) + zero_point, clamped to 0..255, as 32-bit integers whose low byte counts.
template <int N>
PRUNEOFA_INLINE typename Vector<N>::I level_bits(typename Vector<N>::F value, const Grid& grid) {
  using F = typename Vector<N>::F;
  using I = typename Vector<N>::I;
  const float low = static_cast<float>(-grid.zero_point);
  // Both ends are whole numbers, so clamping before rounding is the same as after it.
  const F scaled = smaller<F>(larger<F>(value * grid.inverse_scale, F{} + low), F{} + (low + 255.0f));
  return (I)(scaled + kRounding) + grid.zero_point;
}

template <int N>
PRUNEOFA_INLINE void store_levels(uint8_t* to, typename Vector<N>::I bits) {
  store(to, __builtin_convertvector(bits & 255, typename Vector<N>::U8));
}

// float32 to bfloat16, to nearest, half to even.
template <int N>
PRUNEOFA_INLINE void store_bfloat16(uint16_t* to, typename Vector<N>::F value) {
  using I = typename Vector<N>::I;
  typedef uint32_t U __attribute__((vector_size(4 * N)));
  const U bits = (U)(I)value;
  const U rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  store(to, __builtin_convertvector(rounded, typename Vector<N>::U16));
}

// exp(x) for -87 < x < 88, relatively within 2e-7 + 5e-8 |x|; 2^-126 below. exp(0) is 1.
//
// 2^t with t = x * log2(e), split into a whole number and a rest of at most a half, for which a polynomial of degree 5
// stands (least maximum of the relative error). Multiplications and additions only, so that every instruction set
// gives the same bits.
template <class F, class I>
PRUNEOFA_INLINE F exponential(F x) {
  const F t = larger<F>(x * 1.44269504088896341f, F{} - 126.0f);
  const F shifted = t + kRounding;
  const F rest = t - (shifted - kRounding);
  F p = F{} + 1.3264652392e-3f;
  p = p * rest + 9.6715113244e-3f;
  p = p * rest + 5.5507339628e-2f;
  p = p * rest + 2.4022242124e-1f;
  p = p * rest + 6.9314697753e-1f;
  p = p * rest + 1.0f;
  return (F)((I)p + ((I)shifted << 23));
}
