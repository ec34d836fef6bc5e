// A unit of work: one sequence, or a few short ones that share a panel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "encoder/plan.hpp"
#include "encoder/workspace.hpp"
#include "threads/team.hpp"

namespace pruneofa {

// Tokens `start` to `start + length` of the unit are those of sequence `sequence` of the batch.
struct Segment {
  std::size_t sequence;
  uint32_t start;
  uint32_t length;
};

inline uint32_t panels_of(uint32_t tokens) { return (tokens + kLanes - 1) / kLanes; }

struct Unit {
  uint32_t tokens = 0;
  std::vector<Segment> segments;
  std::vector<std::size_t> batch_tokens;  // [tokens]: where each token is in the batch

  uint32_t panels() const { return panels_of(tokens); }
  // Lanes of a panel that hold tokens.
  uint32_t width(uint32_t panel) const {
    const uint32_t rest = tokens - panel * kLanes;
    return rest < kLanes ? rest : kLanes;
  }
};

// Longest first; sequences that fit into a panel together are put into one.
std::vector<Unit> make_units(const Batch& batch);

// Runs loops on a team, or on the calling worker alone.
class Loop {
 public:
  explicit Loop(Team& team) : team_(&team) {}
  explicit Loop(std::size_t worker) : worker_(worker) {}

  bool is_shared() const { return team_ != nullptr; }
  std::size_t workers() const { return team_ == nullptr ? 1 : team_->workers(); }

  template <class Body>
  void operator()(std::size_t count, Body&& body) const {
    if (team_ == nullptr) {
      for (std::size_t item = 0; item < count; ++item) body(item, worker_);
      return;
    }
    const auto call = [](void* context, std::size_t item, std::size_t worker) {
      (*static_cast<std::remove_reference_t<Body>*>(context))(item, worker);
    };
    team_->run(count, call, &body);
  }

 private:
  Team* team_ = nullptr;
  std::size_t worker_ = 0;
};

// Panels `first` to `last` of a unit, and who works on them.
struct Share {
  uint32_t first;
  uint32_t last;
  Loop loop;
};

// One unit through the whole model.
class UnitRun {
 public:
  UnitRun(const Model& model, const std::vector<LayerPlan>& plans, const std::vector<HeadPlan>& head_plans,
          const Batch& batch, const Unit& unit, Activations& tensors, std::vector<Scratch>& scratch, Loop loop);

  void run(const Results& results);

 private:
  // A Linear, its input and output.
  struct LinearJob {
    const Linear* linear;
    const OutputPlan* plan;
    Tensor* input;
    const InputPlan* input_plan;
    int input_choice;
    Tensor* output;
    const InputPlan* output_plan;  // of `output`'s forms; null: values, or levels[0] where the plan has levels
    bool add_to_values;            // y + values -> values
    uint32_t tokens;               // of the output that are wanted: the first so many
  };

  void embed();
  void embed_tile(uint32_t panel, uint32_t tile, Tensor& tensor);
  void project_embeddings(const InputPlan& plan, const InputPlan* next);
  void normalise(const Norm& norm, const InputPlan* plan, uint32_t tokens, const Share& share) {
    normalise(norm, tensors_.hidden, parts_.hidden, plan, tokens, share);
  }
  void normalise(const Norm& norm, Tensor& tensor, uint32_t features, const InputPlan* plan, uint32_t tokens,
                 const Share& share);
  void layer(std::size_t number);
  void project(std::size_t number, const Share& share);
  void attend_and_feed(std::size_t number, const Share& share);
  void attend(const LayerPlan& plan, uint32_t tokens, const Share& share);
  void attend_panel(const LayerPlan& plan, uint32_t head, uint32_t panel, uint32_t tokens, Scratch& scratch);
  void linear(const LinearJob* jobs, std::size_t count, const Share& share);
  void linear_rows(const LinearJob& job, uint32_t row_begin, uint32_t row_end, uint32_t panel, uint32_t width,
                   Scratch& scratch);
  void finish_rows(const LinearJob& job, std::size_t start, std::size_t count, Scratch& scratch);
  void fill_bias(uint32_t head, uint32_t panel, float* bias) const;
  void run_head(const Results& results);
  void gather_first_tokens(Tensor& to);
  void prepare(Tensor& tensor, const InputPlan& plan, uint32_t features, uint32_t panels);
  void write_hidden(float* hidden) const;
  void write_logits(const Tensor& tensor, float* logits) const;
  // A layer's output is wanted for the unit's first so many tokens.
  uint32_t wanted_tokens(std::size_t number) const;
  static uint32_t tiles_of(uint32_t features) { return (features + kTileRows - 1) / kTileRows; }
  std::size_t token_of_batch(const Segment& segment, uint32_t index) const {
    return static_cast<std::size_t>(batch_.offsets[segment.sequence]) + index;
  }

  const Model& model_;
  const Parts& parts_;
  const Kernels& kernels_;
  const std::vector<LayerPlan>& plans_;
  const std::vector<HeadPlan>& head_plans_;
  const Batch& batch_;
  const Unit& unit_;
  Activations& tensors_;
  std::vector<Scratch>& scratch_;
  const Loop loop_;
  bool only_first_tokens_ = false;  // of the last layer's output only each sequence's first token is asked for
};

}  // namespace pruneofa
