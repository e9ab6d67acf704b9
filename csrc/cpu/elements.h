// SPDX-License-Identifier: BSD-3-Clause
// What the element-wise operations share: results that go where a batch wants them.
#pragma once

#include "common/args.h"
#include "cpu/element_sum.h"
#include "cpu/row.h"

namespace logloss::LOGLOSS_LEVEL {

// a in the lanes that count, 0 in the others.
template <class T>
LOGLOSS_INLINE Vec<T> only(AllLanes, Vec<T> a) {
  return a;
}
template <class T>
LOGLOSS_INLINE Vec<T> only(FirstLanes first, Vec<T> a) {
  T lane[kLanes];
  store(lane, a);
  return load(lane, first.n, T(0));
}

// The losses of a batch: stored, added, or both.
template <class T>
class LossSink {
 public:
  LOGLOSS_INLINE explicit LossSink(const ElementBatch& batch) : batch_(batch), loss_(static_cast<T*>(batch.output)) {}

  template <class Lanes>
  LOGLOSS_INLINE void put(std::int64_t j, Lanes lanes, Vec<T> loss) {
    if (loss_) store(loss_ + j, lanes, loss);
    if (batch_.sums) sum_.add(only(lanes, loss));
  }
  LOGLOSS_INLINE void finish() const {
    if (batch_.sums) sum_.finish(batch_.sums);
  }

 private:
  const ElementBatch& batch_;
  T* loss_;
  ElementSum<T> sum_;
};

// The factors of a batch's gradients: grad_scale, and grad_output where there is one.
template <class T>
class GradientScale {
 public:
  LOGLOSS_INLINE explicit GradientScale(const ElementBatch& batch)
      : scale_(batch.grad_scale), grad_output_(static_cast<const T*>(batch.grad_output)) {}

  template <class Lanes>
  LOGLOSS_INLINE Vec<double> operator()(std::int64_t j, Lanes lanes) const {
    if (!grad_output_) return scale_;
    return scale_ * widen(load(grad_output_ + j, lanes, T(0)));
  }

 private:
  Vec<double> scale_;
  const T* grad_output_;
};

// dx = g derivative(x) in float64, rounded once.
template <class S, class Derivative>
LOGLOSS_INLINE void write_gradient(const ElementBatch& batch, Derivative derivative) {
  using T = compute_t<S>;
  const S* x = static_cast<const S*>(batch.input);
  S* grad = static_cast<S*>(batch.grad);
  const GradientScale<T> scale(batch);
  for_each_vector(batch.n, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
    store(grad + j, lanes, narrow<T>(derivative(load(x + j, lanes, T(0))) * scale(j, lanes)));
  });
}

}  // namespace logloss::LOGLOSS_LEVEL
