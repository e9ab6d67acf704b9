// SPDX-License-Identifier: BSD-3-Clause
// nll_loss: one element of each row is read, and its gradient is zero everywhere else.
#pragma once

#include "common/args.h"
#include "cuda/losses.h"

namespace logloss::LOGLOSS_LEVEL {

template <class S>
struct NllLoss {
  using T = compute_t<S>;
  RowShape shape;
  const S* input;
  const std::int64_t* target;
  const T* weight;
  RowLosses<T> losses;
  SumState* total;
  S* grad;
};

// One thread for each row.
template <class S>
LOGLOSS_KERNEL(256, 4)
nll_losses(NllLoss<S> op) {
  using T = compute_t<S>;
  LOGLOSS_BLOCK_MEMORY(memory);
  SumState* const sum = op.total ? reinterpret_cast<SumState*>(memory) : nullptr;
  if (sum) {
    clear_sum(sum);
    sync_block();
  }
  for (std::int64_t row = block() * threads() + thread(); row < op.shape.rows; row += blocks() * threads()) {
    const std::int64_t t = op.target[row];
    const bool ignored = t < 0 || t >= op.shape.classes;
    const T weight_t = ignored ? T(0) : op.weight ? op.weight[t] : T(1);
    const T x_t = ignored ? T(0) : load_one(op.input + op.shape.start(row) + t * op.shape.inner);
    // A class without weight counts for nothing, at -inf too.
    const bool empty = ignored || (weight_t == T(0) && x_t == -kInfinity<T>);
    op.losses.put(row, t == kNoClass ? kNaN<T> : empty ? T(0) : -weight_t * x_t, sum);
  }
  if (!sum) return;
  sync_block();
  merge_sum(op.total, *sum);
}

// The same: writes what is not zero of the gradient; a row whose target is no class is NaN.
template <class S>
LOGLOSS_KERNEL(256, 4)
nll_gradients(NllLoss<S> op) {
  using T = compute_t<S>;
  for (std::int64_t row = block() * threads() + thread(); row < op.shape.rows; row += blocks() * threads()) {
    const std::int64_t t = op.target[row];
    if (t == kNoClass) {
      for (std::int64_t c = 0; c < op.shape.classes; ++c) {
        store_one(op.grad + op.shape.start(row) + c * op.shape.inner, kNaN<T>);
      }
    }
    if (t < 0 || t >= op.shape.classes) continue;
    const double weight_t = op.weight ? static_cast<double>(op.weight[t]) : 1.0;
    S* const at = op.grad + op.shape.start(row) + t * op.shape.inner;
    store_one(at, static_cast<T>(-op.losses.grad_scale_of(row) * weight_t));
  }
}

}  // namespace logloss::LOGLOSS_LEVEL
