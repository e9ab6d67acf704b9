// SPDX-License-Identifier: BSD-3-Clause
// What module.cpp puts together.
#pragma once

#include <pybind11/pybind11.h>

namespace logloss {

void bind_operations(pybind11::module_& module);
void bind_elementwise(pybind11::module_& module);
void bind_class_losses(pybind11::module_& module);
void bind_exact_sum(pybind11::module_& module);
void bind_result_memory(pybind11::module_& module);
void bind_runtime(pybind11::module_& module);
void bind_testing(pybind11::module_& module);

}  // namespace logloss
