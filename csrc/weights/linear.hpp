// The packed weights of one Linear, made once when a model is loaded and then only read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/buffer.hpp"
#include "kernels/kernels.hpp"

namespace pruneofa {

// A grid from its stored pair. Throws std::invalid_argument unless the scale is finite and at least 2^-60 and the zero
// point within 0..255; `what` names it.
Grid make_grid(float scale, int64_t zero_point, const char* what);

class Linear {
 public:
  static constexpr uint32_t kMaxFeatures = 65535;  // an int32 holds the largest sum of so many products

  // Pack int8 levels.
  //   levels: [rows, columns], row-major
  //   scales: [rows] or [1], finite and above 0
  //   bias: [rows] or null
  //   input: grid of the input; output: grid that y is put on, if any
  // Throws std::invalid_argument where something is out of range.
  static Linear int8(const int8_t* levels, std::size_t rows, std::size_t columns, const float* scales,
                     std::size_t scale_count, const float* bias, const Grid& input, const std::optional<Grid>& output);

  // Pack float weights, leaving out zeros; as pairs of bfloat16 where `bfloat16`.
  static Linear values(const float* weights, std::size_t rows, std::size_t columns, const float* bias, bool bfloat16);

  uint32_t rows() const { return rows_; }
  uint32_t columns() const { return columns_; }
  bool is_int8() const { return is_int8_; }
  bool is_bfloat16() const { return is_bfloat16_; }
  const Grid& input() const { return input_; }
  const std::optional<Grid>& output() const { return output_; }
  std::size_t nonzero() const { return nonzero_; }
  std::size_t bytes() const;

  // Views for the kernels; valid as long as this object, also when it is moved.
  Int8Rows int8_rows() const;
  FloatRows float_rows() const;

 private:
  Linear(std::size_t rows, std::size_t columns, uint32_t most_columns, const float* bias);

  uint32_t rows_ = 0;
  uint32_t columns_ = 0;
  uint32_t blocks_ = 0;
  uint32_t block_columns_ = 0;
  bool is_int8_ = false;
  bool is_bfloat16_ = false;
  bool small_levels_ = false;
  std::size_t nonzero_ = 0;
  Grid input_;
  std::optional<Grid> output_;
  Buffer<float> bias_;
  Buffer<uint32_t> starts_;
  Buffer<uint8_t> groups_;
  Buffer<int32_t> level_sums_;
  Buffer<float> multipliers_;
  Buffer<float> level_multipliers_, level_bias_;  // in steps of the output grid
  Buffer<uint16_t> column_numbers_;
  Buffer<float> values_;
  Buffer<uint16_t> pairs_;
};

}  // namespace pruneofa
