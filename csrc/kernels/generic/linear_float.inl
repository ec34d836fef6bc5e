// float32 Linear over its non-zeros: a weight is spread over a register and multiplied with its column's tokens.
// Needs generic/vector.inl and `kNative`.

template <int V>
PRUNEOFA_INLINE void linear_float_row(const LinearFloat& call, uint32_t block, uint32_t row, uint32_t lane) {
  using F = Vector<kNative>::F;
  const FloatRows& weights = *call.weights;
  const std::size_t index = static_cast<std::size_t>(block) * weights.rows + row;
  const float* const panel =
      static_cast<const float*>(call.panel) + static_cast<std::size_t>(block) * weights.block_columns * kLanes + lane;
  float* const kept = call.accumulators + static_cast<std::size_t>(row - call.row_begin) * kLanes + lane;
  F acc[V];
  for (int v = 0; v < V; ++v) acc[v] = block == 0 ? F{} + weights.bias[row] : load<F>(kept + v * kNative);
  const uint32_t end = weights.starts[index + 1];
  for (uint32_t i = weights.starts[index]; i < end; ++i) {
    const float* const column = panel + static_cast<std::size_t>(weights.columns[i]) * kLanes;
    const F weight = F{} + weights.values[i];
    for (int v = 0; v < V; ++v) acc[v] = fused<F>(weight, load<F>(column + v * kNative), acc[v]);
  }
  if (block + 1 < weights.blocks) {
    for (int v = 0; v < V; ++v) store(kept + v * kNative, acc[v]);
    return;
  }
  const std::size_t at = static_cast<std::size_t>(row - call.row_begin) * kLanes + lane;
  for (int v = 0; v < V; ++v) {
    if (call.residual != nullptr) acc[v] += load<F>(call.residual + at + v * kNative);
    store(call.values + at + v * kNative, acc[v]);
  }
}

template <int V>
static void linear_float_rows(const LinearFloat& call) {
  for (uint32_t block = 0; block < call.weights->blocks; ++block) {
    for (uint32_t row = call.row_begin; row < call.row_end; ++row) {
      for (uint32_t lane = 0; lane < call.width; lane += V * kNative) linear_float_row<V>(call, block, row, lane);
    }
  }
}

static void linear_float(const LinearFloat& call) {
  constexpr int kPer16 = 16 / kNative;     // registers for 16 lanes
  constexpr bool kFewLanes = kNative < 8;  // 64 lanes of sums do not fit into the registers
  if (call.width <= 16) return linear_float_rows<kPer16>(call);
  if (call.width <= 32 || kFewLanes) return linear_float_rows<2 * kPer16>(call);
  return linear_float_rows<4 * kPer16>(call);
}
