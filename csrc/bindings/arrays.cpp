// SPDX-License-Identifier: BSD-3-Clause
#include "bindings/arrays.h"

#include <algorithm>
#include <bit>
#include <string>

namespace logloss {
namespace {

// ml_dtypes' type, or the raw form of _validate.RAW_BFLOAT16: a record of one field of that name.
bool is_bfloat16(const py::dtype& dtype) {
  if (dtype.attr("name").cast<std::string>() == "bfloat16") return true;
  const py::object names = dtype.attr("names");
  return !names.is_none() && py::len(names) == 1 && names[py::int_(0)].cast<std::string>() == "bfloat16";
}

// The byte order of a dtype, of its only field for a record.
char byte_order(const py::dtype& dtype) {
  if (!dtype.has_fields()) return dtype.byteorder();
  const py::object fields = dtype.attr("fields");
  return fields["bfloat16"][py::int_(0)].attr("byteorder").cast<char>();
}

// Integers, and booleans as integers, by their size.
Storage integer_storage(const py::dtype& dtype) {
  const bool is_signed = dtype.kind() == 'i';
  switch (dtype.itemsize()) {
    case 1:
      return is_signed ? Storage::int8 : Storage::uint8;
    case 2:
      return is_signed ? Storage::int16 : Storage::uint16;
    case 4:
      return is_signed ? Storage::int32 : Storage::uint32;
    default:
      return is_signed ? Storage::int64 : Storage::uint64;
  }
}

}  // namespace

DType dtype_of(const py::array& array) { return dtype_of(array.dtype()); }

DType dtype_of(const py::dtype& dtype) {
  if (dtype.kind() == 'f') {
    switch (dtype.itemsize()) {
      case 2:
        return DType::float16;
      case 4:
        return DType::float32;
      case 8:
        return DType::float64;
      default:
        break;
    }
  } else if (dtype.itemsize() == 2 && is_bfloat16(dtype)) {
    return DType::bfloat16;
  }
  throw py::value_error("internal: an array of unexpected dtype");
}

Storage storage_of(const py::dtype& dtype) {
  const char kind = dtype.kind();
  return kind == 'i' || kind == 'u' || kind == 'b' ? integer_storage(dtype) : storage_of(dtype_of(dtype));
}

bool is_byte_swapped(const py::dtype& dtype) {
  const char native = std::endian::native == std::endian::little ? '<' : '>';
  const char order = byte_order(dtype);
  return (order == '<' || order == '>') && order != native;
}

RowArray rows_along(const py::array& array, int axis) {
  const int ndim = static_cast<int>(array.ndim());
  if (axis < 0 || axis >= std::max(ndim, 1) || ndim > kMaxRowDims) {
    throw py::value_error("internal: an axis out of range");
  }
  RowArray rows;
  rows.data = static_cast<char*>(const_cast<void*>(array.data()));
  rows.dtype = dtype_of(array);
  rows.byte_swapped = is_byte_swapped(array.dtype());
  rows.classes = ndim ? array.shape(axis) : 1;
  rows.class_stride = ndim ? array.strides(axis) : array.itemsize();
  for (int d = 0; d < ndim; ++d) {
    if (d == axis) continue;
    rows.shape[rows.row_dims] = array.shape(d);
    rows.stride[rows.row_dims] = array.strides(d);
    ++rows.row_dims;
  }
  rows.merge_row_dims();
  return rows;
}

RowArray writable_rows_along(const py::array& array, int axis) {
  if (!array.writeable()) throw py::value_error("internal: an output that is read-only");
  return rows_along(array, axis);
}

void check_alike(const RowArray& a, const RowArray& b) {
  if (a.rows() != b.rows() || a.classes != b.classes || a.dtype != b.dtype) {
    throw py::value_error("internal: arrays of different shape or dtype");
  }
}

void* losses_or_null(const std::optional<py::array>& loss, const RowArray& input) {
  if (loss_dtype(input.dtype) == DType::float64) return data_or_null<double>(loss, input.rows());
  return data_or_null<float>(loss, input.rows());
}

void set_elements(ElementArray* elements, const py::array& array) {
  elements->data = static_cast<char*>(const_cast<void*>(array.data()));
  elements->storage = storage_of(array.dtype());
  elements->byte_swapped = is_byte_swapped(array.dtype());
  elements->dims = static_cast<int>(array.ndim());
  if (elements->dims > kMaxElementDims) throw py::value_error("internal: too many axes");
  std::copy_n(array.shape(), elements->dims, elements->shape);
  std::copy_n(array.strides(), elements->dims, elements->stride);
  if (elements->dims == 0) {  // a number: a sequence of one
    elements->dims = 1;
    elements->shape[0] = 1;
    elements->stride[0] = array.itemsize();
  }
}

bool python_interrupted() {
  const py::gil_scoped_acquire acquire;
  return PyErr_CheckSignals() != 0;
}

}  // namespace logloss
