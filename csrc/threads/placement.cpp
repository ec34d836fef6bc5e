#include "threads/placement.hpp"

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

namespace pruneofa {

#if defined(__linux__)

struct Placement::State {
  cpu_set_t allowed;  // of whoever made the helpers
  cpu_set_t given;    // to the helpers
  int core = -1;      // that is left out of `given`
};

Placement::Placement() : state_(std::make_unique<State>()) {
  // Machines with more cores than a cpu_set_t holds are left alone.
  if (sched_getaffinity(0, sizeof(cpu_set_t), &state_->allowed) != 0 || CPU_COUNT(&state_->allowed) < 2) {
    state_.reset();
    return;
  }
  state_->given = state_->allowed;
}

namespace {

bool may_run_on(std::thread& helper, const cpu_set_t& cores) {
  cpu_set_t now;
  return pthread_getaffinity_np(helper.native_handle(), sizeof(now), &now) == 0 && CPU_EQUAL(&now, &cores);
}

bool place(std::thread& helper, const cpu_set_t& cores) {
  return pthread_setaffinity_np(helper.native_handle(), sizeof(cores), &cores) == 0;
}

}  // namespace

void Placement::keep_off(std::vector<std::thread>& helpers) {
  if (state_ == nullptr) return;
  const int core = sched_getcpu();
  if (core < 0 || core >= CPU_SETSIZE || core == state_->core) return;
  cpu_set_t rest = state_->allowed;
  CPU_CLR(core, &rest);
  if (static_cast<std::size_t>(CPU_COUNT(&rest)) < helpers.size()) return;
  bool is_ours = true, is_placed = true;
  for (std::thread& helper : helpers) is_ours = is_ours && may_run_on(helper, state_->given);
  for (std::thread& helper : helpers) is_placed = is_placed && is_ours && place(helper, rest);
  if (is_placed) {
    state_->given = rest;
    state_->core = core;
    return;
  }
  for (std::thread& helper : helpers) {
    if (is_ours || may_run_on(helper, state_->given)) place(helper, state_->allowed);
  }
  state_.reset();
}

#else

struct Placement::State {};

Placement::Placement() = default;

void Placement::keep_off(std::vector<std::thread>&) {}

#endif

Placement::~Placement() = default;

}  // namespace pruneofa
