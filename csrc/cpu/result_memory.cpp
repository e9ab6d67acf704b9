// SPDX-License-Identifier: BSD-3-Clause
#include "cpu/result_memory.h"

#include <cstdlib>

#ifdef __linux__

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <new>
#include <unordered_map>

namespace logloss {
namespace {

// Of x86-64, and of arm64 with pages of 4 KiB.
constexpr std::size_t kHugePage = std::size_t{2} << 20;

// Two gradients and the results of two threads, or of a few batch sizes that take turns.
constexpr int kMostBlocks = 8;

struct Block {
  void* data;
  std::size_t size;
};

void unmap(Block block) { munmap(block.data, block.size); }

std::size_t round_up(std::size_t size, std::size_t unit) { return (size + unit - 1) / unit * unit; }

// A block of at least `size` bytes on the boundary of a huge page, of huge pages where the system has some; the last
// one is made of small pages where it would be more than a sixteenth of the block and largely unused.
Block map_block(std::size_t size) {
  if (size > SIZE_MAX / 2) return {};
  std::size_t rounded = round_up(size, kHugePage);
  if (rounded - size > size / 16) rounded = round_up(size, sysconf(_SC_PAGESIZE));
  void* mapping = mmap(nullptr, rounded + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return {};
  char* begin = static_cast<char*>(mapping);
  const std::size_t before = (kHugePage - reinterpret_cast<std::uintptr_t>(begin) % kHugePage) % kHugePage;
  if (before) munmap(begin, before);
  munmap(begin + before + rounded, kHugePage - before);
  madvise(begin + before, rounded, MADV_HUGEPAGE);
  return {begin + before, rounded};
}

// Freed blocks, the one freed last at the end.
class KeptBlocks {
 public:
  std::size_t limit() const { return limit_; }
  std::size_t bytes() const { return bytes_; }

  void set_limit(std::size_t limit) {
    limit_ = limit;
    make_room(0);
  }

  // The smallest block for `size` bytes that is at most twice as large; a null one if there is none.
  Block take(std::size_t size) {
    int best = -1;
    for (int i = 0; i < count_; ++i) {
      const bool fits = blocks_[i].size >= size && blocks_[i].size / 2 <= size;
      if (fits && (best < 0 || blocks_[i].size < blocks_[best].size)) best = i;
    }
    return best < 0 ? Block{} : remove(best);
  }

  void give_back_all() {
    while (count_ > 0) unmap(remove(0));
  }

  // Gives back what was freed first, until `size` bytes more keep the limit.
  void make_room(std::size_t size) {
    while (count_ > 0 && (bytes_ > limit_ || size > limit_ - bytes_)) unmap(remove(0));
  }

  void keep(Block block) {
    make_room(block.size);
    if (block.size > limit_) return unmap(block);
    if (count_ == kMostBlocks) unmap(remove(0));
    blocks_[count_++] = block;
    bytes_ += block.size;
  }

 private:
  Block remove(int index) {
    const Block block = blocks_[index];
    std::copy(blocks_ + index + 1, blocks_ + count_, blocks_ + index);
    --count_;
    bytes_ -= block.size;
    return block;
  }

  Block blocks_[kMostBlocks] = {};
  int count_ = 0;
  std::size_t bytes_ = 0;
  std::size_t limit_ = 0;
};

// The state of the process, never destroyed: arrays die until the very end.
struct State {
  std::mutex lock;
  KeptBlocks kept;
  std::unordered_map<void*, std::size_t> in_use;  // the sizes of the blocks that results live in

  // A new block; what is kept is given back first as far as it stands in the way.
  Block map_for(std::size_t size) {
    kept.make_room(size);
    const Block block = map_block(size);
    if (block.data) return block;
    kept.give_back_all();
    return map_block(size);
  }

  std::size_t size_in_use(void* memory) const {
    const auto found = in_use.find(memory);
    return found == in_use.end() ? 0 : found->second;
  }
};

State& state() {
  static State& the_state = *new State;
  return the_state;
}

// The child of a fork has only the forking thread: the lock must be that thread's. And the pages of kept blocks would
// be shared from then on, to be copied when one side writes to them.
void before_fork() {
  state().lock.lock();
  state().kept.give_back_all();
}
void after_fork() { state().lock.unlock(); }
const int fork_handlers = pthread_atfork(before_fork, after_fork, after_fork);

}  // namespace

void* allocate_result(std::size_t size) noexcept try {
  if (size < kLargeResult) return std::malloc(size);
  State& all = state();
  const std::lock_guard guard(all.lock);
  all.in_use.reserve(all.in_use.size() + 1);
  Block block = all.kept.take(size);
  if (!block.data) block = all.map_for(size);
  if (block.data) all.in_use.emplace(block.data, block.size);
  return block.data;
} catch (const std::bad_alloc&) {
  return nullptr;
}

void* reallocate_result(void* memory, std::size_t size) noexcept {
  std::size_t had = 0;
  {
    const std::lock_guard guard(state().lock);
    had = state().size_in_use(memory);
  }
  if (!had) return std::realloc(memory, size);
  void* moved = allocate_result(size);
  if (!moved) return nullptr;
  std::memcpy(moved, memory, std::min(had, size));
  free_result(memory);
  return moved;
}

void free_result(void* memory) noexcept {
  State& all = state();
  const std::lock_guard guard(all.lock);
  const auto found = all.in_use.find(memory);
  if (found == all.in_use.end()) return std::free(memory);
  const Block block{found->first, found->second};
  all.in_use.erase(found);
  // Refused before Linux 4.5 and for locked memory.
  if (madvise(block.data, block.size, MADV_FREE) == 0) return all.kept.keep(block);
  unmap(block);
}

void set_kept_limit(std::size_t bytes) {
  const std::lock_guard guard(state().lock);
  state().kept.set_limit(bytes);
}

std::size_t kept_limit() {
  const std::lock_guard guard(state().lock);
  return state().kept.limit();
}

std::size_t kept_bytes() {
  const std::lock_guard guard(state().lock);
  return state().kept.bytes();
}

}  // namespace logloss

#else

namespace logloss {

void* allocate_result(std::size_t size) noexcept { return std::malloc(size); }
void* reallocate_result(void* memory, std::size_t size) noexcept { return std::realloc(memory, size); }
void free_result(void* memory) noexcept { std::free(memory); }
void set_kept_limit(std::size_t) {}
std::size_t kept_limit() { return 0; }
std::size_t kept_bytes() { return 0; }

}  // namespace logloss

#endif
