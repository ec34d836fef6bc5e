#include "encoder/unit.hpp"

#include <algorithm>
#include <numeric>

namespace pruneofa {

std::vector<Unit> make_units(const Batch& batch) {
  const auto length = [&](std::size_t i) { return static_cast<uint32_t>(batch.offsets[i + 1] - batch.offsets[i]); };
  std::vector<std::size_t> order(batch.count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return length(a) > length(b); });
  std::vector<Unit> units;
  // Units by the lanes that are free in them: the best fit is found in at most 64 steps.
  std::vector<std::vector<std::size_t>> with_room(kLanes + 1);
  for (const std::size_t sequence : order) {
    const uint32_t tokens = length(sequence);
    uint32_t room = tokens;
    while (room <= kLanes && with_room[room].empty()) ++room;
    std::size_t chosen = units.size();
    if (room <= kLanes) {
      chosen = with_room[room].back();
      with_room[room].pop_back();
    } else {
      units.emplace_back();
    }
    Unit& unit = units[chosen];
    unit.segments.push_back({sequence, unit.tokens, tokens});
    for (uint32_t i = 0; i < tokens; ++i)
      unit.batch_tokens.push_back(static_cast<std::size_t>(batch.offsets[sequence]) + i);
    unit.tokens += tokens;
    if (unit.tokens < kLanes) with_room[kLanes - unit.tokens].push_back(chosen);
  }
  return units;
}

UnitRun::UnitRun(const Model& model, const std::vector<LayerPlan>& plans, const std::vector<HeadPlan>& head_plans,
                 const Batch& batch, const Unit& unit, Activations& tensors, std::vector<Scratch>& scratch, Loop loop)
    : model_(model),
      parts_(model.parts()),
      kernels_(model.kernels()),
      plans_(plans),
      head_plans_(head_plans),
      batch_(batch),
      unit_(unit),
      tensors_(tensors),
      scratch_(scratch),
      loop_(loop) {}

void UnitRun::run(const Results& results) {
  only_first_tokens_ = results.hidden == nullptr && parts_.head_kind == HeadKind::kFirstToken;
  embed();
  for (std::size_t number = 0; number < parts_.layers.size(); ++number) layer(number);
  if (results.hidden != nullptr) write_hidden(results.hidden);
  if (results.logits != nullptr) run_head(results);
}

void UnitRun::embed() {
  const bool is_projected = parts_.embedding_projection.has_value();
  Tensor& sums = is_projected ? tensors_.embeddings : tensors_.hidden;
  const uint32_t tiles = tiles_of(parts_.embedding);
  loop_(std::size_t{unit_.panels()} * tiles, [&](std::size_t item, std::size_t) {
    embed_tile(static_cast<uint32_t>(item / tiles), static_cast<uint32_t>(item % tiles), sums);
  });
  const InputPlan* const next = plans_.empty() ? nullptr : &plans_[0].attention_input;
  InputPlan projection;
  if (is_projected) projection = InputPlan({&*parts_.embedding_projection});
  normalise(parts_.embedding_norm, sums, parts_.embedding, is_projected ? &projection : next, unit_.tokens,
            {0, unit_.panels(), loop_});
  if (is_projected) project_embeddings(projection, next);
}

// From the embeddings' size to the layers'.
void UnitRun::project_embeddings(const InputPlan& plan, const InputPlan* next) {
  const Linear& projection = *parts_.embedding_projection;
  const OutputPlan output = OutputPlan::values(projection, Activation::kNone);
  const LinearJob job{&projection, &output, &tensors_.embeddings, &plan, plan.choice[0],
                      &tensors_.hidden, nullptr, false, unit_.tokens};
  linear(&job, 1, {0, unit_.panels(), loop_});
  if (next != nullptr) prepare(tensors_.hidden, *next, parts_.hidden, unit_.panels());
}

// Sums of embeddings of one tile of features, turned into a panel.
void UnitRun::embed_tile(uint32_t panel, uint32_t tile, Tensor& tensor) {
  const uint32_t width = unit_.width(panel), begin = tile * kTileRows;
  const uint32_t count = std::min(kTileRows, parts_.embedding - begin);
  float* const to = tensor.values.data() + (std::size_t{panel} * parts_.embedding + begin) * kLanes;
  for (uint32_t lane = 0; lane < (width + 15) / 16 * 16; ++lane) {
    float sums[kTileRows] = {};
    if (lane < width) {
      const std::size_t token = unit_.batch_tokens[panel * kLanes + lane];
      // The order of the model's own additions: (word + type) + position.
      parts_.words.add(batch_.ids[token], begin, count, sums);
      if (parts_.types) parts_.types->add(batch_.types == nullptr ? 0 : batch_.types[token], begin, count, sums);
      parts_.positions.add(batch_.positions[token], begin, count, sums);
    }
    for (uint32_t i = 0; i < count; ++i) to[std::size_t{i} * kLanes + lane] = sums[i];
  }
  kernels_.moments(to, count, width, tensors_.moments[panel * tiles_of(parts_.embedding) + tile]);
}

void UnitRun::normalise(const Norm& norm, Tensor& tensor, uint32_t features, const InputPlan* plan, uint32_t tokens,
                        const Share& share) {
  // Lanes are independent, so any split gives the same numbers.
  const uint32_t size = share.loop.is_shared() ? kLanes / 2 : kLanes;
  const std::size_t stride = std::size_t{features} * kLanes;
  const uint32_t begin = share.first * kLanes, end = std::min(share.last * kLanes, (tokens + 15) / 16 * 16);
  share.loop((end - begin + size - 1) / size, [&](std::size_t item, std::size_t) {
    const uint32_t first = begin + static_cast<uint32_t>(item) * size;
    const uint32_t panel = first / kLanes, lane = first % kLanes;
    LayerNorm call{};
    call.moments = tensors_.moments.data() + std::size_t{panel} * tiles_of(features);
    call.values = tensor.values.data() + panel * stride;
    call.features = features;
    call.lane_begin = lane;
    call.lane_end = std::min(lane + size, end - panel * kLanes);
    call.gamma = norm.gamma.data();
    call.beta = norm.beta.data();
    call.epsilon = parts_.epsilon;
    call.target_count = plan == nullptr ? 0 : static_cast<uint32_t>(plan->forms.size());
    for (uint32_t i = 0; i < call.target_count; ++i) call.targets[i] = tensor.target(*plan, i, panel * stride);
    kernels_.layer_norm(call);
  });
}

uint32_t UnitRun::wanted_tokens(std::size_t number) const {
  if (!only_first_tokens_ || number + 1 < parts_.layers.size()) return unit_.tokens;
  return unit_.segments.back().start + 1;
}

// Panels that come out even over the workers are dealt out, so that a panel's activations stay in one core's caches and
// the workers meet twice a layer. Else each step is split by itself.
void UnitRun::layer(std::size_t number) {
  const uint32_t workers = static_cast<uint32_t>(loop_.workers());
  const uint32_t panels = unit_.panels(), wanted = panels_of(wanted_tokens(number));
  const auto is_dealt = [&](uint32_t count) { return workers > 1 && count % workers == 0; };
  const auto share = [&](uint32_t count, std::size_t item, std::size_t worker) {
    const uint32_t size = count / workers, first = static_cast<uint32_t>(item) * size;
    return Share{first, first + size, Loop(worker)};
  };
  if (is_dealt(panels)) {
    loop_(workers, [&](std::size_t item, std::size_t worker) { project(number, share(panels, item, worker)); });
  } else {
    project(number, {0, panels, loop_});
  }
  if (is_dealt(wanted)) {
    loop_(workers, [&](std::size_t item, std::size_t worker) { attend_and_feed(number, share(wanted, item, worker)); });
  } else {
    attend_and_feed(number, {0, wanted, loop_});
  }
}

// Queries, keys and values. All panels' are needed before attention begins.
void UnitRun::project(std::size_t number, const Share& share) {
  const LayerParts& layer = parts_.layers[number];
  const LayerPlan& plan = plans_[number];
  Tensor& hidden = tensors_.hidden;
  const InputPlan& input = plan.attention_input;
  const uint32_t all = unit_.tokens, wanted = wanted_tokens(number);
  const LinearJob projections[] = {
      {&layer.query, &plan.query, &hidden, &input, input.choice[0], &tensors_.query, nullptr, false, wanted},
      {&layer.key, &plan.key, &hidden, &input, input.choice[1], &tensors_.key, nullptr, false, all},
      {&layer.value, &plan.value, &hidden, &input, input.choice[2], &tensors_.value, nullptr, false, all},
  };
  linear(projections, 3, share);
}

// The rest of a layer, from queries, keys and values on.
void UnitRun::attend_and_feed(std::size_t number, const Share& share) {
  const LayerParts& layer = parts_.layers[number];
  const LayerPlan& plan = plans_[number];
  const uint32_t tokens = wanted_tokens(number);
  Tensor& hidden = tensors_.hidden;
  attend(plan, tokens, share);
  const LinearJob attention_output{&layer.attention_output,
                                   &plan.attention_output,
                                   &tensors_.context,
                                   &plan.context,
                                   plan.context.choice[0],
                                   &hidden,
                                   nullptr,
                                   true,
                                   tokens};
  linear(&attention_output, 1, share);
  normalise(layer.attention_norm, &plan.ffn_input, tokens, share);
  const LinearJob ffn_in{&layer.ffn_in,
                         &plan.ffn_in,
                         &hidden,
                         &plan.ffn_input,
                         plan.ffn_input.choice[0],
                         &tensors_.intermediate,
                         &plan.intermediate,
                         false,
                         tokens};
  linear(&ffn_in, 1, share);
  const LinearJob ffn_out{&layer.ffn_out,
                          &plan.ffn_out,
                          &tensors_.intermediate,
                          &plan.intermediate,
                          plan.intermediate.choice[0],
                          &hidden,
                          nullptr,
                          true,
                          tokens};
  linear(&ffn_out, 1, share);
  const InputPlan* next = nullptr;
  if (number + 1 < parts_.layers.size()) {
    next = &plans_[number + 1].attention_input;
  } else if (parts_.head_kind == HeadKind::kEveryToken) {
    next = &head_plans_[0].input;
  }
  normalise(layer.output_norm, next, tokens, share);
}

void UnitRun::write_hidden(float* hidden) const {
  const std::size_t features = parts_.hidden;
  for (const Segment& segment : unit_.segments) {
    for (uint32_t i = 0; i < segment.length; ++i) {
      const std::size_t lane = segment.start + i;
      const float* const column = tensors_.hidden.values.data() + lane / kLanes * features * kLanes + lane % kLanes;
      float* const row = hidden + token_of_batch(segment, i) * features;
      for (std::size_t k = 0; k < features; ++k) row[k] = column[k * kLanes];
    }
  }
}

}  // namespace pruneofa
