// SPDX-License-Identifier: BSD-3-Clause
// binary_cross_entropy of probabilities and of logits: losses and gradients, element by element.
#pragma once

#include "common/binary_cross_entropy.h"
#include "cpu/elements.h"
#include "cpu/logistic.h"

namespace logloss::LOGLOSS_LEVEL {

// The values of an array that may be absent: then they are all 1.
template <class T>
struct OptionalWeight {
  const T* weight;
  template <class Lanes>
  LOGLOSS_INLINE Vec<double> operator()(std::int64_t j, Lanes lanes) const {
    return weight ? widen(load(weight + j, lanes, T(1))) : Vec<double>(1.0);
  }
};

// The losses without weights stay in T: z |x| + l is rounded twice, l itself is a pair.
template <class T>
LOGLOSS_INLINE Vec<T> plain_loss(const Logistic<T>& logistic, Vec<T> z) {
  const VecPair<T> l = logistic.log1p();
  return fma(z, clear(z == Vec<T>(T(0)), logistic.magnitude()), l.high) + l.low;
}

template <class S>
LOGLOSS_NOINLINE void plain_bce_with_logits(const ElementBatch& batch) {
  using T = compute_t<S>;
  const S* input = static_cast<const S*>(batch.input);
  const S* target = static_cast<const S*>(batch.target);
  S* grad = static_cast<S*>(batch.grad);
  LossSink<T> sink(batch);
  const GradientScale<T> scale(batch);
  for_each_vector(batch.n, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
    const Vec<T> x = load(input + j, lanes, T(0)), y = load(target + j, lanes, T(0));
    const Logistic<T> logistic(x);
    const auto positive = Vec<T>(T(0)) < x;
    // A coefficient of 0 counts for nothing, beside an infinite logit too.
    const Vec<T> z = select(positive, Vec<T>(T(1)) - y, y);
    sink.put(j, lanes, plain_loss(logistic, z));
    if (!grad) return;
    const VecPair<T> q = logistic.sigmoid_of_minus();
    const Vec<T> difference = select(positive, z - q.high, q.high - z);
    const Vec<T> rest = select(positive, Vec<T>(T(0)) - q.low, q.low);
    store(grad + j, lanes, narrow<T>((widen(difference) + widen(rest)) * scale(j, lanes)));
  });
  sink.finish();
}

template <class S>
LOGLOSS_NOINLINE void weighted_bce_with_logits(const ElementBatch& batch) {
  using T = compute_t<S>;
  using Wide = Vec<double>;
  const OptionalWeight<T> weight{static_cast<const T*>(batch.weight)};
  const OptionalWeight<T> pos_weight{static_cast<const T*>(batch.pos_weight)};
  const S* input = static_cast<const S*>(batch.input);
  const S* target = static_cast<const S*>(batch.target);
  S* grad = static_cast<S*>(batch.grad);
  LossSink<T> sink(batch);
  const GradientScale<T> scale(batch);
  for_each_vector(batch.n, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
    const Vec<T> x = load(input + j, lanes, T(0));
    const Logistic<T> logistic(x);
    const Wide y = widen(load(target + j, lanes, T(0))), w = weight(j, lanes);
    const auto positive = Wide(0.0) < widen(x);
    const Wide negative_part = Wide(1.0) - y, positive_part = pos_weight(j, lanes) * y;
    const BinaryCoefficients<Wide> k{w * select(positive, negative_part, positive_part),
                                     w * (negative_part + positive_part)};
    const Wide magnitude = clear(k.z == Wide(0.0), widen(logistic.magnitude()));
    sink.put(j, lanes, narrow<T>(bce_with_logits_loss(k, magnitude, widen(logistic.log1p()))));
    if (!grad) return;
    const Wide gradient = bce_with_logits_gradient(k, widen(logistic.sigmoid_of_minus())) * scale(j, lanes);
    store(grad + j, lanes, narrow<T>(select(positive, gradient, Wide(0.0) - gradient)));
  });
  sink.finish();
}

template <class S>
void binary_cross_entropy_with_logits(const ElementBatch& batch) {
  batch.weight || batch.pos_weight ? weighted_bce_with_logits<S>(batch) : plain_bce_with_logits<S>(batch);
}

// max(log, -100)
template <class T>
LOGLOSS_INLINE VecPair<T> clamped(VecPair<T> log) {
  const Vec<T> lowest{T(kSmallestLog)};
  const auto below = log.high + log.low < lowest;
  return {select(below, lowest, log.high), clear(below, log.low)};
}

// y log p + (1 - y) log(1 - p) for p and y in [0, 1], before the last rounding: neither part is positive.
template <class T>
LOGLOSS_INLINE VecPair<T> bce_of_probability(Vec<T> p, Vec<T> y) {
  const Vec<T> zero(T(0)), one(T(1));
  // 2^-149 is below e^-100, and where 1 - p is 0 its logarithm is not computed.
  const VecPair<T> log_p = clamped(log_pair(max(Vec<T>(T(0x1p-149)), p)));
  const VecPair<T> log_rest = log1m_pair(p);
  const auto certain = p == one;
  const Vec<T> log_1mp = select(certain, Vec<T>(T(kSmallestLog)), log_rest.high);

  const Vec<T> z = one - y;
  const Vec<T> z_low = (one - z) - y;
  const VecPair<T> product = two_product(z, log_1mp);
  const Vec<T> low = fma(z_low, log_1mp, fma(z, clear(certain, log_rest.low), product.low));
  return {fma(y, log_p.high, product.high), fma(y, log_p.low, low)};
}

// `marks`, and 1 in the lanes where p is not in [0, 1].
template <class T>
LOGLOSS_INLINE Vec<T> mark_outside(Vec<T> p, Vec<T> marks) {
  const Vec<T> excess = max(Vec<T>(T(0)) - p, p - Vec<T>(T(1)));
  return select(excess < Vec<T>(FloatFormat<T>::kSmallest), marks, Vec<T>(T(1)));
}

template <class S>
void binary_cross_entropy(const ElementBatch& batch) {
  using T = compute_t<S>;
  using Wide = Vec<double>;
  const S* x = static_cast<const S*>(batch.input);
  const S* target = static_cast<const S*>(batch.target);
  const OptionalWeight<T> weight{static_cast<const T*>(batch.weight)};
  S* grad = static_cast<S*>(batch.grad);
  LossSink<T> sink(batch);
  const GradientScale<T> scale(batch);
  const bool compute = batch.output || batch.sums || grad;
  Vec<T> outside(T(0));
  for_each_vector(batch.n, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
    const Vec<T> p = load(x + j, lanes, T(0));
    const Vec<T> y = load(target + j, lanes, T(0));
    outside = mark_outside(y, mark_outside(p, outside));
    if (!compute) return;
    const VecPair<T> minus_loss = bce_of_probability(p, y);
    const Vec<T> loss = weight.weight ? narrow<T>((Wide(0.0) - widen(minus_loss)) * weight(j, lanes))
                                      : (Vec<T>(T(0)) - minus_loss.high) - minus_loss.low;
    sink.put(j, lanes, loss);
    if (!grad) return;
    const Wide wide_p = widen(p);
    const Wide variance = max(Wide(kSmallestVariance), wide_p * (Wide(1.0) - wide_p));
    store(grad + j, lanes, narrow<T>((wide_p - widen(y)) / variance * (weight(j, lanes) * scale(j, lanes))));
  });
  sink.finish();
  if (any(outside == Vec<T>(T(1)))) *batch.in_domain = false;
}

}  // namespace logloss::LOGLOSS_LEVEL
