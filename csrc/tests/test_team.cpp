// Helper threads: every item once, owners in turn, no deadlock when many loops follow each other.
#include <atomic>
#include <thread>

#include "tests/check.hpp"
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

}  // namespace
}  // namespace pruneofa::testing
