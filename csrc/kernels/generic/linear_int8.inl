// int8 Linear over gathered non-zeros: the four columns of a group are loaded from the panel, their bytes interleaved
// in registers, and one instruction multiplies and adds four of them for each token.
//
// Needs generic/activation.inl and a register type R with
//   F, I, B                 the register as floats, integers, bytes; `lanes` 32-bit numbers
//   kOffset                 what is subtracted from every level by `adopt` (0, or 128 for signed bytes)
//   adopt(B)                levels as `dot4` takes them
//   interleave4(a, b, c, d, out)   4 * lanes tokens of 4 columns -> 4 registers of `lanes` tokens, in some order
//   dot4(I, B, I)           adds four products of a level and a weight to each 32-bit number
//   natural(x)              puts 4 registers, in the order of interleave4, into the order of tokens
//   pack_levels(n, z)       4 registers of rint(y / scale), in that order, -> levels of 4 * lanes tokens
//   round(F)                rint of what fits 32 bits
//   round_bounded(F)        rint after clamping to what fits 16 bits

template <class R>
PRUNEOFA_INLINE void finish_levels(const LinearInt8& call, uint32_t row, uint32_t lane, const typename R::I (&acc)[4]) {
  using F = typename R::F;
  const F multiplier = F{} + call.weights->level_multipliers[row], bias = F{} + call.weights->level_bias[row];
  typename R::I rounded[4];
  for (int i = 0; i < 4; ++i) {
    const F scaled = fused<F>(R::to_float(acc[i]), multiplier, bias);
    rounded[i] = call.weights->small_levels ? R::round(scaled) : R::round_bounded(scaled);
  }
  const std::size_t at = static_cast<std::size_t>(row - call.row_begin) * kLanes + lane;
  store(call.levels + at, R::pack_levels(rounded, call.grid.zero_point));
}

// Without an output grid of its own: the activation of what `finish_values` would store, on the next one's input grid.
template <class R>
PRUNEOFA_INLINE void finish_activated(const LinearInt8& call, uint32_t row, uint32_t lane,
                                      const typename R::I (&acc)[4]) {
  using F = typename R::F;
  const F multiplier = F{} + call.weights->multipliers[row], bias = F{} + call.weights->bias[row];
  typename R::I rounded[4];
  for (int i = 0; i < 4; ++i) {
    const F y = activated<F, typename R::I>(fused<F>(R::to_float(acc[i]), multiplier, bias), call.activation);
    rounded[i] = R::round_bounded(y * call.grid.inverse_scale);
  }
  const std::size_t at = static_cast<std::size_t>(row - call.row_begin) * kLanes + lane;
  store(call.levels + at, R::pack_levels(rounded, call.grid.zero_point));
}

template <class R>
PRUNEOFA_INLINE void finish_values(const LinearInt8& call, uint32_t row, uint32_t lane, const typename R::I (&acc)[4]) {
  using F = typename R::F;
  const F multiplier = F{} + call.weights->multipliers[row], bias = F{} + call.weights->bias[row];
  typename R::I ordered[4] = {acc[0], acc[1], acc[2], acc[3]};
  R::natural(ordered);
  const std::size_t at = static_cast<std::size_t>(row - call.row_begin) * kLanes + lane;
  for (int i = 0; i < 4; ++i) {
    F y = fused<F>(R::to_float(ordered[i]), multiplier, bias);
    if (call.residual != nullptr) y += load<F>(call.residual + at + i * R::lanes);
    store(call.values + at + i * R::lanes, y);
  }
}

template <class R>
PRUNEOFA_INLINE void linear_int8_row(const LinearInt8& call, uint32_t block, uint32_t row, uint32_t lane) {
  using B = typename R::B;
  using I = typename R::I;
  const Int8Rows& weights = *call.weights;
  const std::size_t index = static_cast<std::size_t>(block) * weights.rows + row;
  const uint8_t* group = weights.groups + static_cast<std::size_t>(weights.starts[index]) * Int8Rows::kGroupBytes;
  const uint8_t* const end =
      weights.groups + static_cast<std::size_t>(weights.starts[index + 1]) * Int8Rows::kGroupBytes;
  const uint8_t* const panel = call.panel + static_cast<std::size_t>(block) * weights.block_columns * kLanes + lane;
  int32_t* const kept = call.accumulators + static_cast<std::size_t>(row - call.row_begin) * kLanes + lane;
  I acc[4];
  if (block == 0) {
    const int32_t start = (R::kOffset - weights.input_zero_point) * weights.level_sums[row];
    for (int i = 0; i < 4; ++i) acc[i] = I{} + start;
  } else {
    for (int i = 0; i < 4; ++i) acc[i] = load<I>(kept + i * R::lanes);
  }
  for (; group != end; group += Int8Rows::kGroupBytes) {
    __builtin_prefetch(group + 1024);
    const uint64_t offsets = load<uint64_t>(group);
    const B a = R::adopt(load<B>(panel + (offsets & 0xFFFF)));
    const B b = R::adopt(load<B>(panel + ((offsets >> 16) & 0xFFFF)));
    const B c = R::adopt(load<B>(panel + ((offsets >> 32) & 0xFFFF)));
    const B d = R::adopt(load<B>(panel + (offsets >> 48)));
    const I levels = I{} + load<int32_t>(group + 8);
    B mixed[4];
    R::interleave4(a, b, c, d, mixed);
    for (int i = 0; i < 4; ++i) acc[i] = R::dot4(acc[i], mixed[i], levels);
  }
  if (block + 1 < weights.blocks) {
    for (int i = 0; i < 4; ++i) store(kept + i * R::lanes, acc[i]);
  } else if (call.levels == nullptr) {
    finish_values<R>(call, row, lane, acc);
  } else if (weights.level_multipliers == nullptr) {
    finish_activated<R>(call, row, lane, acc);
  } else {
    finish_levels<R>(call, row, lane, acc);
  }
}

template <class R>
static void linear_int8_rows(const LinearInt8& call) {
  for (uint32_t block = 0; block < call.weights->blocks; ++block) {
    for (uint32_t row = call.row_begin; row < call.row_end; ++row) {
      for (uint32_t lane = 0; lane < call.width; lane += 4 * R::lanes) linear_int8_row<R>(call, block, row, lane);
    }
  }
}
