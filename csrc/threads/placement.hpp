// Where helper threads may run.
#pragma once

#include <memory>
#include <thread>
#include <vector>

namespace pruneofa {

// Keeps helpers off the core of the thread that wakes them. A scheduler likes to put whom it wakes beside the waker, who
// goes on computing there; on an otherwise idle machine the helper then waits for milliseconds. Linux only; elsewhere
// nothing is done.
class Placement {
 public:
  Placement();
  ~Placement();
  Placement(const Placement&) = delete;
  Placement& operator=(const Placement&) = delete;

  // Let `helpers` run where this object's maker could, but for the calling thread's core. Nothing is done where that
  // leaves fewer cores than helpers. Once somebody else has decided where one runs, the others get all cores back, and
  // nothing is done ever again.
  void keep_off(std::vector<std::thread>& helpers);

 private:
  struct State;
  std::unique_ptr<State> state_;  // null where nothing is to be done
};

}  // namespace pruneofa
