#include "encoder/plan.hpp"

#include <algorithm>
#include <cmath>

namespace pruneofa {
namespace {

std::optional<InputPlan::Form> form_of(const Linear& linear) {
  if (linear.is_int8()) return InputPlan::Form{false, linear.input()};
  if (linear.is_bfloat16()) return InputPlan::Form{true, Grid{}};
  return std::nullopt;
}

}  // namespace

InputPlan::InputPlan(std::initializer_list<const Linear*> linears) {
  for (const Linear* linear : linears) {
    const std::optional<Form> form = form_of(*linear);
    if (!form) {
      choice.push_back(kValues);
      continue;
    }
    const auto found = std::find(forms.begin(), forms.end(), *form);
    choice.push_back(static_cast<int>(found - forms.begin()));
    if (found == forms.end()) forms.push_back(*form);
  }
}

bool InputPlan::wants_values() const { return std::find(choice.begin(), choice.end(), kValues) != choice.end(); }

OutputPlan OutputPlan::values(const Linear& linear, Activation activation) {
  OutputPlan plan;
  if (linear.output()) {
    plan.levels = true;
    plan.grid = *linear.output();
    plan.value_map = value_table(plan.grid, activation);
  } else {
    plan.activation = activation;
  }
  return plan;
}

OutputPlan OutputPlan::into(const Linear& linear, Activation activation, const Linear& next) {
  OutputPlan plan = values(linear, activation);
  plan.form = form_of(next);
  if (plan.levels && plan.form && !plan.form->bfloat16) {
    plan.level_map = level_table(plan.grid, activation, plan.form->grid);
    plan.value_map = Buffer<float>();
    plan.form.reset();
  } else if (linear.is_int8() && plan.form && !plan.form->bfloat16) {
    plan.levels = true;  // the kernel applies the activation
    plan.grid = plan.form->grid;
    plan.form.reset();
  }
  return plan;
}

OutputPlan OutputPlan::own_levels(const Linear& linear) {
  OutputPlan plan;
  plan.levels = true;
  plan.grid = *linear.output();
  return plan;
}

LayerPlan::LayerPlan(const Parts& parts, const LayerParts& layer)
    : attention_input({&layer.query, &layer.key, &layer.value}),
      attention_output(OutputPlan::values(layer.attention_output, Activation::kNone)),
      ffn_in(OutputPlan::into(layer.ffn_in, parts.activation, layer.ffn_out)),
      ffn_out(OutputPlan::values(layer.ffn_out, Activation::kNone)),
      context({&layer.attention_output}),
      ffn_input({&layer.ffn_in}),
      intermediate({&layer.ffn_out}),
      integer_scores(layer.query.output() && layer.key.output()),
      integer_context(parts.attention_products) {
  const auto output = [](const Linear& linear, bool levels) {
    return levels ? OutputPlan::own_levels(linear) : OutputPlan::values(linear, Activation::kNone);
  };
  query = output(layer.query, integer_scores);
  key = output(layer.key, integer_scores);
  value = output(layer.value, integer_context);
  const double size = parts.hidden / parts.heads;
  double scale = 1 / std::sqrt(size);
  if (integer_scores) scale = double{query.grid.scale} * double{key.grid.scale} / std::sqrt(size);
  score_scale = static_cast<float>(scale);
}

}  // namespace pruneofa
