// Attention of one head for one panel of queries, without transposing anything: scores lie as [keys][64 queries], so
// maxima, exponentials and sums run down registers, and the weights P are already the activations of the product with
// V.
//
// Needs generic/vector.inl and the register type of generic/linear_int8.inl. A "quad" is four
// consecutive features, or keys, of one token in one 32-bit number: what one lane of `dot4` takes.

// What all lanes of one call share.
template <class R>
struct AttentionPlan {
  const Attention& call;
  AttentionScratch at;
  uint32_t first_key;  // key_begin rounded down to a quad
  uint32_t last_key;   // key_end rounded up to a quad
  int32_t tail_ones;   // ones for the real features of the last quad

  explicit AttentionPlan(const Attention& attention)
      : call(attention),
        at(attention.head_size, attention.key_end),
        first_key(attention.key_begin / 4 * 4),
        last_key((attention.key_end + 3) / 4 * 4),
        tail_ones(0x01010101 >> (8 * (4 * at.quads - attention.head_size))) {}

  template <class T>
  T* place(std::size_t offset) const {
    return reinterpret_cast<T*>(call.scratch + offset);
  }
  bool masks(uint32_t key) const {
    return call.lane_begin != nullptr || key < call.key_begin || key + 4 > call.key_end;
  }
};

// Features `feature` to `feature + 4` of the 64 tokens at `rows`, as quads in the order of tokens. Rows beyond
// `head_size` count as 0.
template <class R>
PRUNEOFA_INLINE void load_quads(const uint8_t* rows, uint32_t feature, uint32_t head_size, uint32_t lane,
                                typename R::B (&quads)[4]) {
  using B = typename R::B;
  B row[4];
  for (uint32_t i = 0; i < 4; ++i) {
    row[i] = feature + i < head_size ? load<B>(rows + static_cast<std::size_t>(feature + i) * kLanes + lane) : B{};
  }
  R::interleave4(row[0], row[1], row[2], row[3], quads);
  typename R::I ordered[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) ordered[i] = (typename R::I)quads[i];
  R::natural(ordered);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) quads[i] = (B)ordered[i];
}

template <class R>
static void prepare_queries(const AttentionPlan<R>& plan) {
  uint8_t* const to = plan.template place<uint8_t>(plan.at.query);
  for (uint32_t quad = 0; quad < plan.at.quads; ++quad) {
    for (uint32_t lane = 0; lane < plan.call.width; lane += 4 * R::lanes) {
      typename R::B quads[4];
      load_quads<R>(plan.call.query_levels, 4 * quad, plan.call.head_size, lane, quads);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        store(to + (static_cast<std::size_t>(quad) * kLanes + lane + i * R::lanes) * 4, R::adopt(quads[i]));
      }
    }
  }
}

template <class R>
static void prepare_keys(const AttentionPlan<R>& plan) {
  using B = typename R::B;
  using I = typename R::I;
  const Attention& call = plan.call;
  int32_t* const sums = plan.template place<int32_t>(plan.at.key_sums);
  for (uint32_t key = plan.first_key / kLanes * kLanes; key < plan.last_key; key += kLanes) {
    const std::size_t panel = key / kLanes;
    const uint8_t* const from = call.key_levels + panel * call.panel_stride;
    uint8_t* const to = plan.template place<uint8_t>(plan.at.key) + panel * plan.at.quads * kLanes * 4;
    for (uint32_t lane = 0; lane < kLanes; lane += 4 * R::lanes) {
      I sum[4] = {};
      for (uint32_t quad = 0; quad < plan.at.quads; ++quad) {
        B quads[4];
        load_quads<R>(from, 4 * quad, call.head_size, lane, quads);
        const I ones = I{} + (quad + 1 == plan.at.quads ? plan.tail_ones : 0x01010101);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
          // Features that are only padding stay 0, also after the shift by 128.
          const B shifted = quads[i] ^ (B)(ones << 7);
          sum[i] = R::dot4(sum[i], (B)ones, (I)shifted);
          store(to + (static_cast<std::size_t>(quad) * kLanes + lane + i * R::lanes) * 4, shifted);
        }
      }
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) store(sums + key + lane + i * R::lanes, sum[i]);
    }
  }
}

template <class R>
static void prepare_values(const AttentionPlan<R>& plan) {
  using B = typename R::B;
  const Attention& call = plan.call;
  int8_t* const to = plan.template place<int8_t>(plan.at.value);
  int32_t* const sums = plan.template place<int32_t>(plan.at.value_sums);
  for (uint32_t feature = 0; feature < call.head_size; ++feature) {
    int8_t* const row = to + static_cast<std::size_t>(feature) * plan.at.keys;
    for (uint32_t key = plan.first_key / kLanes * kLanes; key < plan.last_key; key += kLanes) {
      const uint8_t* const from = call.value_levels + key / kLanes * call.panel_stride + feature * kLanes;
      for (uint32_t lane = 0; lane < kLanes; lane += 4 * R::lanes) store(row + key + lane, load<B>(from + lane) ^ 0x80);
    }
    if constexpr (R::kOffset != 0) {
      int32_t sum = 0;
      for (uint32_t key = plan.first_key; key < plan.last_key; ++key) sum += row[key];
      sums[feature] = sum;
    }
  }
}

// Scale, add the bias, hide what may not be seen, remember the maxima, and keep the scores of one key.
template <class R, int G>
PRUNEOFA_INLINE void keep_scores(const AttentionPlan<R>& plan, uint32_t key, uint32_t lane, bool masked,
                                 const typename R::F (&products)[G], typename R::F (&maxima)[G]) {
  using F = typename R::F;
  using I = typename R::I;
  const Attention& call = plan.call;
  float* const scores = plan.template place<float>(plan.at.scores) + static_cast<std::size_t>(key) * kLanes + lane;
  int32_t begin = 0, end = static_cast<int32_t>(kLanes);
  if (masked) {
    const bool inside = key >= call.key_begin && key < call.key_end;
    if (!inside) end = 0;
    if (inside && call.lane_begin != nullptr) begin = call.lane_begin[key], end = call.lane_end[key];
  }
#pragma GCC unroll 4
  for (int v = 0; v < G; ++v) {
    F x = products[v] * call.score_scale;
    if (call.bias != nullptr && key < call.key_end) {
      x += load<F>(call.bias + static_cast<std::size_t>(key) * kLanes + lane + v * R::lanes);
    }
    if (masked) {
      const I number = R::counting() + static_cast<int32_t>(lane + v * R::lanes);
      x = ((number >= begin) & (number < end)) ? x : F{} - 3.4028235e38f;
    }
    maxima[v] = larger<F>(x, maxima[v]);  // in this order: a score that is no number is passed over
    store(scores + v * R::lanes, x);
  }
}

template <class R, int G>
PRUNEOFA_INLINE void score_levels(const AttentionPlan<R>& plan, uint32_t lane, typename R::F (&maxima)[G]) {
  using B = typename R::B;
  using F = typename R::F;
  using I = typename R::I;
  const Attention& call = plan.call;
  const uint32_t quads = plan.at.quads;
  const uint8_t* const query = plan.template place<uint8_t>(plan.at.query) + lane * 4;
  const int32_t* const sums = plan.template place<int32_t>(plan.at.key_sums);
  // (q - zq)(k - zk) summed, with q = q' + offset and k = k' + 128 as they are stored.
  const int32_t from_query = R::kOffset - call.query_zero_point, from_key = 128 - call.key_zero_point;
  const int32_t constant = static_cast<int32_t>(call.head_size) * from_query * from_key;
  I of_query[G] = {};
  for (uint32_t quad = 0; quad < quads; ++quad) {
    const I ones = I{} + (quad + 1 == quads ? plan.tail_ones : 0x01010101);
#pragma GCC unroll 4
    for (int v = 0; v < G; ++v) {
      of_query[v] = R::dot4(of_query[v], load<B>(query + (quad * kLanes + v * R::lanes) * 4), ones);
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < G; ++v) of_query[v] = of_query[v] * from_key + constant;
  for (uint32_t key = plan.first_key; key < plan.last_key; key += 4) {
    const uint8_t* const keys = plan.template place<uint8_t>(plan.at.key) +
                                (static_cast<std::size_t>(key / kLanes) * quads * kLanes + key % kLanes) * 4;
    I acc[4][G];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < G; ++v) acc[i][v] = of_query[v] + sums[key + i] * from_query;
    }
    for (uint32_t quad = 0; quad < quads; ++quad) {
      B q[G];
#pragma GCC unroll 4
      for (int v = 0; v < G; ++v) q[v] = load<B>(query + (quad * kLanes + v * R::lanes) * 4);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const I k = I{} + load<int32_t>(keys + (quad * kLanes + i) * 4);
#pragma GCC unroll 4
        for (int v = 0; v < G; ++v) acc[i][v] = R::dot4(acc[i][v], q[v], k);
      }
    }
    const bool masked = plan.masks(key);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      F products[G];
#pragma GCC unroll 4
      for (int v = 0; v < G; ++v) products[v] = R::to_float(acc[i][v]);
      keep_scores<R, G>(plan, key + i, lane, masked, products, maxima);
    }
  }
}

template <class R, int G>
PRUNEOFA_INLINE void score_values(const AttentionPlan<R>& plan, uint32_t lane, typename R::F (&maxima)[G]) {
  using F = typename R::F;
  const Attention& call = plan.call;
  const float* const query = call.query_values + lane;
  for (uint32_t key = plan.first_key; key < plan.last_key; key += 4) {
    const float* const keys = call.key_values + key / kLanes * call.panel_stride + key % kLanes;
    F acc[4][G] = {};
    for (uint32_t feature = 0; feature < call.head_size; ++feature) {
      F q[G];
#pragma GCC unroll 4
      for (int v = 0; v < G; ++v) q[v] = load<F>(query + feature * kLanes + v * R::lanes);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const F k = F{} + keys[feature * kLanes + i];
#pragma GCC unroll 4
        for (int v = 0; v < G; ++v) acc[i][v] = fused<F>(k, q[v], acc[i][v]);
      }
    }
    const bool masked = plan.masks(key);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) keep_scores<R, G>(plan, key + i, lane, masked, acc[i], maxima);
  }
}

// P = rint(255 exp(score - maximum)), four keys to a quad; returns the sums of P in `totals`.
template <class R, int G>
PRUNEOFA_INLINE void exponentiate_levels(const AttentionPlan<R>& plan, uint32_t lane, const typename R::F (&maxima)[G],
                                         typename R::I (&totals)[G]) {
  using B = typename R::B;
  using F = typename R::F;
  using I = typename R::I;
  using U = typename Vector<R::lanes>::U;
  const float* const scores = plan.template place<float>(plan.at.scores) + lane;
  uint8_t* const weights = plan.template place<uint8_t>(plan.at.probabilities) + lane * 4;
  const int32_t quads = static_cast<int32_t>((plan.last_key - plan.first_key) / 4);
#pragma GCC unroll 4
  for (int v = 0; v < G; ++v) totals[v] = I{} + R::kOffset * 4 * quads;
  for (uint32_t key = plan.first_key; key < plan.last_key; key += 4) {
#pragma GCC unroll 4
    for (int v = 0; v < G; ++v) {
      U quad = U{} - kRoundingQuad;
#pragma GCC unroll 4
      for (uint32_t i = 0; i < 4; ++i) {
        const F x = load<F>(scores + static_cast<std::size_t>(key + i) * kLanes + v * R::lanes) - maxima[v];
        const F p = fused<F>(exponential<F, I>(x), F{} + 255.0f, F{} + kRounding);
        quad += (U)p << (8 * i);
      }
      const B adopted = R::adopt((B)quad);
      totals[v] = R::dot4(totals[v], adopted, I{} + 0x01010101);
      store(weights + (static_cast<std::size_t>(key / 4) * kLanes + v * R::lanes) * 4, adopted);
    }
  }
}

template <class R, int G>
PRUNEOFA_INLINE void exponentiate_values(const AttentionPlan<R>& plan, uint32_t lane, const typename R::F (&maxima)[G],
                                         typename R::F (&totals)[G]) {
  using F = typename R::F;
  using I = typename R::I;
  float* const scores = plan.template place<float>(plan.at.scores) + lane;
#pragma GCC unroll 4
  for (int v = 0; v < G; ++v) totals[v] = F{};
  // Only real keys: what lies beside them may be no number, which a weight of 0 would not undo.
  for (uint32_t key = plan.call.key_begin; key < plan.call.key_end; ++key) {
#pragma GCC unroll 4
    for (int v = 0; v < G; ++v) {
      float* const place = scores + static_cast<std::size_t>(key) * kLanes + v * R::lanes;
      const F x = load<F>(place) - maxima[v];
      const F e = x < -80.0f ? F{} : exponential<F, I>(x);  // what is hidden weighs nothing at all
      totals[v] += e;
      store(place, e);
    }
  }
}

template <class R>
PRUNEOFA_INLINE void keep_context(const Attention& call, uint32_t feature, uint32_t lane, typename R::F value) {
  const std::size_t at = static_cast<std::size_t>(feature) * kLanes + lane;
  if (call.context_levels != nullptr) {
    store_levels<R::lanes>(call.context_levels + at, level_bits<R::lanes>(value, call.grid));
  } else {
    store(call.context_values + at, value);
  }
}

// Features `feature` to `feature + D` of the context, integer products.
template <class R, int G, int D>
PRUNEOFA_INLINE void context_levels(const AttentionPlan<R>& plan, uint32_t feature, uint32_t lane,
                                    const typename R::I (&totals)[G], const typename R::F (&ratios)[G]) {
  using B = typename R::B;
  using I = typename R::I;
  const Attention& call = plan.call;
  const uint8_t* const weights = plan.template place<uint8_t>(plan.at.probabilities) + lane * 4;
  const int8_t* const values =
      plan.template place<int8_t>(plan.at.value) + static_cast<std::size_t>(feature) * plan.at.keys;
  const int32_t* const sums = plan.template place<int32_t>(plan.at.value_sums) + feature;
  I acc[D][G];
#pragma GCC unroll 4
  for (int i = 0; i < D; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < G; ++v) {
      acc[i][v] = totals[v] * (128 - call.value_zero_point);
      if constexpr (R::kOffset != 0) acc[i][v] += R::kOffset * sums[i];
    }
  }
  for (uint32_t key = plan.first_key; key < plan.last_key; key += 4) {
    B p[G];
#pragma GCC unroll 4
    for (int v = 0; v < G; ++v)
      p[v] = load<B>(weights + (static_cast<std::size_t>(key / 4) * kLanes + v * R::lanes) * 4);
#pragma GCC unroll 4
    for (int i = 0; i < D; ++i) {
      const I value = I{} + load<int32_t>(values + static_cast<std::size_t>(i) * plan.at.keys + key);
#pragma GCC unroll 4
      for (int v = 0; v < G; ++v) acc[i][v] = R::dot4(acc[i][v], p[v], value);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < D; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < G; ++v)
      keep_context<R>(call, feature + i, lane + v * R::lanes, R::to_float(acc[i][v]) * ratios[v]);
  }
}

// The same with float weights and values.
template <class R, int G, int D>
PRUNEOFA_INLINE void context_values(const AttentionPlan<R>& plan, uint32_t feature, uint32_t lane,
                                    const typename R::F (&inverses)[G]) {
  using F = typename R::F;
  const Attention& call = plan.call;
  const float* const scores = plan.template place<float>(plan.at.scores) + lane;
  F acc[D][G] = {};
  for (uint32_t key = call.key_begin; key < call.key_end; ++key) {
    const float* const values = call.value_values + key / kLanes * call.panel_stride + key % kLanes;
    F e[G];
#pragma GCC unroll 4
    for (int v = 0; v < G; ++v) e[v] = load<F>(scores + static_cast<std::size_t>(key) * kLanes + v * R::lanes);
#pragma GCC unroll 4
    for (int i = 0; i < D; ++i) {
      const F value = F{} + values[static_cast<std::size_t>(feature + i) * kLanes];
#pragma GCC unroll 4
      for (int v = 0; v < G; ++v) acc[i][v] = fused<F>(value, e[v], acc[i][v]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < D; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < G; ++v) keep_context<R>(call, feature + i, lane + v * R::lanes, acc[i][v] * inverses[v]);
  }
}

// G registers of queries, from lane `lane` on.
template <class R, int G>
static void attention_lanes(const AttentionPlan<R>& plan, uint32_t lane) {
  using F = typename R::F;
  using I = typename R::I;
  const Attention& call = plan.call;
  F maxima[G];
#pragma GCC unroll 4
  for (int v = 0; v < G; ++v) maxima[v] = F{} - 3.4028235e38f;
  if (call.query_levels != nullptr) {
    score_levels<R, G>(plan, lane, maxima);
  } else {
    score_values<R, G>(plan, lane, maxima);
  }
  uint32_t feature = 0;
  if (call.value_levels != nullptr) {
    I totals[G];
    exponentiate_levels<R, G>(plan, lane, maxima, totals);
    F ratios[G];
#pragma GCC unroll 4
    for (int v = 0; v < G; ++v) ratios[v] = call.value_scale / R::to_float(totals[v]);
    for (; feature + 4 <= call.head_size; feature += 4) context_levels<R, G, 4>(plan, feature, lane, totals, ratios);
    for (; feature < call.head_size; ++feature) context_levels<R, G, 1>(plan, feature, lane, totals, ratios);
  } else {
    F totals[G];
    exponentiate_values<R, G>(plan, lane, maxima, totals);
#pragma GCC unroll 4
    for (int v = 0; v < G; ++v) totals[v] = 1.0f / totals[v];
    for (; feature + 4 <= call.head_size; feature += 4) context_values<R, G, 4>(plan, feature, lane, totals);
    for (; feature < call.head_size; ++feature) context_values<R, G, 1>(plan, feature, lane, totals);
  }
}

template <class R>
static AttentionPlan<R> prepare_attention(const Attention& call) {
  const AttentionPlan<R> plan(call);
  if (call.query_levels != nullptr) {
    prepare_queries<R>(plan);
    prepare_keys<R>(plan);
  }
  if (call.value_levels != nullptr) prepare_values<R>(plan);
  return plan;
}
