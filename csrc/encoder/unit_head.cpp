// The head of a model, over a unit: on the first token of each sequence, or on every token.
#include "encoder/unit.hpp"

namespace pruneofa {

void UnitRun::run_head(const Results& results) {
  if (parts_.head_kind == HeadKind::kNone) return;
  const bool every = parts_.head_kind == HeadKind::kEveryToken;
  const uint32_t tokens = every ? unit_.tokens : static_cast<uint32_t>(unit_.segments.size());
  const uint32_t panels = panels_of(tokens);
  Tensor* input = every ? &tensors_.hidden : &tensors_.head[0];
  if (!every) gather_first_tokens(*input);
  for (std::size_t step = 0; step < parts_.head.size(); ++step) {
    const Linear& layer = parts_.head[step].linear;
    const InputPlan& plan = head_plans_[step].input;
    if (!every || step > 0) prepare(*input, plan, layer.columns(), panels);
    Tensor& output = tensors_.head[(step + 1) % 2];
    const LinearJob job{&layer, &head_plans_[step].output, input, &plan, plan.choice[0], &output, nullptr, false, tokens};
    linear(&job, 1, {0, panels, loop_});
    input = &output;
  }
  write_logits(*input, results.logits);
}

// The first tokens' hidden states, a lane each, in one panel.
void UnitRun::gather_first_tokens(Tensor& to) {
  const std::size_t features = parts_.hidden;
  for (std::size_t i = 0; i < unit_.segments.size(); ++i) {
    const std::size_t lane = unit_.segments[i].start;
    const float* const column = tensors_.hidden.values.data() + lane / kLanes * features * kLanes + lane % kLanes;
    for (std::size_t k = 0; k < features; ++k) to.values[k * kLanes + i] = column[k * kLanes];
  }
}

void UnitRun::write_logits(const Tensor& tensor, float* logits) const {
  const std::size_t labels = model_.labels();
  const bool every = parts_.head_kind == HeadKind::kEveryToken;
  for (std::size_t i = 0; i < unit_.segments.size(); ++i) {
    const Segment& segment = unit_.segments[i];
    for (uint32_t token = 0; token < (every ? segment.length : 1); ++token) {
      const std::size_t lane = every ? segment.start + token : i;
      const float* const column = tensor.values.data() + lane / kLanes * labels * kLanes + lane % kLanes;
      float* const row = logits + (every ? token_of_batch(segment, token) : segment.sequence) * labels;
      for (std::size_t label = 0; label < labels; ++label) row[label] = column[label * kLanes];
    }
  }
}

}  // namespace pruneofa
