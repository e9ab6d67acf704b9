// SPDX-License-Identifier: BSD-3-Clause
// KL(softmax(target) || softmax(input)) of pairs of rows, and its gradients. Each row is read from memory once: the
// second sweep finds it in cache.
#pragma once

#include "common/args.h"
#include "common/kl_div.h"
#include "cpu/log_softmax.h"

namespace logloss::LOGLOSS_LEVEL {

using WideTerms = DivergenceTerms<Vec<double>>;
LOGLOSS_INLINE WideTerms operator+(const WideTerms& a, const WideTerms& b) {
  return {a.divergence + b.divergence, a.difference + b.difference};
}

// q(r) of e^r = 1 + r + r^2 q(r), and r = x - n ln 2, as exactly as a result of type T needs: for a float q to 2^-28 of
// itself, r to 2^-43. (One step fewer in both than ShortExpSeries takes: 0.9 of the time of 8192 x 1000 on AVX-512.)
template <class T>
struct NegativeExpSeries;
template <>
struct NegativeExpSeries<float> {
  static constexpr double q[] = {0x1.0000000b7e35cp-1, 0x1.555555273033ep-3,  0x1.5554e958e36b7p-5,
                                 0x1.11114bde0259bp-7, 0x1.6d42ca85f4d12p-10, 0x1.a072bff6fb85ap-13};
  static LOGLOSS_INLINE Vec<double> reduced(Vec<double> x, Vec<double> n) {
    return fma(n, Vec<double>(-ExpConstants<double>::kLn2), x);
  }
};
template <>
struct NegativeExpSeries<double> : ExpConstants<double> {
  static LOGLOSS_INLINE Vec<double> reduced(Vec<double> x, Vec<double> n) {
    return minus_multiple_of_ln2<ExpConstants<double>>(x, n);
  }
};

// e^x = scale (1 + r + curve) for x <= 0, by e^r = 1 + r + r^2 q(r); where no multiple of ln 2 is taken off, r is x.
// NaN is kept; below -kFar it is e^-kFar, which is nothing beside 1.
template <class T>
class ExpOfNegative {
  using Series = NegativeExpSeries<T>;

 public:
  static constexpr double kFar = 708.0;

  LOGLOSS_INLINE explicit ExpOfNegative(Vec<double> x) {
    using F = FloatFormat<double>;
    const Vec<double> origin(F::kRound + F::kBias);
    x = max(Vec<double>(-kFar), x);
    const Vec<double> rounded = fma(x, Vec<double>(ExpConstants<double>::kLog2e), origin);
    n_ = rounded - origin;
    r_ = Series::reduced(x, n_);
    curve_ = (r_ * r_) * polynomial<Series>(r_);
    scale_ = shift_left_bits<F::kFraction>(rounded);
  }
  LOGLOSS_INLINE Mask<double> unreduced() const { return n_ == Vec<double>(0.0); }
  LOGLOSS_INLINE Vec<double> value() const { return fma(scale_, r_ + curve_, scale_); }
  LOGLOSS_INLINE Vec<double> minus_one() const { return fma(scale_, r_ + curve_, scale_ - Vec<double>(1.0)); }
  // e^x - 1 - x
  LOGLOSS_INLINE Vec<double> above_tangent(Vec<double> x) const { return select(unreduced(), curve_, minus_one() - x); }

 private:
  Vec<double> n_, r_, curve_, scale_;
};

// p and q of one vector of classes, times RowSoftmax::kOne.
template <class T>
struct ProbabilityPair;

// The larger one is computed, as exactly as its result in float needs; the smaller one is e^-|log p - log q| of it.
template <>
struct ProbabilityPair<float> {
  Mask<double> no_target;  // p is 0
  Vec<double> top;

  LOGLOSS_INLINE ProbabilityPair(const RowSoftmax<float>& target, Vec<float> t, const RowSoftmax<float>& input,
                                 Vec<float> x) {
    const Vec<double> log_p = target.log(t), nothing(-kNothing);
    const Vec<double> log_top = max(log_p, input.log(x));
    no_target = log_p < nothing;
    // A class that neither side has, as in lanes beyond the end of a row, adds exactly 0.
    top = clear(log_top < nothing, ExpOfNegative<float>(log_top).value());
  }
  LOGLOSS_INLINE Vec<double> p(Mask<double> input_larger, Vec<double> ratio) const {
    return clear(no_target, select(input_larger, top * ratio, top));
  }
  LOGLOSS_INLINE Vec<double> larger(Mask<double>) const { return top; }
  // What was found by way of |log p - log q|, or else by the other way where p and q are not nearly equal.
  template <class F>
  LOGLOSS_INLINE Vec<double> exactly(Mask<double>, Vec<double> by_ratio, F) const {
    return by_ratio;
  }

 private:
  static constexpr double kNothing = 745.0;  // e^-kNothing is the last that float64 can tell from 0
};

// Both are computed: the logarithm of their ratio is not known as exactly as they are.
template <>
struct ProbabilityPair<double> {
  Mask<double> no_target;
  Vec<double> of_target, of_input;

  LOGLOSS_INLINE ProbabilityPair(const RowSoftmax<double>& target, Vec<double> t, const RowSoftmax<double>& input,
                                 Vec<double> x)
      : of_target(target.probability(t)), of_input(input.probability(x)) {
    no_target = of_target == Vec<double>(0.0);
  }
  LOGLOSS_INLINE Vec<double> p(Mask<double>, Vec<double>) const { return of_target; }
  LOGLOSS_INLINE Vec<double> larger(Mask<double> input_larger) const {
    return select(input_larger, of_input, of_target);
  }
  template <class F>
  LOGLOSS_INLINE Vec<double> exactly(Mask<double> near, Vec<double> by_ratio, F otherwise) const {
    return select(near, by_ratio, otherwise(of_target, of_input));
  }
};

// One vector of classes; everything is times RowSoftmax::kOne. With d = log p - log q and the larger of p and q no
// nearly equal numbers are subtracted:
//   q - p       = larger (e^-|d| - 1), or its negative where q is the larger,
//   q - p + p d = larger (e^-|d| - 1 + |d|), or there larger (|d| (1 - e^-|d|) - (e^-|d| - 1 + |d|)).
struct ClassPair {
  WideTerms terms;
  Vec<double> p, d;

  template <class T>
  LOGLOSS_INLINE ClassPair(const RowSoftmax<T>& target, Vec<T> t, const RowSoftmax<T>& input, Vec<T> x) {
    const Vec<double> zero(0.0);
    const ProbabilityPair<T> pair(target, t, input, x);
    // Of a class that only the input has, q - p is q.
    d = select(pair.no_target, Vec<double>(-ExpOfNegative<T>::kFar), target.log_ratio(t, input, x));
    const auto input_larger = d < zero;
    const Vec<double> minus_distance = or_bits(d, FloatFormat<double>::kSign);
    const ExpOfNegative<T> ratio(minus_distance);
    const Vec<double> excess = ratio.above_tangent(minus_distance), larger = pair.larger(input_larger);
    const Vec<double> step = larger * ratio.minus_one();
    terms.difference = pair.exactly(ratio.unreduced(), select(input_larger, zero - step, step),
                                    [](Vec<double> p, Vec<double> q) LOGLOSS_INLINE_LAMBDA { return q - p; });
    p = pair.p(input_larger, ratio.value());
    const Vec<double> of_input = fma(minus_distance, ratio.minus_one(), zero - excess);
    terms.divergence =
        pair.exactly(ratio.unreduced(), larger * select(input_larger, of_input, excess),
                     [&](Vec<double>, Vec<double>) LOGLOSS_INLINE_LAMBDA { return terms.difference + p * d; });
  }
};

// The results, from the sums of a row and from its terms, which are times RowSoftmax<T>::kOne.

template <class T>
LOGLOSS_INLINE double divergence_of(double divergence, double difference) {
  const DivergenceTerms<double> sum{divergence / RowSoftmax<T>::kOne, difference / RowSoftmax<T>::kOne};
  if (sum.divergence != sum.divergence) return __builtin_nan("");  // of several NaN not any one
  // A class that only the target has makes the divergence infinite.
  return sum.divergence == kInfinity<double> ? sum.divergence : kl_div_of_sums(sum);
}
template <class T>
LOGLOSS_INLINE Vec<T> input_gradient(const ClassPair& pair, Vec<double> scale) {
  // Of several NaN not any one.
  const Vec<double> gradient = select(pair.d == pair.d, pair.terms.difference, Vec<double>(__builtin_nan("")));
  return narrow<T>(gradient * scale * Vec<double>(1.0 / RowSoftmax<T>::kOne));
}
template <class T>
LOGLOSS_INLINE Vec<T> target_gradient(Vec<double> d, Vec<double> p, Vec<double> divergence, Vec<double> scale) {
  // A class without probability counts for nothing, beside an infinite divergence too.
  const Vec<double> zero(0.0), nothing = select(divergence == divergence, zero, divergence);
  const Vec<double> gradient = select(p == zero, nothing, kl_div_target_gradient(d, p, divergence));
  return narrow<T>(gradient * scale * Vec<double>(1.0 / RowSoftmax<T>::kOne));
}

template <class S>
class DivergenceKernel {
  using T = compute_t<S>;

 public:
  explicit DivergenceKernel(const DivergenceBatch& batch)
      : batch_(batch),
        input_rows_(batch.input, batch.rows, batch.classes, 1),
        target_rows_(batch.target, batch.rows, batch.classes, 1),
        input_(stats_of_rows(input_rows_)),
        target_(stats_of_rows(target_rows_)) {}

  void run() {
    for_each_group(batch_.rows, [&](int first) {
      if (input_rows_.few_classes(first)) return run_group(first);
      for (int row = first; row < batch_.rows && row < first + kLanes; ++row) run_row(row);
    });
  }

 private:
  void set_loss(int row, double divergence) {
    if (batch_.loss) static_cast<T*>(batch_.loss)[row] = static_cast<T>(divergence);
  }

  // 16 rows of few classes, each pair of classes formed once.
  LOGLOSS_NOINLINE void run_group(int first) {
    Vec<T> input[kTurnedRow], target[kTurnedRow];
    turn_rows(RowGroup<S>(input_rows_, first), batch_.classes, input);
    turn_rows(RowGroup<S>(target_rows_, first), batch_.classes, target);
    const RowSoftmax<T> q = input_.group(first), p = target_.group(first);
    const Vec<double> scale = grad_scale_of_group(batch_, first);
    WideTerms terms[kTurnedRow];
    Vec<double> probs[kTurnedRow], log_ratios[kTurnedRow];
    for (std::int64_t c = 0; c < batch_.classes; ++c) {
      const ClassPair pair(p, target[c], q, input[c]);
      terms[c] = pair.terms;
      input[c] = input_gradient<T>(pair, scale);
      if (!batch_.target_grad) continue;
      probs[c] = pair.p;
      log_ratios[c] = pair.d;
    }
    PerLane<double> divergence, difference;
    const auto divergence_term = [&](std::int64_t c) LOGLOSS_INLINE_LAMBDA { return terms[c].divergence; };
    const auto difference_term = [&](std::int64_t c) LOGLOSS_INLINE_LAMBDA { return terms[c].difference; };
    divergence.set(sum_columns<T>(batch_.classes, divergence_term));
    difference.set(sum_columns<T>(batch_.classes, difference_term));
    for (int i = 0; i < kLanes; ++i) {
      divergence.lane[i] = divergence_of<T>(divergence.lane[i], difference.lane[i]);
      if (first + i < batch_.rows) set_loss(first + i, divergence.lane[i]);
    }
    if (batch_.input_grad) turn_back<S>(batch_.input_grad, first, batch_.rows, batch_.classes, input);
    if (!batch_.target_grad) return;
    for (std::int64_t c = 0; c < batch_.classes; ++c) {
      target[c] = target_gradient<T>(log_ratios[c], probs[c], divergence.all(), scale);
    }
    turn_back<S>(batch_.target_grad, first, batch_.rows, batch_.classes, target);
  }

  void run_row(int row) {
    const Vec<double> scale(grad_scale_of(batch_, row));
    if (batch_.input_grad && !batch_.target_grad) {
      S* grad = static_cast<S*>(batch_.input_grad[row]);
      const auto write = [&](std::int64_t j, auto lanes, const ClassPair& pair)
                             LOGLOSS_INLINE_LAMBDA { store(grad + j, lanes, input_gradient<T>(pair, scale)); };
      return batch_.loss ? set_loss(row, divergence_of_row(row, write)) : for_each_pair(row, write);
    }
    const double divergence = divergence_of_row(row, [](auto...) LOGLOSS_INLINE_LAMBDA {});
    set_loss(row, divergence);
    if (batch_.target_grad) write_gradients(row, divergence, scale);
  }

  // The classes of one row; lanes beyond its end are classes of probability 0 on both sides.
  class Row {
   public:
    Row(const DivergenceKernel& kernel, int row)
        : x_(kernel.input_rows_.row(row)),
          t_(kernel.target_rows_.row(row)),
          input_(kernel.input_[row]),
          target_(kernel.target_[row]) {}
    template <class Lanes>
    LOGLOSS_INLINE ClassPair operator()(std::int64_t j, Lanes lanes) const {
      return ClassPair(target_, load(t_ + j, lanes, -kInfinity<T>), input_, load(x_ + j, lanes, -kInfinity<T>));
    }

   private:
    const S* x_;
    const S* t_;
    RowSoftmax<T> input_, target_;
  };

  // visit(j, lanes, pair) for every vector of classes on the way: what it writes may replace the logits.
  template <class Visit>
  LOGLOSS_NOINLINE double divergence_of_row(int row, Visit visit) const {
    const Row classes(*this, row);
    LaneSum<T> divergence, difference;
    for_each_tile<WideTerms>(
        batch_.classes,
        [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
          const ClassPair pair = classes(j, lanes);
          visit(j, lanes, pair);
          return pair.terms;
        },
        [&](const WideTerms& tile) LOGLOSS_INLINE_LAMBDA {
          divergence.add(tile.divergence);
          difference.add(tile.difference);
        });
    return divergence_of<T>(total(divergence), total(difference));
  }

  // The same without the sums.
  template <class Visit>
  LOGLOSS_NOINLINE void for_each_pair(int row, Visit visit) const {
    const Row classes(*this, row);
    for_each_vector(batch_.classes,
                    [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA { visit(j, lanes, classes(j, lanes)); });
  }

  // Both are formed before either is written: they may replace their logits.
  void write_gradients(int row, double divergence, Vec<double> scale) const {
    S* input_grad = batch_.input_grad ? static_cast<S*>(batch_.input_grad[row]) : nullptr;
    S* target_grad = static_cast<S*>(batch_.target_grad[row]);
    for_each_pair(row, [&](std::int64_t j, auto lanes, const ClassPair& pair) LOGLOSS_INLINE_LAMBDA {
      const Vec<T> of_target = target_gradient<T>(pair.d, pair.p, Vec<double>(divergence), scale);
      if (input_grad) store(input_grad + j, lanes, input_gradient<T>(pair, scale));
      store(target_grad + j, lanes, of_target);
    });
  }

  const DivergenceBatch& batch_;
  const BatchRows<S> input_rows_, target_rows_;
  const SoftmaxOfRows<T> input_, target_;
};

template <class S>
void kl_div_with_logits(const DivergenceBatch& batch) {
  DivergenceKernel<S>(batch).run();
}

}  // namespace logloss::LOGLOSS_LEVEL
