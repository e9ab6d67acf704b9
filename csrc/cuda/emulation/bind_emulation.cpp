// SPDX-License-Identifier: BSD-3-Clause
#include <pybind11/pybind11.h>

#include <string>

#include "cuda/emulation/device.h"
#include "cuda/emulation/machine.h"

namespace logloss::emulation {

// Of the emulated module only: how threads take turns, what a launch may ask for, which barrier is left out.
void bind_settings(pybind11::module_& module) {
  namespace py = pybind11;
  module.def(
      "configure",
      [](const std::string& order, std::uint64_t seed, int skipped_barrier, std::size_t memory_limit,
         std::size_t row_memory) {
        if (order != "forward" && order != "reverse" && order != "shuffled") throw py::value_error("order: " + order);
        settings().order = order == "forward" ? Order::forward : order == "reverse" ? Order::reverse : Order::shuffled;
        settings().seed = seed;
        settings().skipped_barrier = skipped_barrier;
        settings().memory_limit = memory_limit;
        settings().row_memory = row_memory;
      },
      py::kw_only(), py::arg("order") = "forward", py::arg("seed") = 0, py::arg("skipped_barrier") = -1,
      py::arg("memory_limit") = 99 * 1024, py::arg("row_memory") = 99 * 1024);
}

// Devices to pretend, and what has been asked of them.
void bind_devices(pybind11::module_& module) {
  namespace py = pybind11;
  module.def(
      "pretend",
      [](int count) {
        devices().count = count;
        devices().current = 0;
        devices().places.clear();
        devices().notes.clear();
      },
      py::kw_only(), py::arg("devices") = 2);
  module.def(
      "place",
      [](std::uintptr_t address, std::uintptr_t bytes, int device) {
        devices().places.push_back({address, address + bytes, device});
      },
      py::arg("address"), py::arg("bytes"), py::arg("device"));
  module.def("take_notes", [] {
    py::list list;
    for (const Note& note : devices().notes) {
      list.append(py::make_tuple(note.what, note.device, note.stream, note.for_stream));
    }
    devices().notes.clear();
    return list;
  });
  module.def("allocations", [] { return devices().allocations; });
}

}  // namespace logloss::emulation
