// SPDX-License-Identifier: BSD-3-Clause
// The operations over rows: arguments in, outputs written. `axis` is the class axis, non-negative.
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

using RowValueKernels = const KernelsByDType<RowValueBatch>& (*)();
template <KernelsByDType<RowValueBatch> KernelTable::* kKernels>
const KernelsByDType<RowValueBatch>& of_table() {
  return kernels().*kKernels;
}
template <KernelsByDType<RowValueBatch> DivergenceKernels::* kKernels>
const KernelsByDType<RowValueBatch>& of_divergence() {
  return kernels().divergence.*kKernels;
}

// float64 results, one for each row in C order.
template <RowValueKernels kKernels>
py::array_t<double> row_values(const py::array& input, int axis) {
  const RowArray from = rows_along(input, axis);
  py::array_t<double> values(from.rows());
  double* out = values.mutable_data();
  without_gil([&](Interrupted interrupted) { return run_row_values(kKernels(), from, out, interrupted); });
  return values;
}

template <RowValueKernels kKernels>
void row_values_backward(const py::array& grad_output, const py::array& input, int axis, const py::array& out) {
  const RowArray from = rows_along(input, axis);
  const RowArray to = writable_rows_along(out, axis);
  check_alike(from, to);
  const double* grad = data_or_null<double>(grad_output, from.rows());
  without_gil(
      [&](Interrupted interrupted) { return run_row_values_backward(kKernels(), from, grad, to, interrupted); });
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

using RunClassLoss = bool (*)(const ClassLossTask&, Interrupted);

// Where the losses of the rows of `input` go.
void* losses_or_null(const std::optional<py::array>& loss, const RowArray& input) {
  if (loss_dtype(input.dtype) == DType::float64) return data_or_null<double>(loss, input.rows());
  return data_or_null<float>(loss, input.rows());
}

// Writes what is asked for: `loss` (rows values of the loss dtype), `hit` (rows bytes), `grad` (times grad_output,
// mean_factor and each row's number); returns the exact sum of the losses if want_sum, else None.
template <RunClassLoss kRun>
std::optional<ExactSum> class_loss(const py::array& input, int axis, const py::array& target,
                                   const std::optional<py::array>& weight, double smoothing, bool want_sum,
                                   const std::optional<py::array>& loss_out, const std::optional<py::array>& hit,
                                   const std::optional<py::array>& grad, double grad_output, double mean_factor,
                                   const std::optional<py::array>& grad_rows) {
  const DefaultFloatEnvironment environment;
  ClassLossTask task;
  task.input = rows_along(input, axis);
  const Target kind = target_of(target, task.input, axis);
  const std::int64_t rows = task.input.rows();
  const bool wide = task.input.dtype == DType::float64;
  task.target = kind.rows;
  task.probs = kind.probs ? &*kind.probs : nullptr;
  task.weight = wide ? static_cast<void*>(data_or_null<double>(weight, task.input.classes))
                     : static_cast<void*>(data_or_null<float>(weight, task.input.classes));
  task.smoothing = smoothing;
  task.loss = losses_or_null(loss_out, task.input);
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

template <RunClassLoss kRun>
void bind_class_loss(py::module_& module, const char* name) {
  module.def(name, &class_loss<kRun>, py::arg("input"), py::arg("axis"), py::arg("target"), py::kw_only(),
             py::arg("weight") = py::none(), py::arg("smoothing") = 0.0, py::arg("want_sum") = false,
             py::arg("loss") = py::none(), py::arg("hit") = py::none(), py::arg("grad") = py::none(),
             py::arg("grad_output") = 1.0, py::arg("mean_factor") = 1.0, py::arg("grad_rows") = py::none());
}

using RunPairLoss = bool (*)(const PairLossTask&, Interrupted);

// A loss of pairs of rows, `loss`, `want_sum` and the gradients' factors as above.
template <RunPairLoss kRun>
std::optional<ExactSum> pair_loss(const py::array& first, const py::array& second, int axis,
                                  const std::optional<py::array>& target, double margin, bool want_sum,
                                  const std::optional<py::array>& loss_out, const std::optional<py::array>& first_grad,
                                  const std::optional<py::array>& second_grad, double grad_output, double mean_factor,
                                  const std::optional<py::array>& grad_rows) {
  const DefaultFloatEnvironment environment;
  PairLossTask task;
  task.first = rows_along(first, axis);
  task.second = rows_along(second, axis);
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
  task.grad_scale = grad_output * mean_factor;
  task.grad_rows = data_or_null<double>(grad_rows, rows);
  ExactSum sum;
  if (want_sum) task.loss_sum = &sum;
  without_gil([&](Interrupted interrupted) { return kRun(task, interrupted); });
  return want_sum ? std::optional<ExactSum>(sum) : std::nullopt;
}

template <RunPairLoss kRun>
void bind_pair_loss(py::module_& module, const char* name) {
  module.def(name, &pair_loss<kRun>, py::arg("first"), py::arg("second"), py::arg("axis"), py::kw_only(),
             py::arg("target") = py::none(), py::arg("margin") = 0.0, py::arg("want_sum") = false,
             py::arg("loss") = py::none(), py::arg("first_grad") = py::none(), py::arg("second_grad") = py::none(),
             py::arg("grad_output") = 1.0, py::arg("mean_factor") = 1.0, py::arg("grad_rows") = py::none());
}

}  // namespace

void bind_operations(py::module_& module) {
  const auto input = py::arg("input"), axis = py::arg("axis"), out = py::arg("out"), grad = py::arg("grad_output");
  module.def("log_softmax", &forward<&KernelTable::log_softmax>, input, axis, out);
  module.def("softmax", &forward<&KernelTable::softmax>, input, axis, out);
  module.def("log_softmax_backward", &backward<&KernelTable::log_softmax_backward>, grad, input, axis, out);
  module.def("softmax_backward", &backward<&KernelTable::softmax_backward>, grad, input, axis, out);
  const auto def_row_values = [&](const char* name, auto values, const char* backward_name, auto values_backward) {
    module.def(name, values, input, axis);
    module.def(backward_name, values_backward, grad, input, axis, out);
  };
  using D = DivergenceKernels;
  def_row_values("logsumexp", &row_values<of_table<&KernelTable::logsumexp>>,  //
                 "logsumexp_backward", &row_values_backward<of_table<&KernelTable::logsumexp_backward>>);
  def_row_values("entropy", &row_values<of_divergence<&D::entropy>>,  //
                 "entropy_backward", &row_values_backward<of_divergence<&D::entropy_backward>>);
  def_row_values("entropy_with_logits", &row_values<of_divergence<&D::entropy_with_logits>>,
                 "entropy_with_logits_backward", &row_values_backward<of_divergence<&D::entropy_with_logits_backward>>);
  bind_class_loss<&run_cross_entropy>(module, "cross_entropy");
  bind_class_loss<&run_nll_loss>(module, "nll_loss");
  bind_pair_loss<&run_kl_div_with_logits>(module, "kl_div_with_logits");
  bind_pair_loss<&run_cosine_embedding_loss>(module, "cosine_embedding_loss");
}

}  // namespace logloss
