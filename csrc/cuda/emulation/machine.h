// SPDX-License-Identifier: BSD-3-Clause
// Devices and streams that a test pretends to have: host memory that counts as a device's, and a list of what was asked
// of the machine.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace logloss::emulation {

struct Note {
  std::string what;
  int device;                // the current one
  std::uint64_t stream;      // or the device that became current, or the stream that waits
  std::uint64_t for_stream;  // that is waited for
};

struct Devices {
  int count = 2;
  int current = 0;
  // [first, last) lies on `device`, -1: on the host. All other memory is device 0's.
  struct Place {
    std::uintptr_t first, last;
    int device;
  };
  std::vector<Place> places;
  std::vector<Note> notes;
  std::int64_t allocations = 0;  // that have not been released
};
Devices& devices();

void note(const char* what, std::uint64_t stream, std::uint64_t for_stream = 0);

}  // namespace logloss::emulation
