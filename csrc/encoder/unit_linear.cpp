// Linear layers of a unit: which rows are one item of work, and what follows a kernel.
#include <algorithm>

#include "encoder/unit.hpp"

namespace pruneofa {
namespace {

constexpr std::size_t kTilesPerWorker = 4;

}  // namespace

void UnitRun::linear(const LinearJob* jobs, std::size_t count, const Share& share) {
  std::size_t tiles = 0;
  for (std::size_t i = 0; i < count; ++i) tiles += (jobs[i].linear->rows() + kTileRows - 1) / kTileRows;
  // Few tiles, of rows that may be full or empty, do not come out even over the workers: then each panel of a tile is
  // an item of its own.
  const uint32_t panels = share.last - share.first;
  const uint32_t parts = tiles < kTilesPerWorker * share.loop.workers() && share.loop.is_shared() ? panels : 1;
  share.loop(tiles * parts, [&](std::size_t item, std::size_t worker) {
    const uint32_t part = static_cast<uint32_t>(item % parts);
    item /= parts;
    const LinearJob* job = jobs;
    for (;;) {
      const std::size_t own = (job->linear->rows() + kTileRows - 1) / kTileRows;
      if (item < own) break;
      item -= own;
      ++job;
    }
    const uint32_t begin = static_cast<uint32_t>(item) * kTileRows;
    const uint32_t end = std::min(begin + kTileRows, job->linear->rows());
    // These rows' weights stay in the cache while all panels pass.
    const uint32_t last = parts == 1 ? share.last : share.first + part + 1;
    for (uint32_t panel = share.first + part; panel < last && panel * kLanes < job->tokens; ++panel) {
      const uint32_t width = std::min(kLanes, job->tokens - panel * kLanes);
      linear_rows(*job, begin, end, panel, width, scratch_[worker]);
    }
  });
}

void UnitRun::linear_rows(const LinearJob& job, uint32_t row_begin, uint32_t row_end, uint32_t panel, uint32_t width,
                          Scratch& scratch) {
  const Linear& linear = *job.linear;
  const void* const input =
      job.input->place(*job.input_plan, job.input_choice, std::size_t{panel} * linear.columns() * kLanes);
  const std::size_t start = (std::size_t{panel} * linear.rows() + row_begin) * kLanes;
  float* const values = job.output->values.data() == nullptr ? nullptr : job.output->values.data() + start;
  if (linear.is_int8()) {
    const Int8Rows rows = linear.int8_rows();
    LinearInt8 call{};
    call.weights = &rows;
    call.row_begin = row_begin;
    call.row_end = row_end;
    call.panel = static_cast<const uint8_t*>(input);
    call.width = width;
    call.accumulators = scratch.accumulators.data();
    if (job.plan->levels) {
      call.activation = job.plan->activation;
      call.grid = job.plan->grid;
      call.levels = job.plan->stays_levels() ? job.output->levels[0].data() + start : scratch.levels.data();
    } else {
      call.values = values;
      call.residual = job.add_to_values ? values : nullptr;
    }
    kernels_.linear_int8(call);
  } else {
    const FloatRows rows = linear.float_rows();
    LinearFloat call{};
    call.weights = &rows;
    call.row_begin = row_begin;
    call.row_end = row_end;
    call.panel = input;
    call.width = width;
    call.accumulators = reinterpret_cast<float*>(scratch.accumulators.data());
    call.values = values;
    call.residual = job.add_to_values ? values : nullptr;
    (linear.is_bfloat16() ? kernels_.linear_bf16 : kernels_.linear_float)(call);
  }
  finish_rows(job, start, std::size_t{row_end - row_begin} * kLanes, scratch);
  if (job.add_to_values) {  // what LayerNorm will ask for, while the rows are in the cache
    const std::size_t tile = panel * tiles_of(parts_.hidden) + row_begin / kTileRows;
    kernels_.moments(values, row_end - row_begin, width, tensors_.moments[tile]);
  }
}

void UnitRun::finish_rows(const LinearJob& job, std::size_t start, std::size_t count, Scratch& scratch) {
  const OutputPlan& plan = *job.plan;
  if (plan.stays_levels()) {
    uint8_t* const levels = job.output->levels[0].data() + start;
    if (plan.level_map.size() != 0) kernels_.map_levels(levels, count, plan.level_map.data());
    return;
  }
  float* const values = job.output->values.data() + start;
  if (plan.value_map.size() != 0) {
    const float* const map = plan.value_map.data();
    const uint8_t* const levels = scratch.levels.data();
    if (job.add_to_values) {
      for (std::size_t i = 0; i < count; ++i) values[i] += map[levels[i]];
    } else {
      for (std::size_t i = 0; i < count; ++i) values[i] = map[levels[i]];
    }
  }
  if (plan.activation != Activation::kNone) kernels_.activate(values, count, plan.activation);
  if (plan.form) kernels_.convert(values, count, job.output->target(*job.output_plan, 0, start));
}

// Bring `values` into the forms of `plan`, where no LayerNorm has done so.
void UnitRun::prepare(Tensor& tensor, const InputPlan& plan, uint32_t features, uint32_t panels) {
  const std::size_t count = std::size_t{features} * kLanes;
  loop_(panels, [&](std::size_t panel, std::size_t) {
    for (std::size_t form = 0; form < plan.forms.size(); ++form) {
      kernels_.convert(tensor.values.data() + panel * count, count, tensor.target(plan, form, panel * count));
    }
  });
}

}  // namespace pruneofa
