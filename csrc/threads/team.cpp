#include "threads/team.hpp"

#include <chrono>
#include <exception>

#include "threads/default_floats.hpp"

namespace pruneofa {
namespace {

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

constexpr int kSpins = 200;                           // some microseconds
constexpr std::chrono::microseconds kYieldTime{200};  // then let others run, then sleep

}  // namespace

Team::Team(std::size_t workers) {
  threads_.reserve(workers - 1);
  try {
    for (std::size_t worker = 1; worker < workers; ++worker) {
      threads_.emplace_back([this, worker] { help(worker); });
    }
  } catch (const std::exception&) {
    // The system gives no more threads (a container's limit of processes): fewer do the work.
  }
}

Team::~Team() {
  ending_.store(true, std::memory_order_seq_cst);
  doorbell_.fetch_add(1, std::memory_order_seq_cst);
  doorbell_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

bool Team::try_acquire() { return workers() > 1 && !is_taken_.exchange(true, std::memory_order_acquire); }

void Team::release() { is_taken_.store(false, std::memory_order_release); }

void Team::run(std::size_t count, LoopBody body, void* context) {
  // The loop before is closed and nobody is at it, so its fields may change.
  body_ = body;
  context_ = context;
  count_ = count;
  next_.store(0, std::memory_order_relaxed);
  const uint64_t number = (state_.load(std::memory_order_relaxed) >> kLoopShift) + 1;
  if (count > 1) {
    state_.store((number << kLoopShift) | kOpen, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) != 0) {
      placement_.keep_off(threads_);
      doorbell_.fetch_add(1, std::memory_order_seq_cst);
      doorbell_.notify_all();
    }
  }
  work(0);
  if (count <= 1) return;
  uint64_t state = state_.fetch_and(~kOpen, std::memory_order_acq_rel) & ~kOpen;
  for (int spins = 0; (state & kHelperMask) != 0; ++spins) {
    spins < kSpins ? relax() : std::this_thread::yield();
    state = state_.load(std::memory_order_acquire);
  }
}

void Team::work(std::size_t worker) {
  for (;;) {
    const std::size_t item = next_.fetch_add(1, std::memory_order_relaxed);
    if (item >= count_) return;
    body_(context_, item, worker);
  }
}

void Team::help(std::size_t worker) {
  const DefaultFloats floats;  // a thread begins with the modes of the one that made it
  uint64_t last = 0, state = 0;
  while (await_loop(last, state)) {
    last = state >> kLoopShift;
    while ((state & kOpen) != 0 && (state >> kLoopShift) == last) {
      if (state_.compare_exchange_weak(state, state + kHelper, std::memory_order_acq_rel, std::memory_order_acquire)) {
        work(worker);
        state_.fetch_sub(kHelper, std::memory_order_release);
        break;
      }
    }
  }
}

// Wait until a loop other than `last` is open; false at the end.
bool Team::await_loop(uint64_t last, uint64_t& state) {
  const auto opened = [&] {
    state = state_.load(std::memory_order_seq_cst);
    return (state & kOpen) != 0 && (state >> kLoopShift) != last;
  };
  for (;;) {
    for (int spins = 0; spins < kSpins; ++spins) {
      if (ending_.load(std::memory_order_relaxed)) return false;
      if (opened()) return true;
      relax();
    }
    const auto until = std::chrono::steady_clock::now() + kYieldTime;
    while (std::chrono::steady_clock::now() < until) {
      if (opened()) return true;
      std::this_thread::yield();
    }
    const uint32_t bell = doorbell_.load(std::memory_order_seq_cst);
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    // Whoever opens a loop from here on sees a sleeper and rings.
    if (!opened() && !ending_.load(std::memory_order_seq_cst)) doorbell_.wait(bell, std::memory_order_seq_cst);
    sleepers_.fetch_sub(1, std::memory_order_seq_cst);
    if (ending_.load(std::memory_order_seq_cst)) return false;
  }
}

}  // namespace pruneofa
