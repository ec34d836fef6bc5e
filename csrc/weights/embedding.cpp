#include "weights/embedding.hpp"

#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>

namespace pruneofa {
namespace {

void check_shape(std::size_t rows, std::size_t columns) {
  if (rows == 0 || columns == 0 || rows > (std::size_t{1} << 31) || columns > 65535) {
    throw std::invalid_argument("an embedding table has the shape [" + std::to_string(rows) + ", " +
                                std::to_string(columns) + "], allowed are 1 to 2^31 rows and 1 to 65535 columns");
  }
}

}  // namespace

EmbeddingTable EmbeddingTable::values(const float* values, std::size_t rows, std::size_t columns) {
  check_shape(rows, columns);
  EmbeddingTable table;
  table.rows_ = rows;
  table.columns_ = columns;
  const std::size_t size = checked_product(rows, columns);
  table.values_.resize(size);
  std::memcpy(table.values_.data(), values, size * sizeof(float));
  for (std::size_t row = 0; row < rows; ++row) {
    float sum = 0;  // x * 0 is 0, unless x is infinite or no number
    for (std::size_t column = 0; column < columns; ++column) sum += table.values_[row * columns + column] * 0.0f;
    if (sum != 0.0f) {
      throw std::invalid_argument("an embedding table holds a value that is not finite, in row " + std::to_string(row));
    }
  }
  return table;
}

EmbeddingTable EmbeddingTable::int8(const int8_t* levels, std::size_t rows, std::size_t columns, const float* scales,
                                    std::size_t scale_count) {
  check_shape(rows, columns);
  if (scale_count != 1 && scale_count != rows) {
    throw std::invalid_argument("an embedding table of " + std::to_string(rows) + " rows has " +
                                std::to_string(scale_count) + " scales, allowed are 1 or " + std::to_string(rows));
  }
  EmbeddingTable table;
  table.rows_ = rows;
  table.columns_ = columns;
  const std::size_t size = checked_product(rows, columns);
  table.levels_.resize(size);
  std::memcpy(table.levels_.data(), levels, size);
  table.scales_.resize(rows);
  for (std::size_t row = 0; row < rows; ++row) {
    const float scale = scales[scale_count == 1 ? 0 : row];
    if (!std::isfinite(scale) || scale <= 0) {
      throw std::invalid_argument("a scale of an embedding table is not finite and above 0, in row " +
                                  std::to_string(row));
    }
    table.scales_[row] = scale;
  }
  return table;
}

void EmbeddingTable::add(std::size_t row, std::size_t first, std::size_t count, float* sums) const {
  if (levels_.size() != 0) {
    const int8_t* const levels = levels_.data() + row * columns_ + first;
    const float scale = scales_[row];
    for (std::size_t i = 0; i < count; ++i) sums[i] += static_cast<float>(levels[i]) * scale;
    return;
  }
  const float* const values = values_.data() + row * columns_ + first;
  for (std::size_t i = 0; i < count; ++i) sums[i] += values[i];
}

}  // namespace pruneofa
