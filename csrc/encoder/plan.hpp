// What is decided once per model: in which form every Linear wants its input, and what follows its output.
#pragma once

#include <array>
#include <initializer_list>
#include <optional>
#include <vector>

#include "encoder/model.hpp"
#include "weights/tables.hpp"

namespace pruneofa {

// Forms of one tensor beside its float32 values: levels on some grids, bfloat16. Several Linears share what they can.
struct InputPlan {
  struct Form {
    bool bfloat16;
    Grid grid;
    bool operator==(const Form&) const = default;
  };
  static constexpr int kValues = -1;

  std::vector<Form> forms;  // at most kMaxTargets
  std::vector<int> choice;  // for each Linear, in the order given: index into `forms`, or kValues

  InputPlan() = default;
  InputPlan(std::initializer_list<const Linear*> linears);

  bool wants_values() const;
};

// What is done to the output of a Linear, row by row, after its kernel.
struct OutputPlan {
  bool levels = false;  // the kernel writes levels, on `grid`
  Grid grid;
  Buffer<uint8_t> level_map;                  // levels -> levels on the next grid
  Buffer<float> value_map;                    // levels -> values; the activation is in it
  Activation activation = Activation::kNone;  // of values that the kernel writes, or that it puts onto `grid`
  std::optional<InputPlan::Form> form;        // values -> this form

  // Whether what the kernel writes is never turned into values.
  bool stays_levels() const { return levels && value_map.size() == 0; }

  // Output that is wanted as float32 values.
  static OutputPlan values(const Linear& linear, Activation activation);
  // Output that is wanted in the form that `next` takes.
  static OutputPlan into(const Linear& linear, Activation activation, const Linear& next);
  // Output that stays on the Linear's own output grid.
  static OutputPlan own_levels(const Linear& linear);
};

// A Linear of a head.
struct HeadPlan {
  InputPlan input;
  OutputPlan output;
};

// One layer. `integer_scores`: q and k are used as levels; `integer_context`: v is.
class LayerPlan {
 public:
  LayerPlan(const Parts& parts, const LayerParts& layer);

  InputPlan attention_input;  // query, key, value
  OutputPlan query, key, value, attention_output, ffn_in, ffn_out;
  InputPlan context;       // attention_output
  InputPlan ffn_input;     // ffn_in
  InputPlan intermediate;  // ffn_out
  bool integer_scores;
  bool integer_context;
  float score_scale;
};

}  // namespace pruneofa
