// Forks of a process that has models: all threads, the same bits, and no lock that the parent left behind.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <memory>
#include <thread>
#include <vector>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include "encoder/model.hpp"
#include "tests/check.hpp"
#include "tests/models.hpp"
#include "threads/default_floats.hpp"
#include "threads/per_process.hpp"

namespace pruneofa::testing {
namespace {

// Runs `body` in a fork; whether it returned true, soon.
template <class Body>
bool holds_in_a_fork(Body&& body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);  // a child that hangs is ended, and told from one that answers
    bool held = false;
    try {
      held = body();
    } catch (...) {
    }
    _exit(held ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

[[maybe_unused]] std::size_t threads_of_this_process() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) ++count;
  return count;
}

std::vector<float> states_of(const Model& model, const Tokens& tokens) {
  std::vector<float> hidden(tokens.count() * model.parts().hidden);
  model.run(tokens.batch(), {hidden.data(), nullptr});
  return hidden;
}

PRUNEOFA_TEST(each_process_makes_its_own) {
  int made = 0;
  PerProcess<int> number([&made] { return std::make_unique<int>(++made); });
  check_equal(number.get(), 1, "in the parent");
  check_equal(number.get(), 1, "in the parent, again");
  check(holds_in_a_fork([&] {
          return number.get() == 2 && number.get() == 2 && holds_in_a_fork([&] { return number.get() == 3; });
        }),
        "a child makes one, its child another");
  check_equal(number.get(), 1, "in the parent, in the end");
}

#if !defined(__SANITIZE_THREAD__)  // which takes a thread of a child for the parent's at the same address
PRUNEOFA_TEST(a_fork_computes_the_same_with_all_its_threads) {
  const Model model(random_parts({}, 1), select_kernels(""), 3);
  const Tokens tokens({300, 128, 129, 64, 7, 200, 31}, 1);
  const std::vector<float> expected = states_of(model, tokens);
  check(holds_in_a_fork([&] {
#if defined(__linux__)
          const std::size_t before = threads_of_this_process();
          const bool is_same = states_of(model, tokens) == expected;
          return is_same && threads_of_this_process() == before + 2;
#else
          return states_of(model, tokens) == expected;
#endif
        }),
        "a fork");
  check(states_of(model, tokens) == expected, "the parent afterwards");
}

PRUNEOFA_TEST(a_fork_in_the_middle_of_calls_waits_for_nobody) {
  const Model model(random_parts({}, 2), select_kernels(""), 2);
  const Tokens tokens({130, 64, 7}, 2);
  const std::vector<float> expected = states_of(model, tokens);
  std::atomic<bool> ending{false}, wrong{false};
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i) {
    callers.emplace_back([&] {
      while (!ending) {
        if (states_of(model, tokens) != expected) wrong = true;
      }
    });
  }
  int failed = 0;
  for (int i = 0; i < 30; ++i) {
    failed += !holds_in_a_fork([&] {
      bool other = false;  // two threads of the child ask at once
      std::thread second([&] { other = states_of(model, tokens) == expected; });
      const bool own = states_of(model, tokens) == expected;
      second.join();
      return own && other;
    });
  }
  ending = true;
  for (std::thread& caller : callers) caller.join();
  check_equal(failed, 0, "children that hung or computed something else");
  check(!wrong, "the parent computed something else");
}

PRUNEOFA_TEST(a_model_made_in_the_parent_may_go_in_the_child) {
  auto model = std::make_unique<Model>(random_parts({}, 3), select_kernels(""), 3);
  const Tokens tokens({130, 64}, 3);
  states_of(*model, tokens);
  check(holds_in_a_fork([&] {
          model.reset();
          return true;
        }),
        "unused in the child");
  check(holds_in_a_fork([&] {
          states_of(*model, tokens);
          model.reset();
          return true;
        }),
        "used in the child");
}
#endif

PRUNEOFA_TEST(a_call_that_is_stopped_ends_between_units) {
  for (const std::size_t threads : {1u, 3u}) {
    const Model model(random_parts({}, 4), select_kernels(""), threads);
    const Tokens tokens(std::vector<int>(40, 100), 4);
    std::vector<float> hidden(tokens.count() * model.parts().hidden);
    const int last = threads == 1 ? 3 : 1;  // how many units fall to the caller is open beside helpers
    int asked = 0;
    check(!model.run(tokens.batch(), {hidden.data(), nullptr}, [&] { return ++asked == last; }), "stopped");
    check_equal(asked, last, "asked no more");
    check(model.run(tokens.batch(), {hidden.data(), nullptr}, [] { return false; }), "not stopped");
    check(hidden == states_of(model, tokens), "the next call is whole");
  }
}

#if defined(__SSE2__)
PRUNEOFA_TEST(the_callers_modes_of_floats_change_nothing_and_come_back) {
  const Model model(random_parts({}, 5), select_kernels(""), 2);
  const Tokens tokens({130, 64, 200}, 5);
  const std::vector<float> expected = states_of(model, tokens);
  const unsigned before = _mm_getcsr();
  const unsigned flush_and_round_up = before | 0x8040 | _MM_ROUND_UP;
  _mm_setcsr(flush_and_round_up);
  unsigned inside = 0;
  {
    const DefaultFloats floats;
    inside = _mm_getcsr();
  }
  const std::vector<float> found = states_of(model, tokens);
  const unsigned after = _mm_getcsr();
  _mm_setcsr(before);
  check_equal(inside & 0xFFC0u, 0x1F80u, "all exceptions masked, to nearest, nothing flushed");
  check_equal(after & 0xFFC0u, flush_and_round_up & 0xFFC0u, "the caller's again");
  check(found == expected, "the same bits");
}
#endif

}  // namespace
}  // namespace pruneofa::testing
