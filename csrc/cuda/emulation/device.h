// SPDX-License-Identifier: BSD-3-Clause
// cuda/device.h on a CPU, for tests: blocks run one after the other, the threads of a block as fibers that change over
// at barriers and shuffles only, in an order that the test chooses. What a GPU would leave undefined raises: threads
// that wait for others in vain, packets out of line, launches beyond the limits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>

#include "common/platform.h"

#define LOGLOSS_KERNEL(threads, blocks) void
#define LOGLOSS_BLOCK_MEMORY(name) unsigned char* const name = emulation::block_memory()

namespace logloss::emulation {

inline constexpr int kMaxThreads = 1024;

enum class Order { forward, reverse, shuffled };

// How the launches to come are run.
struct Settings {
  Order order = Order::forward;
  std::uint64_t seed = 0;
  int skipped_barrier = -1;  // this sync_block of each thread, counted from 0, does nothing: a race for a test to find
  std::size_t memory_limit = 99 * 1024;  // block memory that a launch may ask for
  std::size_t row_memory = 99 * 1024;    // of which rows may take so much; longer ones are read from where they are
};
Settings& settings();

// What threads wait in for each other.
enum class Meeting { none, block, team, shuffle };

// Runs blocks x threads times `kernel`, each block with `memory` bytes of its own; throws std::runtime_error for what a
// GPU would not survive.
void run(std::int64_t blocks, int threads, std::size_t memory, const std::function<void()>& kernel);

// For kernels.
int thread();
int threads();
std::int64_t block();
std::int64_t blocks();
unsigned char* block_memory();
void meet(Meeting meeting);
// Meets the team; returns the value that its thread `lane` has brought.
std::uint64_t exchange(std::uint64_t value, int lane);
int count(bool value);
// A copy that happens at the next finish_copies() of the thread, and not before.
void copy_later(void* to, const void* from, std::size_t bytes);
void finish_copies();
[[noreturn]] void fail(const char* what);

}  // namespace logloss::emulation

namespace logloss::LOGLOSS_LEVEL {

inline int thread() { return emulation::thread(); }
inline int threads() { return emulation::threads(); }
inline std::int64_t block() { return emulation::block(); }
inline std::int64_t blocks() { return emulation::blocks(); }

inline void sync_block() { emulation::meet(emulation::Meeting::block); }
inline void sync_team() { emulation::meet(emulation::Meeting::team); }

template <class T>
T shuffle_from(T value, int lane) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(std::uint64_t));
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = emulation::exchange(bits, lane);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
template <class T>
T shuffle_xor(T value, int distance) {
  return shuffle_from(value, (thread() ^ distance) & 15);
}
inline int count_in_team(bool value) { return emulation::count(value); }

inline void add_atomically(std::uint64_t* sum, std::uint64_t value) { *sum += value; }
inline void min_atomically(std::uint64_t* least, std::uint64_t value) {
  if (value < *least) *least = value;
}

struct alignas(16) Packet {
  std::uint32_t word[4];
};
inline void check_packet(const void* at) {
  if (reinterpret_cast<std::uintptr_t>(at) % sizeof(Packet) != 0) emulation::fail("a packet that is not aligned");
}
inline Packet load_packet(const void* from) {
  check_packet(from);
  Packet packet;
  std::memcpy(&packet, from, sizeof packet);
  return packet;
}
inline void store_packet(void* to, const Packet& packet) {
  check_packet(to);
  std::memcpy(to, &packet, sizeof packet);
}
inline void copy_packet(void* to, const void* from) {
  check_packet(from);
  check_packet(to);
  emulation::copy_later(to, from, sizeof(Packet));
}
inline void finish_copies() { emulation::finish_copies(); }

}  // namespace logloss::LOGLOSS_LEVEL
