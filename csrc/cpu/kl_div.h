// SPDX-License-Identifier: BSD-3-Clause
// kl_div, element by element: t (log t - x), or e^t (t - x) where the targets are logarithms.
#pragma once

#include "common/args.h"
#include "cpu/elements.h"
#include "cpu/logistic.h"

namespace logloss::LOGLOSS_LEVEL {

// The term of a probability of 0: 0, for log-probabilities of -inf too; NaN for +inf and NaN.
template <class T>
LOGLOSS_INLINE Vec<T> empty_term(Vec<T> x) {
  return clear(x == Vec<T>(-kInfinity<T>), x - x);
}

// log t - x keeps both parts of the logarithm, so that it is exact to the last place where the two cancel.
template <class T>
LOGLOSS_INLINE Vec<T> kl_div_term(Vec<T> x, Vec<T> t) {
  const Vec<T> zero(T(0));
  const VecPair<T> log_t = log_pair(t);
  const VecPair<T> difference = two_sum(log_t.high, zero - x);
  const Vec<T> low = difference.low + log_t.low;
  const Vec<T> rest = select(low == low, low, zero);  // infinite logits leave NaN
  const Vec<T> term = fma(t, difference.high, t * rest);
  return select(zero < t, term, select(t == zero, empty_term(x), Vec<T>(T(__builtin_nan("")))));
}

// The same where t is normal or 0; not finite where other operations are needed: for an infinite or NaN x.
template <class T>
LOGLOSS_INLINE Vec<T> ordinary_kl_div_term(Vec<T> x, Vec<T> t, VecPair<T> log_t) {
  const Vec<T> zero(T(0));
  const VecPair<T> difference = two_sum(log_t.high, zero - x);
  return fma(t, difference.high, t * (difference.low + log_t.low)) + zero;  // +0 for t = 0
}

// t - x; of finite values it is finite: one that overflows belongs to an e^t of 0 or infinity.
template <class T>
LOGLOSS_INLINE Vec<T> log_difference(Vec<T> t, Vec<T> x) {
  const Vec<T> largest(FloatFormat<T>::kLargest);
  const Vec<T> difference = t - x;
  const Vec<T> above = max(Vec<T>(T(0)) - largest, difference);
  return select(x - x == Vec<T>(T(0)), select(largest < above, largest, above), difference);
}

// e^t = 2^n (1 + m1) is applied in three powers of two: its product with a large difference may be finite where e^t
// itself is not, or 0. The first one comes before 1 + m1, so that only a result overflows.
template <class T>
LOGLOSS_INLINE Vec<T> kl_div_log_term(Vec<T> x, Vec<T> t) {
  using F = FloatFormat<T>;
  constexpr T kFarthest = T(3 * (F::kBias - 1) * 0.693);
  const Vec<T> difference = log_difference(t, x);
  Vec<T> exponent = max(Vec<T>(-kFarthest), t);
  exponent = select(Vec<T>(kFarthest) < exponent, Vec<T>(kFarthest), exponent);
  const Vec<T> n = round_to_integer(exponent * Vec<T>(ExpConstants<T>::kLog2e));
  const Vec<T> third = round_to_integer(n * Vec<T>(T(1) / T(3)));
  const Vec<T> factor = power_of_two(third);
  const Vec<T> first = difference * factor;
  const Vec<T> finite = fma(first, exp_reduced_m1(exponent, n), first);
  const Vec<T> scaled = select(first - first == Vec<T>(T(0)), finite, first);
  const Vec<T> term = (scaled * factor) * power_of_two(n - third - third);
  return select(t == Vec<T>(-kInfinity<T>), empty_term(x), term);
}

// The same for t of which e^t is normal; not finite where other operations are needed.
template <class T>
LOGLOSS_INLINE Vec<T> ordinary_kl_div_log_term(Vec<T> x, Vec<T> t) {
  const Vec<T> difference = t - x;
  const Vec<T> n = round_to_integer(t * Vec<T>(ExpConstants<T>::kLog2e));
  return fma(difference, exp_reduced_m1(t, n), difference) * power_of_two(n);
}

// Whether the targets of a group are ordinary.
template <class T, bool kLogTarget, class S>
LOGLOSS_INLINE bool ordinary_targets(const S* target) {
  const auto t = [&](int i) LOGLOSS_INLINE_LAMBDA { return load(target + i * kLanes); };
  if constexpr (kLogTarget) {
    constexpr PatternRange<T> kNormalExp(T(0), Log1pOfUnitConstants<T>::kNormal);
    return kNormalExp.holds([&](int i) LOGLOSS_INLINE_LAMBDA { return and_bits(t(i), kAllButSign<T>); });
  } else {
    constexpr PatternRange<T> kNormal(FloatFormat<T>::kSmallestNormal, FloatFormat<T>::kLargest);
    return kNormal.holds(t) ||
           kNormal.holds([&](int i) LOGLOSS_INLINE_LAMBDA { return select(t(i) == Vec<T>(T(0)), Vec<T>(T(1)), t(i)); });
  }
}

// The terms of a group with ordinary targets.
template <bool kLogTarget, class S, class T>
LOGLOSS_INLINE void ordinary_terms(const S* input, const S* target, Vec<T>* term) {
  const auto x = [&](int i) LOGLOSS_INLINE_LAMBDA { return load(input + i * kLanes); };
  const auto t = [&](int i) LOGLOSS_INLINE_LAMBDA { return load(target + i * kLanes); };
  if constexpr (kLogTarget) {
    repeat<kGroup>([&](int i) LOGLOSS_INLINE_LAMBDA { term[i] = ordinary_kl_div_log_term(x(i), t(i)); });
  } else {
    LogArgument<T> argument[kGroup];
    VecPair<T> log_t[kGroup];
    repeat<kGroup>([&](int i) LOGLOSS_INLINE_LAMBDA { argument[i] = log_argument(t(i)); });
    repeat<kGroup>([&](int i) LOGLOSS_INLINE_LAMBDA { log_t[i] = log_assemble(argument[i]); });
    repeat<kGroup>([&](int i) LOGLOSS_INLINE_LAMBDA { term[i] = ordinary_kl_div_term(x(i), t(i), log_t[i]); });
  }
}

template <class S, bool kLogTarget>
void kl_div(const ElementBatch& batch) {
  using T = compute_t<S>;
  const S* input = static_cast<const S*>(batch.input);
  const S* target = static_cast<const S*>(batch.target);
  const Results<S> grad(batch.grad, batch);
  LossSink<T> sink(batch);
  const GradientScale<T> scale(batch);
  const bool want_loss = batch.output;
  const auto put_gradient = [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
    const Vec<T> t = load(target + j, lanes, T(0));
    const Vec<double> p = widen(kLogTarget ? exp(t) : t);
    grad.put(j, lanes, narrow<T>((Vec<double>(0.0) - p) * scale(j, lanes)));
  };
  const auto group = [&](std::int64_t j) LOGLOSS_INLINE_LAMBDA {
    ask_ahead(target + j);
    if (want_loss) {
      ask_ahead(input + j);
      if (!ordinary_targets<T, kLogTarget>(target + j)) return false;
      Vec<T> term[kGroup];
      ordinary_terms<kLogTarget>(input + j, target + j, term);
      if (!kFinite<T>.holds([&](int i) LOGLOSS_INLINE_LAMBDA { return and_bits(term[i], kAllButSign<T>); }))
        return false;
      repeat<kGroup>([&](int i) LOGLOSS_INLINE_LAMBDA { sink.put(j + i * kLanes, AllLanes{}, term[i]); });
    }
    if (grad) repeat<kGroup>([&](int i) LOGLOSS_INLINE_LAMBDA { put_gradient(j + i * kLanes, AllLanes{}); });
    return true;
  };
  for_each_vector_group(batch.n, group, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
    if (want_loss) {
      const Vec<T> x = load(input + j, lanes, T(0)), t = load(target + j, lanes, T(0));
      sink.put(j, lanes, kLogTarget ? kl_div_log_term(x, t) : kl_div_term(x, t));
    }
    if (grad) put_gradient(j, lanes);
  });
  sink.finish();
}

}  // namespace logloss::LOGLOSS_LEVEL
