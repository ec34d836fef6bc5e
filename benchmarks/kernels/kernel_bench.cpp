// Times the kernels on the Linear layers and the attention of BERT-Base and MiniLM-L6, one thread.
//
//   kernel_bench [kernel] [tokens] [sparsity] [uneven]
//
// For each shape: best and median time, useful and dense-equivalent GMAC/s, useful MACs per core cycle, and the share
// of the speed that the processor's ports allow. With `uneven`, rows and columns differ in density as they do in really
// pruned models: from empty to four times the mean. The last line is JSON.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "base/buffer.hpp"
#include "kernels/kernels.hpp"
#include "weights/linear.hpp"

namespace {

using namespace pruneofa;
using Clock = std::chrono::steady_clock;

struct Shape {
  const char* model;
  const char* role;
  std::size_t rows, columns;
};
constexpr Shape kShapes[] = {
    {"BERT-Base", "q, k, v, attention output", 768, 768},
    {"BERT-Base", "ffn in", 3072, 768},
    {"BERT-Base", "ffn out", 768, 3072},
    {"MiniLM-L6", "q, k, v, attention output", 384, 384},
    {"MiniLM-L6", "ffn in", 1536, 384},
    {"MiniLM-L6", "ffn out", 384, 1536},
};

// Core cycles per second just now. On x86-64 and ARM a chain of dependent additions takes a cycle each.
double measure_frequency() {
  constexpr int kRounds = 10'000, kChain = 20;
  double best = 0;
  for (int round = 0; round < 300; ++round) {
    const auto start = Clock::now();
    uint64_t x = 1, y = 3;
    for (int i = 0; i < kRounds; ++i) {
#pragma GCC unroll 20
      for (int j = 0; j < kChain; ++j) {
        x += y;
        __asm__ volatile("" : "+r"(x), "+r"(y));
      }
    }
    best = std::max(best, double{kRounds} * kChain / std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

struct Times {
  double best, median;
};

template <class Body>
Times measure(Body&& body) {
  std::vector<double> times;
  const auto begin = Clock::now();
  while (times.size() < 20 ||
         (std::chrono::duration<double>(Clock::now() - begin).count() < 0.4 && times.size() < 2000)) {
    const auto start = Clock::now();
    body();
    times.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
  std::sort(times.begin(), times.end());
  return {times.front(), times[times.size() / 2]};
}

// Levels with the given share of zeros. Uneven: densities of rows and columns vary by a factor, and a few are empty.
std::vector<int8_t> make_levels(const Shape& shape, double sparsity, bool uneven, std::mt19937_64& random) {
  std::uniform_real_distribution<double> uniform(0, 1);
  std::normal_distribution<double> normal(0, 0.7);
  std::vector<double> row_density(shape.rows, 1), column_density(shape.columns, 1);
  if (uneven) {
    for (double& density : row_density) density = uniform(random) < 0.03 ? 0 : std::exp(normal(random));
    for (double& density : column_density) density = uniform(random) < 0.03 ? 0 : std::exp(normal(random));
  }
  double mean = 0;
  for (const double r : row_density) {
    for (const double c : column_density) mean += r * c;
  }
  mean /= static_cast<double>(shape.rows * shape.columns);
  std::vector<int8_t> levels(shape.rows * shape.columns);
  for (std::size_t r = 0; r < shape.rows; ++r) {
    for (std::size_t c = 0; c < shape.columns; ++c) {
      const double density = (1 - sparsity) * row_density[r] * column_density[c] / mean;
      if (uniform(random) < density) levels[r * shape.columns + c] = static_cast<int8_t>(1 + random() % 127);
    }
  }
  return levels;
}

// Cycles that a panel of 64 tokens takes at least on Zen 4, where a 512-bit operation takes two halves; 0 elsewhere.
// A group: 8 shuffles (pipes 1 to 3) and 4 dot products (pipes 0 and 1), (8 + 4) * 2 / 4 = 6 cycles. The end of a row:
// 20 operations on four pipes, 10 cycles. Between blocks of columns: 4 registers of sums stored, 2 cycles each.
double least_cycles(const Kernels& kernels, const Int8Rows& rows) {
  if (std::string(kernels.name).rfind("avx512", 0) != 0) return 0;
  return 6.0 * rows.starts[rows.blocks * rows.rows] + 10.0 * rows.rows + 8.0 * rows.rows * (rows.blocks - 1);
}

}  // namespace

int main(int count, char** arguments) {
  const Kernels& kernels = select_kernels(count > 1 ? arguments[1] : "");
  const uint32_t tokens = count > 2 ? static_cast<uint32_t>(std::atoi(arguments[2])) : 128;
  const double sparsity = count > 3 ? std::atof(arguments[3]) : 0.9;
  const bool uneven = count > 4 && std::string(arguments[4]) == "uneven";
  const uint32_t panels = (tokens + kLanes - 1) / kLanes;
  const double frequency = measure_frequency();
  std::printf("kernel %s, %u tokens, sparsity %.2f%s, %.2f GHz\n\n", kernels.name, tokens, sparsity,
              uneven ? ", uneven rows and columns" : "", frequency / 1e9);
  std::printf("%-10s %-26s %13s %9s %9s %8s %8s %8s %6s\n", "model", "Linear", "shape", "best us", "median us",
              "GMAC/s", "dense eq", "MAC/cyc", "limit");
  std::mt19937_64 random(1);
  std::string json;
  for (const Shape& shape : kShapes) {
    const std::vector<int8_t> levels = make_levels(shape, sparsity, uneven, random);
    const float scale = 0.01f;
    const Grid input_grid = make_grid(0.02f, 128, "input"), output_grid = make_grid(0.5f, 128, "output");
    const Linear linear =
        Linear::int8(levels.data(), shape.rows, shape.columns, &scale, 1, nullptr, input_grid, output_grid);
    const Int8Rows rows = linear.int8_rows();
    Buffer<uint8_t> input(std::size_t{panels} * shape.columns * kLanes),
        output(std::size_t{panels} * shape.rows * kLanes);
    for (std::size_t i = 0; i < input.size(); ++i) input[i] = static_cast<uint8_t>(random());
    Buffer<int32_t> accumulators(kTileRows * kLanes);
    const Times times = measure([&] {
      for (uint32_t row = 0; row < shape.rows; row += kTileRows) {
        for (uint32_t panel = 0; panel < panels; ++panel) {
          LinearInt8 call{};
          call.weights = &rows;
          call.row_begin = row;
          call.row_end = std::min<uint32_t>(row + kTileRows, static_cast<uint32_t>(shape.rows));
          call.panel = input.data() + std::size_t{panel} * shape.columns * kLanes;
          call.width = std::min(kLanes, tokens - panel * kLanes);
          call.accumulators = accumulators.data();
          call.grid = output_grid;
          call.levels = output.data() + (std::size_t{panel} * shape.rows + row) * kLanes;
          kernels.linear_int8(call);
        }
      }
    });
    const double useful = static_cast<double>(linear.nonzero()) * tokens;
    const double dense = static_cast<double>(shape.rows * shape.columns) * tokens;
    char size[32];
    std::snprintf(size, sizeof(size), "%zu x %zu", shape.rows, shape.columns);
    std::printf("%-10s %-26s %13s %9.1f %9.1f %8.1f %8.1f %8.1f", shape.model, shape.role, size, times.best * 1e6,
                times.median * 1e6, useful / times.best / 1e9, dense / times.best / 1e9,
                useful / times.best / frequency);
    const double limit = least_cycles(kernels, rows) * panels / frequency;
    limit > 0 ? std::printf(" %5.0f%%\n", 100 * limit / times.best) : std::printf("      -\n");
    char item[256];
    std::snprintf(item, sizeof(item),
                  "%s{\"model\": \"%s\", \"rows\": %zu, \"columns\": %zu, \"best_us\": %.2f, \"median_us\": %.2f, "
                  "\"macs_per_cycle\": %.2f}",
                  json.empty() ? "" : ", ", shape.model, shape.rows, shape.columns, times.best * 1e6,
                  times.median * 1e6, useful / times.best / frequency);
    json += item;
  }
  using Heads = std::tuple<const char*, uint32_t, uint32_t>;
  for (const auto& [model, heads, size] : {Heads{"BERT-Base", 12, 64}, Heads{"MiniLM-L6", 12, 32}}) {
    const std::size_t stride = std::size_t{heads} * size * kLanes;
    Buffer<uint8_t> query(panels * stride), key(panels * stride), value(panels * stride), context(panels * stride);
    for (std::size_t i = 0; i < query.size(); ++i) {
      query[i] = static_cast<uint8_t>(random()), key[i] = static_cast<uint8_t>(random()),
      value[i] = static_cast<uint8_t>(random());
    }
    Buffer<uint8_t> scratch(attention_scratch_bytes(size, tokens));
    const Times times = measure([&] {
      for (uint32_t head = 0; head < heads; ++head) {
        for (uint32_t panel = 0; panel < panels; ++panel) {
          Attention call{};
          const std::size_t rows = std::size_t{head} * size * kLanes;
          call.head_size = size;
          call.width = std::min(kLanes, tokens - panel * kLanes);
          call.key_end = tokens;
          call.panel_stride = stride;
          call.query_levels = query.data() + panel * stride + rows;
          call.key_levels = key.data() + rows;
          call.value_levels = value.data() + rows;
          call.query_zero_point = call.key_zero_point = call.value_zero_point = 128;
          call.score_scale = 1e-4f;
          call.value_scale = 0.02f;
          call.scratch = scratch.data();
          call.grid = make_grid(0.02f, 128, "output");
          call.context_levels = context.data() + panel * stride + rows;
          kernels.attention(call);
        }
      }
    });
    const double products = 2.0 * tokens * tokens * heads * size;
    std::printf("%-10s %-26s %13s %9.1f %9.1f %8.1f %8s %8.1f      -\n", model, "attention", "", times.best * 1e6,
                times.median * 1e6, products / times.best / 1e9, "", products / times.best / frequency);
  }
  std::printf(
      "{\"kernel\": \"%s\", \"tokens\": %u, \"sparsity\": %.3f, \"uneven\": %s, \"ghz\": %.3f, \"linear\": [%s]}\n",
      kernels.name, tokens, sparsity, uneven ? "true" : "false", frequency / 1e9, json.c_str());
  return 0;
}
