// SPDX-License-Identifier: BSD-3-Clause
// The operations over whole arrays: rows are cut into batches, batches are shared between threads, and per-sample
// losses are reduced exactly. All shapes agree and all targets are in range: the callers have checked.
//
// Every function returns false if `interrupted` ended it early; the outputs are then incomplete.
#pragma once

#include <cstdint>

#include "common/exact_sum.h"
#include "cpu/kernel_table.h"
#include "cpu/parallel.h"
#include "cpu/row_array.h"

namespace logloss {

using baseline::ExactSum;

// output = kernel(input [, grad_output]); grad_output may be null.
bool run_softmax(const KernelsByDType<SoftmaxBatch>& kernels, const RowArray& input, const RowArray* grad_output,
                 const RowArray& output, Interrupted interrupted);

// lse: one double per row, each exactly representable in the dtype of the result's compute type.
bool run_logsumexp(const RowArray& input, double* lse, Interrupted interrupted);
bool run_logsumexp_backward(const RowArray& input, const double* grad_output, const RowArray& output,
                            Interrupted interrupted);

// What a loss over rows takes and gives, for cross_entropy and nll_loss alike.
struct LossTask {
  RowArray input;
  const std::int64_t* target = nullptr;  // null: class probabilities in `probs`
  const RowArray* probs = nullptr;
  const void* weight = nullptr;  // classes values of the compute type, or null
  double smoothing = 0.0;

  void* loss = nullptr;          // rows values of loss_dtype(input.dtype), or null
  ExactSum* loss_sum = nullptr;  // their exact sum, or null
  std::uint8_t* hit = nullptr;

  const RowArray* grad = nullptr;
  double grad_scale = 1.0;
  const double* grad_rows = nullptr;
};
bool run_cross_entropy(const LossTask& task, Interrupted interrupted);
bool run_nll_loss(const LossTask& task, Interrupted interrupted);

// Adds the exact sum of n values.
void add_all(ExactSum* sum, const float* values, std::int64_t n);
void add_all(ExactSum* sum, const double* values, std::int64_t n);

}  // namespace logloss
