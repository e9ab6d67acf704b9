// SPDX-License-Identifier: BSD-3-Clause
#include "cpu/parallel.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "cpu/float_environment.h"

#ifdef _OPENMP
#include <omp.h>
#endif
#ifdef __SSE2__
#include <xmmintrin.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace logloss {
namespace {

// Below this a second thread costs more than it brings: about 6 us of work against 2 to 5 us to start a team.
constexpr std::int64_t kElementsPerWorker = 32 * 1024;

std::atomic<int> thread_limit{1};

// libgomp's threads do not survive fork, and a team started in the child waits for them forever.
std::atomic<bool> team_used{false};
std::atomic<bool> team_lost{false};

#if defined(__unix__) || defined(__APPLE__)
void after_fork_in_child() {
  if (team_used) team_lost = true;
}
const int fork_handler = pthread_atfork(nullptr, nullptr, after_fork_in_child);
#endif

// Asks the caller's `interrupted` at most about ten times a second. A look at the clock takes 25 ns, as much as three
// rows of two classes: where items are short, only every few of them are followed by one.
class Poll {
 public:
  explicit Poll(Interrupted interrupted) : interrupted_(interrupted) {}
  bool operator()() {
    if (!interrupted_ || --items_to_look_ > 0) return false;
    const Clock::time_point now = Clock::now();
    items_per_look_ = now - looked_ < std::chrono::milliseconds(1) ? std::min(2 * items_per_look_, 64) : 1;
    items_to_look_ = items_per_look_;
    looked_ = now;
    if (now < next_) return false;
    next_ = now + kPause;
    return interrupted_();
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kPause{100};

  Interrupted interrupted_;
  int items_per_look_ = 1;
  int items_to_look_ = 1;
  Clock::time_point looked_ = Clock::now();
  Clock::time_point next_ = looked_ + kPause;
};

// Makes the stores past the caches of a worker visible to all threads when it has done its work: once, for those that
// follow wait (softmax of 8 x 21 x 256 x 256: 9 % of the time, if done after each batch of 64 rows).
struct StreamFence {
  ~StreamFence() {
#ifdef __SSE2__
    _mm_sfence();
#endif
  }
};

}  // namespace

bool has_openmp() {
#ifdef _OPENMP
  return true;
#else
  return false;
#endif
}

void set_num_threads(int threads) { thread_limit = std::max(threads, 1); }

int get_num_threads() { return has_openmp() && !team_lost ? thread_limit.load() : 1; }

int workers_for(std::int64_t items, std::int64_t elements) {
  const std::int64_t useful = std::min(items, elements / kElementsPerWorker);
  return static_cast<int>(std::clamp<std::int64_t>(useful, 1, get_num_threads()));
}

bool parallel_for(std::int64_t items, int workers, Interrupted interrupted,
                  const std::function<void(std::int64_t item, int worker)>& body) {
  if (items == 1) {  // a small call: there is nothing to share and no time to end it early
    const DefaultFloatEnvironment environment;
    const StreamFence fence;
    body(0, 0);
    return true;
  }
  std::atomic<std::int64_t> next{0};
  std::atomic<bool> stopped{false};
  // Items are handed out in small runs, so that a slow core does not keep the others waiting.
  const std::int64_t run = std::max<std::int64_t>(1, items / (static_cast<std::int64_t>(workers) * 16));
  const auto work = [&](int worker) {
    const DefaultFloatEnvironment environment;
    const StreamFence fence;
    Poll poll(worker == 0 ? interrupted : nullptr);
    for (;;) {
      const std::int64_t begin = next.fetch_add(run);
      if (begin >= items || stopped) return;
      const std::int64_t end = std::min(begin + run, items);
      for (std::int64_t item = begin; item < end; ++item) {
        body(item, worker);
        if (poll()) stopped = true;
        if (stopped) return;
      }
    }
  };
#ifdef _OPENMP
  if (workers > 1) {
    team_used = true;
#pragma omp parallel num_threads(workers)
    work(omp_get_thread_num());
    return !stopped;
  }
#endif
  work(0);
  return !stopped;
}

}  // namespace logloss
