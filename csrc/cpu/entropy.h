// SPDX-License-Identifier: BSD-3-Clause
// The entropy of rows of probabilities and of logits, and its gradients.
#pragma once

#include "common/args.h"
#include "cpu/log_softmax.h"

namespace logloss::LOGLOSS_LEVEL {

// log p, in float64: -inf at 0, NaN below.
template <class T>
LOGLOSS_INLINE Vec<double> wide_log(Vec<T> p) {
  return log_edges(widen(p), widen(log_pair(p)));
}

// H = -sum p log p; p = 0 adds nothing.
template <class S>
void entropy(const RowValueBatch& batch) {
  using T = compute_t<S>;
  const Vec<double> zero(0.0);
  for (int row = 0; row < batch.rows; ++row) {
    const S* probs = static_cast<const S*>(batch.input[row]);
    const double sum = sum_row<double>(batch.classes, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
      const Vec<T> p = load(probs + j, lanes, T(0));
      const Vec<double> wide_p = widen(p);
      return wide_p * clear(wide_p == zero, wide_log(p));
    });
    batch.value[row] = rounded<S>(0.0 - sum);
  }
}

// dp = -g (log p + 1)
template <class S>
void entropy_backward(const RowValueBatch& batch) {
  using T = compute_t<S>;
  for (int row = 0; row < batch.rows; ++row) {
    const S* probs = static_cast<const S*>(batch.input[row]);
    S* grad = static_cast<S*>(batch.output[row]);
    const Vec<double> factor(-batch.grad_output[row]);
    for_each_vector(batch.classes, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
      const Vec<double> log_p = wide_log(load(probs + j, lanes, T(1)));
      store(grad + j, lanes, narrow<T>((log_p + Vec<double>(1.0)) * factor));
    });
  }
}

// H = sum p (-log p), all terms >= 0, of softmax(input).
template <class S>
inline double entropy_of_row(const RowSoftmax<compute_t<S>>& softmax, const S* x, std::int64_t classes) {
  using T = compute_t<S>;
  const double sum = sum_row<double>(classes, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
    const Vec<T> value = load(x + j, lanes, -kInfinity<T>);
    const Vec<double> minus_log = softmax.minus_log(value);
    const Vec<double> p = softmax.probability(value);
    return p * clear(p == Vec<double>(0.0), minus_log);
  });
  return sum / RowSoftmax<T>::kOne;
}

template <class S>
void entropy_with_logits(const RowValueBatch& batch) {
  const SoftmaxOfRows<compute_t<S>> softmaxes(batch_stats<S>(batch));
  for (int row = 0; row < batch.rows; ++row) {
    const S* x = static_cast<const S*>(batch.input[row]);
    batch.value[row] = rounded<S>(entropy_of_row(softmaxes[row], x, batch.classes));
  }
}

// dx = g p (-log p - H)
template <class S>
void entropy_with_logits_backward(const RowValueBatch& batch) {
  using T = compute_t<S>;
  const SoftmaxOfRows<compute_t<S>> softmaxes(batch_stats<S>(batch));
  for (int row = 0; row < batch.rows; ++row) {
    const S* x = static_cast<const S*>(batch.input[row]);
    S* grad = static_cast<S*>(batch.output[row]);
    const RowSoftmax<T> softmax = softmaxes[row];
    const Vec<double> entropy(entropy_of_row(softmax, x, batch.classes));
    const Vec<double> factor(batch.grad_output[row]), one(1.0 / RowSoftmax<T>::kOne);
    for_each_vector(batch.classes, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
      const Vec<T> value = load(x + j, lanes, -kInfinity<T>);
      const Vec<double> minus_log = softmax.minus_log(value);
      const Vec<double> p = softmax.probability(value);
      const Vec<double> excess = clear(p == Vec<double>(0.0), minus_log - entropy);
      store(grad + j, lanes, narrow<T>(p * excess * factor * one));
    });
  }
}

}  // namespace logloss::LOGLOSS_LEVEL
