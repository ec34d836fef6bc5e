// What a process must have for itself: threads, and locks that other threads may hold.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

namespace pruneofa {

// How many forks lie between this process and the one that loaded this code.
uint64_t fork_generation();

// A T that every process makes for itself. A fork copies the memory of a T but not its threads, and a lock that another
// thread held stays locked in the copy for ever. So the child makes its own T when it first asks, and leaves the copy as
// it is: it is neither used nor destroyed, and its pages stay shared with the parent.
template <class T>
class PerProcess {
 public:
  using Maker = std::function<std::unique_ptr<T>()>;

  explicit PerProcess(Maker make) : make_(std::move(make)), entry_(new Entry{fork_generation(), make_()}) {}
  ~PerProcess() {
    Entry* const entry = entry_.load(std::memory_order_acquire);
    if (entry->generation == fork_generation()) delete entry;
  }
  PerProcess(const PerProcess&) = delete;
  PerProcess& operator=(const PerProcess&) = delete;

  // Safe to be called from several threads at once.
  T& get() {
    const uint64_t generation = fork_generation();
    Entry* entry = entry_.load(std::memory_order_acquire);
    if (entry->generation == generation) return *entry->value;
    auto own = std::make_unique<Entry>(Entry{generation, make_()});
    if (entry_.compare_exchange_strong(entry, own.get(), std::memory_order_acq_rel)) return *own.release()->value;
    return *entry->value;  // another thread of this process was quicker
  }

 private:
  struct Entry {
    uint64_t generation;
    std::unique_ptr<T> value;
  };

  const Maker make_;
  std::atomic<Entry*> entry_;
};

}  // namespace pruneofa
