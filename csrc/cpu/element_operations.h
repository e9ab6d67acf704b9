// SPDX-License-Identifier: BSD-3-Clause
// The element-wise operations over whole arrays: cut into batches of kMaxElements, shared between threads; losses are
// added exactly. All arrays have one shape: the callers have broadcast them.
#pragma once

#include "common/exact_sum.h"
#include "cpu/element_array.h"
#include "cpu/kernel_table.h"
#include "cpu/parallel.h"

namespace logloss {

using baseline::ExactSum;

// Operands and results, null where there is none.
struct ElementTask {
  DType dtype = DType::float32;  // the storage type that the kernel sees
  ElementArray* input = nullptr;
  ElementArray* target = nullptr;
  ElementArray* weight = nullptr;
  ElementArray* pos_weight = nullptr;
  ElementArray* grad_output = nullptr;
  ElementArray* output = nullptr;  // of the function, of the storage type
  ElementArray* loss = nullptr;    // of loss_dtype(dtype)
  ElementArray* grad = nullptr;
  double grad_scale = 1.0;
  ExactSum* loss_sum = nullptr;
  bool in_domain = true;  // set: whether all probabilities lie in [0, 1]
};

// Aligns the layouts of the task's arrays with one another, then runs. False if `interrupted` ended it early.
bool run_elements(const KernelsByDType<ElementBatch>& kernels, ElementTask* task, Interrupted interrupted);

// The position (in C order) of the first element outside [0, 1] or NaN, and its value; position -1 if there is none.
struct Misfit {
  std::int64_t position;
  double value;
};
Misfit first_outside_unit_interval(const ElementArray& array);

}  // namespace logloss
