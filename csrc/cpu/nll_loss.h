// SPDX-License-Identifier: BSD-3-Clause
// nll_loss of a batch of rows: one element of each row is read, and its gradient is zero everywhere else.
#pragma once

#include "common/args.h"
#include "cpu/held_classes.h"
#include "cpu/row.h"

namespace logloss::LOGLOSS_LEVEL {

template <class S>
void nll_loss(const NllLossBatch& batch) {
  using T = compute_t<S>;
  const T* weight = static_cast<const T*>(batch.weight);
  T* loss = static_cast<T*>(batch.loss);
  const HeldClasses target(batch.target, batch.rows, batch.classes);
  for (int row = 0; row < batch.rows; ++row) {
    const std::int64_t t = target[row];
    const bool ignored = t == kIgnored;
    const T weight_t = ignored ? T(0) : weight ? weight[t] : T(1);
    if (loss) {
      const T x_t = ignored ? T(0) : load_one(static_cast<const S*>(batch.input[row]) + t * batch.class_stride);
      // A class without weight counts for nothing, at -inf too.
      const bool empty = ignored || (weight_t == T(0) && x_t == -kInfinity<T>);
      loss[row] = empty ? T(0) : -weight_t * x_t;
    }
    if (batch.grad) {
      S* grad = static_cast<S*>(batch.grad[row]);
      write_zeros(grad, batch.classes, batch.second_sweep.past_caches);
      const double scale = grad_scale_of(batch, row);
      if (!ignored) store_one(grad + t, static_cast<T>(-scale * static_cast<double>(weight_t)));
    }
  }
  if (batch.grad && batch.second_sweep.past_caches) fence_streams();
}

}  // namespace logloss::LOGLOSS_LEVEL
