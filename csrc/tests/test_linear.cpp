// Every set of kernels against the portable one: int8 exactly, float within a bound.
#include <algorithm>
#include <cmath>
#include <string>

#include "tests/check.hpp"
#include "weights/linear.hpp"

namespace pruneofa::testing {
namespace {

struct Shape {
  std::size_t rows, columns;
};
constexpr Shape kShapes[] = {{1, 1}, {3, 5}, {64, 64}, {67, 130}, {130, 70}, {5, 1024}, {9, 1025}, {4, 3072}};
constexpr double kSparsities[] = {0.0, 0.5, 0.9, 0.99, 1.0};
constexpr uint32_t kWidths[] = {1, 4, 15, 16, 17, 31, 32, 33, 48, 49, 63, 64};

std::vector<int8_t> random_levels(Random& random, const Shape& shape, double sparsity) {
  std::vector<int8_t> levels(shape.rows * shape.columns);
  for (int8_t& level : levels) level = random.chance(sparsity) ? 0 : static_cast<int8_t>(random.between(-128, 127));
  // An empty row, whatever the sparsity.
  for (std::size_t i = 0; shape.rows > 2 && i < shape.columns; ++i) levels[shape.columns + i] = 0;
  return levels;
}

void run_int8(const Kernels& kernels, const Linear& linear, const std::vector<uint8_t>& panel, uint32_t width,
              const Grid* grid, const std::vector<float>* residual, std::vector<uint8_t>& levels,
              std::vector<float>& values, Activation activation = Activation::kNone) {
  const Int8Rows rows = linear.int8_rows();
  Buffer<int32_t> accumulators(kTileRows * kLanes);
  for (uint32_t begin = 0; begin < rows.rows; begin += kTileRows) {
    LinearInt8 call{};
    call.weights = &rows;
    call.row_begin = begin;
    call.row_end = std::min(begin + kTileRows, rows.rows);
    call.panel = panel.data();
    call.width = width;
    call.accumulators = accumulators.data();
    if (grid != nullptr) {
      call.activation = activation;
      call.grid = *grid;
      call.levels = levels.data() + begin * kLanes;
    } else {
      call.values = values.data() + begin * kLanes;
      call.residual = residual == nullptr ? nullptr : residual->data() + begin * kLanes;
    }
    kernels.linear_int8(call);
  }
}

// `wide`: outputs are far beyond what an int32 holds, in steps of the output grid.
void compare_int8(const Shape& shape, double sparsity, uint64_t seed, bool wide = false) {
  Random random(seed);
  const std::vector<int8_t> weights = random_levels(random, shape, sparsity);
  std::vector<float> scales(shape.rows), bias(shape.rows);
  for (float& scale : scales) scale = 0.001f + 0.01f * std::fabs(random.normal(1));
  for (float& value : bias) value = random.normal(1);
  const Grid input = make_grid(0.05f, random.between(0, 255), "input");
  const Grid grid = make_grid(wide ? 0x1p-60f : 0.5f * std::sqrt(static_cast<float>(shape.columns)),
                              random.between(0, 255), "output");
  const Linear linear =
      Linear::int8(weights.data(), shape.rows, shape.columns, scales.data(), shape.rows, bias.data(), input, grid);
  check(linear.int8_rows().small_levels == !wide, "small_levels");
  std::vector<uint8_t> panel(shape.columns * kLanes);
  for (uint8_t& level : panel) level = static_cast<uint8_t>(random.between(0, 255));
  std::vector<float> residual(shape.rows * kLanes);
  for (float& value : residual) value = random.normal(3);
  const std::size_t size = shape.rows * kLanes;
  for (const Kernels* kernels : fast_kernels()) {
    for (const uint32_t width : kWidths) {
      std::vector<uint8_t> levels(size), expected_levels(size);
      std::vector<float> values(size), expected(size), sums(size), expected_sums(size);
      run_int8(*kernels, linear, panel, width, &grid, nullptr, levels, values);
      run_int8(portable_kernels(), linear, panel, width, &grid, nullptr, expected_levels, expected);
      run_int8(*kernels, linear, panel, width, nullptr, nullptr, levels, values);
      run_int8(portable_kernels(), linear, panel, width, nullptr, nullptr, expected_levels, expected);
      run_int8(*kernels, linear, panel, width, nullptr, &residual, levels, sums);
      run_int8(portable_kernels(), linear, panel, width, nullptr, &residual, expected_levels, expected_sums);
      for (std::size_t row = 0; row < shape.rows; ++row) {
        for (uint32_t lane = 0; lane < width; ++lane) {
          const std::size_t at = row * kLanes + lane;
          const std::string where = std::string(kernels->name) + " [" + std::to_string(shape.rows) + ", " +
                                    std::to_string(shape.columns) + "] sparsity " + std::to_string(sparsity) +
                                    " width " + std::to_string(width) + " row " + std::to_string(row) + " lane " +
                                    std::to_string(lane);
          check_equal(levels[at], expected_levels[at], where + ", level");
          check_equal(values[at], expected[at], where + ", value");
          check_equal(sums[at], expected_sums[at], where + ", value with residual");
        }
      }
    }
  }
}

// The portable kernel against sums of products over the dense weight.
PRUNEOFA_TEST(portable_int8_linear_equals_the_dense_product) {
  for (const Shape& shape : kShapes) {
    Random random(shape.rows * 7 + shape.columns);
    const std::vector<int8_t> weights = random_levels(random, shape, 0.7);
    const float scale = 0.01f;
    const Grid input = make_grid(0.05f, 100, "input");
    const Linear linear =
        Linear::int8(weights.data(), shape.rows, shape.columns, &scale, 1, nullptr, input, std::nullopt);
    std::vector<uint8_t> panel(shape.columns * kLanes), levels;
    for (uint8_t& level : panel) level = static_cast<uint8_t>(random.between(0, 255));
    std::vector<float> values(shape.rows * kLanes);
    run_int8(portable_kernels(), linear, panel, kLanes, nullptr, nullptr, levels, values);
    for (std::size_t row = 0; row < shape.rows; ++row) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        int32_t sum = 0;
        for (std::size_t i = 0; i < shape.columns; ++i)
          sum += weights[row * shape.columns + i] * (panel[i * kLanes + lane] - 100);
        check_equal(values[row * kLanes + lane], static_cast<float>(sum) * (0.05f * 0.01f), "value");
      }
    }
  }
}

PRUNEOFA_TEST(int8_linear_equals_the_portable_one) {
  uint64_t seed = 0;
  for (const Shape& shape : kShapes) {
    for (const double sparsity : kSparsities) compare_int8(shape, sparsity, ++seed);
  }
}

PRUNEOFA_TEST(int8_linear_clamps_what_no_integer_holds) {
  for (const Shape& shape : kShapes) compare_int8(shape, 0.5, 99, true);
}

// Where the weights have no output grid, the kernel's levels are those of its values, activated and converted.
PRUNEOFA_TEST(int8_linear_activates_as_the_separate_steps_do) {
  uint64_t seed = 0;
  for (const Shape& shape : kShapes) {
    Random random(++seed);
    const std::vector<int8_t> weights = random_levels(random, shape, 0.8);
    const float scale = 0.3f / std::sqrt(static_cast<float>(shape.columns));
    const Linear linear = Linear::int8(weights.data(), shape.rows, shape.columns, &scale, 1, nullptr,
                                       make_grid(0.01f, 120, "input"), std::nullopt);
    const Grid grid = make_grid(0.02f, 9, "next");
    std::vector<uint8_t> panel(shape.columns * kLanes);
    for (uint8_t& level : panel) level = static_cast<uint8_t>(random.between(0, 255));
    const std::size_t size = shape.rows * kLanes;
    std::vector<const Kernels*> all = fast_kernels();
    all.push_back(&portable_kernels());
    for (const Activation activation :
         {Activation::kNone, Activation::kGelu, Activation::kGeluTanh, Activation::kRelu, Activation::kTanh}) {
      std::vector<float> values(size);
      std::vector<uint8_t> unused, expected(size);
      run_int8(portable_kernels(), linear, panel, kLanes, nullptr, nullptr, unused, values);
      portable_kernels().activate(values.data(), size, activation);
      PanelTarget target{};
      target.levels = expected.data();
      target.grid = grid;
      portable_kernels().convert(values.data(), size, target);
      for (const Kernels* kernels : all) {
        for (const uint32_t width : kWidths) {
          std::vector<uint8_t> levels(size);
          run_int8(*kernels, linear, panel, width, &grid, nullptr, levels, values, activation);
          for (std::size_t at = 0; at < size; ++at) {
            if (at % kLanes < width) check_equal(levels[at], expected[at], std::string(kernels->name) + ", level");
          }
        }
      }
    }
  }
}

// The largest sums that an int32 must hold.
PRUNEOFA_TEST(int8_linear_holds_the_largest_sums) {
  constexpr std::size_t kColumns = Linear::kMaxFeatures;
  for (const int8_t level : {int8_t{-128}, int8_t{127}}) {
    const std::vector<int8_t> weights(2 * kColumns, level);
    const float scale = 1.0f;
    for (const int64_t zero_point : {0, 255}) {
      const Linear linear = Linear::int8(weights.data(), 2, kColumns, &scale, 1, nullptr,
                                         make_grid(1.0f, zero_point, "input"), std::nullopt);
      const std::vector<uint8_t> panel(kColumns * kLanes, zero_point == 0 ? 255 : 0);
      std::vector<uint8_t> levels;
      std::vector<float> values(2 * kLanes);
      const auto exact = static_cast<float>(int64_t{kColumns} * level * (zero_point == 0 ? 255 : -255));
      for (const Kernels* kernels : fast_kernels()) {
        run_int8(*kernels, linear, panel, kLanes, nullptr, nullptr, levels, values);
        check_equal(values[0], exact, kernels->name);
      }
      run_int8(portable_kernels(), linear, panel, kLanes, nullptr, nullptr, levels, values);
      check_equal(values[kLanes + 63], exact, "portable");
    }
  }
}

void compare_float(const Shape& shape, double sparsity, bool bfloat16, uint64_t seed) {
  Random random(seed);
  std::vector<float> weights(shape.rows * shape.columns), bias(shape.rows), panel(shape.columns * kLanes);
  for (float& weight : weights) weight = random.chance(sparsity) ? 0 : random.normal(1);
  for (float& value : bias) value = random.normal(1);
  for (float& value : panel) value = random.normal(1);
  std::vector<uint16_t> rounded(panel.size());
  for (const Kernels* kernels : fast_kernels()) {
    if (bfloat16 && kernels->linear_bf16 == nullptr) continue;
    const Linear linear = Linear::values(weights.data(), shape.rows, shape.columns, bias.data(), bfloat16);
    const FloatRows rows = linear.float_rows();
    PanelTarget target{};
    target.bfloat16 = rounded.data();
    if (bfloat16) kernels->convert(panel.data(), panel.size(), target);
    Buffer<float> accumulators(shape.rows * kLanes);
    for (const uint32_t width : kWidths) {
      std::vector<float> values(shape.rows * kLanes);
      LinearFloat call{};
      call.weights = &rows;
      call.row_end = rows.rows;
      call.panel = bfloat16 ? static_cast<const void*>(rounded.data()) : panel.data();
      call.width = width;
      call.accumulators = accumulators.data();
      call.values = values.data();
      (bfloat16 ? kernels->linear_bf16 : kernels->linear_float)(call);
      for (std::size_t row = 0; row < shape.rows; ++row) {
        for (uint32_t lane = 0; lane < width; ++lane) {
          double exact = bias[row], magnitude = std::fabs(bias[row]);
          for (std::size_t i = 0; i < shape.columns; ++i) {
            const double product = double{weights[row * shape.columns + i]} * panel[i * kLanes + lane];
            exact += product;
            magnitude += std::fabs(product);
          }
          // n + 2 roundings to float32 at most; with bfloat16 also both factors, to 8 bits.
          const double bound = magnitude * ((shape.columns + 2) * 0x1p-24 + (bfloat16 ? 2.1 * 0x1p-8 : 0));
          const double error = std::fabs(values[row * kLanes + lane] - exact);
          check(error <= bound,
                std::string(kernels->name) + ": error " + std::to_string(error) + " above " + std::to_string(bound));
        }
      }
    }
  }
}

PRUNEOFA_TEST(float_linear_is_within_its_bound) {
  for (const Shape& shape : {Shape{3, 5}, Shape{67, 130}, Shape{4, 1600}}) {
    for (const double sparsity : kSparsities) {
      compare_float(shape, sparsity, false, 11);
      compare_float(shape, sparsity, true, 12);
    }
  }
}

PRUNEOFA_TEST(packing_refuses_what_is_out_of_range) {
  const std::vector<int8_t> levels(4, 1);
  const float infinite = INFINITY, one = 1.0f;
  const Grid grid;
  const auto pack = [&](std::size_t rows, std::size_t columns, const float* scale, std::size_t scales,
                        const float* bias) {
    return [=, &levels] { (void)Linear::int8(levels.data(), rows, columns, scale, scales, bias, grid, std::nullopt); };
  };
  check_refused(pack(0, 4, &one, 1, nullptr), "allowed are 1 to 65535 rows", "no rows");
  check_refused(pack(1, 65536, &one, 1, nullptr), "allowed are 1 to 65535 rows", "too many columns");
  check_refused(pack(1, 4, &infinite, 1, nullptr), "scale is not finite", "infinite scale");
  check_refused(pack(1, 4, &one, 3, nullptr), "has 3 scales", "three scales");
  check_refused(pack(1, 4, &one, 1, &infinite), "bias holds a value that is not finite", "infinite bias");
  check_refused([] { make_grid(0.0f, 0, "input"); }, "input_scale", "scale 0");
  check_refused([] { make_grid(NAN, 0, "input"); }, "input_scale", "scale NaN");
  check_refused([] { make_grid(1.0f, 256, "output"); }, "output_zero_point is 256", "zero point 256");
}

}  // namespace
}  // namespace pruneofa::testing
