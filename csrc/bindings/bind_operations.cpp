// SPDX-License-Identifier: BSD-3-Clause
// The operations: arguments in, outputs written. `axis` is the class axis, non-negative.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>

#include "bindings/arrays.h"
#include "bindings/bind.h"
#include "cpu/dispatch.h"
#include "cpu/float_environment.h"
#include "cpu/operations.h"

namespace logloss {
namespace {

using SoftmaxKernels = KernelsByDType<SoftmaxBatch> KernelTable::*;

void check_alike(const RowArray& a, const RowArray& b) {
  if (a.rows() != b.rows() || a.classes != b.classes || a.dtype != b.dtype) {
    throw py::value_error("internal: arrays of different shape or dtype");
  }
}

template <SoftmaxKernels kKernels>
void forward(const py::array& input, int axis, const py::array& out) {
  const RowArray from = rows_along(input, axis);
  const RowArray to = writable_rows_along(out, axis);
  check_alike(from, to);
  without_gil(
      [&](Interrupted interrupted) { return run_softmax(kernels().*kKernels, from, nullptr, to, interrupted); });
}

template <SoftmaxKernels kKernels>
void backward(const py::array& grad_output, const py::array& input, int axis, const py::array& out) {
  const RowArray grad = rows_along(grad_output, axis);
  const RowArray from = rows_along(input, axis);
  const RowArray to = writable_rows_along(out, axis);
  check_alike(from, grad);
  check_alike(from, to);
  without_gil([&](Interrupted interrupted) { return run_softmax(kernels().*kKernels, from, &grad, to, interrupted); });
}

// float64 results, one for each row in C order.
py::array_t<double> logsumexp(const py::array& input, int axis) {
  const RowArray from = rows_along(input, axis);
  py::array_t<double> lse(from.rows());
  double* out = lse.mutable_data();
  without_gil([&](Interrupted interrupted) { return run_logsumexp(from, out, interrupted); });
  return lse;
}

void logsumexp_backward(const py::array& grad_output, const py::array& input, int axis, const py::array& out) {
  const RowArray from = rows_along(input, axis);
  const RowArray to = writable_rows_along(out, axis);
  check_alike(from, to);
  const double* grad = data_or_null<double>(grad_output, from.rows());
  without_gil([&](Interrupted interrupted) { return run_logsumexp_backward(from, grad, to, interrupted); });
}

// Class indices as class_rows returns them, or class probabilities of the input's shape and dtype.
struct Target {
  std::optional<RowArray> probs;
  const std::int64_t* rows = nullptr;
};

Target target_of(const py::array& target, const RowArray& input, int axis) {
  Target result;
  if (target.dtype().kind() == 'i') {
    result.rows = data_or_null<std::int64_t>(target, input.rows());
    for (std::int64_t i = 0; i < input.rows(); ++i) {
      if (result.rows[i] != kIgnored &&
          static_cast<std::uint64_t>(result.rows[i]) >= static_cast<std::uint64_t>(input.classes)) {
        throw py::value_error("internal: a class out of range");
      }
    }
  } else {
    result.probs = rows_along(target, axis);
    check_alike(input, *result.probs);
  }
  return result;
}

using RunLoss = bool (*)(const LossTask&, Interrupted);

// Writes what is asked for: `loss` (rows values of the loss dtype), `hit` (rows bytes), `grad` (times grad_output,
// mean_factor and each row's number); returns the exact sum of the losses if want_sum, else None.
template <RunLoss kRun>
std::optional<ExactSum> loss(const py::array& input, int axis, const py::array& target,
                             const std::optional<py::array>& weight, double smoothing, bool want_sum,
                             const std::optional<py::array>& loss_out, const std::optional<py::array>& hit,
                             const std::optional<py::array>& grad, double grad_output, double mean_factor,
                             const std::optional<py::array>& grad_rows) {
  const DefaultFloatEnvironment environment;
  LossTask task;
  task.input = rows_along(input, axis);
  const Target kind = target_of(target, task.input, axis);
  const std::int64_t rows = task.input.rows();
  const bool wide = task.input.dtype == DType::float64;
  task.target = kind.rows;
  task.probs = kind.probs ? &*kind.probs : nullptr;
  task.weight = wide ? static_cast<void*>(data_or_null<double>(weight, task.input.classes))
                     : static_cast<void*>(data_or_null<float>(weight, task.input.classes));
  task.smoothing = smoothing;
  task.loss = wide ? static_cast<void*>(data_or_null<double>(loss_out, rows))
                   : static_cast<void*>(data_or_null<float>(loss_out, rows));
  task.hit = data_or_null<std::uint8_t>(hit, rows);
  std::optional<RowArray> gradient;
  if (grad) {
    gradient = writable_rows_along(*grad, axis);
    check_alike(task.input, *gradient);
    task.grad = &*gradient;
  }
  task.grad_scale = grad_output * mean_factor;
  task.grad_rows = data_or_null<double>(grad_rows, rows);
  ExactSum sum;
  if (want_sum) task.loss_sum = &sum;
  without_gil([&](Interrupted interrupted) { return kRun(task, interrupted); });
  return want_sum ? std::optional<ExactSum>(sum) : std::nullopt;
}

template <RunLoss kRun>
void bind_loss(py::module_& module, const char* name) {
  module.def(name, &loss<kRun>, py::arg("input"), py::arg("axis"), py::arg("target"), py::kw_only(),
             py::arg("weight") = py::none(), py::arg("smoothing") = 0.0, py::arg("want_sum") = false,
             py::arg("loss") = py::none(), py::arg("hit") = py::none(), py::arg("grad") = py::none(),
             py::arg("grad_output") = 1.0, py::arg("mean_factor") = 1.0, py::arg("grad_rows") = py::none());
}

}  // namespace

void bind_operations(py::module_& module) {
  const auto input = py::arg("input"), axis = py::arg("axis"), out = py::arg("out"), grad = py::arg("grad_output");
  module.def("log_softmax", &forward<&KernelTable::log_softmax>, input, axis, out);
  module.def("softmax", &forward<&KernelTable::softmax>, input, axis, out);
  module.def("log_softmax_backward", &backward<&KernelTable::log_softmax_backward>, grad, input, axis, out);
  module.def("softmax_backward", &backward<&KernelTable::softmax_backward>, grad, input, axis, out);
  module.def("logsumexp", &logsumexp, input, axis);
  module.def("logsumexp_backward", &logsumexp_backward, grad, input, axis, out);
  bind_loss<&run_cross_entropy>(module, "cross_entropy");
  bind_loss<&run_nll_loss>(module, "nll_loss");
}

}  // namespace logloss
