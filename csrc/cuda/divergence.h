// SPDX-License-Identifier: BSD-3-Clause
// Entropies, KL divergence of logits, cosine embedding loss: rows and pairs of rows. The formulas are those of
// cpu/entropy.h, cpu/kl_div_with_logits.h and cpu/cosine_embedding_loss.h.
#pragma once

#include "common/cosine.h"
#include "common/kl_div.h"
#include "cpu/entropy.h"
#include "cpu/kl_div_with_logits.h"
#include "cuda/softmax.h"

namespace logloss::LOGLOSS_LEVEL {

// The numbers of RowSoftmax for the rows in hand.
template <class T>
struct SoftmaxNumbers {
  PerRow<double> max, log_rest;
  SoftmaxScale<T> scale;  // of float64 rows

  LOGLOSS_INLINE void set(const BatchStats<T>& stats) {
    max = stats.max;
    log_rest.set_group(0, stats.log_rest(0));
    if constexpr (sizeof(T) == sizeof(double)) scale.set_group(stats, 0, Vec<double>(RowSoftmax<T>::kOne));
  }
  LOGLOSS_INLINE RowSoftmax<T> operator[](int row) const {
    if constexpr (sizeof(T) == sizeof(double)) {
      return {max[row], log_rest[row], scale, row};
    } else {
      return {max[row], log_rest[row]};
    }
  }
};

// H = -sum p log p, of probabilities or of the softmax of logits; and its gradient.
template <class S>
struct Entropy {
  using Storage = S;
  using T = compute_t<S>;
  static constexpr int kInputs = 1;

  RowShape shape;
  const S* input[kInputs];
  SumState* total;
  bool of_logits;
  S* value;                   // forward: one for each row
  const double* grad_output;  // backward: one for each row
  S* output;                  // backward

  struct Numbers {
    EntropyOfRows<T> entropies;
    SoftmaxScale<T> scale;       // backward
    FactorOfSoftmax<T> factors;  // backward
  };

  template <class Crew>
  LOGLOSS_INLINE void run(const Crew& crew, const RowsInHand<S, kInputs>& rows, SumState*) const {
    if (of_logits) {
      const OwnRow<Crew> own(crew, rows);
      const BatchStats<T> stats = stats_of_rows(crew, rows, own, 0);
      const Numbers numbers = crew.once([&] {
        Numbers mine;
        mine.entropies.set_group(stats, 0);
        if (value) return mine;
        const Vec<double> factor(own.exists() ? grad_output[own.row()] : 1.0);
        mine.scale.set_group(stats, 0, mine.factors.set_group(0, factor));
        return mine;
      });
      for (int i = 0; i < rows.count; ++i) run_logits(crew, rows, i, numbers);
    } else {
      for (int i = 0; i < rows.count; ++i) run_probs(crew, rows, i);
    }
  }

 private:
  template <class Crew>
  LOGLOSS_INLINE void put(const Crew& crew, std::int64_t row, double entropy) const {
    if (crew.first_thread()) store_one(value + row, static_cast<T>(entropy));
  }
  template <class Crew>
  LOGLOSS_INLINE void run_probs(const Crew& crew, const RowsInHand<S, kInputs>& rows, int i) const {
    const std::int64_t row = rows.first + i;
    const S* const in[1] = {rows.row(0, i)};
    if (value) {
      const RowSums<1> sum = sum_of_rows<T, 1>(crew, in, shape.classes, [&](const S* const* p, auto lanes) {
        return Terms<T, 1>{{entropy_term(load(p[0], lanes, T(0)))}};
      });
      put(crew, row, sum.field[0]);
    } else {
      const OutputRow<S> out[1] = {{output + shape.start(row), shape.inner}};
      const Vec<T> factor(static_cast<T>(-grad_output[row]));
      transform(crew, shape.classes, in, out,
                [&](std::int64_t, const Vec<T>* p, Vec<T>* y) { *y = log_plus_one(*p) * factor; });
    }
  }
  template <class Crew>
  LOGLOSS_INLINE void run_logits(const Crew& crew, const RowsInHand<S, kInputs>& rows, int i,
                                 const Numbers& numbers) const {
    const std::int64_t row = rows.first + i;
    const S* const in[1] = {rows.row(0, i)};
    const typename EntropyOfRows<T>::Row of(numbers.entropies, i);
    const RowSums<1> sum = sum_of_rows<T, 1>(crew, in, shape.classes, [&](const S* const* x, auto lanes) {
      return Terms<T, 1>{{of.term(load(x[0], lanes, -kInfinity<T>))}};
    });
    if (value) return put(crew, row, of.entropy(sum.field[0]));
    const OutputRow<S> out[1] = {{output + shape.start(row), shape.inner}};
    const typename SoftmaxScale<T>::Row softmax_of(numbers.scale, i);
    const EntropyGradient<T> gradient(of.quotient(sum.field[0]), {numbers.factors, i});
    transform(crew, shape.classes, in, out,
              [&](std::int64_t, const Vec<T>* x, Vec<T>* y) { *y = gradient(softmax_of(*x), of.below_max(*x)); });
  }
};

// KL(softmax(target) || softmax(input)) and its gradients.
template <class S>
struct Divergence {
  using Storage = S;
  using T = compute_t<S>;
  static constexpr int kInputs = 2;
  static constexpr double kOne = RowSoftmax<T>::kOne;

  RowShape shape;
  const S* input[kInputs];  // input, target
  SumState* total;
  RowLosses<T> losses;
  bool want_loss;
  S* input_grad;   // or null
  S* target_grad;  // or null

  struct Numbers {
    SoftmaxNumbers<T> input, target;
  };

  template <class Crew>
  LOGLOSS_INLINE void run(const Crew& crew, const RowsInHand<S, kInputs>& rows, SumState* sum) const {
    const OwnRow<Crew> own(crew, rows);
    const BatchStats<T> input_stats = stats_of_rows(crew, rows, own, 0);
    const BatchStats<T> target_stats = stats_of_rows(crew, rows, own, 1);
    const Numbers numbers = crew.once([&] {
      Numbers mine;
      mine.input.set(input_stats);
      mine.target.set(target_stats);
      return mine;
    });
    for (int i = 0; i < rows.count; ++i) {
      const RowSoftmax<T> q = numbers.input[i], p = numbers.target[i];
      const S* const in[2] = {rows.row(0, i), rows.row(1, i)};
      const double divergence = want_loss || target_grad ? divergence_of_row(crew, in, q, p) : 0.0;
      const std::int64_t row = rows.first + i;
      if (want_loss && crew.first_thread()) losses.put(row, static_cast<T>(divergence), sum);
      if (input_grad || target_grad) write_gradients(crew, row, in, q, p, divergence);
    }
  }

 private:
  template <class Crew>
  LOGLOSS_INLINE double divergence_of_row(const Crew& crew, const S* const (&in)[2], const RowSoftmax<T>& q,
                                          const RowSoftmax<T>& p) const {
    const RowSums<2> sums = sum_of_rows<double, 2, T>(crew, in, shape.classes, [&](const S* const* x, auto lanes) {
      const ClassPair pair(p, load(x[1], lanes, -kInfinity<T>), q, load(x[0], lanes, -kInfinity<T>));
      return Terms<double, 2>{{pair.terms.divergence, pair.terms.linear}};
    });
    const DivergenceTerms<double> sum{sums.field[0] / kOne, sums.field[1] / kOne};
    // A class that only the target has makes the divergence infinite.
    return sum.divergence == kInfinity<double> ? sum.divergence : kl_div_of_sums(sum);
  }
  template <class Crew>
  LOGLOSS_INLINE void write_gradients(const Crew& crew, std::int64_t row, const S* const (&in)[2],
                                      const RowSoftmax<T>& q, const RowSoftmax<T>& p, double divergence) const {
    const std::int64_t start = shape.start(row);
    const OutputRow<S> out[2] = {{input_grad ? input_grad + start : nullptr, shape.inner},
                                 {target_grad ? target_grad + start : nullptr, shape.inner}};
    const Vec<double> scale(losses.grad_scale_of(row)), one(1.0 / kOne), wide_divergence(divergence);
    // A class without probability counts for nothing, beside an infinite divergence too.
    const Vec<double> nothing(divergence == divergence ? 0.0 : divergence);
    transform_one_by_one(crew, shape.classes, in, out, [&](std::int64_t, const Vec<T>* x, Vec<T>* y) {
      const ClassPair pair(p, x[1], q, x[0]);
      y[0] = narrow<T>(pair.gradient * scale * one);
      y[1] = Vec<T>(T(0));
      if (!target_grad) return;
      const Vec<double> of_target =
          select(pair.p == Vec<double>(0.0), nothing, kl_div_target_gradient(pair.terms, pair.p, wide_divergence));
      y[1] = narrow<T>(of_target * scale * one);
    });
  }
};

// 1 - cos for alike rows, max(0, cos - margin) for unlike ones.
template <class S>
struct CosineEmbedding {
  using Storage = S;
  using T = compute_t<S>;
  static constexpr int kInputs = 2;

  RowShape shape;
  const S* input[kInputs];
  SumState* total;
  RowLosses<T> losses;
  bool want_loss;
  const double* target;  // 1: alike, -1: unlike, anything else: no loss
  double margin;
  S* grad1;
  S* grad2;

  template <class Crew>
  LOGLOSS_INLINE void run(const Crew& crew, const RowsInHand<S, kInputs>& rows, SumState* sum) const {
    for (int i = 0; i < rows.count; ++i) {
      const std::int64_t row = rows.first + i;
      const S* const in[2] = {rows.row(0, i), rows.row(1, i)};
      // Squares of large float64 values overflow: see cpu/cosine_embedding_loss.h.
      double scale_a = 1.0, scale_b = 1.0;
      CosineSums sums;
      for (bool again = true; again;) {
        sums = measure(crew, in, scale_a, scale_b);
        const double large_a = sums.aa > kLargestSquare ? kDown : scale_a;
        const double large_b = sums.bb > kLargestSquare ? kDown : scale_b;
        again = large_a != scale_a || large_b != scale_b;
        scale_a = large_a;
        scale_b = large_b;
      }
      const Cosine cosine(sums, scale_a, scale_b);
      const double excess = cosine.value() - margin;
      const bool alike = target[row] == 1.0, unlike = target[row] == -1.0 && !(excess < 0.0);
      if (want_loss) {
        const double loss = alike ? one_minus(crew, in, cosine, scale_a, scale_b) : unlike ? excess : 0.0;
        if (crew.first_thread()) losses.put(row, static_cast<T>(loss), sum);
      }
      if (!grad1 && !grad2) continue;
      const double scale = losses.grad_scale_of(row), factor = alike ? -scale : scale;
      write_gradients(crew, row, in, cosine, alike || unlike, factor, scale_a, scale_b);
    }
  }

 private:
  static constexpr double kLargestSquare = 0x1p1000;
  static constexpr double kDown = 0x1p-600;

  template <class Lanes>
  static LOGLOSS_INLINE Vec<double> scaled(const S* x, Lanes lanes, double scale) {
    return widen(load(x, lanes, T(0))) * Vec<double>(scale);
  }
  template <class Crew>
  LOGLOSS_INLINE CosineSums measure(const Crew& crew, const S* const (&in)[2], double scale_a, double scale_b) const {
    const RowSums<3> sums = sum_of_rows<double, 3, T>(crew, in, shape.classes, [&](const S* const* x, auto lanes) {
      const Vec<double> a = scaled(x[0], lanes, scale_a), b = scaled(x[1], lanes, scale_b);
      return Terms<double, 3>{{a * b, a * a, b * b}};
    });
    return {sums.field[0], sums.field[1], sums.field[2]};
  }
  template <class Crew>
  LOGLOSS_INLINE double one_minus(const Crew& crew, const S* const (&in)[2], const Cosine& cosine, double scale_a,
                                  double scale_b) const {
    const double value = cosine.value();
    if (!(value > 0.5)) return 1.0 - value;
    const Vec<double> minus_ratio(-(cosine.length_a() / cosine.length_b()));
    const RowSums<2> sums = sum_of_rows<double, 2, T>(crew, in, shape.classes, [&](const S* const* x, auto lanes) {
      const Vec<double> a = scaled(x[0], lanes, scale_a), b = scaled(x[1], lanes, scale_b);
      const Vec<double> difference = fma(minus_ratio, b, a);
      return Terms<double, 2>{{difference * difference, difference * a}};
    });
    return cosine.one_minus_value(sums.field[0], sums.field[1]);
  }
  template <class Crew>
  LOGLOSS_INLINE void write_gradients(const Crew& crew, std::int64_t row, const S* const (&in)[2], const Cosine& cosine,
                                      bool counts, double factor, double scale_a, double scale_b) const {
    const std::int64_t start = shape.start(row);
    const OutputRow<S> out[2] = {{grad1 ? grad1 + start : nullptr, shape.inner},
                                 {grad2 ? grad2 + start : nullptr, shape.inner}};
    const Vec<double> across(cosine.across()), along_a(cosine.along_a()), along_b(cosine.along_b());
    const Vec<double> factor_a(factor * scale_a), factor_b(factor * scale_b);
    transform_one_by_one(crew, shape.classes, in, out, [&](std::int64_t, const Vec<T>* x, Vec<T>* y) {
      const Vec<double> a = widen(x[0]) * Vec<double>(scale_a), b = widen(x[1]) * Vec<double>(scale_b);
      y[0] = counts ? narrow<T>((across * b - along_a * a) * factor_a) : Vec<T>(T(0));
      y[1] = counts ? narrow<T>((across * a - along_b * b) * factor_b) : Vec<T>(T(0));
    });
  }
};

}  // namespace logloss::LOGLOSS_LEVEL
