// A table of embeddings, as float32 or as int8 levels.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/buffer.hpp"

namespace pruneofa {

class EmbeddingTable {
 public:
  EmbeddingTable() = default;

  // Copy [rows, columns]; throws std::invalid_argument for a value that is not finite.
  static EmbeddingTable values(const float* values, std::size_t rows, std::size_t columns);

  // Copy levels [rows, columns] with scales [rows] or [1].
  static EmbeddingTable int8(const int8_t* levels, std::size_t rows, std::size_t columns, const float* scales,
                             std::size_t scale_count);

  std::size_t rows() const { return rows_; }
  std::size_t columns() const { return columns_; }
  std::size_t bytes() const { return values_.bytes() + levels_.bytes() + scales_.bytes(); }

  // sums[i] += row[first + i] for `count` columns.
  void add(std::size_t row, std::size_t first, std::size_t count, float* sums) const;

 private:
  std::size_t rows_ = 0;
  std::size_t columns_ = 0;
  Buffer<float> values_;
  Buffer<int8_t> levels_;
  Buffer<float> scales_;  // [rows]
};

}  // namespace pruneofa
