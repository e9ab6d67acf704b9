// SPDX-License-Identifier: BSD-3-Clause
// Large results as arrays like any other: NumPy asks this allocator for their data (NEP 49), so they own it.
#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION
#include <numpy/arrayobject.h>

#include <cstring>

#include "bindings/bind.h"
#include "cpu/result_memory.h"

namespace logloss {
namespace {

namespace py = pybind11;

void* allocate(void*, std::size_t size) { return allocate_result(size); }

void* allocate_zeros(void*, std::size_t items, std::size_t item_size) {
  void* memory = allocate_result(items * item_size);
  if (memory) std::memset(memory, 0, items * item_size);
  return memory;
}

void* reallocate(void*, void* memory, std::size_t size) { return reallocate_result(memory, size); }

void release(void*, void* memory, std::size_t) { free_result(memory); }

PyDataMem_Handler handler = {"logloss", 1, {nullptr, allocate, allocate_zeros, reallocate, release}};

PyObject* handler_capsule = nullptr;

// Makes this allocator NumPy's own, in the running thread or task, unless the program has chosen another.
class OurAllocator {
 public:
  OurAllocator() : previous_(checked(PyDataMem_SetHandler(handler_capsule))) {
    if (previous_.ptr() != PyDataMem_DefaultHandler) restore();
  }
  ~OurAllocator() { restore(); }
  OurAllocator(const OurAllocator&) = delete;
  OurAllocator& operator=(const OurAllocator&) = delete;

 private:
  static py::object checked(PyObject* result) {
    if (!result) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(result);
  }
  void restore() { Py_XDECREF(PyDataMem_SetHandler(previous_.ptr())); }

  py::object previous_;
};

// make(*arguments), its array's data from this allocator.
py::object in_result_memory(const py::object& make, const py::args& arguments) {
  const OurAllocator allocator;
  return make(*arguments);
}

}  // namespace

void bind_result_memory(pybind11::module_& module) {
  if (PyArray_ImportNumPyAPI() < 0) throw py::error_already_set();
  handler_capsule = PyCapsule_New(&handler, "mem_handler", nullptr);
  if (!handler_capsule) throw py::error_already_set();
  module.attr("LARGE_RESULT") = kLargeResult;
  module.def("in_result_memory", &in_result_memory);
  module.def("set_kept_limit", &set_kept_limit);
  module.def("kept_limit", &kept_limit);
  module.def("kept_bytes", &kept_bytes);
}

}  // namespace logloss
