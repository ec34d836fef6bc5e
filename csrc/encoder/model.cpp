#include "encoder/model.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <stdexcept>
#include <string>

#include "encoder/plan.hpp"
#include "encoder/unit.hpp"
#include "encoder/workspace.hpp"
#include "threads/default_floats.hpp"
#include "threads/team.hpp"

namespace pruneofa {
namespace {

constexpr std::size_t kMaxThreads = 256;
constexpr std::size_t kMaxTokens = std::size_t{1} << 15;  // sums over keys stay within an int32

void require(bool holds, const std::string& message) {
  if (!holds) throw std::invalid_argument(message);
}

void check_linear(const Linear& linear, std::size_t rows, std::size_t columns, const std::string& name) {
  require(linear.rows() == rows && linear.columns() == columns,
          name + " has the shape [" + std::to_string(linear.rows()) + ", " + std::to_string(linear.columns()) +
              "], the model needs [" + std::to_string(rows) + ", " + std::to_string(columns) + "]");
}

void check_norm(const Norm& norm, std::size_t size, const std::string& name) {
  require(norm.gamma.size() == size && norm.beta.size() == size,
          name + " has " + std::to_string(norm.gamma.size()) + " and " + std::to_string(norm.beta.size()) +
              " values, the model needs " + std::to_string(size));
}

void check_layer(const Parts& parts, const LayerParts& layer, const std::string& name) {
  check_linear(layer.query, parts.hidden, parts.hidden, name + "query");
  check_linear(layer.key, parts.hidden, parts.hidden, name + "key");
  check_linear(layer.value, parts.hidden, parts.hidden, name + "value");
  check_linear(layer.attention_output, parts.hidden, parts.hidden, name + "attention_output");
  check_linear(layer.ffn_in, parts.intermediate, parts.hidden, name + "ffn_in");
  check_linear(layer.ffn_out, parts.hidden, parts.intermediate, name + "ffn_out");
  check_norm(layer.attention_norm, parts.hidden, name + "attention_norm");
  check_norm(layer.output_norm, parts.hidden, name + "output_norm");
  require(!parts.attention_products || (layer.query.output() && layer.key.output() && layer.value.output()),
          name + "attention_products needs output grids of query, key and value");
}

void check_parts(const Parts& parts) {
  require(
      parts.hidden >= 1 && parts.heads >= 1 && parts.hidden % parts.heads == 0,
      "hidden size " + std::to_string(parts.hidden) + " is no multiple of " + std::to_string(parts.heads) + " heads");
  require(parts.hidden / parts.heads <= 1024,
          "a head has " + std::to_string(parts.hidden / parts.heads) + " features, allowed are 1 to 1024");
  require(parts.max_tokens >= 1 && parts.max_tokens <= kMaxTokens,
          "max_tokens is " + std::to_string(parts.max_tokens) + ", allowed is 1 to " + std::to_string(kMaxTokens));
  require(std::isfinite(parts.epsilon) && parts.epsilon > 0, "epsilon must be finite and above 0");
  require(parts.words.columns() == parts.embedding && parts.positions.columns() == parts.embedding &&
              (!parts.types || parts.types->columns() == parts.embedding),
          "an embedding table does not have " + std::to_string(parts.embedding) + " columns");
  check_norm(parts.embedding_norm, parts.embedding, "embedding_norm");
  if (parts.embedding_projection) {
    check_linear(*parts.embedding_projection, parts.hidden, parts.embedding, "embedding_projection");
  } else {
    require(parts.embedding == parts.hidden, "embeddings of " + std::to_string(parts.embedding) +
                                                 " features need a projection to " + std::to_string(parts.hidden));
  }
  for (std::size_t i = 0; i < parts.layers.size(); ++i) {
    check_layer(parts, parts.layers[i], "layer " + std::to_string(i) + ": ");
  }
  const std::size_t distances = 2 * std::size_t{parts.max_tokens} - 1;
  require(parts.relative_bias.size() == 0 || parts.relative_bias.size() == parts.heads * distances,
          "relative_bias has " + std::to_string(parts.relative_bias.size()) + " values, the model needs " +
              std::to_string(parts.heads * distances));
  require((parts.head_kind == HeadKind::kNone) == parts.head.empty(), "a head has Linear layers, no head has none");
  std::size_t columns = parts.hidden;
  for (const HeadStep& step : parts.head) {
    check_linear(step.linear, step.linear.rows(), columns, "a Linear of the head");
    columns = step.linear.rows();
  }
}

std::size_t checked_threads(std::size_t threads) {
  require(threads >= 1 && threads <= kMaxThreads,
          "threads is " + std::to_string(threads) + ", allowed is 1 to " + std::to_string(kMaxThreads));
  return threads;
}

}  // namespace

// Threads, and the memory that calls compute in.
struct Model::Crew {
  explicit Crew(std::size_t workers) : team(workers) {}

  std::unique_ptr<Workspace> take_workspace() {
    const std::lock_guard<std::mutex> lock(mutex);
    if (workspaces.empty()) return std::make_unique<Workspace>();
    std::unique_ptr<Workspace> workspace = std::move(workspaces.back());
    workspaces.pop_back();
    return workspace;
  }

  void give_back(std::unique_ptr<Workspace> workspace) {
    const std::lock_guard<std::mutex> lock(mutex);
    workspaces.push_back(std::move(workspace));
  }

  std::size_t bytes() {
    const std::lock_guard<std::mutex> lock(mutex);
    std::size_t total = 0;
    for (const std::unique_ptr<Workspace>& workspace : workspaces) total += workspace->bytes();
    return total;
  }

  Team team;

 private:
  std::mutex mutex;
  std::vector<std::unique_ptr<Workspace>> workspaces;
};

Model::Model(Parts parts, const Kernels& kernels, std::size_t threads)
    : parts_(std::move(parts)),
      kernels_(kernels),
      crew_([workers = checked_threads(threads)] { return std::make_unique<Crew>(workers); }),
      threads_(crew_.get().team.workers()) {
  check_parts(parts_);
  for (const LayerParts& layer : parts_.layers) plans_.emplace_back(parts_, layer);
  for (const HeadStep& step : parts_.head) {
    head_plans_.push_back({InputPlan({&step.linear}), OutputPlan::values(step.linear, step.activation)});
  }
}

Model::~Model() = default;

void Model::check_batch(const Batch& batch) const {
  for (std::size_t i = 0; i < batch.count; ++i) {
    const int64_t length = batch.offsets[i + 1] - batch.offsets[i];
    require(length >= 1 && length <= static_cast<int64_t>(parts_.max_tokens),
            "sequence " + std::to_string(i) + " has " + std::to_string(length) + " tokens, allowed are 1 to " +
                std::to_string(parts_.max_tokens));
  }
  const auto check = [&](const int32_t* numbers, std::size_t allowed, const char* name) {
    for (int64_t i = 0; numbers != nullptr && i < batch.offsets[batch.count]; ++i) {
      require(numbers[i] >= 0 && static_cast<std::size_t>(numbers[i]) < allowed,
              std::string(name) + " holds " + std::to_string(numbers[i]) + ", allowed is 0 to " +
                  std::to_string(allowed - 1));
    }
  };
  check(batch.ids, parts_.words.rows(), "input_ids");
  check(batch.types, parts_.types ? parts_.types->rows() : 1, "token_type_ids");
  check(batch.positions, parts_.positions.rows(), "positions");
  check(batch.order, parts_.max_tokens, "order");
}

bool Model::run(const Batch& batch, const Results& results, const Stop& stop) const {
  if (batch.count == 0) return true;
  check_batch(batch);
  const std::vector<Unit> units = make_units(batch);
  std::size_t panels = 0;
  for (const Unit& unit : units) panels = std::max<std::size_t>(panels, unit.panels());
  Crew& crew = crew_.get();
  Team& team = crew.team;
  struct Acquired {
    Team& team;
    const bool yes;
    ~Acquired() {
      if (yes) team.release();
    }
  } acquired{team, team.try_acquire()};
  const DefaultFloats floats;
  const std::size_t workers = acquired.yes ? team.workers() : 1;
  // Whole units side by side, as many as come out even; each of the rest is split over all workers.
  const std::size_t side_by_side = workers == 1 ? 0 : units.size() / workers * workers;
  std::unique_ptr<Workspace> workspace = crew.take_workspace();
  workspace->make_room(*this, plans_, head_plans_, panels, side_by_side == 0 ? 1 : workers, workers);
  std::atomic<bool> stopped{false};
  const auto run_unit = [&](const Unit& unit, std::size_t worker, Loop loop) {
    if (worker == 0 && stop && !stopped.load(std::memory_order_relaxed) && stop()) stopped = true;
    if (stopped.load(std::memory_order_relaxed)) return;
    UnitRun(*this, plans_, head_plans_, batch, unit, workspace->activations[worker], workspace->scratch, loop)
        .run(results);
  };
  if (side_by_side > 0) {
    const Loop shared(team);
    shared(side_by_side, [&](std::size_t item, std::size_t worker) { run_unit(units[item], worker, Loop(worker)); });
  }
  for (std::size_t i = side_by_side; i < units.size(); ++i) {
    run_unit(units[i], 0, acquired.yes ? Loop(team) : Loop(std::size_t{0}));
  }
  crew.give_back(std::move(workspace));
  return !stopped;
}

std::size_t Model::weight_bytes() const {
  std::size_t total = parts_.words.bytes() + parts_.positions.bytes() + parts_.relative_bias.bytes();
  if (parts_.types) total += parts_.types->bytes();
  if (parts_.embedding_projection) total += parts_.embedding_projection->bytes();
  for (const LayerParts& layer : parts_.layers) {
    for (const Linear* linear :
         {&layer.query, &layer.key, &layer.value, &layer.attention_output, &layer.ffn_in, &layer.ffn_out}) {
      total += linear->bytes();
    }
  }
  for (const HeadStep& step : parts_.head) total += step.linear.bytes();
  return total;
}

std::size_t Model::workspace_bytes() const { return crew_.get().bytes(); }

}  // namespace pruneofa
