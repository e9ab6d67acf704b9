// SPDX-License-Identifier: BSD-3-Clause
// The entropy of rows of probabilities and of logits, and its gradients.
#pragma once

#include "common/args.h"
#include "cpu/log_softmax.h"

namespace logloss::LOGLOSS_LEVEL {

// The logarithm of probabilities p in two parts: -inf at 0, NaN below.
template <class T>
LOGLOSS_INLINE VecPair<T> log_of_probability(Vec<T> p) {
  const VecPair<T> log_p = log_pair(p);
  return {log_edges(p, log_p.high), log_p.low};
}
// -p log p; p = 0 adds nothing.
template <class T>
LOGLOSS_INLINE Vec<T> entropy_term(Vec<T> p) {
  const VecPair<T> log_p = log_of_probability(p);
  const Vec<T> zero(T(0)), minus_p = zero - p;
  return clear(p == zero, fma(minus_p, log_p.low, minus_p * log_p.high));
}
// log p + 1, which keeps its digits where it is small.
template <class T>
LOGLOSS_INLINE Vec<T> log_plus_one(Vec<T> p) {
  const VecPair<T> log_p = log_of_probability(p);
  return (log_p.high + Vec<T>(T(1))) + log_p.low;
}

// H = -sum p log p
template <class S>
void entropy(const RowValueBatch& batch) {
  using T = compute_t<S>;
  const BatchRows<S> rows(batch.input, batch.rows, batch.classes, 1);
  PerRow<double> sum;
  for_each_group(batch.rows, [&](int first) LOGLOSS_INLINE_LAMBDA {
    if (rows.few_classes(first)) {
      Vec<T> probs[kTurnedRow];
      turn_rows(RowGroup<S>(rows, first), batch.classes, probs);
      const auto term = [&](std::int64_t c) LOGLOSS_INLINE_LAMBDA { return entropy_term(probs[c]); };
      return sum.set_group(first, sum_columns<T>(batch.classes, term));
    }
    for (int row = first; row < batch.rows && row < first + kLanes; ++row) {
      const S* probs = rows.row(row);
      sum[row] = sum_row<T>(batch.classes, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
        return entropy_term(load(probs + j, lanes, T(0)));
      });
    }
  });
  for (int row = 0; row < batch.rows; ++row) batch.value[row] = rounded<S>(sum[row]);
}

// dp = -g (log p + 1)
template <class S>
void entropy_backward(const RowValueBatch& batch) {
  using T = compute_t<S>;
  const BatchRows<S> rows(batch.input, batch.rows, batch.classes, 1);
  const RowWriter<S> writer(rows, batch.second_sweep, batch.output);
  for (int row = 0; row < batch.rows; ++row) {
    const Vec<T> factor(static_cast<T>(-batch.grad_output[row]));
    writer.write(row, [&](std::int64_t, auto, Vec<T> p) LOGLOSS_INLINE_LAMBDA { return log_plus_one(p) * factor; });
  }
}

// The entropy of p = softmax(x), from terms of which none is negative: formed and added in T, as the exponentials are.
// With e_j = e^(x_j - shift), scaled as in RowStats, and their sum S,
//   H = Q + log(S / e_max), Q = (sum_j e_j (max - x_j)) / S, and -log p_j - H = (max - x_j) - Q.
template <class T>
class EntropyOfRows {
 public:
  LOGLOSS_INLINE void set_group(const BatchStats<T>& stats, int first) {
    max_.set_group(first, narrow<T>(stats.max.group(first)));
    shift_.set_group(first, narrow<T>(stats.shift.group(first)));
    exponent_.set_group(first, narrow<T>(stats.exponent.group(first)));
    sum_.set_group(first, stats.sum(first).high);
    log_rest_.set_group(first, stats.rounded_log_rest(first));
  }

  class Row {
   public:
    LOGLOSS_INLINE Row(const EntropyOfRows& rows, int row)
        : exp_(Vec<T>(rows.exponent_[row])),
          max_(rows.max_[row]),
          shift_(rows.shift_[row]),
          sum_(rows.sum_[row]),
          log_rest_(rows.log_rest_[row]) {}

    LOGLOSS_INLINE Vec<T> below_max(Vec<T> x) const { return max_ - x; }
    // e (max - x), where e = scale (1 + m1) is not rounded on the way.
    LOGLOSS_INLINE Vec<T> term(Vec<T> x) const {
      const auto e = exp_.parts(x - shift_);
      const Vec<T> below = clear(e.scale == Vec<T>(T(0)), below_max(x));
      return e.scale * fma(e.m1, below, below);
    }
    LOGLOSS_INLINE double quotient(double sum_of_terms) const { return sum_of_terms / sum_; }
    LOGLOSS_INLINE double entropy(double sum_of_terms) const { return quotient(sum_of_terms) + log_rest_; }

   private:
    ScaledExp<T> exp_;
    Vec<T> max_, shift_;
    double sum_, log_rest_;
  };

 private:
  PerRow<T> max_, shift_, exponent_;
  PerRow<double> sum_, log_rest_;
};

// dx = g p ((max - x) - Q), from p times what its factor asks for. A Q that T could not hold is that of a row where one
// class has nearly all of p: there the difference is taken times 2^64.
template <class T>
class EntropyGradient {
 public:
  LOGLOSS_INLINE EntropyGradient(double quotient, const typename FactorOfSoftmax<T>::Row& factor)
      : unit_(T(quotient < kSmall ? kUnit : 1.0)), factor_(factor) {
    const double minus_quotient = quotient < kSmall ? -quotient * kUnit : -quotient;
    const T high = static_cast<T>(minus_quotient);
    minus_high_ = Vec<T>(high);
    minus_low_ = Vec<T>(static_cast<T>(minus_quotient - static_cast<double>(high)));
    factor_.divide(unit_);
  }
  LOGLOSS_INLINE Vec<T> operator()(Vec<T> p, Vec<T> below_max) const {
    const Vec<T> excess = fma(below_max, unit_, minus_high_) + minus_low_;
    return factor_(p * clear(p == Vec<T>(T(0)), excess));
  }

 private:
  static constexpr double kSmall = 0x1p-40, kUnit = 0x1p64;
  Vec<T> unit_, minus_high_, minus_low_;
  typename FactorOfSoftmax<T>::Row factor_;
};

template <class S>
inline double sum_of_entropy_terms(const S* x, std::int64_t classes,
                                   const typename EntropyOfRows<compute_t<S>>::Row& of) {
  using T = compute_t<S>;
  return sum_row<T>(classes, [&](std::int64_t j, auto lanes)
                                 LOGLOSS_INLINE_LAMBDA { return of.term(load(x + j, lanes, -kInfinity<T>)); });
}

template <class S>
void entropy_with_logits(const RowValueBatch& batch) {
  using T = compute_t<S>;
  const BatchStats<T> stats = batch_stats<S>(batch);
  EntropyOfRows<T> entropies;
  for_each_group(batch.rows, [&](int first) LOGLOSS_INLINE_LAMBDA { entropies.set_group(stats, first); });
  for (int row = 0; row < batch.rows; ++row) {
    const typename EntropyOfRows<T>::Row of(entropies, row);
    const S* x = static_cast<const S*>(batch.input[row]);
    batch.value[row] = rounded<S>(of.entropy(sum_of_entropy_terms(x, batch.classes, of)));
  }
}

template <class S>
void entropy_with_logits_backward(const RowValueBatch& batch) {
  using T = compute_t<S>;
  const BatchRows<S> rows(batch.input, batch.rows, batch.classes, 1);
  const BatchStats<T> stats = stats_of_rows<true>(rows, batch.second_sweep);
  EntropyOfRows<T> entropies;
  SoftmaxScale<T> scale;
  FactorOfSoftmax<T> factors;
  PerRow<double> grad;
  for (int row = 0; row < batch.rows; ++row) grad[row] = batch.grad_output[row];
  for_each_group(batch.rows, [&](int first) LOGLOSS_INLINE_LAMBDA {
    entropies.set_group(stats, first);
    scale.set_group(stats, first, factors.set_group(first, grad.group(first)));
  });
  const RowWriter<S> writer(rows, batch.second_sweep, batch.output);
  for (int row = 0; row < batch.rows; ++row) {
    const typename EntropyOfRows<T>::Row of(entropies, row);
    const S* x = rows.row(row);
    const EntropyGradient<T> gradient(of.quotient(sum_of_entropy_terms(x, batch.classes, of)),
                                      typename FactorOfSoftmax<T>::Row(factors, row));
    writer.write_softmax(row, scale,
                         [&](const auto& softmax, Vec<T> e, std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
                           return gradient(softmax.from_exponential(e), of.below_max(load(x + j, lanes, T(0))));
                         });
  }
}

}  // namespace logloss::LOGLOSS_LEVEL
