// Whole models: batches, threads and kernels change nothing; wrong parts and numbers are refused.
#include "encoder/model.hpp"

#include <cmath>
#include <cstring>
#include <string>
#include <thread>

#include "tests/check.hpp"
#include "tests/models.hpp"

namespace pruneofa::testing {
namespace {

struct Answer {
  std::vector<float> hidden, logits;
};

Answer ask(const Model& model, const Tokens& tokens) {
  const bool every = model.parts().head_kind == HeadKind::kEveryToken;
  Answer answer;
  answer.hidden.resize(tokens.count() * model.parts().hidden);
  answer.logits.resize((every ? tokens.count() : tokens.offsets.size() - 1) * model.labels());
  model.run(tokens.batch(), {answer.hidden.data(), model.labels() == 0 ? nullptr : answer.logits.data()});
  return answer;
}

// A head on first tokens alone leaves out most of the last layer.
std::vector<float> ask_logits(const Model& model, const Tokens& tokens) {
  std::vector<float> logits((tokens.offsets.size() - 1) * model.labels());
  model.run(tokens.batch(), {nullptr, logits.data()});
  return logits;
}

void check_same(const Answer& found, const Answer& expected, const std::string& what) {
  check(found.hidden == expected.hidden, what + ": hidden states differ");
  check(found.logits == expected.logits, what + ": logits differ");
  for (const float value : found.hidden) check(std::isfinite(value), what + ": a value is not finite");
}

const std::vector<ModelOptions>& all_options() {
  static const std::vector<ModelOptions> options = [] {
    std::vector<ModelOptions> made(10);
    made[1].integer_attention = false;
    made[2].int8 = false;
    made[2].integer_attention = false;
    made[3].relative_bias = true;
    made[3].hidden = 36;
    made[4].head = HeadKind::kEveryToken;
    made[5].head = HeadKind::kNone;
    made[5].sparsity = 1.0;
    made[6].layers = 0;
    made[7].embedding = 20;
    made[8].embedding = 130;  // more tiles than the layers have
    made[8].integer_attention = false;
    made[8].head = HeadKind::kEveryToken;
    made[9].embedding = 20;
    made[9].int8 = false;
    made[9].integer_attention = false;
    return made;
  }();
  return options;
}

const std::vector<int> kLengths = {1, 7, 15, 16, 17, 63, 64, 65, 128, 129, 300, 3, 20, 31, 2};

PRUNEOFA_TEST(a_batch_equals_its_sequences_on_any_number_of_threads) {
  for (std::size_t i = 0; i < all_options().size(); ++i) {
    const Model one(random_parts(all_options()[i], i), select_kernels(""), 1);
    const Model three(random_parts(all_options()[i], i), select_kernels(""), 3);
    const Tokens tokens(kLengths, i);
    const std::string name = "options " + std::to_string(i);
    const Answer whole = ask(one, tokens);
    check_same(ask(three, tokens), whole, name + ", three threads");
    const std::size_t width = one.parts().hidden;
    for (std::size_t s = 0; s < kLengths.size(); ++s) {
      Tokens single({}, 0);
      const auto begin = tokens.offsets[s], end = tokens.offsets[s + 1];
      single.offsets.push_back(end - begin);
      single.ids.assign(tokens.ids.begin() + begin, tokens.ids.begin() + end);
      single.types.assign(tokens.types.begin() + begin, tokens.types.begin() + end);
      single.positions.assign(tokens.positions.begin() + begin, tokens.positions.begin() + end);
      single.order = single.positions;
      for (const Model* model : {&one, &three}) {
        const Answer alone = ask(*model, single);
        check(std::memcmp(alone.hidden.data(), whole.hidden.data() + begin * width, alone.hidden.size() * 4) == 0,
              name + ", sequence " + std::to_string(s));
        const std::size_t at = one.parts().head_kind == HeadKind::kEveryToken ? begin : s;
        check(alone.logits.empty() || std::memcmp(alone.logits.data(), whole.logits.data() + at * one.labels(),
                                                  alone.logits.size() * 4) == 0,
              name + ", logits of sequence " + std::to_string(s));
      }
    }
  }
}

PRUNEOFA_TEST(logits_do_not_depend_on_whether_hidden_states_are_asked_for) {
  for (std::size_t i = 0; i < all_options().size(); ++i) {
    if (all_options()[i].head != HeadKind::kFirstToken) continue;
    for (const std::size_t threads : {1, 2, 3}) {
      const Model model(random_parts(all_options()[i], i), select_kernels(""), threads);
      for (const std::vector<int>& lengths : {kLengths, {1}, {64}, {65}, {128}, {300}, {20, 20, 20}, {40, 200, 9}}) {
        const Tokens tokens(lengths, i);
        check(ask_logits(model, tokens) == ask(model, tokens).logits,
              "options " + std::to_string(i) + ", " + std::to_string(threads) + " threads, " +
                  std::to_string(lengths.size()) + " sequences, the first of " + std::to_string(lengths[0]));
      }
    }
  }
}

PRUNEOFA_TEST(every_kernel_gives_the_portable_answer) {
  const Tokens tokens(kLengths, 1);
  for (const ModelOptions& options : all_options()) {
    const bool exact = options.int8 && options.integer_attention;
    const Model portable(random_parts(options, 4), portable_kernels(), 1);
    const Answer expected = ask(portable, tokens);
    for (const Kernels* kernels : fast_kernels()) {
      const Model model(random_parts(options, 4), *kernels, 2);
      const Answer found = ask(model, tokens);
      if (exact) {
        check_same(found, expected, kernels->name);
        continue;
      }
      double sum = 0;
      for (std::size_t i = 0; i < found.hidden.size(); ++i) sum += std::fabs(found.hidden[i] - expected.hidden[i]);
      check(sum / found.hidden.size() < 1e-3,
            std::string(kernels->name) + ": mean difference " + std::to_string(sum / found.hidden.size()));
    }
  }
}

PRUNEOFA_TEST(bfloat16_is_close_to_float32) {
  for (const Kernels* kernels : fast_kernels()) {
    if (kernels->linear_bf16 == nullptr) continue;
    ModelOptions options;
    options.int8 = options.integer_attention = false;
    const Tokens tokens(kLengths, 1);
    const Answer exact = ask(Model(random_parts(options, 4), *kernels, 1), tokens);
    options.bfloat16 = true;
    const Answer close = ask(Model(random_parts(options, 4), *kernels, 1), tokens);
    double sum = 0;
    for (std::size_t i = 0; i < exact.hidden.size(); ++i) sum += std::fabs(close.hidden[i] - exact.hidden[i]);
    check(sum / exact.hidden.size() < 0.02, "mean difference " + std::to_string(sum / exact.hidden.size()));
  }
}

// Of 100 to 256 tokens two threads take the same number of panels each, of 129 they share every step.
PRUNEOFA_TEST(one_sequence_gives_the_same_bits_however_it_is_dealt_out) {
  for (std::size_t i = 0; i < all_options().size(); ++i) {
    const Model one(random_parts(all_options()[i], i), select_kernels(""), 1);
    const Model two(random_parts(all_options()[i], i), select_kernels(""), 2);
    for (const int length : {100, 128, 129, 200, 256}) {
      const Tokens tokens({length}, i);
      const Answer expected = ask(one, tokens);
      for (int repeat = 0; repeat < 3; ++repeat) {
        check_same(ask(two, tokens), expected, "options " + std::to_string(i) + ", " + std::to_string(length) + " tokens");
      }
    }
  }
}

PRUNEOFA_TEST(calls_from_several_threads_do_not_disturb_each_other) {
  const Model model(random_parts(ModelOptions(), 1), select_kernels(""), 2);
  const Model other(random_parts(ModelOptions(), 2), select_kernels(""), 2);
  std::vector<Tokens> requests;
  std::vector<Answer> expected;
  for (int i = 0; i < 8; ++i) {
    requests.emplace_back(std::vector<int>{5 + i * 9, 3, 64 + i, 30}, i);
    expected.push_back(ask(i % 2 ? model : other, requests.back()));
  }
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 12; ++round) {
        const std::size_t i = (t + round) % requests.size();
        const Answer found = ask(i % 2 ? model : other, requests[i]);
        if (found.hidden != expected[i].hidden || found.logits != expected[i].logits) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  check_equal(wrong.load(), 0, "wrong answers");
}

PRUNEOFA_TEST(numbers_out_of_range_are_refused) {
  const Model model(random_parts(ModelOptions(), 1), select_kernels(""), 1);
  const auto refuse = [&](auto change, const char* part) {
    Tokens tokens({3, 4}, 1);
    change(tokens);
    check_refused([&] { ask(model, tokens); }, part, part);
  };
  refuse([](Tokens& t) { t.ids[2] = kWords; }, "input_ids holds 50, allowed is 0 to 49");
  refuse([](Tokens& t) { t.ids[6] = -1; }, "input_ids holds -1");
  refuse([](Tokens& t) { t.types[0] = 2; }, "token_type_ids holds 2");
  refuse([](Tokens& t) { t.positions[0] = kMaxTokens; }, "positions holds 300");
  refuse([](Tokens& t) { t.order[0] = kMaxTokens; }, "order holds 300");
  refuse([](Tokens& t) { t.offsets[1] = 0; }, "sequence 0 has 0 tokens");
  check_refused([&] { ask(model, Tokens({301}, 1)); }, "has 301 tokens, allowed are 1 to 300", "too long");
}

PRUNEOFA_TEST(parts_that_do_not_fit_are_refused) {
  const auto refuse = [](auto change, const char* part) {
    Parts parts = random_parts(ModelOptions(), 1);
    change(parts);
    check_refused([&] { Model(std::move(parts), select_kernels(""), 1); }, part, part);
  };
  refuse([](Parts& p) { p.heads = 5; }, "no multiple of 5 heads");
  refuse([](Parts& p) { p.intermediate = 81; }, "layer 0: ffn_in has the shape [80, 48]");
  refuse([](Parts& p) { p.max_tokens = 0; }, "max_tokens is 0");
  refuse([](Parts& p) { p.epsilon = NAN; }, "epsilon");
  refuse([](Parts& p) { p.relative_bias.resize(7); }, "relative_bias has 7 values");
  refuse([](Parts& p) { p.layers[1].output_norm.beta = Buffer<float>(3); }, "layer 1: output_norm");
  refuse([](Parts& p) { p.head.clear(); }, "a head has Linear layers");
  refuse([](Parts& p) { std::swap(p.layers[0].value, p.layers[0].attention_output); }, "attention_products needs");
  refuse([](Parts& p) { std::swap(p.layers[0].ffn_in, p.layers[0].ffn_out); }, "ffn_in has the shape");
  check_refused([] { Model(random_parts(ModelOptions(), 1), select_kernels(""), 0); }, "threads is 0", "threads");
  check_refused([] { Model(random_parts(ModelOptions(), 1), select_kernels(""), 1000); }, "threads is 1000", "threads");
}

}  // namespace
}  // namespace pruneofa::testing
