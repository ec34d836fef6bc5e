// Attention of a unit: heads and panels are the items of work.
#include <algorithm>

#include "encoder/unit.hpp"

namespace pruneofa {

void UnitRun::attend(const LayerPlan& plan, uint32_t tokens, const Share& share) {
  const uint32_t panels = share.last - share.first;
  share.loop(std::size_t{parts_.heads} * panels, [&](std::size_t item, std::size_t worker) {
    const uint32_t head = static_cast<uint32_t>(item / panels), panel = static_cast<uint32_t>(item % panels);
    attend_panel(plan, head, share.first + panel, tokens, scratch_[worker]);
  });
}

void UnitRun::attend_panel(const LayerPlan& plan, uint32_t head, uint32_t panel, uint32_t tokens, Scratch& scratch) {
  const uint32_t size = parts_.hidden / parts_.heads;
  const std::size_t stride = std::size_t{parts_.hidden} * kLanes;
  const std::size_t rows = std::size_t{head} * size * kLanes;
  const std::size_t here = panel * stride + rows;
  Attention call{};
  call.head_size = size;
  call.width = std::min(kLanes, tokens - panel * kLanes);
  call.key_begin = 0;
  call.key_end = unit_.tokens;
  call.panel_stride = stride;
  if (plan.integer_scores) {
    call.query_levels = tensors_.query.levels[0].data() + here;
    call.key_levels = tensors_.key.levels[0].data() + rows;
    call.query_zero_point = plan.query.grid.zero_point;
    call.key_zero_point = plan.key.grid.zero_point;
  } else {
    call.query_values = tensors_.query.values.data() + here;
    call.key_values = tensors_.key.values.data() + rows;
  }
  if (plan.integer_context) {
    call.value_levels = tensors_.value.levels[0].data() + rows;
    call.value_zero_point = plan.value.grid.zero_point;
    call.value_scale = plan.value.grid.scale;
  } else {
    call.value_values = tensors_.value.values.data() + rows;
  }
  call.score_scale = plan.score_scale;
  if (parts_.relative_bias.size() != 0) {
    fill_bias(head, panel, scratch.bias.data());
    call.bias = scratch.bias.data();
  }
  if (unit_.segments.size() > 1) {
    // Sequences that share a panel see only themselves.
    for (const Segment& segment : unit_.segments) {
      for (uint32_t i = segment.start; i < segment.start + segment.length; ++i) {
        scratch.lane_begin[i] = static_cast<uint8_t>(segment.start);
        scratch.lane_end[i] = static_cast<uint8_t>(segment.start + segment.length);
      }
    }
    call.lane_begin = scratch.lane_begin.data();
    call.lane_end = scratch.lane_end.data();
  }
  call.scratch = scratch.attention.data();
  const bool wants_levels = !plan.context.forms.empty() && !plan.context.forms[0].bfloat16;
  if (wants_levels) {
    call.grid = plan.context.forms[0].grid;
    call.context_levels = tensors_.context.levels[0].data() + here;
  } else {
    call.context_values = tensors_.context.values.data() + here;
  }
  kernels_.attention(call);
  if (!wants_levels && !plan.context.forms.empty()) {
    kernels_.convert(tensors_.context.values.data() + here, std::size_t{size} * kLanes,
                     tensors_.context.target(plan.context, 0, here));
  }
}

// bias[key][lane] of a head: by the distance of the two tokens in their sequence.
void UnitRun::fill_bias(uint32_t head, uint32_t panel, float* bias) const {
  const std::ptrdiff_t most = parts_.max_tokens;
  const float* const table = parts_.relative_bias.data() + std::ptrdiff_t{head} * (2 * most - 1) + (most - 1);
  for (const Segment& segment : unit_.segments) {
    const int32_t* const order = batch_.order + token_of_batch(segment, 0);
    const uint32_t begin = segment.start > panel * kLanes ? segment.start - panel * kLanes : 0;
    for (uint32_t key = 0; key < segment.length; ++key) {
      float* const row = bias + std::size_t{segment.start + key} * kLanes;
      for (uint32_t lane = begin; lane < kLanes; ++lane) {
        const uint32_t query = panel * kLanes + lane - segment.start;
        if (query >= segment.length) break;
        row[lane] = table[std::ptrdiff_t{order[key]} - order[query]];
      }
    }
  }
}

}  // namespace pruneofa
