// Work on whole panels, element by element or down the features: moments, LayerNorm, further forms.
// Needs generic/vector.inl and `kNative`, the floats in a register.

// Moments of 16 * C lanes. Sums run down the features, lane by lane, so their order is the same everywhere.
template <int C>
PRUNEOFA_INLINE void moments_lanes(const float* values, uint32_t features, uint32_t lane, Moments& moments) {
  using F = Vector<kNative>::F;
  constexpr int kVectors = 16 * C / kNative;
  F mean[kVectors] = {}, squares[kVectors] = {};
  for (uint32_t k = 0; k < features; ++k) {
    for (int v = 0; v < kVectors; ++v) mean[v] += load<F>(values + k * kLanes + lane + v * kNative);
  }
  for (int v = 0; v < kVectors; ++v) mean[v] /= static_cast<float>(features);
  for (uint32_t k = 0; k < features; ++k) {
    for (int v = 0; v < kVectors; ++v) {
      const F centred = load<F>(values + k * kLanes + lane + v * kNative) - mean[v];
      squares[v] += centred * centred;
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    store(moments.mean + lane + v * kNative, mean[v]);
    store(moments.squares + lane + v * kNative, squares[v]);
  }
}

static void moments(const float* values, uint32_t features, uint32_t width, Moments& moments) {
  uint32_t lane = 0;
  for (; lane + 48 < width; lane += 64) moments_lanes<4>(values, features, lane, moments);
  for (; lane + 16 < width; lane += 32) moments_lanes<2>(values, features, lane, moments);
  for (; lane < width; lane += 16) moments_lanes<1>(values, features, lane, moments);
}

// LayerNorm of 16 * C lanes, after joining the moments of all tiles.
template <int C>
PRUNEOFA_INLINE void layer_norm_lanes(const LayerNorm& call, uint32_t lane) {
  using F = Vector<kNative>::F;
  constexpr int kVectors = 16 * C / kNative;
  float* const start = call.values + lane;
  F mean[kVectors] = {}, squares[kVectors] = {}, inverse[kVectors];
  const float count = static_cast<float>(call.features);
  for (uint32_t k = 0, tile = 0; k < call.features; k += kTileRows, ++tile) {
    const float size = static_cast<float>(smaller<uint32_t>(kTileRows, call.features - k));
    for (int v = 0; v < kVectors; ++v) mean[v] += load<F>(call.moments[tile].mean + lane + v * kNative) * size;
  }
  for (int v = 0; v < kVectors; ++v) mean[v] /= count;
  for (uint32_t k = 0, tile = 0; k < call.features; k += kTileRows, ++tile) {
    const float size = static_cast<float>(smaller<uint32_t>(kTileRows, call.features - k));
    for (int v = 0; v < kVectors; ++v) {
      const F away = load<F>(call.moments[tile].mean + lane + v * kNative) - mean[v];
      squares[v] += load<F>(call.moments[tile].squares + lane + v * kNative) + away * away * size;
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    const F variance = squares[v] / count + call.epsilon;
    for (int i = 0; i < kNative; ++i) inverse[v][i] = 1.0f / __builtin_sqrtf(variance[i]);
  }
  for (uint32_t k = 0; k < call.features; ++k) {
    const float gamma = call.gamma[k], beta = call.beta[k];
    F result[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      float* const place = start + k * kLanes + v * kNative;
      result[v] = ((load<F>(place) - mean[v]) * inverse[v]) * gamma + beta;
      store(place, result[v]);
    }
    for (uint32_t t = 0; t < call.target_count; ++t) {
      const PanelTarget& target = call.targets[t];
      const std::size_t at = static_cast<std::size_t>(k) * kLanes + lane;
      if (target.levels != nullptr) {
        store_row<kVectors, kNative>(target.levels + at, result, target.grid);
      } else {
        for (int v = 0; v < kVectors; ++v) store_bfloat16<kNative>(target.bfloat16 + at + v * kNative, result[v]);
      }
    }
  }
}

static void layer_norm(const LayerNorm& call) {
  uint32_t lane = call.lane_begin;
  for (; lane + 64 <= call.lane_end; lane += 64) layer_norm_lanes<4>(call, lane);
  for (; lane + 32 <= call.lane_end; lane += 32) layer_norm_lanes<2>(call, lane);
  for (; lane < call.lane_end; lane += 16) layer_norm_lanes<1>(call, lane);
}

static void convert(const float* values, std::size_t count, const PanelTarget& target) {
  using F = Vector<kNative>::F;
  for (std::size_t i = 0; i < count; i += kNative) {
    const F value = load<F>(values + i);
    if (target.levels != nullptr) {
      store_levels<kNative>(target.levels + i, level_bits<kNative>(value, target.grid));
    } else {
      store_bfloat16<kNative>(target.bfloat16 + i, value);
    }
  }
}

static void map_levels(uint8_t* levels, std::size_t count, const uint8_t* table) {
  for (std::size_t i = 0; i < count; ++i) levels[i] = table[levels[i]];
}
