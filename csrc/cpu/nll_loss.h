// SPDX-License-Identifier: BSD-3-Clause
// nll_loss of a batch of rows: one element of each row is read, and its gradient is zero everywhere else.
#pragma once

#include "common/args.h"
#include "cpu/held_classes.h"
#include "cpu/row.h"

namespace logloss::LOGLOSS_LEVEL {

template <class S>
class NllLossKernel {
  using T = compute_t<S>;

 public:
  explicit NllLossKernel(const NllLossBatch& batch)
      : batch_(batch), weight_(static_cast<const T*>(batch.weight)), target_(batch.target, batch.rows, batch.classes) {}

  void run() const {
    if (batch_.loss) weight_ || target_.any_ignored() ? write_weighted_loss() : write_loss();
    if (batch_.grad) write_grad();
  }

 private:
  T log_prob(int row) const {
    return load_one(static_cast<const S*>(batch_.input[row]) + target_[row] * batch_.class_stride);
  }
  T weight(int row) const { return target_.ignored(row) ? T(0) : weight_ ? weight_[target_[row]] : T(1); }

  void write_loss() const {
    T* loss = static_cast<T*>(batch_.loss);
    for (int row = 0; row < batch_.rows; ++row) loss[row] = -log_prob(row);
  }
  void write_weighted_loss() const {
    T* loss = static_cast<T*>(batch_.loss);
    for (int row = 0; row < batch_.rows; ++row) {
      const T x_t = target_.ignored(row) ? T(0) : log_prob(row), weight_t = weight(row);
      // A class without weight counts for nothing, at -inf too.
      const bool empty = target_.ignored(row) || (weight_t == T(0) && x_t == -kInfinity<T>);
      loss[row] = empty ? T(0) : -weight_t * x_t;
    }
  }

  void write_grad() const {
    for (int row = 0; row < batch_.rows; ++row) {
      S* grad = static_cast<S*>(batch_.grad[row]);
      write_zeros(grad, batch_.classes, batch_.second_sweep.past_caches);
      if (target_.ignored(row)) continue;
      const double scale = grad_scale_of(batch_, row);
      store_one(grad + target_[row], static_cast<T>(-scale * static_cast<double>(weight(row))));
    }
  }

  const NllLossBatch& batch_;
  const T* const weight_;
  const HeldClasses target_;
};

template <class S>
void nll_loss(const NllLossBatch& batch) {
  NllLossKernel<S>(batch).run();
}

}  // namespace logloss::LOGLOSS_LEVEL
