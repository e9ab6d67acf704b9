// SPDX-License-Identifier: BSD-3-Clause
// sigmoid, log_sigmoid and their gradients, element by element.
#pragma once

#include "common/args.h"
#include "cpu/elements.h"
#include "cpu/logistic.h"

namespace logloss::LOGLOSS_LEVEL {

template <class S>
void sigmoid(const ElementBatch& batch) {
  using T = compute_t<S>;
  const S* x = static_cast<const S*>(batch.input);
  S* y = static_cast<S*>(batch.output);
  for_each_vector(batch.n, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
    const Vec<T> value = load(x + j, lanes, T(0));
    const VecPair<T> q = Logistic<T>(value).sigmoid_of_minus();
    store(y + j, lanes, select(Vec<T>(T(0)) < value, (Vec<T>(T(1)) - q.high) - q.low, q.high + q.low));
  });
}

// min(x, 0) - log1p(e^-|x|)
template <class S>
void log_sigmoid(const ElementBatch& batch) {
  using T = compute_t<S>;
  const S* x = static_cast<const S*>(batch.input);
  S* y = static_cast<S*>(batch.output);
  for_each_vector(batch.n, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
    const Vec<T> value = load(x + j, lanes, T(0));
    const VecPair<T> l = Logistic<T>(value).log1p();
    store(y + j, lanes, (clear(Vec<T>(T(0)) < value, value) - l.high) - l.low);
  });
}

// dx = g q (1 - q)
template <class S>
void sigmoid_backward(const ElementBatch& batch) {
  using T = compute_t<S>;
  write_gradient<S>(batch, [](Vec<T> x) LOGLOSS_INLINE_LAMBDA {
    const Vec<double> q = widen(Logistic<T>(x).sigmoid_of_minus());
    return q * (Vec<double>(1.0) - q);
  });
}

// dx = g sigmoid(-x)
template <class S>
void log_sigmoid_backward(const ElementBatch& batch) {
  using T = compute_t<S>;
  write_gradient<S>(batch, [](Vec<T> x) LOGLOSS_INLINE_LAMBDA {
    const Vec<double> q = widen(Logistic<T>(x).sigmoid_of_minus());
    return select(Vec<double>(0.0) < widen(x), q, Vec<double>(1.0) - q);
  });
}

}  // namespace logloss::LOGLOSS_LEVEL
