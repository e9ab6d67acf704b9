// SPDX-License-Identifier: BSD-3-Clause
// The element-wise operations: arrays of one shape in, outputs written.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <optional>

#include "bindings/arrays.h"
#include "bindings/bind.h"
#include "bindings/exact_sum.h"
#include "cpu/dispatch.h"
#include "cpu/element_operations.h"
#include "cpu/float_environment.h"

namespace logloss {
namespace {

using Kernels = KernelsByDType<ElementBatch> ElementwiseKernels::*;

// The operands of one call, all of the shape of the first one.
class Operands {
 public:
  ElementArray* add(const py::array& array) {
    ElementArray& added = array_[count_++];
    set_elements(&added, array);
    const ElementArray& first = array_[0];
    if (added.dims != first.dims || !std::equal(first.shape, first.shape + first.dims, added.shape)) {
      throw py::value_error("internal: arrays of different shape");
    }
    return &added;
  }
  ElementArray* add(const std::optional<py::array>& array) { return array ? add(*array) : nullptr; }
  ElementArray* add_writable(const std::optional<py::array>& array) {
    if (array && !array->writeable()) throw py::value_error("internal: an output that is read-only");
    return add(array);
  }

 private:
  static constexpr int kMostOperands = 8;
  ElementArray array_[kMostOperands];
  int count_ = 0;
};

void run(Kernels kernels_of, ElementTask* task) {
  without_gil(
      [&](Interrupted interrupted) { return run_elements(kernels().elementwise.*kernels_of, task, interrupted); });
}

template <Kernels kKernels>
void forward(const py::array& input, const py::array& out) {
  Operands operands;
  ElementTask task;
  task.dtype = dtype_of(input);
  task.input = operands.add(input);
  task.output = operands.add_writable(out);
  run(kKernels, &task);
}

template <Kernels kKernels>
void backward(const py::array& grad_output, const py::array& input, const py::array& out) {
  Operands operands;
  ElementTask task;
  task.dtype = dtype_of(input);
  task.input = operands.add(input);
  task.grad_output = operands.add(grad_output);
  task.grad = operands.add_writable(out);
  run(kKernels, &task);
}

// Writes what is asked for: `loss`, and `grad` times grad_output (one factor for each element) and grad_scale, over the
// divisor; returns the sum of the losses over the divisor (0 unless want_sum), or None if the loss is one of
// probabilities and some lie outside [0, 1]. Computed in `dtype`.
template <Kernels kKernels>
std::optional<double> loss(const py::array& input, const py::array& target, const py::dtype& dtype,
                           const std::optional<py::array>& weight, const std::optional<py::array>& pos_weight,
                           double divisor, bool want_sum, const std::optional<py::array>& loss_out,
                           const std::optional<py::array>& grad, const std::optional<py::array>& grad_output,
                           double grad_scale) {
  const DefaultFloatEnvironment environment;
  Operands operands;
  ElementTask task;
  ExactSum sum;
  task.dtype = dtype_of(dtype);
  task.input = operands.add(input);
  task.target = operands.add(target);
  task.weight = operands.add(weight);
  task.pos_weight = operands.add(pos_weight);
  task.grad_output = operands.add(grad_output);
  task.loss = operands.add_writable(loss_out);
  task.grad = operands.add_writable(grad);
  task.grad_scale = grad_scale * (1.0 / divisor);
  if (want_sum) task.loss_sum = &sum;
  run(kKernels, &task);
  return task.in_domain ? std::optional<double>(rounded_quotient(sum, divisor)) : std::nullopt;
}

template <Kernels kKernels>
void bind_loss(py::module_& module, const char* name) {
  module.def(name, &loss<kKernels>, py::arg("input"), py::arg("target"), py::arg("dtype"), py::arg("weight"),
             py::arg("pos_weight"), py::arg("divisor"), py::arg("want_sum"), py::arg("loss") = py::none(),
             py::arg("grad") = py::none(), py::arg("grad_output") = py::none(), py::arg("grad_scale") = 1.0);
}

// (position in C order, value) of the first element outside [0, 1] or NaN; position -1 if there is none.
py::tuple find_outside_unit_interval(const py::array& array) {
  ElementArray elements;
  set_elements(&elements, array);
  const Misfit misfit = first_outside_unit_interval(elements);
  return py::make_tuple(misfit.position, misfit.value);
}

}  // namespace

void bind_elementwise(py::module_& module) {
  using E = ElementwiseKernels;
  const auto input = py::arg("input"), out = py::arg("out"), grad = py::arg("grad_output");
  module.def("sigmoid", &forward<&E::sigmoid>, input, out);
  module.def("log_sigmoid", &forward<&E::log_sigmoid>, input, out);
  module.def("sigmoid_backward", &backward<&E::sigmoid_backward>, grad, input, out);
  module.def("log_sigmoid_backward", &backward<&E::log_sigmoid_backward>, grad, input, out);
  bind_loss<&E::binary_cross_entropy>(module, "binary_cross_entropy");
  bind_loss<&E::binary_cross_entropy_with_logits>(module, "binary_cross_entropy_with_logits");
  bind_loss<&E::kl_div>(module, "kl_div");
  bind_loss<&E::kl_div_log_target>(module, "kl_div_log_target");
  module.def("first_outside_unit_interval", &find_outside_unit_interval, py::arg("array"));
}

}  // namespace logloss
