// SPDX-License-Identifier: BSD-3-Clause
// The module: plain numbers in, launches out. Arrays are addresses of contiguous device memory, 0 for none; what they
// hold and how large they are the caller has checked. README.md beside this file lists the functions.
#include "cuda/bind.h"

namespace logloss {

#ifdef LOGLOSS_CUDA_EMULATION
namespace emulation {
void bind_settings(pybind11::module_& module);
void bind_devices(pybind11::module_& module);
}  // namespace emulation
#endif

namespace LOGLOSS_LEVEL {
namespace {

// (outer, classes, inner)
ArrayShape shape_of(const py::tuple& shape) {
  if (shape.size() != 3) throw py::value_error("internal: a shape that is not (outer, classes, inner)");
  const auto outer = shape[0].cast<std::int64_t>(), classes = shape[1].cast<std::int64_t>(),
             inner = shape[2].cast<std::int64_t>();
  if (outer < 0 || classes < 1 || inner < 1) throw py::value_error("internal: an array without classes");
  return {outer * inner, classes, inner};
}

// An address that may be missing.
py::arg_v maybe(const char* name) { return py::arg_v(name, Address{0}); }

LossOutputs outputs_of(Address loss, Address sum, double grad_scale, Address grad_factor, Address grad_rows) {
  LossOutputs outputs;
  outputs.loss = at<>(loss);
  outputs.sum = at<>(sum);
  outputs.grad_scale = grad_scale;
  outputs.grad_factor = at<double>(grad_factor);
  outputs.grad_rows = at<double>(grad_rows);
  return outputs;
}

void bind_softmax(py::module_& module, const char* name, bool logarithm) {
  module.def(
      name,
      [logarithm](int dtype, const py::tuple& shape, Address input, Address output, Address stream, int device) {
        const SoftmaxCall call{dtype_of(dtype), shape_of(shape), at<>(input), nullptr, logarithm, at<>(output)};
        run_on(stream, device, {call.input, call.output}, [&] { softmax(call, stream_of(stream)); });
      },
      arg("dtype"), arg("shape"), arg("input"), arg("output"), py::kw_only(), stream_or_default(), device_or_asked());
  module.def((std::string(name) + "_backward").c_str(),
             [logarithm](int dtype, const py::tuple& shape, Address grad_output, Address input, Address output,
                         Address stream, int device) {
               const SoftmaxCall call{dtype_of(dtype),   shape_of(shape), at<>(input),
                                      at<>(grad_output), logarithm,       at<>(output)};
               run_on(stream, device, {call.input, call.grad_output, call.output},
                      [&] { softmax_backward(call, stream_of(stream)); });
             },
             arg("dtype"), arg("shape"), arg("grad_output"), arg("input"), arg("output"), py::kw_only(),
             stream_or_default(), device_or_asked());
}

void bind_row_value(py::module_& module, const char* name, RowValue function) {
  module.def(
      name,
      [function](int dtype, const py::tuple& shape, Address input, Address value, Address stream, int device) {
        const RowValueCall call{function, dtype_of(dtype), shape_of(shape), at<>(input), at<>(value), nullptr, nullptr};
        run_on(stream, device, {call.input, call.value}, [&] { row_value(call, stream_of(stream)); });
      },
      arg("dtype"), arg("shape"), arg("input"), arg("value"), py::kw_only(), stream_or_default(), device_or_asked());
  module.def((std::string(name) + "_backward").c_str(),
             [function](int dtype, const py::tuple& shape, Address grad_output, Address input, Address output,
                        Address stream, int device) {
               const RowValueCall call{function, dtype_of(dtype),         shape_of(shape), at<>(input),
                                       nullptr,  at<double>(grad_output), at<>(output)};
               run_on(stream, device, {call.input, call.grad_output, call.output},
                      [&] { row_value_backward(call, stream_of(stream)); });
             },
             arg("dtype"), arg("shape"), arg("grad_output"), arg("input"), arg("output"), py::kw_only(),
             stream_or_default(), device_or_asked());
}

void bind_class_loss(py::module_& module, const char* name, void (*run)(const ClassLossCall&, Stream)) {
  module.def(
      name,
      [run](int dtype, const py::tuple& shape, Address input, Address target, Address probs, Address weight,
            double smoothing, Address loss, Address sum, Address grad, double grad_scale, Address grad_factor,
            Address grad_rows, Address stream, int device) {
        if ((target == 0) == (probs == 0)) throw py::value_error("internal: either target or probs");
        const ClassLossCall call{outputs_of(loss, sum, grad_scale, grad_factor, grad_rows),
                                 dtype_of(dtype),
                                 shape_of(shape),
                                 at<>(input),
                                 at<std::int64_t>(target),
                                 at<>(probs),
                                 at<>(weight),
                                 smoothing,
                                 at<>(grad)};
        run_on(stream, device,
               {call.input, call.target, call.probs, call.weight, call.loss, call.sum, call.grad, call.grad_factor,
                call.grad_rows},
               [&] { run(call, stream_of(stream)); });
      },
      arg("dtype"), arg("shape"), arg("input"), py::kw_only(), maybe("target"), maybe("probs"), maybe("weight"),
      arg("smoothing") = 0.0, maybe("loss"), maybe("sum"), maybe("grad"), arg("grad_scale") = 1.0, maybe("grad_factor"),
      maybe("grad_rows"), stream_or_default(), device_or_asked());
}

void bind_pair_loss(py::module_& module, const char* name, void (*run)(const PairLossCall&, Stream)) {
  module.def(
      name,
      [run](int dtype, const py::tuple& shape, Address first, Address second, Address target, double margin,
            Address loss, Address sum, Address first_grad, Address second_grad, double grad_scale, Address grad_factor,
            Address grad_rows, Address stream, int device) {
        const PairLossCall call{outputs_of(loss, sum, grad_scale, grad_factor, grad_rows),
                                dtype_of(dtype),
                                shape_of(shape),
                                at<>(first),
                                at<>(second),
                                at<>(first_grad),
                                at<>(second_grad),
                                at<double>(target),
                                margin};
        run_on(stream, device,
               {call.first, call.second, call.target, call.loss, call.sum, call.first_grad, call.second_grad,
                call.grad_factor, call.grad_rows},
               [&] { run(call, stream_of(stream)); });
      },
      arg("dtype"), arg("shape"), arg("first"), arg("second"), py::kw_only(), maybe("target"), arg("margin") = 0.0,
      maybe("loss"), maybe("sum"), maybe("first_grad"), maybe("second_grad"), arg("grad_scale") = 1.0,
      maybe("grad_factor"), maybe("grad_rows"), stream_or_default(), device_or_asked());
}

void bind_sigmoid(py::module_& module, const char* name, bool logarithm) {
  const auto run = [](const SigmoidCall& call, Address stream, int device) {
    run_on(stream, device, {call.input, call.grad_output, call.output}, [&] { sigmoid(call, stream_of(stream)); });
  };
  module.def(
      name,
      [=](int dtype, std::int64_t n, Address input, Address output, Address stream, int device) {
        run({dtype_of(dtype), n, at<>(input), nullptr, logarithm, at<>(output)}, stream, device);
      },
      arg("dtype"), arg("n"), arg("input"), arg("output"), py::kw_only(), stream_or_default(), device_or_asked());
  module.def(
      (std::string(name) + "_backward").c_str(),
      [=](int dtype, std::int64_t n, Address grad_output, Address input, Address output, Address stream, int device) {
        run({dtype_of(dtype), n, at<>(input), at<>(grad_output), logarithm, at<>(output)}, stream, device);
      },
      arg("dtype"), arg("n"), arg("grad_output"), arg("input"), arg("output"), py::kw_only(), stream_or_default(),
      device_or_asked());
}

void bind_element_loss(py::module_& module, const char* name, ElementLoss function) {
  module.def(
      name,
      [function](int dtype, std::int64_t n, Address input, Address target, const py::object& weight,
                 const py::object& pos_weight, Address loss, Address sum, Address grad, double grad_scale,
                 Address grad_factor, Address grad_output, Address misfit, Address stream, int device) {
        const ElementLossCall call{outputs_of(loss, sum, grad_scale, grad_factor, 0),
                                   function,
                                   dtype_of(dtype),
                                   n,
                                   at<>(input),
                                   at<>(target),
                                   repeated_of(weight),
                                   repeated_of(pos_weight),
                                   at<>(grad_output),
                                   at<>(grad),
                                   at<std::uint64_t>(misfit)};
        run_on(stream, device,
               {call.input, call.target, call.weight.value, call.pos_weight.value, call.loss, call.sum, call.grad,
                call.grad_factor, call.grad_output, call.misfit},
               [&] { element_loss(call, stream_of(stream)); });
      },
      arg("dtype"), arg("n"), arg("input"), arg("target"), py::kw_only(), arg("weight") = py::none(),
      arg("pos_weight") = py::none(), maybe("loss"), maybe("sum"), maybe("grad"), arg("grad_scale") = 1.0,
      maybe("grad_factor"), maybe("grad_output"), maybe("misfit"), stream_or_default(), device_or_asked());
}

void bind_sums(py::module_& module) {
  module.attr("SUM_STATE_BYTES") = kSumStateBytes;
  module.attr("TARGET_REPORT_BYTES") = kTargetReportBytes;
  module.attr("MISFIT_REPORT_BYTES") = kMisfitReportBytes;
  module.def(
      "name_misfit",
      [](int dtype, Address input, Address target, Address report, Address stream, int device) {
        const DType type = dtype_of(dtype);
        run_on(stream, device, {at<>(input), at<>(target), at<>(report)},
               [&] { name_misfit(type, at<>(input), at<>(target), at<>(report), stream_of(stream)); });
      },
      arg("dtype"), arg("input"), arg("target"), arg("report"), py::kw_only(), stream_or_default(), device_or_asked());
  module.def(
      "clear_sum",
      [](Address sum, Address stream, int device) {
        run_on(stream, device, {at<>(sum)}, [&] { clear_sum_state(at<>(sum), stream_of(stream)); });
      },
      arg("sum"), py::kw_only(), stream_or_default(), device_or_asked());
  module.def(
      "class_rows",
      [](int index_type, std::int64_t n, std::int64_t classes, const py::object& ignore_index, Address target,
         Address report, Address rows, Address stream, int device) {
        if (index_type < 0 || index_type > static_cast<int>(IndexType::uint64))
          throw py::value_error("internal: dtype");
        const ClassRowsCall call{static_cast<IndexType>(index_type),
                                 n,
                                 classes,
                                 !ignore_index.is_none(),
                                 ignore_index.is_none() ? 0 : ignore_index.cast<std::int64_t>(),
                                 at<>(target),
                                 at<std::int64_t>(rows),
                                 at<>(report)};
        run_on(stream, device, {call.target, call.rows, call.report}, [&] { class_rows(call, stream_of(stream)); });
      },
      arg("index_type"), arg("n"), arg("classes"), arg("ignore_index"), arg("target"), arg("report"), arg("rows"),
      py::kw_only(), stream_or_default(), device_or_asked());
  module.def(
      "weight_of_rows",
      [](int dtype, std::int64_t n, std::int64_t classes, Address weight, Address rows, Address sum, Address stream,
         int device) {
        const DType type = dtype_of(dtype);
        run_on(stream, device, {at<>(weight), at<>(rows), at<>(sum)}, [&] {
          weight_of_rows(type, at<>(weight), at<std::int64_t>(rows), n, classes, at<>(sum), stream_of(stream));
        });
      },
      arg("dtype"), arg("n"), arg("classes"), arg("weight"), arg("rows"), arg("sum"), py::kw_only(),
      stream_or_default(), device_or_asked());
  module.def(
      "finish_sum",
      [](Address out, Address numerator, Address denominator, Address count, double divisor, Address factor,
         Address stream, int device) {
        run_on(stream, device, {at<>(out), at<>(numerator), at<>(denominator), at<>(count), at<>(factor)}, [&] {
          finish_sum(at<>(numerator), at<>(denominator), at<>(count), divisor, at<double>(factor), at<double>(out),
                     stream_of(stream));
        });
      },
      arg("out"), py::kw_only(), maybe("numerator"), maybe("denominator"), maybe("count"), arg("divisor") = 1.0,
      maybe("factor"), stream_or_default(), device_or_asked());
}

}  // namespace

void bind(py::module_& module) {
  module.doc() = "Kernels over device memory: addresses and numbers in, launches out.";
  module.attr("__version__") = LOGLOSS_VERSION;
  bind_softmax(module, "log_softmax", true);
  bind_softmax(module, "softmax", false);
  bind_row_value(module, "logsumexp", RowValue::logsumexp);
  bind_row_value(module, "entropy", RowValue::entropy);
  bind_row_value(module, "entropy_with_logits", RowValue::entropy_with_logits);
  bind_class_loss(module, "cross_entropy", &cross_entropy);
  bind_class_loss(module, "nll_loss", &nll_loss);
  bind_pair_loss(module, "kl_div_with_logits", &kl_div_with_logits);
  bind_pair_loss(module, "cosine_embedding_loss", &cosine_embedding_loss);
  bind_sigmoid(module, "sigmoid", false);
  bind_sigmoid(module, "log_sigmoid", true);
  bind_element_loss(module, "binary_cross_entropy", ElementLoss::binary_cross_entropy);
  bind_element_loss(module, "binary_cross_entropy_with_logits", ElementLoss::binary_cross_entropy_with_logits);
  bind_element_loss(module, "kl_div", ElementLoss::kl_div);
  bind_element_loss(module, "kl_div_log_target", ElementLoss::kl_div_log_target);
  bind_sums(module);
  bind_arrays(module);
#ifdef LOGLOSS_CUDA_EMULATION
  emulation::bind_settings(module);
  emulation::bind_devices(module);
#endif
}

}  // namespace LOGLOSS_LEVEL
}  // namespace logloss

#ifdef LOGLOSS_CUDA_EMULATION
PYBIND11_MODULE(_cuda_emulated, module) { logloss::LOGLOSS_LEVEL::bind(module); }
#else
PYBIND11_MODULE(_cuda, module, pybind11::mod_gil_not_used()) { logloss::LOGLOSS_LEVEL::bind(module); }
#endif
