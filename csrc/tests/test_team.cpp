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
cpu_set_t cores_of(std::thread& thread) {
  cpu_set_t cores;
  check_equal(pthread_getaffinity_np(thread.native_handle(), sizeof(cores), &cores), 0, "pthread_getaffinity_np");
  return cores;
}

PRUNEOFA_TEST(helpers_keep_off_the_callers_core_unless_somebody_placed_them) {
  cpu_set_t before;
  check_equal(sched_getaffinity(0, sizeof(before), &before), 0, "sched_getaffinity");
  const int core = sched_getcpu();
  cpu_set_t alone, rest = before;
  CPU_ZERO(&alone);
  CPU_SET(core, &alone);
  CPU_CLR(core, &rest);
  std::atomic<bool> ending{false};
  std::vector<std::thread> helpers;
  for (int i = 0; i < 2; ++i) {
    helpers.emplace_back([&ending] {
      while (!ending) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    });
  }
  Placement placement;
  sched_setaffinity(0, sizeof(alone), &alone);  // so that this thread stays where it is
  placement.keep_off(helpers);
  const bool can_keep_off = CPU_COUNT(&rest) > 0;
  for (std::thread& helper : helpers) {
    const cpu_set_t found = cores_of(helper);
    check(CPU_EQUAL(&found, can_keep_off ? &rest : &before), "the helpers' cores");
  }
  if (can_keep_off) {
    // One is placed by somebody else, and this thread moves: nothing is touched any more.
    int other = 0;
    while (!CPU_ISSET(other, &rest)) ++other;
    cpu_set_t elsewhere;
    CPU_ZERO(&elsewhere);
    CPU_SET(other, &elsewhere);
    pthread_setaffinity_np(helpers[0].native_handle(), sizeof(alone), &alone);
    sched_setaffinity(0, sizeof(elsewhere), &elsewhere);
    placement.keep_off(helpers);
    const cpu_set_t first = cores_of(helpers[0]), second = cores_of(helpers[1]);
    check(CPU_EQUAL(&first, &alone) && CPU_EQUAL(&second, &rest), "cores that somebody else chose");
  }
  sched_setaffinity(0, sizeof(before), &before);
  ending = true;
  for (std::thread& helper : helpers) helper.join();
}
#endif

}  // namespace
}  // namespace pruneofa::testing
