#include <cstdio>
#include <cstring>

#include "tests/check.hpp"

namespace pruneofa::testing {

std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

std::vector<const Kernels*> fast_kernels() {
  std::size_t count = 0;
  const Kernels* const* all = all_kernels(count);
  std::vector<const Kernels*> found;
  for (std::size_t i = 0; i + 1 < count; ++i) {
    if (all[i]->is_supported()) found.push_back(all[i]);
  }
  return found;
}

const Kernels& portable_kernels() { return select_kernels("portable"); }

}  // namespace pruneofa::testing

// Runs all cases, or those whose name holds the argument. 0: all passed; 1: some failed, or there was none to run.
int main(int count, char** arguments) {
  using namespace pruneofa::testing;
  std::printf("kernels:");
  for (const pruneofa::Kernels* kernels : fast_kernels()) std::printf(" %s", kernels->name);
  std::printf(" portable\n");
  int ran = 0, failed = 0;
  for (const Case& each : cases()) {
    if (count > 1 && std::strstr(each.name.c_str(), arguments[1]) == nullptr) continue;
    ++ran;
    try {
      each.body();
      std::printf("passed  %s\n", each.name.c_str());
    } catch (const std::exception& error) {
      ++failed;
      std::printf("FAILED  %s: %s\n", each.name.c_str(), error.what());
    }
    std::fflush(stdout);
  }
  std::printf("%d cases, %d failed\n", ran, failed);
  return ran == 0 || failed != 0 ? 1 : 0;
}
