// SPDX-License-Identifier: BSD-3-Clause
// Devices, their memory and the order of streams: what the module asks of the machine beside launches.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>

#include "common/platform.h"
#include "cuda/operations.h"

namespace logloss::LOGLOSS_LEVEL {

// What the emulation does in its own way (emulation/machine.cpp). All of it throws std::runtime_error with CUDA's words
// where there is no driver or no such device.
namespace machine {

int device_count();
int current_device();
void make_current(int device);
// The device in whose memory `array` lies; -1: the host's.
int device_of(const void* array);

// On the current device, in the order of the stream; so is what follows.
void* allocate(std::int64_t bytes, Stream stream);
void release(void* memory, Stream stream) noexcept;
void copy(void* to, const void* from, std::int64_t bytes, Stream stream);
// To host memory; waits for the stream.
void fetch(void* to, const void* from, std::int64_t bytes, Stream stream);
// Lets what `after` is given from now on wait for what `before` has been given so far.
void order(Stream before, Stream after);

}  // namespace machine

// Makes a device the current one for a time; none for -1.
class CurrentDevice {
 public:
  explicit CurrentDevice(int device);
  ~CurrentDevice();
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  int previous_ = -1;
};

// The device that all of these lie on; null pointers are passed over, -1 if there is nothing else. Throws
// std::invalid_argument for host memory and for arrays on different devices.
int device_of_all(std::initializer_list<const void*> arrays);

// Of a device, for people: its name and compute capability.
std::string device_name(int device);

}  // namespace logloss::LOGLOSS_LEVEL
