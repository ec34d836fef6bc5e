#include "encoder/workspace.hpp"

#include <algorithm>

namespace pruneofa {

void Tensor::make_room(std::size_t elements, const InputPlan& plan) {
  for (std::size_t form = 0; form < plan.forms.size(); ++form) {
    plan.forms[form].bfloat16 ? bfloat16.resize(elements) : levels[form].resize(elements);
  }
  if (plan.wants_values()) values.resize(elements);
}

std::size_t Tensor::bytes() const {
  std::size_t total = values.bytes() + bfloat16.bytes();
  for (const Buffer<uint8_t>& buffer : levels) total += buffer.bytes();
  return total;
}

void* Tensor::place(const InputPlan& plan, int choice, std::size_t at) {
  if (choice == InputPlan::kValues) return values.data() + at;
  if (plan.forms[choice].bfloat16) return bfloat16.data() + at;
  return levels[choice].data() + at;
}

PanelTarget Tensor::target(const InputPlan& plan, std::size_t form, std::size_t at) {
  PanelTarget target{};
  target.grid = plan.forms[form].grid;
  if (plan.forms[form].bfloat16) {
    target.bfloat16 = bfloat16.data() + at;
  } else {
    target.levels = levels[form].data() + at;
  }
  return target;
}

void Activations::make_room(const Parts& parts, const std::vector<LayerPlan>& plans,
                            const std::vector<HeadPlan>& head_plans, std::size_t panels) {
  const std::size_t narrow = checked_product(checked_product(panels, parts.hidden), kLanes);
  const std::size_t wide = checked_product(checked_product(panels, parts.intermediate), kLanes);
  hidden.values.resize(narrow);
  const std::size_t widest = std::max(parts.hidden, parts.embedding);
  moments.resize(panels * ((widest + kTileRows - 1) / kTileRows));
  if (parts.embedding_projection) {
    const std::size_t count = checked_product(checked_product(panels, parts.embedding), kLanes);
    embeddings.values.resize(count);
    embeddings.make_room(count, InputPlan({&*parts.embedding_projection}));
  }
  for (const LayerPlan& plan : plans) {
    hidden.make_room(narrow, plan.attention_input);
    hidden.make_room(narrow, plan.ffn_input);
    plan.integer_scores ? query.levels[0].resize(narrow) : query.values.resize(narrow);
    plan.integer_scores ? key.levels[0].resize(narrow) : key.values.resize(narrow);
    plan.integer_context ? value.levels[0].resize(narrow) : value.values.resize(narrow);
    context.make_room(narrow, plan.context);
    if (!plan.context.forms.empty() && plan.context.forms[0].bfloat16) context.values.resize(narrow);
    intermediate.make_room(wide, plan.intermediate);
    if (!plan.ffn_in.stays_levels()) intermediate.values.resize(wide);
  }
  for (std::size_t step = 0; step < parts.head.size(); ++step) {
    const Linear& linear = parts.head[step].linear;
    const bool every = parts.head_kind == HeadKind::kEveryToken;
    const std::size_t head_panels = every ? panels : 1;
    Tensor& input = every && step == 0 ? hidden : head[step % 2];
    input.make_room(checked_product(checked_product(head_panels, linear.columns()), kLanes), head_plans[step].input);
    if (!every && step == 0) input.values.resize(checked_product(linear.columns(), kLanes));
    head[(step + 1) % 2].values.resize(checked_product(checked_product(head_panels, linear.rows()), kLanes));
  }
}

std::size_t Activations::bytes() const {
  std::size_t total = moments.bytes();
  for (const Tensor* tensor : {&embeddings, &hidden, &query, &key, &value, &context, &intermediate, &head[0],
                               &head[1]}) {
    total += tensor->bytes();
  }
  return total;
}

void Scratch::make_room(const Parts& parts, std::size_t panels) {
  const std::size_t keys = panels * kLanes;
  accumulators.resize(std::size_t{kTileRows} * kLanes);
  levels.resize(std::size_t{kTileRows} * kLanes);
  attention.resize(attention_scratch_bytes(parts.hidden / parts.heads, static_cast<uint32_t>(keys)));
  lane_begin.resize(kLanes);
  lane_end.resize(kLanes);
  if (parts.relative_bias.size() != 0) bias.resize(keys * kLanes);
}

std::size_t Scratch::bytes() const {
  return accumulators.bytes() + attention.bytes() + bias.bytes() + levels.bytes() + lane_begin.bytes() +
         lane_end.bytes();
}

void Workspace::make_room(const Model& model, const std::vector<LayerPlan>& plans,
                          const std::vector<HeadPlan>& head_plans, std::size_t panels, std::size_t units,
                          std::size_t workers) {
  if (activations.size() < units) activations.resize(units);
  if (scratch.size() < workers) scratch.resize(workers);
  for (std::size_t i = 0; i < units; ++i) activations[i].make_room(model.parts(), plans, head_plans, panels);
  for (std::size_t i = 0; i < workers; ++i) scratch[i].make_room(model.parts(), panels);
}

std::size_t Workspace::bytes() const {
  std::size_t total = 0;
  for (const Activations& tensors : activations) total += tensors.bytes();
  for (const Scratch& memory : scratch) total += memory.bytes();
  return total;
}

}  // namespace pruneofa
