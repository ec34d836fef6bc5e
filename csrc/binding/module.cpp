// The Python module pruneofa._native. It checks what it is given once more: whatever arrives, the process lives.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <chrono>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "binding/arrays.hpp"
#include "binding/file.hpp"
#include "encoder/model.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace pruneofa {
namespace {

using FloatArray = nb::ndarray<float, nb::numpy, nb::ndim<2>, nb::c_contig>;

// A scale and a zero point.
using Pair = std::pair<float, int64_t>;

// Parts are moved into a model, so each may be used once.
template <class T>
struct Once {
  std::optional<T> part;

  T take(const char* what) {
    if (!part) throw std::invalid_argument(std::string("this ") + what + " is part of a model already");
    T taken = std::move(*part);
    part.reset();
    return taken;
  }
};
using OnceLinear = Once<Linear>;
using OnceTable = Once<EmbeddingTable>;
using OnceNorm = Once<Norm>;
using OnceLayer = Once<LayerParts>;

const float* bias_of(const std::optional<Vector<float>>& bias, std::size_t rows) {
  if (!bias) return nullptr;
  if (bias->shape(0) != rows) {
    throw std::invalid_argument("a bias has " + std::to_string(bias->shape(0)) + " values, the weight " +
                                std::to_string(rows) + " rows");
  }
  return bias->data();
}

OnceLinear make_int8(const Matrix<int8_t>& levels, const Vector<float>& scales,
                     const std::optional<Vector<float>>& bias, const Pair& input, const std::optional<Pair>& output) {
  const float* const biases = bias_of(bias, levels.shape(0));
  const Grid in = make_grid(input.first, input.second, "input");
  std::optional<Grid> out;
  if (output) out = make_grid(output->first, output->second, "output");
  const nb::gil_scoped_release unlocked;
  return {
      Linear::int8(levels.data(), levels.shape(0), levels.shape(1), scales.data(), scales.shape(0), biases, in, out)};
}

OnceLinear make_float(const Matrix<float>& weight, const std::optional<Vector<float>>& bias, bool bfloat16) {
  const float* const biases = bias_of(bias, weight.shape(0));
  const nb::gil_scoped_release unlocked;
  return {Linear::values(weight.data(), weight.shape(0), weight.shape(1), biases, bfloat16)};
}

OnceTable make_table(const Matrix<float>& values) {
  const nb::gil_scoped_release unlocked;
  return {EmbeddingTable::values(values.data(), values.shape(0), values.shape(1))};
}

OnceTable make_int8_table(const Matrix<int8_t>& levels, const Vector<float>& scales) {
  const nb::gil_scoped_release unlocked;
  return {EmbeddingTable::int8(levels.data(), levels.shape(0), levels.shape(1), scales.data(), scales.shape(0))};
}

Buffer<float> copy_finite(const Vector<float>& values, const char* what) {
  Buffer<float> copy(values.shape(0));
  for (std::size_t i = 0; i < values.shape(0); ++i) {
    if (!std::isfinite(values.data()[i])) {
      throw std::invalid_argument(std::string(what) + " holds a value that is not finite, at " + std::to_string(i));
    }
    copy[i] = values.data()[i];
  }
  return copy;
}

OnceNorm make_norm(const Vector<float>& gamma, const Vector<float>& beta) {
  return {Norm{copy_finite(gamma, "a LayerNorm weight"), copy_finite(beta, "a LayerNorm bias")}};
}

OnceLayer make_layer(OnceLinear& query, OnceLinear& key, OnceLinear& value, OnceLinear& attention_output,
                     OnceNorm& attention_norm, OnceLinear& ffn_in, OnceLinear& ffn_out, OnceNorm& output_norm) {
  return {LayerParts{query.take("Linear"), key.take("Linear"), value.take("Linear"), attention_output.take("Linear"),
                     ffn_in.take("Linear"), ffn_out.take("Linear"), attention_norm.take("LayerNorm"),
                     output_norm.take("LayerNorm")}};
}

Activation activation_named(const std::string& name) {
  if (name == "none") return Activation::kNone;
  if (name == "gelu") return Activation::kGelu;
  if (name == "gelu_tanh") return Activation::kGeluTanh;
  if (name == "relu") return Activation::kRelu;
  if (name == "tanh") return Activation::kTanh;
  throw std::invalid_argument("activation '" + name.substr(0, 80) +
                              "' is unknown; allowed are none, gelu, gelu_tanh, relu, tanh");
}

HeadKind head_named(const std::string& name) {
  if (name == "none") return HeadKind::kNone;
  if (name == "first_token") return HeadKind::kFirstToken;
  if (name == "every_token") return HeadKind::kEveryToken;
  throw std::invalid_argument("head '" + name.substr(0, 80) +
                              "' is unknown; allowed are none, first_token, every_token");
}

std::unique_ptr<Model> make_model(uint32_t heads, uint32_t intermediate, uint32_t max_tokens, float epsilon,
                                  const std::string& activation, bool attention_products, OnceTable& words,
                                  OnceTable& positions, OnceTable* types, OnceNorm& embedding_norm,
                                  OnceLinear* embedding_projection,
                                  const std::vector<OnceLayer*>& layers,
                                  const std::optional<Vector<float>>& relative_bias, const std::string& head_kind,
                                  const std::vector<std::pair<OnceLinear*, std::string>>& head,
                                  const std::string& kernel, std::size_t threads) {
  const Kernels& kernels = select_kernels(kernel.c_str());
  Parts parts;
  parts.heads = heads;
  parts.intermediate = intermediate;
  parts.max_tokens = max_tokens;
  parts.epsilon = epsilon;
  parts.activation = activation_named(activation);
  parts.attention_products = attention_products;
  parts.words = words.take("table");
  if (parts.words.columns() > Linear::kMaxFeatures) throw std::invalid_argument("an embedding table is too wide");
  parts.embedding = static_cast<uint32_t>(parts.words.columns());
  parts.hidden = parts.embedding;
  if (embedding_projection != nullptr) {
    parts.embedding_projection = embedding_projection->take("Linear");
    parts.hidden = parts.embedding_projection->rows();
  }
  parts.positions = positions.take("table");
  if (types != nullptr) parts.types = types->take("table");
  parts.embedding_norm = embedding_norm.take("LayerNorm");
  for (OnceLayer* layer : layers) {
    if (layer == nullptr) throw std::invalid_argument("a layer is None");
    parts.layers.push_back(layer->take("layer"));
  }
  if (relative_bias) parts.relative_bias = copy_finite(*relative_bias, "relative_bias");
  parts.head_kind = head_named(head_kind);
  for (const auto& [linear, after] : head) {
    if (linear == nullptr) throw std::invalid_argument("a Linear of the head is None");
    parts.head.push_back({linear->take("Linear"), activation_named(after)});
  }
  const auto bfloat16 = [](const Linear& linear) { return linear.is_bfloat16(); };
  bool needs_bfloat16 = parts.embedding_projection && bfloat16(*parts.embedding_projection);
  for (const LayerParts& layer : parts.layers) {
    for (const Linear* linear :
         {&layer.query, &layer.key, &layer.value, &layer.attention_output, &layer.ffn_in, &layer.ffn_out}) {
      needs_bfloat16 = needs_bfloat16 || bfloat16(*linear);
    }
  }
  for (const HeadStep& step : parts.head) needs_bfloat16 = needs_bfloat16 || bfloat16(step.linear);
  if (needs_bfloat16 && kernels.linear_bf16 == nullptr) {
    throw std::invalid_argument(std::string("kernel '") + kernels.name + "' has no bfloat16 products");
  }
  return std::make_unique<Model>(std::move(parts), kernels, threads);
}

FloatArray new_array(std::size_t rows, std::size_t columns) {
  auto memory = std::make_unique<float[]>(checked_product(rows, columns));
  float* const data = memory.get();
  nb::capsule owner(memory.release(), [](void* pointer) noexcept { delete[] static_cast<float*>(pointer); });
  return FloatArray(data, {rows, columns}, owner);
}

std::size_t expected_tokens(const Vector<int64_t>& offsets) {
  if (offsets.shape(0) == 0 || offsets.data()[0] != 0) throw std::invalid_argument("offsets must start with 0");
  for (std::size_t i = 1; i < offsets.shape(0); ++i) {
    if (offsets.data()[i] < offsets.data()[i - 1]) throw std::invalid_argument("offsets must not fall");
  }
  return static_cast<std::size_t>(offsets.data()[offsets.shape(0) - 1]);
}

const int32_t* checked(const std::optional<Vector<int32_t>>& numbers, std::size_t tokens, const char* name) {
  if (!numbers) return nullptr;
  if (numbers->shape(0) != tokens) {
    throw std::invalid_argument(std::string(name) + " has " + std::to_string(numbers->shape(0)) +
                                " numbers, offsets announce " + std::to_string(tokens));
  }
  return numbers->data();
}

// Lets Python's signal handlers run now and then during a long call; Ctrl-C would else wait for its end.
class Signals {
 public:
  // Whether a handler raised; its exception is then this thread's.
  bool operator()() {
    const auto now = std::chrono::steady_clock::now();
    if (now < next_) return false;
    const nb::gil_scoped_acquire locked;
    const bool raised = PyErr_CheckSignals() != 0;
    next_ = std::chrono::steady_clock::now() + kInterval;
    return raised;
  }

 private:
  static constexpr std::chrono::milliseconds kInterval{50};
  std::chrono::steady_clock::time_point next_ = std::chrono::steady_clock::now() + kInterval;
};

nb::tuple run(const Model& model, const Vector<int32_t>& ids, const Vector<int64_t>& offsets,
              const Vector<int32_t>& positions, const Vector<int32_t>& order,
              const std::optional<Vector<int32_t>>& types, bool hidden, bool logits) {
  const std::size_t tokens = expected_tokens(offsets);
  Batch batch{};
  batch.count = offsets.shape(0) - 1;
  batch.offsets = offsets.data();
  batch.ids = checked(ids, tokens, "ids");
  batch.types = checked(types, tokens, "types");
  batch.positions = checked(positions, tokens, "positions");
  batch.order = checked(order, tokens, "order");
  const bool every = model.parts().head_kind == HeadKind::kEveryToken;
  if (logits && model.parts().head_kind == HeadKind::kNone) throw std::invalid_argument("this model has no head");
  const FloatArray states = new_array(hidden ? tokens : 0, model.parts().hidden);
  const FloatArray answers = new_array(!logits ? 0 : every ? tokens : batch.count, model.labels());
  bool is_done = false;
  {
    const nb::gil_scoped_release unlocked;
    is_done = model.run(batch, Results{hidden ? states.data() : nullptr, logits ? answers.data() : nullptr}, Signals());
  }
  if (!is_done) throw nb::python_error();
  return nb::make_tuple(hidden ? nb::cast(states) : nb::none(), logits ? nb::cast(answers) : nb::none());
}

std::vector<std::string> kernel_names(bool supported) {
  std::size_t count = 0;
  const Kernels* const* all = all_kernels(count);
  std::vector<std::string> names;
  for (std::size_t i = 0; i < count; ++i) {
    if (!supported || all[i]->is_supported()) names.emplace_back(all[i]->name);
  }
  return names;
}

}  // namespace
}  // namespace pruneofa

NB_MODULE(_native, m) {
  using namespace pruneofa;
  nb::class_<OnceLinear>(m, "Linear")
      .def_static("int8", &make_int8, "levels"_a.noconvert(), "scales"_a.noconvert(), "bias"_a.noconvert().none(),
                  "input"_a, "output"_a.none())
      .def_static("float32", &make_float, "weight"_a.noconvert(), "bias"_a.noconvert().none(), "bfloat16"_a);
  nb::class_<OnceTable>(m, "Table")
      .def_static("float32", &make_table, "values"_a.noconvert())
      .def_static("int8", &make_int8_table, "levels"_a.noconvert(), "scales"_a.noconvert());
  nb::class_<OnceNorm>(m, "Norm").def_static("float32", &make_norm, "gamma"_a.noconvert(), "beta"_a.noconvert());
  nb::class_<OnceLayer>(m, "Layer")
      .def_static("of", &make_layer, "query"_a, "key"_a, "value"_a, "attention_output"_a, "attention_norm"_a,
                  "ffn_in"_a, "ffn_out"_a, "output_norm"_a);
  nb::class_<Model>(m, "Model")
      .def_static("of", &make_model, nb::kw_only(), "heads"_a, "intermediate"_a, "max_tokens"_a, "epsilon"_a,
                  "activation"_a, "attention_products"_a, "words"_a, "positions"_a, "types"_a.none(),
                  "embedding_norm"_a, "embedding_projection"_a.none(), "layers"_a, "relative_bias"_a.noconvert().none(), "head_kind"_a, "head"_a,
                  "kernel"_a, "threads"_a)
      .def("run", &run, "ids"_a.noconvert(), "offsets"_a.noconvert(), "positions"_a.noconvert(), "order"_a.noconvert(),
           "types"_a.noconvert().none(), nb::kw_only(), "hidden"_a, "logits"_a)
      .def_prop_ro("kernel", [](const Model& model) { return std::string(model.kernels().name); })
      .def_prop_ro("threads", &Model::threads)
      .def_prop_ro("labels", &Model::labels)
      .def_prop_ro("hidden_size", [](const Model& model) { return model.parts().hidden; })
      .def_prop_ro("weight_bytes", &Model::weight_bytes)
      .def_prop_ro("workspace_bytes", &Model::workspace_bytes);
  m.def("kernel_names", &kernel_names, "supported"_a);
  m.def(
      "select_kernel", [](const std::string& name) { return std::string(select_kernels(name.c_str()).name); },
      "name"_a);
  m.def(
      "kernel_has_bfloat16",
      [](const std::string& name) { return select_kernels(name.c_str()).linear_bf16 != nullptr; }, "name"_a);
  bind_file(m);
}
