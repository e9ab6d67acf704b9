// SPDX-License-Identifier: BSD-3-Clause
// NumPy arrays in, pointers out. The checks here only keep pointers safe; messages for users stand in Python.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <optional>

#include "cpu/element_array.h"
#include "cpu/row_array.h"

namespace logloss {

namespace py = pybind11;

// The DType of a floating-point array (float16, bfloat16 by its name, float32, float64); ValueError for another.
DType dtype_of(const py::array& array);

DType dtype_of(const py::dtype& dtype);

// `array` with its class axis `axis` (in [0, ndim)) moved last; a number is a row of one class.
RowArray rows_along(const py::array& array, int axis);

// rows_along of an array that will be written.
RowArray writable_rows_along(const py::array& array, int axis);

// ValueError unless both have as many rows, classes and the dtype of the other.
void check_alike(const RowArray& a, const RowArray& b);

// Where the losses of the rows of `input` go: an array of their dtype; null for None.
void* losses_or_null(const std::optional<py::array>& loss, const RowArray& input);

// How the elements of an array of any real type are stored, but for their byte order.
Storage storage_of(const py::dtype& dtype);

bool is_byte_swapped(const py::dtype& dtype);

// Fills in `elements`: an array of any real type as a sequence of its elements, in C order.
void set_elements(ElementArray* elements, const py::array& array);

// The data of a C-contiguous array of n items of T; null for None.
template <class T>
T* data_or_null(const std::optional<py::array>& array, std::int64_t n) {
  if (!array) return nullptr;
  if (array->size() != n || array->itemsize() != sizeof(T) || !(array->flags() & py::array::c_style)) {
    throw py::value_error("internal: an array of unexpected size, item size or layout");
  }
  return static_cast<T*>(const_cast<void*>(array->data()));
}

// Runs a kernel call without the GIL; raises what Python's signal handlers raised if it was interrupted.
bool python_interrupted();
template <class Call>
void without_gil(Call call) {
  bool finished = false;
  {
    const py::gil_scoped_release release;
    finished = call(&python_interrupted);
  }
  if (!finished) throw py::error_already_set();
}

}  // namespace logloss
