// A whole model: what it is made of, and how it is run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/buffer.hpp"
#include "kernels/kernels.hpp"
#include "threads/per_process.hpp"
#include "threads/team.hpp"
#include "weights/embedding.hpp"
#include "weights/linear.hpp"

namespace pruneofa {

struct Norm {
  Buffer<float> gamma;
  Buffer<float> beta;
};

struct LayerParts {
  Linear query, key, value, attention_output, ffn_in, ffn_out;
  Norm attention_norm, output_norm;
};

// A Linear of a head and what follows it.
struct HeadStep {
  Linear linear;
  Activation activation;
};

enum class HeadKind : uint32_t { kNone, kFirstToken, kEveryToken };

struct Parts {
  uint32_t hidden = 0;
  uint32_t embedding = 0;  // size of the embeddings; where not `hidden`, embedding_projection leads there
  uint32_t heads = 0;
  uint32_t intermediate = 0;
  uint32_t max_tokens = 0;  // of one sequence
  float epsilon = 0;
  Activation activation = Activation::kGelu;
  bool attention_products = false;  // P * V on integers
  EmbeddingTable words, positions;
  std::optional<EmbeddingTable> types;
  Norm embedding_norm;
  std::optional<Linear> embedding_projection;  // behind embedding_norm
  std::vector<LayerParts> layers;
  Buffer<float> relative_bias;  // [heads][2 * max_tokens - 1] by key position - query position; or empty
  HeadKind head_kind = HeadKind::kNone;
  std::vector<HeadStep> head;
};

// Sequences one after the other, without padding. `offsets` holds count + 1 numbers; sequence i has the tokens
// offsets[i] to offsets[i + 1].
struct Batch {
  std::size_t count;
  const int64_t* offsets;
  const int32_t* ids;
  const int32_t* types;      // null: all 0
  const int32_t* positions;  // row of the position table
  const int32_t* order;      // place in the sequence, from 0: what relative positions are counted in
};

// Where results go; each may be null. In order of the batch.
struct Results {
  float* hidden;  // [tokens][hidden]
  float* logits;  // [sequences][labels], or [tokens][labels] of a head on every token
};

class Workspace;
struct Unit;
class LayerPlan;
struct HeadPlan;
class Loop;

// Whether a call shall end early. Asked on the calling thread, between units of work.
using Stop = std::function<bool()>;

// Safe to be run from several threads at once: each call has its own workspace. Works in forks of the process that made
// it too, with as many threads.
class Model {
 public:
  // `threads` cores at most for one call; fewer where the system gives no more threads. Throws std::invalid_argument where parts do not fit together.
  Model(Parts parts, const Kernels& kernels, std::size_t threads);
  ~Model();

  // False where `stop` ended it; the results are then incomplete. Throws std::invalid_argument for a number that is out
  // of range, std::bad_alloc where memory is short.
  bool run(const Batch& batch, const Results& results, const Stop& stop = {}) const;

  const Parts& parts() const { return parts_; }
  const Kernels& kernels() const { return kernels_; }
  std::size_t threads() const { return threads_; }
  std::size_t labels() const { return parts_.head.empty() ? 0 : parts_.head.back().linear.rows(); }
  std::size_t weight_bytes() const;
  std::size_t workspace_bytes() const;

 private:
  friend class UnitRun;

  struct Crew;

  void check_batch(const Batch& batch) const;

  Parts parts_;
  const Kernels& kernels_;
  std::vector<LayerPlan> plans_;
  std::vector<HeadPlan> head_plans_;
  mutable PerProcess<Crew> crew_;
  std::size_t threads_;
};

}  // namespace pruneofa
