#include "weights/linear.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

namespace pruneofa {
namespace {

constexpr float kSmallestScale = 0x1p-60f;

void require(bool holds, const std::string& message) {
  if (!holds) throw std::invalid_argument(message);
}

uint32_t as_count(std::size_t count) {
  require(count <= std::numeric_limits<uint32_t>::max(), "a weight has more than 2^32 groups of non-zeros");
  return static_cast<uint32_t>(count);
}

uint16_t to_bfloat16(float value) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

// Columns of the non-zeros of `count` elements, without a branch per element.
template <class T>
std::size_t find_nonzero(const T* elements, std::size_t count, uint16_t* columns) {
  std::size_t found = 0;
  for (std::size_t i = 0; i < count; ++i) {
    columns[found] = static_cast<uint16_t>(i);
    found += elements[i] != 0;
  }
  return found;
}

// Sparse int8 rows have long runs of zeros, of which eight are seen at once.
std::size_t find_nonzero(const int8_t* elements, std::size_t count, uint16_t* columns) {
  std::size_t found = 0, i = 0;
  for (; i + 8 <= count; i += 8) {
    uint64_t eight = 0;
    std::memcpy(&eight, elements + i, 8);
    if (eight == 0) continue;
    for (std::size_t j = i; j < i + 8; ++j) {
      columns[found] = static_cast<uint16_t>(j);
      found += elements[j] != 0;
    }
  }
  for (; i < count; ++i) {
    columns[found] = static_cast<uint16_t>(i);
    found += elements[i] != 0;
  }
  return found;
}

}  // namespace

Grid make_grid(float scale, int64_t zero_point, const char* what) {
  const std::string name = what;
  require(std::isfinite(scale) && scale >= kSmallestScale,
          name + "_scale is " + std::to_string(scale) + ", allowed is a finite number from 2^-60");
  require(zero_point >= 0 && zero_point <= 255,
          name + "_zero_point is " + std::to_string(zero_point) + ", allowed is 0 to 255");
  return Grid{scale, 1.0f / scale, static_cast<int32_t>(zero_point)};
}

Linear::Linear(std::size_t rows, std::size_t columns, uint32_t most_columns, const float* bias) {
  require(rows >= 1 && rows <= kMaxFeatures && columns >= 1 && columns <= kMaxFeatures,
          "a weight has the shape [" + std::to_string(rows) + ", " + std::to_string(columns) + "], allowed are 1 to " +
              std::to_string(kMaxFeatures) + " rows and columns");
  rows_ = static_cast<uint32_t>(rows);
  columns_ = static_cast<uint32_t>(columns);
  // Blocks of equal size, so that the last is not a small rest.
  blocks_ = (columns_ + most_columns - 1) / most_columns;
  block_columns_ = (columns_ + blocks_ - 1) / blocks_;
  bias_.resize(rows);
  for (std::size_t row = 0; bias != nullptr && row < rows; ++row) {
    require(std::isfinite(bias[row]), "a bias holds a value that is not finite, in row " + std::to_string(row));
    bias_[row] = bias[row];
  }
  starts_.resize(checked_product(blocks_, rows) + 1);
}

Linear Linear::int8(const int8_t* levels, std::size_t rows, std::size_t columns, const float* scales,
                    std::size_t scale_count, const float* bias, const Grid& input, const std::optional<Grid>& output) {
  Linear linear(rows, columns, columns > kMaxBlockColumns ? 768 : kMaxBlockColumns, bias);
  require(scale_count == 1 || scale_count == rows, "a weight of " + std::to_string(rows) + " rows has " +
                                                       std::to_string(scale_count) + " scales, allowed are 1 or " +
                                                       std::to_string(rows));
  linear.is_int8_ = true;
  linear.input_ = input;
  linear.output_ = output;
  linear.multipliers_.resize(rows);
  linear.level_sums_.resize(rows);
  if (output) {
    linear.level_multipliers_.resize(rows);
    linear.level_bias_.resize(rows);
  }
  linear.small_levels_ = true;
  for (std::size_t row = 0; row < rows; ++row) {
    const float scale = scales[scale_count == 1 ? 0 : row];
    require(std::isfinite(scale) && scale > 0,
            "a weight scale is not finite and above 0, in row " + std::to_string(row));
    linear.multipliers_[row] = input.scale * scale;
    require(std::isfinite(linear.multipliers_[row]),
            "input scale times weight scale is not finite, in row " + std::to_string(row));
    int32_t sum = 0, magnitude = 0;
    for (std::size_t column = 0; column < columns; ++column) {
      const int32_t level = levels[row * columns + column];
      sum += level;
      magnitude += level < 0 ? -level : level;
    }
    linear.level_sums_[row] = sum;
    if (output) {
      linear.level_multipliers_[row] = linear.multipliers_[row] * output->inverse_scale;
      linear.level_bias_[row] = linear.bias_[row] * output->inverse_scale;
    }
    const double largest = 255.0 * magnitude * linear.multipliers_[row] + std::fabs(linear.bias_[row]);
    linear.small_levels_ = linear.small_levels_ && output && largest / output->scale < 0x1p30;
  }
  std::vector<uint8_t> groups;
  std::vector<uint16_t> found(linear.block_columns_ + 1);
  for (std::size_t block = 0; block < linear.blocks_; ++block) {
    const std::size_t first = block * linear.block_columns_;
    const std::size_t width = std::min<std::size_t>(linear.block_columns_, columns - std::min(columns, first));
    for (std::size_t row = 0; row < rows; ++row) {
      const int8_t* const elements = levels + row * columns + first;
      const std::size_t count = find_nonzero(elements, width, found.data());
      linear.nonzero_ += count;
      for (std::size_t i = 0; i < count; i += 4) {
        uint8_t group[Int8Rows::kGroupBytes] = {};
        for (std::size_t j = 0; j < 4; ++j) {
          // A group that is not full repeats its last column with level 0.
          const std::size_t column = found[std::min(i + j, count - 1)];
          const uint16_t offset = static_cast<uint16_t>(column * kLanes);
          std::memcpy(group + 2 * j, &offset, 2);
          if (i + j < count) group[8 + j] = static_cast<uint8_t>(elements[column]);
        }
        groups.insert(groups.end(), group, group + sizeof(group));
      }
      linear.starts_[block * rows + row + 1] = as_count(groups.size() / Int8Rows::kGroupBytes);
    }
  }
  linear.groups_.resize(groups.size());
  if (!groups.empty()) std::memcpy(linear.groups_.data(), groups.data(), groups.size());
  return linear;
}

Linear Linear::values(const float* weights, std::size_t rows, std::size_t columns, const float* bias, bool bfloat16) {
  Linear linear(rows, columns, bfloat16 ? 768 : 256, bias);
  linear.is_bfloat16_ = bfloat16;
  std::vector<uint16_t> found(linear.block_columns_ + 1), numbers, pairs;
  std::vector<float> values;
  for (std::size_t block = 0; block < linear.blocks_; ++block) {
    const std::size_t first = block * linear.block_columns_;
    const std::size_t width = std::min<std::size_t>(linear.block_columns_, columns - std::min(columns, first));
    for (std::size_t row = 0; row < rows; ++row) {
      const float* const elements = weights + row * columns + first;
      const std::size_t count = find_nonzero(elements, width, found.data());
      linear.nonzero_ += count;
      for (std::size_t i = 0; i < count; ++i) {
        require(std::isfinite(elements[found[i]]),
                "a weight holds a value that is not finite, in row " + std::to_string(row));
        if (!bfloat16) {
          numbers.push_back(found[i]);
          values.push_back(elements[found[i]]);
        } else if (i % 2 == 0) {
          const std::size_t next = std::min(i + 1, count - 1);
          pairs.insert(pairs.end(), {found[i], found[next], to_bfloat16(elements[found[i]]),
                                     next == i ? uint16_t{0} : to_bfloat16(elements[found[next]])});
        }
      }
      linear.starts_[block * rows + row + 1] = as_count(bfloat16 ? pairs.size() / 4 : values.size());
    }
  }
  linear.column_numbers_.resize(numbers.size());
  linear.values_.resize(values.size());
  linear.pairs_.resize(pairs.size());
  std::copy(numbers.begin(), numbers.end(), linear.column_numbers_.data());
  std::copy(values.begin(), values.end(), linear.values_.data());
  std::copy(pairs.begin(), pairs.end(), linear.pairs_.data());
  return linear;
}

std::size_t Linear::bytes() const {
  return bias_.bytes() + starts_.bytes() + groups_.bytes() + level_sums_.bytes() + multipliers_.bytes() +
         level_multipliers_.bytes() + level_bias_.bytes() + column_numbers_.bytes() + values_.bytes() + pairs_.bytes();
}

Int8Rows Linear::int8_rows() const {
  return Int8Rows{groups_.data(),
                  starts_.data(),
                  level_sums_.data(),
                  multipliers_.data(),
                  bias_.data(),
                  level_multipliers_.data(),
                  level_bias_.data(),
                  rows_,
                  blocks_,
                  block_columns_,
                  input_.zero_point,
                  small_levels_};
}

FloatRows Linear::float_rows() const {
  return FloatRows{starts_.data(), column_numbers_.data(), values_.data(), pairs_.data(), bias_.data(), rows_,
                   blocks_,        block_columns_};
}

}  // namespace pruneofa
