// SPDX-License-Identifier: BSD-3-Clause
// The losses whose target is a class, cross_entropy and nll_loss.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>

#include "bindings/arrays.h"
#include "bindings/bind.h"
#include "bindings/exact_sum.h"
#include "cpu/class_indices.h"
#include "cpu/float_environment.h"
#include "cpu/operations.h"

namespace logloss {
namespace {

bool is_integer(const py::array& array) {
  const char kind = array.dtype().kind();
  return kind == 'i' || kind == 'u';
}

// `array`, or a copy of it unless it is contiguous, aligned and in native byte order.
py::array plain(const py::array& array) {
  constexpr int kLayout = int{py::array::c_style} | int{py::detail::npy_api::NPY_ARRAY_ALIGNED_};
  if ((array.flags() & kLayout) == kLayout && !is_byte_swapped(array.dtype())) return array;
  return array.attr("astype")(array.dtype().attr("newbyteorder")("="), "C");
}

// A Python integer as the low 64 bits of a target of type `storage`; nothing if such targets never equal it.
std::optional<std::int64_t> as_target(const py::int_& number, Storage storage) {
  if (storage == Storage::uint64) {
    const unsigned long long bits = PyLong_AsUnsignedLongLong(number.ptr());
    if (!PyErr_Occurred()) return static_cast<std::int64_t>(bits);
    PyErr_Clear();
    return std::nullopt;
  }
  int beyond = 0;
  const long long value = PyLong_AsLongLongAndOverflow(number.ptr(), &beyond);
  return beyond ? std::nullopt : std::optional<std::int64_t>(value);
}

// The target of one call: class indices of any integer dtype, or class probabilities of the input's shape and dtype.
class Target {
 public:
  Target(const py::array& target, const py::int_& ignore_index, const RowArray& input, int axis) {
    if (!is_integer(target)) {
      check_alike(input, probs_.emplace(rows_along(target, axis)));
      return;
    }
    integers_ = plain(target);
    if (integers_->size() != input.rows()) throw py::value_error("internal: a target of unexpected size");
    storage_ = storage_of(integers_->dtype());
    ignored_ = as_target(ignore_index, storage_);
  }

  // Checks the indices and gives the target to `task`; false if there is a bad one. Needs no GIL.
  bool resolve(ClassLossTask* task) {
    if (probs_) {
      task->probs = &*probs_;
      return true;
    }
    indices_.emplace(integers_->data(), storage_, task->input.rows(), task->input.classes, ignored_);
    task->target = indices_->rows();
    return indices_->first_bad() < 0;
  }

  // IndexError with the first bad position as its argument, if there is one.
  void raise_if_bad() const {
    if (!indices_ || indices_->first_bad() < 0) return;
    PyErr_SetObject(PyExc_IndexError, py::int_(indices_->first_bad()).ptr());
    throw py::error_already_set();
  }

  // What a mean divides by: the weight of the rows that count, or their number.
  void set_divisor(Divisor* divisor, const ClassLossTask& task) const {
    const std::int64_t rows = task.input.rows();
    divisor->count = static_cast<double>(indices_ ? indices_->valid() : rows);
    if (!indices_ || !task.weight) return;
    divisor->weight =
        sum_of_weights(task.weight, task.input.classes, compute_dtype(task.input.dtype), indices_->rows(), rows);
  }

 private:
  std::optional<RowArray> probs_;
  std::optional<py::array> integers_;  // if there are no probabilities
  Storage storage_ = Storage::int64;
  std::optional<std::int64_t> ignored_;
  std::optional<ClassIndices> indices_;
};

using RunClassLoss = bool (*)(const ClassLossTask&, Interrupted);

// Writes what is asked for: `loss` (rows values of the loss dtype), `grad` (times grad_output and each row's number,
// for a mean over its divisor), `hit` (rows bytes); returns the sum or the mean of the losses if want_sum, else None.
// Without rows or classes only the target is checked. IndexError, with the first position as its argument, for a target
// that is neither a class nor ignored; nothing is written then.
template <RunClassLoss kRun>
std::optional<double> class_loss(const py::array& input, int axis, const py::array& target,
                                 const py::int_& ignore_index, const std::optional<py::array>& weight, double smoothing,
                                 bool mean, bool want_sum, const std::optional<py::array>& loss_out,
                                 const std::optional<py::array>& grad, double grad_output,
                                 const std::optional<py::array>& grad_rows, const std::optional<py::array>& hit) {
  const DefaultFloatEnvironment environment;
  ClassLossTask task{{}, rows_along(input, axis)};
  const std::int64_t rows = task.input.rows(), classes = task.input.classes;
  const bool wide = task.input.dtype == DType::float64;
  task.weight = wide ? static_cast<void*>(data_or_null<double>(weight, classes))
                     : static_cast<void*>(data_or_null<float>(weight, classes));
  task.smoothing = smoothing;
  task.loss = losses_or_null(loss_out, task.input);
  task.hit = data_or_null<std::uint8_t>(hit, rows);
  std::optional<RowArray> gradient;
  if (grad) {
    task.grad = &gradient.emplace(writable_rows_along(*grad, axis));
    check_alike(task.input, *gradient);
  }
  task.grad_rows = data_or_null<double>(grad_rows, rows);
  ExactSum sum;
  Divisor divisor;
  if (want_sum) task.loss_sum = &sum;
  Target classes_of_rows(target, ignore_index, task.input, axis);
  without_gil([&](Interrupted interrupted) {
    if (!classes_of_rows.resolve(&task) || rows * classes == 0) return true;
    if (mean) classes_of_rows.set_divisor(&divisor, task);
    task.grad_scale = grad ? grad_output * divisor.of(1.0) : 1.0;
    return kRun(task, interrupted);
  });
  classes_of_rows.raise_if_bad();
  return want_sum ? std::optional<double>(divisor.of(sum)) : std::nullopt;
}

template <RunClassLoss kRun>
void bind_class_loss(py::module_& module, const char* name) {
  module.def(name, &class_loss<kRun>, py::arg("input"), py::arg("axis"), py::arg("target"),
             py::arg("ignore_index") = -100, py::arg("weight") = py::none(), py::arg("smoothing") = 0.0,
             py::arg("mean") = false, py::arg("want_sum") = false, py::arg("loss") = py::none(),
             py::arg("grad") = py::none(), py::arg("grad_output") = 1.0, py::arg("grad_rows") = py::none(),
             py::arg("hit") = py::none());
}

}  // namespace

void bind_class_losses(py::module_& module) {
  bind_class_loss<&run_cross_entropy>(module, "cross_entropy");
  bind_class_loss<&run_nll_loss>(module, "nll_loss");
}

}  // namespace logloss
