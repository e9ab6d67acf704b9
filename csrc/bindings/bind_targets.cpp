// SPDX-License-Identifier: BSD-3-Clause
// Class indices of any integer type, checked and brought to one form.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "bindings/arrays.h"
#include "bindings/bind.h"
#include "cpu/operations.h"

namespace logloss {
namespace {

struct Scan {
  std::int64_t valid = 0;
  std::int64_t first_bad = -1;
};

// A uint64 beyond int64 reads as a negative number: never equal to ignore_index, never in range.
template <class T>
bool is_ignored(T target, std::int64_t ignore_index) {
  const auto t = static_cast<std::int64_t>(target);
  return t == ignore_index && (T(-1) < T(0) || t >= 0);
}

// rows[i] = target[i], or kIgnored where it equals ignore_index.
template <class T>
Scan scan(const T* target, std::int64_t n, std::int64_t classes, std::int64_t ignore_index, std::int64_t* rows) {
  const auto limit = static_cast<std::uint64_t>(classes);
  const auto is_bad = [=](T t) {
    return !is_ignored(t, ignore_index) & (static_cast<std::uint64_t>(static_cast<std::int64_t>(t)) >= limit);
  };
  std::int64_t ignored = 0;
  std::int64_t bad = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const bool skip = is_ignored(target[i], ignore_index);
    ignored += skip;
    bad += is_bad(target[i]);
    rows[i] = skip ? kIgnored : static_cast<std::int64_t>(target[i]);
  }
  Scan result;
  result.valid = n - ignored;
  for (std::int64_t i = 0; bad != 0 && result.first_bad < 0; ++i) {
    if (is_bad(target[i])) result.first_bad = i;
  }
  return result;
}

template <class T>
Scan scan_as(const py::array& target, std::int64_t classes, std::int64_t ignore_index, std::int64_t* rows) {
  return scan(static_cast<const T*>(target.data()), target.size(), classes, ignore_index, rows);
}

Scan scan_any(const py::array& target, std::int64_t classes, std::int64_t ignore_index, std::int64_t* rows) {
  const bool is_signed = target.dtype().kind() == 'i';
  switch (target.itemsize()) {
    case 1:
      return is_signed ? scan_as<std::int8_t>(target, classes, ignore_index, rows)
                       : scan_as<std::uint8_t>(target, classes, ignore_index, rows);
    case 2:
      return is_signed ? scan_as<std::int16_t>(target, classes, ignore_index, rows)
                       : scan_as<std::uint16_t>(target, classes, ignore_index, rows);
    case 4:
      return is_signed ? scan_as<std::int32_t>(target, classes, ignore_index, rows)
                       : scan_as<std::uint32_t>(target, classes, ignore_index, rows);
    default:
      return is_signed ? scan_as<std::int64_t>(target, classes, ignore_index, rows)
                       : scan_as<std::uint64_t>(target, classes, ignore_index, rows);
  }
}

// (rows, valid, first_bad): int64 class of each row in C order with -1 for ignored ones, how many are not ignored, and
// the first position that is out of range, -1 if there is none.
py::tuple class_rows(const py::array& target, std::int64_t classes, std::int64_t ignore_index) {
  if (!(target.flags() & py::array::c_style) || (target.dtype().kind() != 'i' && target.dtype().kind() != 'u')) {
    throw py::value_error("internal: a target of unexpected dtype or layout");
  }
  py::array_t<std::int64_t> rows(target.size());
  const Scan result = scan_any(target, classes, ignore_index, rows.mutable_data());
  return py::make_tuple(rows, result.valid, result.first_bad);
}

// The exact sum of weight[rows[i]] over the rows that are not ignored.
template <class T>
ExactSum weight_of_rows(const py::array_t<T, py::array::c_style>& weight,
                        const py::array_t<std::int64_t, py::array::c_style>& rows) {
  ExactSum sum;
  for (py::ssize_t i = 0; i < rows.size(); ++i) {
    const std::int64_t t = rows.data()[i];
    if (t == kIgnored) continue;
    if (t < 0 || t >= weight.size()) throw py::value_error("internal: a class out of range");
    sum.add(static_cast<double>(weight.data()[t]));
  }
  return sum;
}

}  // namespace

void bind_targets(py::module_& module) {
  module.def("class_rows", &class_rows, py::arg("target"), py::arg("classes"), py::arg("ignore_index"));
  module.def("weight_of_rows", &weight_of_rows<float>, py::arg("weight").noconvert(), py::arg("rows").noconvert());
  module.def("weight_of_rows", &weight_of_rows<double>, py::arg("weight").noconvert(), py::arg("rows").noconvert());
}

}  // namespace logloss
