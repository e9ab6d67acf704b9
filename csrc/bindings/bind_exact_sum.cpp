// SPDX-License-Identifier: BSD-3-Clause
// The Python class ExactSum.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "bindings/bind.h"
#include "bindings/exact_sum.h"
#include "cpu/float_environment.h"
#include "cpu/operations.h"

namespace logloss {
namespace py = pybind11;
namespace {

template <class T>
using Values = py::array_t<T, py::array::c_style>;

constexpr std::size_t kStateBytes = sizeof(std::int64_t) * (ExactSum::kLimbs + ExactSum::kSpecials);

py::bytes to_bytes(const ExactSum& sum) {
  ExactSum state = sum;
  state.propagate();
  std::int64_t words[ExactSum::kLimbs + ExactSum::kSpecials];
  std::memcpy(words, state.limbs(), sizeof(std::int64_t) * ExactSum::kLimbs);
  std::memcpy(words + ExactSum::kLimbs, state.specials(), sizeof(std::int64_t) * ExactSum::kSpecials);
  std::string bytes(kStateBytes, '\0');
  for (std::size_t i = 0; i < kStateBytes; ++i) {  // little-endian on every machine
    bytes[i] = static_cast<char>(static_cast<std::uint64_t>(words[i / 8]) >> (8 * (i % 8)));
  }
  return py::bytes(bytes);
}

ExactSum from_bytes(const std::string& bytes) {
  if (bytes.size() != kStateBytes) {
    throw py::value_error("ExactSum.from_bytes: got " + std::to_string(bytes.size()) + " bytes, expected " +
                          std::to_string(kStateBytes));
  }
  std::uint64_t words[ExactSum::kLimbs + ExactSum::kSpecials] = {};
  for (std::size_t i = 0; i < kStateBytes; ++i) {
    words[i / 8] |= static_cast<std::uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * (i % 8));
  }
  // Carried limbs are below 2^32; no sum of fewer than 2^63 doubles reaches far into the last one.
  const auto top = static_cast<std::int64_t>(words[ExactSum::kLimbs - 1]);
  bool carried = top == static_cast<std::int32_t>(top);
  for (int i = 0; i + 1 < ExactSum::kLimbs; ++i) carried = carried && (words[i] >> 32) == 0;
  if (!carried) throw py::value_error("ExactSum.from_bytes: not the state of an ExactSum");
  ExactSum sum;
  std::memcpy(sum.limbs(), words, sizeof(std::int64_t) * ExactSum::kLimbs);
  std::memcpy(sum.specials(), words + ExactSum::kLimbs, sizeof(std::int64_t) * ExactSum::kSpecials);
  return sum;
}

bool equal(const ExactSum& a, const ExactSum& b) {
  ExactSum first = a, second = b;
  first.propagate();
  second.propagate();
  return std::memcmp(first.limbs(), second.limbs(), sizeof(std::int64_t) * ExactSum::kLimbs) == 0 &&
         std::memcmp(first.specials(), second.specials(), sizeof(std::int64_t) * ExactSum::kSpecials) == 0;
}

// The sum as a Python integer in units of 2^kLowestExponent.
py::int_ scaled_integer(const ExactSum& sum) {
  ExactSum carried = sum;
  carried.propagate();
  std::string bytes(4 * (ExactSum::kLimbs - 1) + 8, '\0');
  for (int i = 0; i < ExactSum::kLimbs; ++i) {
    const int width = i + 1 < ExactSum::kLimbs ? 4 : 8;
    for (int b = 0; b < width; ++b) {
      bytes[static_cast<std::size_t>(4 * i + b)] =
          static_cast<char>(static_cast<std::uint64_t>(carried.limbs()[i]) >> (8 * b));
    }
  }
  const py::object int_type = py::module_::import("builtins").attr("int");
  return int_type.attr("from_bytes")(py::bytes(bytes), "little", py::arg("signed") = true);
}

py::tuple as_integer_ratio(const ExactSum& sum) {
  if (!sum.finite()) {
    const double value = sum.value();
    if (value != value) throw py::value_error("cannot convert NaN to integer ratio");
    PyErr_SetString(PyExc_OverflowError, "cannot convert Infinity to integer ratio");
    throw py::error_already_set();
  }
  const py::object fraction = py::module_::import("fractions").attr("Fraction");
  const py::object unit = py::int_(1).attr("__lshift__")(-ExactSum::kLowestExponent);
  return fraction(scaled_integer(sum), unit).attr("as_integer_ratio")();
}

double rounded_value(const ExactSum& sum) {
  const DefaultFloatEnvironment environment;
  return sum.value();
}

ExactSum exactly(double value) {
  ExactSum sum;
  sum.add(value);
  return sum;
}

template <class Denominator>
double quotient_of(const ExactSum& numerator, Denominator denominator) {
  const DefaultFloatEnvironment environment;
  return rounded_quotient(numerator, denominator);
}

template <class T>
void add_products(ExactSum& sum, const Values<T>& a, const Values<T>& b) {
  if (a.ndim() != 1 || b.ndim() != 1 || a.size() != b.size()) {
    throw py::value_error("ExactSum.add_products: expected two 1-D arrays of one length");
  }
  const DefaultFloatEnvironment environment;
  const T *x = a.data(), *y = b.data();
  for (py::ssize_t i = 0; i < a.size(); ++i) sum.add_product(static_cast<double>(x[i]), static_cast<double>(y[i]));
}

}  // namespace

double rounded_quotient(const ExactSum& numerator, const ExactSum& denominator) {
  bool exact_n, exact_d;
  const double n = numerator.value(&exact_n), d = denominator.value(&exact_d);
  if ((exact_n && exact_d) || !numerator.finite() || !denominator.finite() || n == 0.0 || d == 0.0) return n / d;
  const auto ordinary = [](double value) { return std::abs(value) > 0x1p-450 && std::abs(value) < 0x1p450; };
  if (ordinary(n) && ordinary(d)) return baseline::quotient(numerator, denominator);
  // Python divides integers with one rounding, whatever their size.
  const py::gil_scoped_acquire acquire;
  try {
    return scaled_integer(numerator).attr("__truediv__")(scaled_integer(denominator)).cast<double>();
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_OverflowError)) throw;
    return std::copysign(std::numeric_limits<double>::infinity(), n) * (d < 0 ? -1.0 : 1.0);
  }
}

double rounded_quotient(const ExactSum& numerator, double denominator) {
  bool exact;
  const double n = numerator.value(&exact);
  if ((exact && denominator != 0.0) || denominator == 1.0) return n / denominator;
  return rounded_quotient(numerator, exactly(denominator));
}

double rounded_quotient(double numerator, const ExactSum& denominator) {
  return rounded_quotient(exactly(numerator), denominator);
}

void bind_exact_sum(py::module_& module) {
  py::class_<ExactSum>(module, "ExactSum", "A sum of doubles without rounding: the order of additions does not matter.")
      .def(py::init<>())
      .def(
          "add", [](ExactSum& sum, const Values<float>& values) { add_all(&sum, values.data(), values.size()); },
          py::arg("values").noconvert())
      .def(
          "add", [](ExactSum& sum, const Values<double>& values) { add_all(&sum, values.data(), values.size()); },
          py::arg("values").noconvert())
      .def("add_products", &add_products<float>, py::arg("a").noconvert(), py::arg("b").noconvert())
      .def("add_products", &add_products<double>, py::arg("a").noconvert(), py::arg("b").noconvert())
      .def("merge", &ExactSum::merge, py::arg("other"))
      .def("value", &rounded_value)
      .def("quotient", &quotient_of<const ExactSum&>, py::arg("denominator"))
      .def("divided_by", &quotient_of<double>, py::arg("divisor"))
      .def("as_integer_ratio", &as_integer_ratio)
      .def("to_bytes", &to_bytes)
      .def_static("from_bytes", &from_bytes, py::arg("data"))
      .def("__eq__", &equal, py::is_operator())
      .def("__repr__", [](const ExactSum& sum) {
        return "ExactSum(" + py::repr(py::float_(sum.value())).cast<std::string>() + ")";
      });
}

}  // namespace logloss
