// Activations, element by element, and the work on whole panels that consists of them.
// Needs generic/vector.inl.

// tanh(x), within 3e-7.
template <class F, class I>
PRUNEOFA_INLINE F hyperbolic_tangent(F x) {
  const F bounded = smaller<F>(larger<F>(x, F{} - 10.0f), F{} + 10.0f);
  return 1.0f - 2.0f / (exponential<F, I>(bounded * 2.0f) + 1.0f);
}

// For gelu: coefficients of 1, r, ... r^4 for |x| = node * kGeluStep + r, |r| at most half a step, by node. They go
// through the Chebyshev nodes of each piece; at node 0 the first is 0, so that gelu(0) is.
constexpr float kGeluStep = 0.375f;
constexpr float kGeluPieces[5][16] = {
    {0.0f, 0.132686332f, 0.169970512f, 0.146581337f, 0.100210801f, 0.056993179f, 0.0275050644f, 0.0113726771f,
     0.00404969417f, 0.00124563975f, 0.000331564806f, 7.64640426e-05f, 1.52895282e-05f, 2.65220615e-06f,
     3.99260415e-07f, 5.21741192e-08f},
    {0.50000006f, 0.214391917f, 0.000783048221f, -0.108062357f, -0.127470225f, -0.098581329f, -0.0591925085f,
     -0.0290696416f, -0.0119456537f, -0.00415687356f, -0.00123355701f, -0.000313563476f, -6.84812694e-05f,
     -1.28771162e-05f, -2.08803408e-06f, -2.92302587e-07f},
    {-0.398948312f, -0.34570682f, -0.216443464f, -0.0778010488f, 0.0161878187f, 0.052126836f, 0.0486020185f,
     0.0311152749f, 0.0155117698f, 0.00629699882f, 0.00212653354f, 0.000604633242f, 0.000145827929f, 2.99841031e-05f,
     5.27442717e-06f, 7.95825827e-07f},
    {0.000146993843f, 0.0888587385f, 0.128396094f, 0.108132921f, 0.0567817092f, 0.0108023854f, -0.0123315202f,
     -0.0159649737f, -0.0110790599f, -0.0056122872f, -0.00224703574f, -0.000735378941f, -0.000200242706f,
     -4.58553986e-05f, -8.89323474e-06f, -1.46787738e-06f},
    {0.0655313358f, 0.0467783399f, 0.00486007752f, -0.0284630489f, -0.0358754434f, -0.0236147996f, -0.00775900204f,
     0.00164434174f, 0.00402837433f, 0.00301520759f, 0.00152462616f, 0.000590952463f, 0.000184053613f,
     4.71566746e-05f, 1.00764246e-05f, 1.81165456e-06f},
};

// x * Phi(x), within 4e-7: max(x, 0) less |x| * Phi(-|x|), which fades away at both ends. Without a division.
template <class F, class I>
PRUNEOFA_INLINE F gelu(F x) {
  const F magnitude = smaller<F>(larger<F>(x, -x), F{} + 5.8f);  // just below the last piece's end: 3e-8 are left
  const F rounded = fused<F>(magnitude, F{} + 1.0f / kGeluStep, F{} + kRounding);
  const I node = (I)rounded;  // the low bits
  const F rest = fused<F>(rounded - kRounding, F{} - kGeluStep, magnitude);
  F p = pick<F, I>(kGeluPieces[4], node);
  for (int power = 3; power >= 0; --power) p = fused<F>(p, rest, pick<F, I>(kGeluPieces[power], node));
  return larger<F>(x, F{}) - p;
}

template <class F, class I>
PRUNEOFA_INLINE F gelu_tanh(F x) {
  const F inner = (x + 0.044715f * (x * x * x)) * 0.7978845608028654f;
  // Without the bound, minus infinity times 0 would be no number, of which each instruction set makes another level.
  return larger<F>(x, F{} - 10.0f) * 0.5f * (1.0f + hyperbolic_tangent<F, I>(inner));
}

template <class F, class I>
PRUNEOFA_INLINE F activated(F x, Activation activation) {
  switch (activation) {
    case Activation::kGelu:
      return gelu<F, I>(x);
    case Activation::kGeluTanh:
      return gelu_tanh<F, I>(x);
    case Activation::kRelu:
      return larger<F>(x, F{});
    case Activation::kTanh:
      return hyperbolic_tangent<F, I>(x);
    case Activation::kNone:
      break;
  }
  return x;
}

static void activate(float* values, std::size_t count, Activation activation) {
  using F = Vector<kNative>::F;
  using I = Vector<kNative>::I;
  for (std::size_t i = 0; i < count; i += kNative) {
    store(values + i, activated<F, I>(load<F>(values + i), activation));
  }
}
