// What a set of kernels can do, and the table that one instruction set fills.
//
// Activations lie in panels: a panel holds up to 64 tokens ("lanes"), feature after feature, [features][64]. Kernels
// see raw pointers only, never allocate and never throw. `width` says how many lanes of a panel hold tokens; a kernel
// may compute and write further lanes, whose content has no meaning.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pruneofa {

inline constexpr uint32_t kLanes = 64;

// Columns of a weight that are multiplied in one go: their 64 lanes stay close to the core, and 64 times a column's
// number in its block fits into 16 bits.
inline constexpr uint32_t kMaxBlockColumns = 1024;

// Rows of a weight that are one piece of work: their weights stay close to the core while all panels pass.
inline constexpr uint32_t kTileRows = 64;

// A uint8 grid: value = (level - zero_point) * scale, level = clamp(rint(value * inverse_scale) + zero_point, 0, 255).
struct Grid {
  float scale = 1.0f;
  float inverse_scale = 1.0f;
  int32_t zero_point = 0;

  bool operator==(const Grid&) const = default;
};

// int8 weights [rows, columns], of which only those that are not zero are stored, four to a group.
struct Int8Rows {
  static constexpr uint32_t kGroupBytes = 12;

  const uint8_t* groups;      // 4 x uint16: 64 * column in its block; 4 x int8: levels (0 where a group is not full)
  const uint32_t* starts;     // [blocks * rows + 1]: first group of a row in a block of columns
  const int32_t* level_sums;  // [rows]: sum of the row's levels
  const float* multipliers;   // [rows]: input scale * weight scale
  const float* bias;          // [rows]
  const float* level_multipliers;  // [rows]: multipliers and bias in steps of the output grid; null without one
  const float* level_bias;
  uint32_t rows;
  uint32_t blocks;
  uint32_t block_columns;
  int32_t input_zero_point;
  bool small_levels;  // no y / scale of the output grid can leave the range of an int32
};

// What `hidden_act` of a configuration may be.
enum class Activation : uint32_t { kNone, kGelu, kGeluTanh, kRelu, kTanh };

// One panel through one tile of an int8 Linear: y = (sum of (x - z) w) * multiplier + bias. Either `levels` (y on
// `grid`, after `activation` where the weights have no output grid) or `values` (y, plus `residual` where there is one)
// is written. `residual` may be `values`.
struct LinearInt8 {
  const Int8Rows* weights;
  uint32_t row_begin;    // a multiple of kTileRows
  uint32_t row_end;      // kTileRows on, or the number of rows
  const uint8_t* panel;  // [columns][64]
  uint32_t width;
  int32_t* accumulators;  // [kTileRows][64], used where there is more than one block
  Activation activation;
  Grid grid;
  uint8_t* levels;  // [row_end - row_begin][64], as the next two
  float* values;
  const float* residual;
};

// Float weights [rows, columns], zeros left out. With bfloat16, two to a pair.
struct FloatRows {
  const uint32_t* starts;   // [blocks * rows + 1]: first weight (float32) or pair (bfloat16) of a row in a block
  const uint16_t* columns;  // float32: column in its block
  const float* values;      // float32
  const uint16_t* pairs;    // bfloat16: 2 x column in its block, 2 x value, 8 bytes in all
  const float* bias;        // [rows]
  uint32_t rows;
  uint32_t blocks;
  uint32_t block_columns;
};

// One panel through some rows of a float Linear; `panel` is float [columns][64], or bfloat16 for `linear_bf16`.
struct LinearFloat {
  const FloatRows* weights;
  uint32_t row_begin;
  uint32_t row_end;
  const void* panel;
  uint32_t width;
  float* accumulators;  // as in LinearInt8, and the next two
  float* values;
  const float* residual;
};

// Attention of one head for the queries of one panel, over keys `key_begin` to `key_end` of the same tokens.
//
// Features of the head are consecutive rows of panels; `key` and `value` point at the head's first row in panel 0, the
// next panel is `panel_stride` elements on. Queries and keys come as levels or as values, so do values of v.
struct Attention {
  uint32_t head_size;
  uint32_t width;  // queries in this panel
  uint32_t key_begin;
  uint32_t key_end;
  std::size_t panel_stride;
  const uint8_t* query_levels;  // [head_size][64] of this panel; with key_levels, or both null
  const uint8_t* key_levels;
  const float* query_values;
  const float* key_values;
  const uint8_t* value_levels;  // integer products P * V, or null
  const float* value_values;
  int32_t query_zero_point;
  int32_t key_zero_point;
  int32_t value_zero_point;
  float score_scale;          // from the (integer) products of q and k to scores
  float value_scale;          // of value_levels
  const float* bias;          // [key_end][64], added to scores; or null
  const uint8_t* lane_begin;  // [key_end]: the lanes that see a key; null: all see all
  const uint8_t* lane_end;
  uint8_t* scratch;         // attention_scratch_bytes(head_size, key_end), aligned to 64 bytes
  Grid grid;                // of context_levels
  uint8_t* context_levels;  // [head_size][64], or null
  float* context_values;    // [head_size][64], or null
};

// A further form that a normalised or otherwise computed panel is written in.
struct PanelTarget {
  uint8_t* levels;     // [rows][64] on `grid`, or null
  uint16_t* bfloat16;  // [rows][64], or null
  Grid grid;
};

inline constexpr uint32_t kMaxTargets = 4;

// Mean and sum of squared differences from it, lane by lane, over up to kTileRows features.
struct Moments {
  float mean[kLanes];
  float squares[kLanes];
};

// LayerNorm over the features of lanes `lane_begin` to `lane_end` (multiples of 16) of a panel, in place, from the
// moments of its tiles of features.
struct LayerNorm {
  const Moments* moments;  // [features / kTileRows, rounded up]
  float* values;           // [features][64]
  uint32_t features;
  uint32_t lane_begin;
  uint32_t lane_end;
  const float* gamma;  // [features]
  const float* beta;   // [features]
  float epsilon;
  uint32_t target_count;
  PanelTarget targets[kMaxTargets];
};

// One instruction set's kernels. All give the same bits, but for float weights and float attention products, where
// some round once per product and sum and others twice.
struct Kernels {
  const char* name;
  bool (*is_supported)();
  void (*linear_int8)(const LinearInt8&);
  void (*linear_float)(const LinearFloat&);
  void (*linear_bf16)(const LinearFloat&);  // null where the set has no bfloat16 products
  void (*attention)(const Attention&);
  // Moments of `features` (at most kTileRows) rows of [features][64] in lanes 0 to `width`.
  void (*moments)(const float* values, uint32_t features, uint32_t width, Moments& moments);
  void (*layer_norm)(const LayerNorm&);
  // levels[i] = table[levels[i]]; table has 256 entries.
  void (*map_levels)(uint8_t* levels, std::size_t count, const uint8_t* table);
  // Put `count` values (a multiple of 64) into further forms.
  void (*convert)(const float* values, std::size_t count, const PanelTarget& target);
  // values[i] = activation(values[i]); `count` is a multiple of 64.
  void (*activate)(float* values, std::size_t count, Activation activation);
};

// Bytes of scratch that `Kernels::attention` needs.
std::size_t attention_scratch_bytes(uint32_t head_size, uint32_t key_end);

// All sets that this build holds, best first; the last is the portable one.
const Kernels* const* all_kernels(std::size_t& count);

// The set called `name`, or the best one that this machine supports where `name` is empty.
// Throws std::invalid_argument for a name that is unknown or that this machine does not support.
const Kernels& select_kernels(const char* name);

// In avx512_vbmi.cpp, for processors that have it: as `Kernels::map_levels`.
void map_levels_vbmi(uint8_t* levels, std::size_t count, const uint8_t* table);

}  // namespace pruneofa
