#include "tests/models.hpp"

namespace pruneofa::testing {
namespace {

Linear random_linear(Random& random, std::size_t rows, std::size_t columns, const ModelOptions& options, bool output) {
  std::vector<float> bias(rows);
  for (float& value : bias) value = random.normal(0.1f);
  if (!options.int8) {
    std::vector<float> weights(rows * columns);
    for (float& weight : weights) weight = random.chance(options.sparsity) ? 0 : random.normal(0.2f);
    return Linear::values(weights.data(), rows, columns, bias.data(), options.bfloat16);
  }
  std::vector<int8_t> levels(rows * columns);
  for (int8_t& level : levels)
    level = random.chance(options.sparsity) ? 0 : static_cast<int8_t>(random.between(-127, 127));
  const float scale = 0.004f;
  std::optional<Grid> grid;
  if (output) grid = make_grid(0.03f, 120, "output");
  return Linear::int8(levels.data(), rows, columns, &scale, 1, bias.data(), make_grid(0.03f, 125, "input"), grid);
}

Norm random_norm(Random& random, std::size_t size) {
  Norm norm{Buffer<float>(size), Buffer<float>(size)};
  for (std::size_t i = 0; i < size; ++i) norm.gamma[i] = 1 + random.normal(0.1f), norm.beta[i] = random.normal(0.1f);
  return norm;
}

EmbeddingTable random_table(Random& random, std::size_t rows, std::size_t columns) {
  std::vector<float> values(rows * columns);
  for (float& value : values) value = random.normal(1);
  return EmbeddingTable::values(values.data(), rows, columns);
}

}  // namespace

Parts random_parts(const ModelOptions& options, uint64_t seed) {
  Random random(seed);
  Parts parts;
  const uint32_t size = options.hidden;
  const uint32_t embedding = options.embedding == 0 ? size : options.embedding;
  parts.hidden = size;
  parts.embedding = embedding;
  parts.heads = options.heads;
  parts.intermediate = options.intermediate;
  parts.max_tokens = kMaxTokens;
  parts.epsilon = 1e-12f;
  parts.attention_products = options.int8 && options.integer_attention;
  parts.words = random_table(random, kWords, embedding);
  parts.positions = random_table(random, kMaxTokens, embedding);
  parts.types = random_table(random, 2, embedding);
  parts.embedding_norm = random_norm(random, embedding);
  const auto linear = [&](std::size_t rows, std::size_t columns, bool output) {
    return random_linear(random, rows, columns, options, output);
  };
  if (options.embedding != 0) parts.embedding_projection = linear(size, embedding, options.integer_attention);
  for (std::size_t i = 0; i < options.layers; ++i) {
    const bool products = options.integer_attention;
    parts.layers.push_back({linear(size, size, products), linear(size, size, products), linear(size, size, products),
                            linear(size, size, false), linear(options.intermediate, size, i % 2 == 0),
                            linear(size, options.intermediate, false), random_norm(random, size),
                            random_norm(random, size)});
  }
  if (options.relative_bias) {
    parts.relative_bias.resize(options.heads * (2 * std::size_t{kMaxTokens} - 1));
    for (std::size_t i = 0; i < parts.relative_bias.size(); ++i) parts.relative_bias[i] = random.normal(1);
  }
  parts.head_kind = options.head;
  if (options.head == HeadKind::kFirstToken) parts.head.push_back({linear(size, size, true), Activation::kTanh});
  if (options.head != HeadKind::kNone) parts.head.push_back({linear(3, size, false), Activation::kNone});
  return parts;
}

Tokens::Tokens(const std::vector<int>& lengths, uint64_t seed) {
  Random random(seed);
  for (const int length : lengths) {
    for (int i = 0; i < length; ++i) {
      ids.push_back(static_cast<int32_t>(random.between(0, kWords - 1)));
      types.push_back(static_cast<int32_t>(random.between(0, 1)));
      positions.push_back(i);
      order.push_back(i);
    }
    offsets.push_back(static_cast<int64_t>(ids.size()));
  }
}

Batch Tokens::batch() const {
  return {offsets.size() - 1, offsets.data(), ids.data(), types.data(), positions.data(), order.data()};
}

}  // namespace pruneofa::testing
