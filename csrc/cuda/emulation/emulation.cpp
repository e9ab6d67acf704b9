// SPDX-License-Identifier: BSD-3-Clause
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/emulation/device.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace logloss::emulation {
namespace {

constexpr int kTeam = 16;
constexpr std::size_t kStackBytes = 256 * 1024;

// Tells the address sanitizer of every change of stacks.
class Stack {
 public:
  void set(const void* bottom, std::size_t bytes) {
    bottom_ = bottom;
    bytes_ = bytes;
  }
#if defined(__SANITIZE_ADDRESS__)
  void before_entering(void** left) const { __sanitizer_start_switch_fiber(left, bottom_, bytes_); }
  static void after_entering(void* own, Stack* from) {
    __sanitizer_finish_switch_fiber(own, from ? &from->bottom_ : nullptr, from ? &from->bytes_ : nullptr);
  }
#else
  void before_entering(void**) const {}
  static void after_entering(void*, Stack*) {}
#endif

 private:
  const void* bottom_ = nullptr;
  std::size_t bytes_ = 0;
};

struct Fiber {
  ucontext_t context;
  Stack stack;
  void* fake_stack = nullptr;
  bool finished = false;
  Meeting waiting = Meeting::none;
  int barriers = 0;
  // What it brought to the last two shuffles of its team: those who have left the first may already be in the second.
  std::uint64_t brought[2] = {};
  unsigned shuffles = 0;
  struct Copy {
    void* to;
    const void* from;
    std::size_t bytes;
  };
  std::vector<Copy> copies;  // that it has asked for and not waited for
};

class Machine {
 public:
  void run(std::int64_t blocks, int threads, std::size_t memory, const std::function<void()>& kernel) {
    if (threads < 1 || threads > kMaxThreads)
      throw std::runtime_error("a block of " + std::to_string(threads) + " threads");
    if (memory > settings().memory_limit) {
      throw std::runtime_error("a block with " + std::to_string(memory) + " bytes of memory");
    }
    blocks_ = blocks;
    threads_ = threads;
    kernel_ = &kernel;
    random_.seed(settings().seed);
    while (fibers_.size() < static_cast<std::size_t>(threads)) fibers_.push_back(new_fiber());
    // An allocation of its own, so that a sanitizer sees what goes beyond it.
    const std::size_t rounded = (std::max<std::size_t>(memory, 1) + 15) / 16 * 16;
    const std::unique_ptr<unsigned char, decltype(&std::free)> owned(
        static_cast<unsigned char*>(std::aligned_alloc(16, rounded)), &std::free);
    memory_ = owned.get();
    for (block_ = 0; block_ < blocks_; ++block_) {
      std::memset(memory_, 0xff, rounded);  // NaN to whoever reads before it is written
      run_block();
    }
  }

  int thread() const { return current_; }
  int threads() const { return threads_; }
  std::int64_t block() const { return block_; }
  std::int64_t blocks() const { return blocks_; }
  unsigned char* memory() const { return memory_; }

  void meet(Meeting meeting) {
    Fiber& me = fiber(current_);
    if (meeting == Meeting::block && me.barriers++ == settings().skipped_barrier) return;
    me.waiting = meeting;
    const int first = meeting == Meeting::block ? 0 : current_ / kTeam * kTeam;
    const int last = meeting == Meeting::block ? threads_ : first + kTeam;
    bool complete = true;
    for (int i = first; i < last; ++i) {
      const Fiber& other = fiber(i);
      if (other.waiting != Meeting::none && other.waiting != meeting && meeting != Meeting::block &&
          other.waiting != Meeting::block) {
        fail("threads of a team that wait in different places");
      }
      complete = complete && other.waiting == meeting;
    }
    if (complete) {
      for (int i = first; i < last; ++i) fiber(i).waiting = Meeting::none;
    } else {
      leave(me);
    }
  }
  std::uint64_t exchange(std::uint64_t value, int lane) {
    Fiber& me = fiber(current_);
    const unsigned turn = me.shuffles++ % 2;
    me.brought[turn] = value;
    meet(Meeting::shuffle);
    return fiber(current_ / kTeam * kTeam + lane).brought[turn];
  }
  int count(bool value) {
    Fiber& me = fiber(current_);
    const unsigned turn = me.shuffles++ % 2;
    me.brought[turn] = value;
    meet(Meeting::shuffle);
    int sum = 0;
    for (int i = 0; i < kTeam; ++i) sum += static_cast<int>(fiber(current_ / kTeam * kTeam + i).brought[turn]);
    return sum;
  }
  void copy_later(void* to, const void* from, std::size_t bytes) {
    fiber(current_).copies.push_back({to, from, bytes});
  }
  void finish_copies() {
    for (const Fiber::Copy& copy : fiber(current_).copies) std::memcpy(copy.to, copy.from, copy.bytes);
    fiber(current_).copies.clear();
  }
  [[noreturn]] void fail(const std::string& what) {
    error_ = "block " + std::to_string(block_) + ", thread " + std::to_string(current_) + ": " + what;
    leave(fiber(current_));
    std::abort();  // a block with an error is not resumed
  }

 private:
  Fiber& fiber(int i) { return *fibers_[static_cast<std::size_t>(i)]; }

  static std::unique_ptr<Fiber> new_fiber() {
    auto fiber = std::make_unique<Fiber>();
    void* stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack == MAP_FAILED) throw std::bad_alloc();
    fiber->stack.set(stack, kStackBytes);
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = stack;
    fiber->context.uc_stack.ss_size = kStackBytes;
    fiber->context.uc_link = nullptr;
    return fiber;
  }

  void run_block() {
    error_.clear();
    for (int i = 0; i < threads_; ++i) {
      Fiber& f = fiber(i);
      f.finished = false;
      f.waiting = Meeting::none;
      f.barriers = 0;
      f.shuffles = 0;
      f.copies.clear();
      f.fake_stack = nullptr;
      makecontext(&f.context, &Machine::begin, 0);
    }
    std::vector<int> order(static_cast<std::size_t>(threads_));
    std::iota(order.begin(), order.end(), 0);
    if (settings().order == Order::reverse) std::reverse(order.begin(), order.end());
    for (int left = threads_; left > 0;) {
      if (settings().order == Order::shuffled) std::shuffle(order.begin(), order.end(), random_);
      bool progress = false;
      for (const int i : order) {
        Fiber& f = fiber(i);
        if (f.finished || f.waiting != Meeting::none) continue;
        progress = true;
        current_ = i;
        f.stack.before_entering(&fake_stack_);
        swapcontext(&scheduler_, &f.context);
        Stack::after_entering(fake_stack_, nullptr);
        if (!error_.empty()) throw std::runtime_error(error_);
        if (f.finished) --left;
      }
      if (!progress) throw_deadlock();
    }
  }
  [[noreturn]] void throw_deadlock() {
    static constexpr const char* kNames[] = {"nowhere", "sync_block", "sync_team", "a shuffle"};
    for (int i = 0; i < threads_; ++i) {
      if (fiber(i).finished) continue;
      throw std::runtime_error("block " + std::to_string(block_) + ", thread " + std::to_string(i) +
                               ": waits in vain in " + kNames[static_cast<int>(fiber(i).waiting)]);
    }
    throw std::logic_error("no thread is left to wait");
  }

  void leave(Fiber& me) {
    scheduler_stack_.before_entering(me.finished ? nullptr : &me.fake_stack);
    swapcontext(&me.context, &scheduler_);
    Stack::after_entering(me.fake_stack, &scheduler_stack_);
  }
  static void begin();

  std::vector<std::unique_ptr<Fiber>> fibers_;
  ucontext_t scheduler_;
  Stack scheduler_stack_;
  void* fake_stack_ = nullptr;
  int current_ = 0, threads_ = 0;
  std::int64_t block_ = 0, blocks_ = 0;
  unsigned char* memory_ = nullptr;
  const std::function<void()>* kernel_ = nullptr;
  std::mt19937_64 random_;
  std::string error_;
};

Machine& machine() {
  static Machine the_machine;
  return the_machine;
}

void Machine::begin() {
  Machine& m = machine();
  Stack::after_entering(nullptr, &m.scheduler_stack_);
  (*m.kernel_)();
  Fiber& me = m.fiber(m.current_);
  if (!me.copies.empty()) m.fail("copies that nobody has waited for");
  me.finished = true;
  m.leave(me);
}

}  // namespace

Settings& settings() {
  static Settings the_settings;
  return the_settings;
}

void run(std::int64_t blocks, int threads, std::size_t memory, const std::function<void()>& kernel) {
  static std::mutex one_launch_at_a_time;
  const std::lock_guard<std::mutex> lock(one_launch_at_a_time);
  machine().run(blocks, threads, memory, kernel);
}

int thread() { return machine().thread(); }
int threads() { return machine().threads(); }
std::int64_t block() { return machine().block(); }
std::int64_t blocks() { return machine().blocks(); }
unsigned char* block_memory() { return machine().memory(); }
void meet(Meeting meeting) { machine().meet(meeting); }
std::uint64_t exchange(std::uint64_t value, int lane) { return machine().exchange(value, lane); }
int count(bool value) { return machine().count(value); }
void copy_later(void* to, const void* from, std::size_t bytes) { machine().copy_later(to, from, bytes); }
void finish_copies() { machine().finish_copies(); }
void fail(const char* what) { machine().fail(what); }

}  // namespace logloss::emulation
