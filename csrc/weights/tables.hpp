// What follows a quantized output, as tables over its 256 levels.
#pragma once

#include <cstdint>

#include "base/buffer.hpp"
#include "kernels/kernels.hpp"

namespace pruneofa {

// activation(value of each level), computed in float64 and rounded once.
Buffer<float> value_table(const Grid& from, Activation activation);

// The same, put onto the grid of what comes next: level -> level.
Buffer<uint8_t> level_table(const Grid& from, Activation activation, const Grid& to);

}  // namespace pruneofa
