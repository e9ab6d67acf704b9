// SPDX-License-Identifier: BSD-3-Clause
// cross_entropy of rows: the loss from one sweep over each row, the gradient from a second one over its copy in block
// memory.
#pragma once

#include "common/args.h"
#include "common/cross_entropy.h"
#include "cpu/row_batch.h"
#include "cuda/losses.h"

namespace logloss::LOGLOSS_LEVEL {

// kLinear: with sums over the coefficients of all classes (label smoothing, class probabilities).
template <class S, bool kLinear>
struct CrossEntropy {
  using Storage = S;
  using T = compute_t<S>;
  static constexpr int kInputs = kLinear ? 2 : 1;

  RowShape shape;
  const S* input[kInputs];  // logits; class probabilities, or null
  SumState* total;
  RowLosses<T> losses;
  const std::int64_t* target;
  const T* weight;
  double smoothing;
  S* grad;

  LongRowsCall long_rows() const {
    return {dtype_of<S>, shape.rows, shape.classes, input[0], target, kLinear ? input[kInputs - 1] : nullptr,
            weight,      kLinear,    smoothing};
  }
  bool writes_rows() const { return grad; }

  // What the gradients of the rows in hand are made of.
  struct Gradient {
    SoftmaxScale<T> scale;
    PerRow<T> at_target;
    PerRow<double> factor;
  };

  template <class Crew>
  LOGLOSS_INLINE void run(const Crew& crew, const RowsInHand<S, kInputs>& rows, SumState* sum) const {
    const OwnRow<Crew> own(crew, rows);
    const std::int64_t t = target && own.exists() ? class_of(target[own.row()]) : kIgnored;
    const bool ignored = target && t < 0;
    BatchStats<T> stats(kLanes);
    for (int i = 0; i < rows.count; ++i) {
      if (target && shuffle_from(t, own.lane_of(i)) < 0) continue;
      const RowStats of_row = stats_of(crew, rows, i);
      if (own.is(i)) stats.set(0, of_row);
    }
    const Gradient gradient = crew.once([&] {
      const double logit = ignored || !target || !own.exists() ? 0.0 : crew.element(rows.row(0, own.index()), t);
      const double class_weight = ignored || !target ? 0.0 : weight ? static_cast<double>(weight[t]) : 1.0;
      const Numbers numbers(*this, stats, logit, class_weight);
      const T loss = ignored ? without_class(t) : narrow<T>(cross_entropy_loss(numbers.row)).reg[0];
      if (own.writes()) losses.put(own.row(), loss, sum);
      return grad ? gradient_of(numbers, stats, own) : Gradient{};
    });
    if (!grad) return;
    for (int i = 0; i < rows.count; ++i) {
      const std::int64_t t_here = shuffle_from(t, own.lane_of(i));
      write_gradient(crew, rows, i, gradient, target && t_here < 0, t_here);
    }
  }

 private:
  LOGLOSS_INLINE std::int64_t class_of(std::int64_t t) const {
    return (t >= 0 && t < shape.classes) || t == kNoClass ? t : kIgnored;
  }
  // The loss and the gradient of a row that is ignored, or whose target is no class.
  static LOGLOSS_INLINE T without_class(std::int64_t t) { return t == kNoClass ? kNaN<T> : T(0); }
  LOGLOSS_INLINE double uniform() const { return target ? smoothing / static_cast<double>(shape.classes) : 1.0; }
  LOGLOSS_INLINE DeviceProbabilityTerm<S> probability_term(const S* probs) const {
    return {probs, {weight}, 1.0 - smoothing, smoothing / static_cast<double>(shape.classes)};
  }

  template <class Crew>
  LOGLOSS_INLINE RowStats stats_of(const Crew& crew, const RowsInHand<S, kInputs>& rows, int i) const {
    if constexpr (!kLinear) {
      return row_stats(crew, rows.row(0, i), shape.classes, NoRowTerm{});
    } else if (target) {
      return row_stats(crew, rows.row(0, i), shape.classes, DeviceWeightTerm<T>{weight});
    } else if (!weight && smoothing == 0.0) {
      return row_stats(crew, rows.row(0, i), shape.classes, StoredTerm<S>{rows.row(1, i)});
    } else {
      return row_stats(crew, rows.row(0, i), shape.classes, probability_term(rows.row(1, i)));
    }
  }

  // The numbers of the thread's own row.
  struct Numbers {
    Vec<double> target_logit, class_weight;
    CrossEntropyRow<Vec<double>> row;
    LOGLOSS_INLINE Numbers(const CrossEntropy& op, const BatchStats<T>& stats, double logit, double weight_t)
        : target_logit(logit), class_weight(weight_t) {
      const Vec<double> target_weight((1.0 - op.smoothing) * weight_t);
      // A class without weight counts for nothing, at -inf too.
      row.below_max = clear(target_weight == Vec<double>(0.0), stats.max.group(0) - target_logit);
      row.log_rest = stats.rounded_log_rest(0);
      row.target_weight = target_weight;
      row.uniform = Vec<double>(op.uniform());
      row.linear = stats.linear.group(0);
      row.mass = stats.mass.group(0);
    }
  };

  template <class Crew>
  LOGLOSS_INLINE Gradient gradient_of(const Numbers& numbers, const BatchStats<T>& stats,
                                      const OwnRow<Crew>& own) const {
    Gradient gradient;
    const Vec<double> factor(own.exists() ? losses.grad_scale_of(own.row()) : 1.0);
    gradient.factor.set_group(0, factor);
    gradient.scale.set_group(stats, 0, factor * cross_entropy_mass(numbers.row));
    gradient.at_target.set_group(0, narrow<T>(factor * grad_at_target(numbers, stats)));
    return gradient;
  }
  LOGLOSS_INLINE Vec<double> grad_at_target(const Numbers& numbers, const BatchStats<T>& stats) const {
    const Vec<double> x_t = numbers.target_logit;
    const Vec<double> rest = stats.finite_rest(0);
    const Vec<double> sum = stats.sum(0).high;
    const Vec<double> exp_t = stats.scaled_exp(0, x_t);
    const Vec<double> others = select(x_t == stats.max.group(0), rest, sum - exp_t);
    // The form whose terms are small: at a likely target 1 - softmax, at an unlikely one softmax itself.
    const auto likely = others < exp_t;
    const Vec<double> share = select(likely, others, exp_t) / sum;
    return select(likely, cross_entropy_likely_target_gradient(numbers.row, numbers.class_weight, share),
                  cross_entropy_target_gradient(numbers.row, numbers.class_weight, share));
  }

  template <class Crew>
  LOGLOSS_INLINE void write_gradient(const Crew& crew, const RowsInHand<S, kInputs>& rows, int i,
                                     const Gradient& gradient, bool ignored, std::int64_t t) const {
    const OutputRow<S> out[1] = {{grad + shape.start(rows.first + i), shape.inner}};
    const T at_target = gradient.at_target[i];
    const typename SoftmaxScale<T>::Row scaled_softmax(gradient.scale, i);
    const double factor = gradient.factor[i];
    if (ignored) {
      const S* const in[1] = {rows.row(0, i)};
      transform(crew, shape.classes, in, out,
                [&](std::int64_t, const Vec<T>*, Vec<T>* y) { *y = Vec<T>(without_class(t)); });
      return;
    }
    if constexpr (!kLinear) {
      const S* const in[1] = {rows.row(0, i)};
      transform(crew, shape.classes, in, out, [&](std::int64_t j, const Vec<T>* x, Vec<T>* y) {
        *y = j == t ? Vec<T>(at_target) : scaled_softmax(*x);
      });
    } else if (target) {
      const S* const in[1] = {rows.row(0, i)};
      const T factor_t = static_cast<T>(-factor * uniform());
      transform(crew, shape.classes, in, out, [&](std::int64_t j, const Vec<T>* x, Vec<T>* y) {
        const Vec<T> v(weight ? weight[j] : T(1));
        *y = j == t ? Vec<T>(at_target)
                    : scaled_softmax.from_exponential(scaled_softmax.exponential(*x), Vec<T>(factor_t) * v);
      });
    } else {
      const S* const in[2] = {rows.row(0, i), rows.row(1, i)};
      const DeviceProbabilityTerm<S> term = probability_term(nullptr);
      transform(crew, shape.classes, in, out, [&](std::int64_t j, const Vec<T>* x, Vec<T>* y) {
        const Vec<T> v = narrow<T>(term.of(x[1], Vec<double>(static_cast<double>(term.weight.at(j)))));
        *y = scaled_softmax.from_exponential(scaled_softmax.exponential(x[0]), Vec<T>(static_cast<T>(-factor)) * v);
      });
    }
  }
};

}  // namespace logloss::LOGLOSS_LEVEL
