// SPDX-License-Identifier: BSD-3-Clause
// cuda/runtime.h on a CPU: everything happens at once, and is noted.
#include "cuda/emulation/machine.h"

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <stdexcept>

#include "cuda/runtime.h"

namespace logloss::emulation {
namespace {

std::mutex& one_at_a_time() {
  static std::mutex mutex;
  return mutex;
}

}  // namespace

Devices& devices() {
  static Devices the_devices;
  return the_devices;
}

void note(const char* what, std::uint64_t stream, std::uint64_t for_stream) {
  const std::lock_guard<std::mutex> lock(one_at_a_time());
  constexpr std::size_t kMostNotes = 4096;
  if (devices().notes.size() < kMostNotes) {
    devices().notes.push_back({what, devices().current, stream, for_stream});
  }
}

}  // namespace logloss::emulation

namespace logloss::LOGLOSS_LEVEL::machine {
namespace {

using emulation::devices;
using emulation::note;

std::uint64_t number(Stream stream) { return reinterpret_cast<std::uintptr_t>(stream.handle); }
void need_a_driver() {
  if (devices().count == 0) throw std::runtime_error("CUDA: no CUDA-capable device is detected");
}

}  // namespace

int device_count() {
  need_a_driver();
  return devices().count;
}
int current_device() {
  need_a_driver();
  return devices().current;
}
void make_current(int device) {
  if (device >= device_count()) throw std::runtime_error("CUDA: invalid device ordinal");
  note("make current", static_cast<std::uint64_t>(device), 0);
  devices().current = device;
}
int device_of(const void* array) {
  need_a_driver();
  note("ask", 0);
  const auto address = reinterpret_cast<std::uintptr_t>(array);
  for (const emulation::Devices::Place& place : devices().places) {
    if (address >= place.first && address < place.last) return place.device;
  }
  return 0;
}

void* allocate(std::int64_t bytes, Stream stream) {
  void* const memory = std::malloc(static_cast<std::size_t>(bytes));
  std::memset(memory, 0xff, static_cast<std::size_t>(bytes));  // NaN to whoever reads before it is written
  const auto first = reinterpret_cast<std::uintptr_t>(memory);
  note("allocate", number(stream));
  devices().places.push_back({first, first + static_cast<std::uintptr_t>(bytes), current_device()});
  ++devices().allocations;
  return memory;
}
void release(void* memory, Stream stream) noexcept {
  note("release", number(stream));
  std::erase_if(devices().places, [&](const emulation::Devices::Place& place) {
    return place.first == reinterpret_cast<std::uintptr_t>(memory);
  });
  --devices().allocations;
  std::free(memory);
}
void copy(void* to, const void* from, std::int64_t bytes, Stream) {
  std::memcpy(to, from, static_cast<std::size_t>(bytes));
}
void fetch(void* to, const void* from, std::int64_t bytes, Stream stream) {
  note("fetch", number(stream));
  std::memcpy(to, from, static_cast<std::size_t>(bytes));
}
void order(Stream before, Stream after) {
  need_a_driver();
  note("wait", number(after), number(before));
}

}  // namespace logloss::LOGLOSS_LEVEL::machine
