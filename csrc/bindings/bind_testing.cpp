// SPDX-License-Identifier: BSD-3-Clause
// _core.testing: the functions of vec_math.h at a named ISA level, and how fast the machine reads, copies and adds.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>
#include <vector>

#include "bindings/bind.h"
#include "cpu/dispatch.h"
#include "cpu/parallel.h"

namespace logloss {
namespace py = pybind11;
namespace {

template <class T>
using Values = py::array_t<T, py::array::c_style>;

template <class T, ElementwiseKernel<T> KernelTable::* kKernel>
Values<T> elementwise(const std::string& isa, const Values<T>& x) {
  const KernelTable* table = find_kernels(isa);
  if (!table) throw py::value_error("no such ISA level here: " + isa);
  Values<T> y(x.size());
  T* out = y.mutable_data();
  const T* in = x.data();
  const py::ssize_t n = x.size();
  const py::gil_scoped_release release;
  (table->*kKernel)(in, out, n);
  return y;
}

// body(first, length) over [0, n) in pieces of 256 Ki elements, on all threads.
template <class Body>
void for_each_piece(std::int64_t n, Body body) {
  constexpr std::int64_t kPiece = 256 * 1024;
  const std::int64_t pieces = (n + kPiece - 1) / kPiece;
  parallel_for(pieces, workers_for(pieces, n), nullptr,
               [&](std::int64_t piece, int) { body(piece, piece * kPiece, std::min(kPiece, n - piece * kPiece)); });
}

// The maximum of float32 values that are not NaN: the least work that reads everything.
float read_max(const Values<float>& x) {
  const float* data = x.data();
  const py::ssize_t n = x.size();
  std::vector<float> largest(static_cast<std::size_t>(n / (256 * 1024) + 1));
  const py::gil_scoped_release release;
  for_each_piece(n, [&](std::int64_t piece, std::int64_t first, std::int64_t length) {
    largest[static_cast<std::size_t>(piece)] = kernels().max_float(data + first, length);
  });
  return *std::max_element(largest.begin(), largest.end());
}

void copy(const Values<float>& source, Values<float>& destination) {
  if (source.size() != destination.size()) throw py::value_error("expected arrays of one size");
  const float* from = source.data();
  float* to = destination.mutable_data();
  const py::ssize_t n = source.size();
  const py::gil_scoped_release release;
  for_each_piece(n, [&](std::int64_t, std::int64_t first, std::int64_t length) {
    std::memcpy(to + first, from + first, static_cast<std::size_t>(length) * sizeof(float));
  });
}

// By a chain of additions of integers, each of which takes one cycle wherever this has been tried; of constants some
// CPUs (Golden Cove) add two in one.
double additions_per_second() {
  constexpr int kChain = 16, kRounds = 4'000'000;
  std::uint64_t sum = 0, one = 1;
  __asm__ volatile("" : "+r"(one));
  const auto start = std::chrono::steady_clock::now();
  for (int round = 0; round < kRounds; ++round) {
    for (int i = 0; i < kChain; ++i) {
      sum += one;
      __asm__ volatile("" : "+r"(sum));  // one addition at a time
    }
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  return static_cast<double>(sum) / took.count();
}

}  // namespace

void bind_testing(py::module_& module) {
  const auto isa = py::arg("isa"), x = py::arg("x").noconvert();
  module.def("exp", &elementwise<float, &KernelTable::exp_float>, isa, x);
  module.def("exp", &elementwise<double, &KernelTable::exp_double>, isa, x);
  module.def("log", &elementwise<float, &KernelTable::log_float>, isa, x);
  module.def("log", &elementwise<double, &KernelTable::log_double>, isa, x);
  module.def("log1p", &elementwise<float, &KernelTable::log1p_float>, isa, x);
  module.def("log1p", &elementwise<double, &KernelTable::log1p_double>, isa, x);
  module.def("select_isa", &select_isa, py::arg("isa"));
  module.def("read_max", &read_max, x);
  module.def("copy", &copy, py::arg("source").noconvert(), py::arg("destination").noconvert());
  module.def("additions_per_second", &additions_per_second);
}

}  // namespace logloss
