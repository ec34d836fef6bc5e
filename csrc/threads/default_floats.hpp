// The modes that numbers are computed in.
#pragma once

#include <cfenv>

namespace pruneofa {

// While it lives, this thread rounds to nearest, keeps denormal numbers and traps nothing, whatever the program around
// has set (torch.set_flush_denormal, fast-math libraries): the same bits in every process and on every thread.
class DefaultFloats {
 public:
  DefaultFloats() {
    std::fegetenv(&before_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~DefaultFloats() { std::fesetenv(&before_); }
  DefaultFloats(const DefaultFloats&) = delete;
  DefaultFloats& operator=(const DefaultFloats&) = delete;

 private:
  std::fenv_t before_;
};

}  // namespace pruneofa
