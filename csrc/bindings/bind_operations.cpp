// SPDX-License-Identifier: BSD-3-Clause
// The operations over rows but the losses of classes: arguments in, outputs written. `axis` is the class axis,
// non-negative.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "bindings/arrays.h"
#include "bindings/bind.h"
#include "bindings/exact_sum.h"
#include "cpu/dispatch.h"
#include "cpu/float_environment.h"
#include "cpu/operations.h"

namespace logloss {
namespace {

template <KernelsByDType<SoftmaxBatch> SoftmaxKernels::* kKernels, bool kTakesExponentials>
void forward(const py::array& input, int axis, const py::array& out) {
  const RowArray from = rows_along(input, axis);
  const RowArray to = writable_rows_along(out, axis);
  check_alike(from, to);
  without_gil([&](Interrupted interrupted) {
    return run_softmax(kernels().softmax.*kKernels, kTakesExponentials, from, nullptr, to, interrupted);
  });
}

template <KernelsByDType<SoftmaxBatch> SoftmaxKernels::* kKernels>
void backward(const py::array& grad_output, const py::array& input, int axis, const py::array& out) {
  const RowArray grad = rows_along(grad_output, axis);
  const RowArray from = rows_along(input, axis);
  const RowArray to = writable_rows_along(out, axis);
  check_alike(from, grad);
  check_alike(from, to);
  without_gil([&](Interrupted interrupted) {
    return run_softmax(kernels().softmax.*kKernels, true, from, &grad, to, interrupted);
  });
}

using RowValueKernels = const KernelsByDType<RowValueBatch>& (*)();
template <KernelsByDType<RowValueBatch> SoftmaxKernels::* kKernels>
const KernelsByDType<RowValueBatch>& of_softmax() {
  return kernels().softmax.*kKernels;
}
template <KernelsByDType<RowValueBatch> DivergenceKernels::* kKernels>
const KernelsByDType<RowValueBatch>& of_divergence() {
  return kernels().divergence.*kKernels;
}

// Writes float64 numbers, one for each element of `out`, which is of any floating-point dtype.
void write_converted(const double* values, const ElementArray& out) {
  ElementWindow window(&out, DType::float64, ElementWindow::Use::write);
  const std::int64_t n = out.size();
  for (std::int64_t first = 0; first < n; first += kMaxElements) {
    const std::int64_t count = std::min<std::int64_t>(kMaxElements, n - first);
    std::copy_n(values + first, count, static_cast<double*>(window.open(first, static_cast<int>(count))));
    window.close();
  }
}

// One number for each row in C order, to `out` of any shape. kMayCutRows: as run_row_values takes it.
template <RowValueKernels kKernels, bool kMayCutRows = false>
void row_values(const py::array& input, int axis, const py::array& out) {
  const RowArray from = rows_along(input, axis);
  ElementArray to;
  set_elements(&to, out);
  if (to.size() != from.rows() || !out.writeable()) throw py::value_error("internal: an unexpected output");
  without_gil([&](Interrupted interrupted) {
    const auto values = std::make_unique_for_overwrite<double[]>(static_cast<std::size_t>(from.rows()));
    const bool finished = run_row_values(kKernels(), from, kMayCutRows, values.get(), interrupted);
    write_converted(values.get(), to);
    return finished;
  });
}

template <RowValueKernels kKernels, bool kMayCutRows = false>
void row_values_backward(const py::array& grad_output, const py::array& input, int axis, const py::array& out) {
  const RowArray from = rows_along(input, axis);
  const RowArray to = writable_rows_along(out, axis);
  check_alike(from, to);
  const double* grad = data_or_null<double>(grad_output, from.rows());
  without_gil([&](Interrupted interrupted) {
    return run_row_values_backward(kKernels(), from, kMayCutRows, grad, to, interrupted);
  });
}

using RunPairLoss = bool (*)(const PairLossTask&, Interrupted);

// A loss of pairs of rows. Writes what is asked for: `loss` (rows values of the loss dtype) and the gradients (times
// grad_output and each row's number, over the divisor); returns the sum of the losses over the divisor if want_sum,
// else None.
template <RunPairLoss kRun>
std::optional<double> pair_loss(const py::array& first, const py::array& second, int axis,
                                const std::optional<py::array>& target, double margin, double divisor, bool want_sum,
                                const std::optional<py::array>& loss_out, const std::optional<py::array>& first_grad,
                                const std::optional<py::array>& second_grad, double grad_output,
                                const std::optional<py::array>& grad_rows) {
  const DefaultFloatEnvironment environment;
  PairLossTask task{{}, rows_along(first, axis), rows_along(second, axis)};
  check_alike(task.first, task.second);
  const std::int64_t rows = task.first.rows();
  std::optional<RowArray> gradients[2];
  if (first_grad) task.first_grad = &gradients[0].emplace(writable_rows_along(*first_grad, axis));
  if (second_grad) task.second_grad = &gradients[1].emplace(writable_rows_along(*second_grad, axis));
  for (const std::optional<RowArray>& gradient : gradients) {
    if (gradient) check_alike(task.first, *gradient);
  }
  task.target = data_or_null<double>(target, rows);
  task.margin = margin;
  task.loss = losses_or_null(loss_out, task.first);
  task.grad_scale = grad_output * (1.0 / divisor);
  task.grad_rows = data_or_null<double>(grad_rows, rows);
  ExactSum sum;
  if (want_sum) task.loss_sum = &sum;
  without_gil([&](Interrupted interrupted) { return kRun(task, interrupted); });
  return want_sum ? std::optional<double>(rounded_quotient(sum, divisor)) : std::nullopt;
}

template <RunPairLoss kRun>
void bind_pair_loss(py::module_& module, const char* name) {
  module.def(name, &pair_loss<kRun>, py::arg("first"), py::arg("second"), py::arg("axis"),
             py::arg("target") = py::none(), py::arg("margin") = 0.0, py::arg("divisor") = 1.0,
             py::arg("want_sum") = false, py::arg("loss") = py::none(), py::arg("first_grad") = py::none(),
             py::arg("second_grad") = py::none(), py::arg("grad_output") = 1.0, py::arg("grad_rows") = py::none());
}

}  // namespace

void bind_operations(py::module_& module) {
  const auto input = py::arg("input"), axis = py::arg("axis"), out = py::arg("out"), grad = py::arg("grad_output");
  using S = SoftmaxKernels;
  using D = DivergenceKernels;
  module.def("log_softmax", &forward<&S::log_softmax, false>, input, axis, out);
  module.def("softmax", &forward<&S::softmax, true>, input, axis, out);
  module.def("log_softmax_backward", &backward<&S::log_softmax_backward>, grad, input, axis, out);
  module.def("softmax_backward", &backward<&S::softmax_backward>, grad, input, axis, out);
  const auto def_row_values = [&](const char* name, auto values, const char* backward_name, auto values_backward) {
    module.def(name, values, input, axis, out);
    module.def(backward_name, values_backward, grad, input, axis, out);
  };
  def_row_values("logsumexp", &row_values<of_softmax<&S::logsumexp>, true>, "logsumexp_backward",
                 &row_values_backward<of_softmax<&S::logsumexp_backward>, true>);
  def_row_values("entropy", &row_values<of_divergence<&D::entropy>>,  //
                 "entropy_backward", &row_values_backward<of_divergence<&D::entropy_backward>>);
  def_row_values("entropy_with_logits", &row_values<of_divergence<&D::entropy_with_logits>>,
                 "entropy_with_logits_backward", &row_values_backward<of_divergence<&D::entropy_with_logits_backward>>);
  bind_pair_loss<&run_kl_div_with_logits>(module, "kl_div_with_logits");
  bind_pair_loss<&run_cosine_embedding_loss>(module, "cosine_embedding_loss");
}

}  // namespace logloss
