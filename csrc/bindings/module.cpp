// SPDX-License-Identifier: BSD-3-Clause
#include <pybind11/pybind11.h>

#include <cstdlib>

#include "bindings/bind.h"
#include "cpu/dispatch.h"

PYBIND11_MODULE(_core, module, pybind11::mod_gil_not_used()) {
  module.doc() = "Kernels of logloss: private, wrapped by logloss.functional.";
  const char* isa = std::getenv("LOGLOSS_ISA");
  logloss::select_isa(isa ? isa : "");
  logloss::bind_runtime(module);
  logloss::bind_result_memory(module);
  logloss::bind_exact_sum(module);
  logloss::bind_class_losses(module);
  logloss::bind_operations(module);
  logloss::bind_elementwise(module);
  auto testing = module.def_submodule("testing", "Inner functions, for the tests and benchmarks.");
  logloss::bind_testing(testing);
}
