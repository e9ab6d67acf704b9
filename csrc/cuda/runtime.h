// SPDX-License-Identifier: BSD-3-Clause
// The device that the arrays of a call lie on, and what the module tells of the machine.
#pragma once

#include <initializer_list>
#include <string>

#include "common/platform.h"

namespace logloss::LOGLOSS_LEVEL {

// Makes the device of a call's arrays the current one for its time. Throws std::invalid_argument for memory that a
// kernel cannot reach and for arrays on different devices, std::runtime_error where there is no device or no driver.
class DeviceOfArrays {
 public:
  // Null pointers are passed over.
  explicit DeviceOfArrays(std::initializer_list<const void*> arrays);
  ~DeviceOfArrays();
  DeviceOfArrays(const DeviceOfArrays&) = delete;
  DeviceOfArrays& operator=(const DeviceOfArrays&) = delete;

 private:
  int previous_ = -1;
};

// How many devices there are; throws std::runtime_error that says why if there is no driver.
int device_count();
// Of a device, for people: its name and compute capability.
std::string device_name(int device);

}  // namespace logloss::LOGLOSS_LEVEL
