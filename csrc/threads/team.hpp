// A few helper threads that share loops with the thread that calls them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "threads/placement.hpp"

namespace pruneofa {

// What one loop needs: `body(context, item, worker)` for each item from 0 to `count - 1`, in any order, on any worker.
// It must not throw.
using LoopBody = void (*)(void* context, std::size_t item, std::size_t worker);

// Helpers join a loop if they are awake in time; the caller never waits for one that has not begun. So a helper that
// the system has put aside delays nothing but the item it is at. Between loops helpers look out for the next one for a
// short while, giving way to other threads, and then sleep. A team is of the process that made it; see PerProcess.
class Team {
 public:
  // `workers` threads in all, the caller among them; fewer where the system gives no more.
  explicit Team(std::size_t workers);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  std::size_t workers() const { return threads_.size() + 1; }

  // Reserve the helpers for the calling thread; false where another thread has them, or where there are none. Each
  // success must be followed by `release`.
  bool try_acquire();
  void release();

  // Run a loop. Only between `try_acquire` and `release`; the caller is worker 0.
  void run(std::size_t count, LoopBody body, void* context);

 private:
  // State of the current loop in one word: its number, whether it is open, how many helpers are at it.
  static constexpr uint64_t kHelper = 1;
  static constexpr uint64_t kOpen = uint64_t{1} << 16;
  static constexpr uint64_t kHelperMask = kOpen - 1;
  static constexpr int kLoopShift = 17;

  void help(std::size_t worker);
  bool await_loop(uint64_t last, uint64_t& state);
  void work(std::size_t worker);

  std::atomic<bool> is_taken_{false};
  LoopBody body_ = nullptr;
  void* context_ = nullptr;
  std::size_t count_ = 0;
  alignas(64) std::atomic<std::size_t> next_{0};
  alignas(64) std::atomic<uint64_t> state_{0};
  alignas(64) std::atomic<uint32_t> doorbell_{0};  // rung when a loop opens while somebody sleeps, and at the end
  std::atomic<uint32_t> sleepers_{0};
  std::atomic<bool> ending_{false};
  Placement placement_;
  std::vector<std::thread> threads_;
};

}  // namespace pruneofa
