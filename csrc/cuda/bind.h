// SPDX-License-Identifier: BSD-3-Clause
// What the bindings share: addresses, types, and calls on the device of their arrays.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <tuple>

#include "cuda/operations.h"
#include "cuda/runtime.h"
#ifdef LOGLOSS_CUDA_EMULATION
#include "cuda/emulation/machine.h"
#endif

namespace logloss::LOGLOSS_LEVEL {

namespace py = pybind11;
using py::arg;

// Of contiguous device memory, or a stream's handle; 0 for none.
using Address = std::uintptr_t;

template <class T = void>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

inline Stream stream_of(Address handle) { return {at<>(handle)}; }

inline DType dtype_of(int code) {
  if (code < 0 || code >= kDTypes) throw py::value_error("internal: dtype " + std::to_string(code));
  return static_cast<DType>(code);
}

// (address, count, inner), or None
inline Repeated repeated_of(const py::object& array) {
  if (array.is_none()) return {nullptr, 1, 1};
  const auto [address, count, inner] = array.cast<std::tuple<Address, std::int64_t, std::int64_t>>();
  if (count < 1 || inner < 1) throw py::value_error("internal: a repeated array without elements");
  return {at<>(address), count, inner};
}

// The last keywords of most functions.
inline py::arg_v stream_or_default() { return py::arg_v("stream", Address{0}); }
inline py::arg_v device_or_asked() { return py::arg_v("device", -1); }

// Runs a call on the device of its arrays, without the GIL. -1: the arrays are asked, which costs a call of the driver
// each.
template <class F>
void run_on([[maybe_unused]] Address stream, int device, std::initializer_list<const void*> arrays, F call) {
  const py::gil_scoped_release release;
  const CurrentDevice current(device < 0 ? device_of_all(arrays) : device);
#ifdef LOGLOSS_CUDA_EMULATION
  emulation::note("run", stream);
#endif
  call();
}

void bind_arrays(py::module_& module);

}  // namespace logloss::LOGLOSS_LEVEL
