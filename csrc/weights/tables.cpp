#include "weights/tables.hpp"

#include <algorithm>
#include <cmath>

namespace pruneofa {
namespace {

double activated(double x, Activation activation) {
  switch (activation) {
    case Activation::kGelu:
      return x / 2 * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::kGeluTanh:
      return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::kRelu:
      return std::max(x, 0.0);
    case Activation::kTanh:
      return std::tanh(x);
    case Activation::kNone:
      break;
  }
  return x;
}

}  // namespace

Buffer<float> value_table(const Grid& from, Activation activation) {
  Buffer<float> table(256);
  for (int32_t level = 0; level < 256; ++level) {
    const float value = static_cast<float>(level - from.zero_point) * from.scale;
    table[level] = static_cast<float>(activated(value, activation));
  }
  return table;
}

Buffer<uint8_t> level_table(const Grid& from, Activation activation, const Grid& to) {
  const Buffer<float> values = value_table(from, activation);
  Buffer<uint8_t> table(256);
  for (int32_t level = 0; level < 256; ++level) {
    const float low = static_cast<float>(-to.zero_point);
    const float scaled = std::clamp(values[level] * to.inverse_scale, low, low + 255.0f);
    table[level] = static_cast<uint8_t>(static_cast<int32_t>(std::nearbyint(scaled)) + to.zero_point);
  }
  return table;
}

}  // namespace pruneofa
