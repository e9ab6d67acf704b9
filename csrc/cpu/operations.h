// SPDX-License-Identifier: BSD-3-Clause
// The operations over the rows of whole arrays: rows are cut into batches, batches are shared between threads, and
// per-sample losses are reduced exactly. All shapes agree and all targets are in range: the callers have checked.
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

// output = kernel(input [, grad_output]); grad_output may be null. takes_exponentials: the second sweep over a row
// takes over those of the first.
bool run_softmax(const KernelsByDType<SoftmaxBatch>& kernels, bool takes_exponentials, const RowArray& input,
                 const RowArray* grad_output, const RowArray& output, Interrupted interrupted);

// values: one double per row, each exactly representable in the dtype of the input. may_cut_rows: the kernel needs no
// more of a row than its RowStats, so that a long one may be swept in chunks, by all threads.
bool run_row_values(const KernelsByDType<RowValueBatch>& kernels, const RowArray& input, bool may_cut_rows,
                    double* values, Interrupted interrupted);
bool run_row_values_backward(const KernelsByDType<RowValueBatch>& kernels, const RowArray& input, bool may_cut_rows,
                             const double* grad_output, const RowArray& output, Interrupted interrupted);

// What every loss of rows gives: rows values of loss_dtype(input.dtype), their exact sum, or both; and the factors of
// its gradients.
struct RowLosses {
  void* loss = nullptr;
  ExactSum* loss_sum = nullptr;
  double grad_scale = 1.0;
  const double* grad_rows = nullptr;
};

// cross_entropy and nll_loss.
struct ClassLossTask : RowLosses {
  RowArray input;
  const std::int64_t* target = nullptr;  // null: class probabilities in `probs`
  const RowArray* probs = nullptr;
  const void* weight = nullptr;  // classes values of the compute type, or null
  double smoothing = 0.0;
  std::uint8_t* hit = nullptr;
  const RowArray* grad = nullptr;
};
bool run_cross_entropy(const ClassLossTask& task, Interrupted interrupted);
bool run_nll_loss(const ClassLossTask& task, Interrupted interrupted);

// kl_div_with_logits and cosine_embedding_loss: losses of pairs of rows.
struct PairLossTask : RowLosses {
  RowArray first;   // input, input1
  RowArray second;  // target, input2
  const RowArray* first_grad = nullptr;
  const RowArray* second_grad = nullptr;
  const double* target = nullptr;  // cosine: rows values
  double margin = 0.0;
};
bool run_kl_div_with_logits(const PairLossTask& task, Interrupted interrupted);
bool run_cosine_embedding_loss(const PairLossTask& task, Interrupted interrupted);

// Adds the exact sum of n values.
void add_all(ExactSum* sum, const float* values, std::int64_t n);
void add_all(ExactSum* sum, const double* values, std::int64_t n);
// Of n losses of an input of that dtype.
void add_losses(ExactSum* sum, DType input, const void* losses, std::int64_t n);

}  // namespace logloss
