// SPDX-License-Identifier: BSD-3-Clause
// sigmoid, log_sigmoid and their gradients, element by element.
#pragma once

#include "common/args.h"
#include "cpu/elements.h"
#include "cpu/logistic.h"

namespace logloss::LOGLOSS_LEVEL {

// y = function(x), step by step.
template <class S, class Function>
LOGLOSS_INLINE void map_logits(const ElementBatch& batch, Function function) {
  using T = compute_t<S>;
  const S* x = static_cast<const S*>(batch.input);
  const Results<S> y(batch.output, batch);
  const auto body = [&]<class Form>(Form, std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
    Vec<T> value[Form::kVectors];
    Logistic<T> logistic[Form::kVectors];
    repeat<Form::kVectors>([&](int i) LOGLOSS_INLINE_LAMBDA {
      value[i] = load(x + j + i * kLanes, lanes, T(0));
      logistic[i] = logistic_of<Form>(value[i]);
    });
    repeat<Form::kVectors>(
        [&](int i) LOGLOSS_INLINE_LAMBDA { y.put(j + i * kLanes, lanes, function(value[i], logistic[i])); });
  };
  for_each_vector_group(
      batch.n,
      [&](std::int64_t j) LOGLOSS_INLINE_LAMBDA {
        ask_ahead(x + j);
        if (!ordinary_logits<T>(x + j)) return false;
        body(OrdinaryGroup{}, j, AllLanes{});
        return true;
      },
      [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA { body(AnyVector{}, j, lanes); });
}

template <class S>
void sigmoid(const ElementBatch& batch) {
  using T = compute_t<S>;
  map_logits<S>(batch, [](Vec<T> x, const Logistic<T>& logistic) LOGLOSS_INLINE_LAMBDA {
    const VecPair<T> q = logistic.sigmoid_of_minus();
    return select(Vec<T>(T(0)) < x, (Vec<T>(T(1)) - q.high) - q.low, q.high + q.low);
  });
}

// min(x, 0) - log1p(e^-|x|)
template <class S>
void log_sigmoid(const ElementBatch& batch) {
  using T = compute_t<S>;
  map_logits<S>(batch, [](Vec<T> x, const Logistic<T>& logistic) LOGLOSS_INLINE_LAMBDA {
    const VecPair<T> l = logistic.log1p();
    return (clear(Vec<T>(T(0)) < x, x) - l.high) - l.low;
  });
}

// dx = g derivative(x) in float64, rounded once.
template <class S, class Derivative>
LOGLOSS_INLINE void write_gradient(const ElementBatch& batch, Derivative derivative) {
  using T = compute_t<S>;
  const S* x = static_cast<const S*>(batch.input);
  const Results<S> grad(batch.grad, batch);
  const GradientScale<T> scale(batch);
  const auto body = [&]<class Form>(Form, std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
    Vec<T> value[Form::kVectors];
    Logistic<T> logistic[Form::kVectors];
    repeat<Form::kVectors>([&](int i) LOGLOSS_INLINE_LAMBDA {
      value[i] = load(x + j + i * kLanes, lanes, T(0));
      logistic[i] = logistic_of<Form>(value[i]);
    });
    repeat<Form::kVectors>([&](int i) LOGLOSS_INLINE_LAMBDA {
      const Vec<double> q = widen(logistic[i].sigmoid_of_minus());
      const std::int64_t k = j + i * kLanes;
      grad.put(k, lanes, narrow<T>(derivative(value[i], q) * scale(k, lanes)));
    });
  };
  for_each_vector_group(
      batch.n,
      [&](std::int64_t j) LOGLOSS_INLINE_LAMBDA {
        ask_ahead(x + j);
        if (!ordinary_logits<T>(x + j)) return false;
        body(OrdinaryGroup{}, j, AllLanes{});
        return true;
      },
      [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA { body(AnyVector{}, j, lanes); });
}

// dx = g q (1 - q)
template <class S>
void sigmoid_backward(const ElementBatch& batch) {
  using T = compute_t<S>;
  write_gradient<S>(batch, [](Vec<T>, Vec<double> q) LOGLOSS_INLINE_LAMBDA { return q * (Vec<double>(1.0) - q); });
}

// dx = g sigmoid(-x)
template <class S>
void log_sigmoid_backward(const ElementBatch& batch) {
  using T = compute_t<S>;
  write_gradient<S>(batch, [](Vec<T> x, Vec<double> q) LOGLOSS_INLINE_LAMBDA {
    return select(Vec<double>(0.0) < widen(x), q, Vec<double>(1.0) - q);
  });
}

}  // namespace logloss::LOGLOSS_LEVEL
