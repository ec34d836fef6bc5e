// Helper threads: every item once, owners in turn, no deadlock when many loops follow each other.
#include <atomic>
#include <thread>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

#include "tests/check.hpp"
#include "threads/placement.hpp"
#include "threads/team.hpp"

namespace pruneofa::testing {
namespace {

PRUNEOFA_TEST(a_team_does_every_item_once) {
  for (const std::size_t workers : {1u, 2u, 5u}) {
    Team team(workers);
    const bool acquired = team.try_acquire();
    check_equal(acquired, workers > 1, "acquired");
    if (!acquired) continue;
    for (std::size_t count = 0; count < 300; ++count) {
      std::vector<std::atomic<int>> done(count);
      struct Context {
        std::vector<std::atomic<int>>& done;
        std::size_t workers;
        std::atomic<bool> wrong{false};
      } context{done, workers};
      team.run(
          count,
          [](void* data, std::size_t item, std::size_t worker) {
            auto& context = *static_cast<Context*>(data);
            context.done[item].fetch_add(1);
            if (worker >= context.workers) context.wrong = true;
          },
          &context);
      for (const std::atomic<int>& times : done) check_equal(times.load(), 1, "times");
      check(!context.wrong, "a worker has a wrong number");
    }
    check(!team.try_acquire(), "a team has one owner at a time");
    team.release();
    check(team.try_acquire(), "after release");
    team.release();
  }
}

PRUNEOFA_TEST(a_team_wakes_after_a_pause) {
  Team team(3);
  for (int i = 0; i < 20; ++i) {
    check(team.try_acquire(), "acquire");
    std::atomic<int> sum{0};
    team.run(
        10,
        [](void* data, std::size_t item, std::size_t) {
          *static_cast<std::atomic<int>*>(data) += static_cast<int>(item);
        },
        &sum);
    check_equal(sum.load(), 45, "sum");
    team.release();
    std::this_thread::sleep_for(std::chrono::milliseconds(i % 3));
  }
}

PRUNEOFA_TEST(teams_come_and_go) {
  for (int i = 0; i < 50; ++i) {
    Team team(4);
    if (i % 2 == 0) continue;
    check(team.try_acquire(), "acquire");
    std::atomic<int> count{0};
    team.run(4, [](void* data, std::size_t, std::size_t) { ++*static_cast<std::atomic<int>*>(data); }, &count);
    check_equal(count.load(), 4, "count");
    team.release();
  }
}

#if defined(__linux__)
cpu_set_t only(int core) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(core, &cores);
  return cores;
}

// This thread's cores, given back at the end, also after a check that failed.
class Cores {
 public:
  Cores() { check_equal(sched_getaffinity(0, sizeof(all_), &all_), 0, "sched_getaffinity"); }
  ~Cores() { sched_setaffinity(0, sizeof(all_), &all_); }
  const cpu_set_t& all() const { return all_; }
  static void stay_on(const cpu_set_t& cores) { sched_setaffinity(0, sizeof(cores), &cores); }

 private:
  cpu_set_t all_;
};

// Threads that sleep until the end of this object.
class Sleepers {
 public:
  explicit Sleepers(int count) {
    for (int i = 0; i < count; ++i) {
      threads.emplace_back([this] {
        while (!ending_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      });
    }
  }
  ~Sleepers() {
    ending_ = true;
    for (std::thread& thread : threads) thread.join();
  }
  bool may_run_on(std::size_t i, const cpu_set_t& cores) {
    cpu_set_t found;
    check_equal(pthread_getaffinity_np(threads[i].native_handle(), sizeof(found), &found), 0, "pthread_getaffinity_np");
    return CPU_EQUAL(&found, &cores);
  }

  std::vector<std::thread> threads;

 private:
  std::atomic<bool> ending_{false};
};

PRUNEOFA_TEST(helpers_keep_off_the_callers_core_where_each_has_another) {
  for (const int count : {1, 2, 5}) {
    Cores mine;
    Sleepers helpers(count);
    Placement placement;
    for (int core = 0, moves = 0; core < CPU_SETSIZE && moves < 3; ++core) {
      if (!CPU_ISSET(core, &mine.all())) continue;
      ++moves;
      Cores::stay_on(only(core));
      placement.keep_off(helpers.threads);
      cpu_set_t rest = mine.all();
      CPU_CLR(core, &rest);
      for (int i = 0; i < count; ++i) {
        check(helpers.may_run_on(i, CPU_COUNT(&rest) >= count ? rest : mine.all()), "the helpers' cores");
      }
    }
  }
}

PRUNEOFA_TEST(helpers_that_somebody_placed_are_left_alone) {
  for (const int count : {1, 2}) {
    Cores mine;
    if (CPU_COUNT(&mine.all()) <= count) continue;
    int core = 0;
    while (!CPU_ISSET(core, &mine.all())) ++core;
    int other = core + 1;
    while (!CPU_ISSET(other, &mine.all())) ++other;
    Sleepers helpers(count);
    Placement placement;
    Cores::stay_on(only(core));
    placement.keep_off(helpers.threads);
    const cpu_set_t chosen = only(core);
    pthread_setaffinity_np(helpers.threads[0].native_handle(), sizeof(chosen), &chosen);
    for (const int place : {other, core}) {
      Cores::stay_on(only(place));
      placement.keep_off(helpers.threads);
      check(helpers.may_run_on(0, chosen), "the core that somebody chose");
      for (int i = 1; i < count; ++i) check(helpers.may_run_on(i, mine.all()), "the others have all cores again");
    }
  }
}
#endif

}  // namespace
}  // namespace pruneofa::testing
