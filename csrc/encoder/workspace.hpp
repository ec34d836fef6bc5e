// Memory that one call computes in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/buffer.hpp"
#include "encoder/model.hpp"
#include "encoder/plan.hpp"

namespace pruneofa {

// A tensor of panels [panels][features][64] in the forms that somebody asks for.
struct Tensor {
  Buffer<float> values;
  Buffer<uint8_t> levels[kMaxTargets];
  Buffer<uint16_t> bfloat16;

  void make_room(std::size_t elements, const InputPlan& plan);
  std::size_t bytes() const;
  // The memory of a form, from element `at` on.
  void* place(const InputPlan& plan, int choice, std::size_t at);
  PanelTarget target(const InputPlan& plan, std::size_t form, std::size_t at);
};

// All tensors of one unit of work.
struct Activations {
  Buffer<Moments> moments;  // [panels][tiles of features]
  Tensor embeddings;        // where a projection follows
  Tensor hidden, query, key, value, context, intermediate;
  Tensor head[2];  // input and output of a step of the head, in turn

  void make_room(const Parts& parts, const std::vector<LayerPlan>& plans, const std::vector<HeadPlan>& head_plans,
                 std::size_t panels);
  std::size_t bytes() const;
};

// What each worker needs for itself.
struct Scratch {
  Buffer<int32_t> accumulators;
  Buffer<uint8_t> attention;
  Buffer<float> bias;      // [keys][64]
  Buffer<uint8_t> levels;  // [kTileRows][64]: outputs on their way to values
  Buffer<uint8_t> lane_begin, lane_end;

  void make_room(const Parts& parts, std::size_t panels);
  std::size_t bytes() const;
};

class Workspace {
 public:
  // Room for units of up to `panels` panels: tensors for `units` at a time, scratch for `workers`.
  void make_room(const Model& model, const std::vector<LayerPlan>& plans, const std::vector<HeadPlan>& head_plans,
                 std::size_t panels, std::size_t units, std::size_t workers);
  std::size_t bytes() const;

  std::vector<Activations> activations;
  std::vector<Scratch> scratch;
};

}  // namespace pruneofa
