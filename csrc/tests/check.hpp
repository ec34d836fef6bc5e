// Just enough to write tests: named cases that register themselves, and checks that say where and what.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/kernels.hpp"

namespace pruneofa::testing {

struct Case {
  std::string name;
  std::function<void()> body;
};
std::vector<Case>& cases();

struct Register {
  Register(const char* name, std::function<void()> body) { cases().push_back({name, std::move(body)}); }
};

#define PRUNEOFA_TEST(name)                                                \
  static void name();                                                      \
  static const ::pruneofa::testing::Register register_##name(#name, name); \
  static void name()

// Thrown by a check that fails.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class A, class B>
void check_equal(const A& first, const B& second, const std::string& what) {
  if (first == second) return;
  std::ostringstream text;
  text << what << ": " << +first << " is not " << +second;
  throw Failure(text.str());
}

inline void check(bool holds, const std::string& what) {
  if (!holds) throw Failure(what);
}

// The sets of kernels that this machine supports, without the portable one.
std::vector<const Kernels*> fast_kernels();
const Kernels& portable_kernels();

// Numbers that are the same in every run.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  int64_t between(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(engine_); }
  float normal(float scale) { return std::normal_distribution<float>(0.0f, scale)(engine_); }
  bool chance(double share) { return std::uniform_real_distribution<double>(0, 1)(engine_) < share; }

 private:
  std::mt19937_64 engine_;
};

template <class Action>
void check_refused(Action&& action, const std::string& part, const std::string& what) {
  try {
    action();
  } catch (const std::invalid_argument& error) {
    check(std::string(error.what()).find(part) != std::string::npos, what + ": the message is: " + error.what());
    return;
  }
  throw Failure(what + ": was not refused");
}

}  // namespace pruneofa::testing
