// SPDX-License-Identifier: BSD-3-Clause
// Entropies, KL divergence of logits, cosine embedding loss: rows and pairs of rows. The formulas are those of
// cpu/entropy.h, cpu/kl_div_with_logits.h and cpu/cosine_embedding_loss.h.
#pragma once

#include "common/kl_div.h"
#include "cpu/cosine_embedding_loss.h"
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
      return {Vec<double>(max[row]), Vec<double>(log_rest[row]), {scale, row}};
    } else {
      return {Vec<double>(max[row]), Vec<double>(log_rest[row])};
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
      return Terms<double, 2>{{pair.terms.divergence, pair.terms.difference}};
    });
    return divergence_of<T>(sums.field[0], sums.field[1]);
  }
  template <class Crew>
  LOGLOSS_INLINE void write_gradients(const Crew& crew, std::int64_t row, const S* const (&in)[2],
                                      const RowSoftmax<T>& q, const RowSoftmax<T>& p, double divergence) const {
    const std::int64_t start = shape.start(row);
    const OutputRow<S> out[2] = {{input_grad ? input_grad + start : nullptr, shape.inner},
                                 {target_grad ? target_grad + start : nullptr, shape.inner}};
    const Vec<double> scale(losses.grad_scale_of(row)), wide_divergence(divergence);
    transform_one_by_one(crew, shape.classes, in, out, [&](std::int64_t, const Vec<T>* x, Vec<T>* y) {
      const ClassPair pair(p, x[1], q, x[0]);
      y[0] = input_gradient<T>(pair, scale);
      y[1] = target_grad ? target_gradient<T>(pair.d, pair.p, wide_divergence, scale) : Vec<T>(T(0));
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

  struct Numbers {
    PerRow<double> value, length_ratio;
    CosineSlopes slopes;
  };

  template <class Crew>
  LOGLOSS_INLINE void run(const Crew& crew, const RowsInHand<S, kInputs>& rows, SumState* sum) const {
    const OwnRow<Crew> own(crew, rows);
    const SumsOfRows sums = sums_of_rows(crew, rows, own);
    const Numbers numbers = crew.once([&] {
      const Cosines cosines = sums.of_group(0);
      Numbers mine;
      mine.value.set_group(0, cosines.value());
      mine.length_ratio.set_group(0, cosines.length_ratio());
      mine.slopes.set_group(0, cosines);
      return mine;
    });
    if (want_loss) put_losses(crew, rows, own, sums, numbers, sum);
    for (int i = 0; (grad1 || grad2) && i < rows.count; ++i) write_gradients(crew, rows, i, sums, numbers);
  }

 private:
  LOGLOSS_INLINE bool alike(std::int64_t row) const { return target[row] == 1.0; }
  LOGLOSS_INLINE bool unlike(std::int64_t row, double value) const {
    return target[row] == -1.0 && !(value - margin < 0.0);
  }

  template <class Lanes>
  static LOGLOSS_INLINE Vec<double> scaled(const S* x, Lanes lanes, double scale) {
    return ScaledRow<S>(x, scale)(0, lanes);
  }

  template <class Crew>
  LOGLOSS_INLINE SumsOfRows sums_of_rows(const Crew& crew, const RowsInHand<S, kInputs>& rows,
                                         const OwnRow<Crew>& own) const {
    SumsOfRows sums;
    sums.set(0, ProductSums{});
    for (int i = 0; i < rows.count; ++i) {
      const S* const in[2] = {rows.row(0, i), rows.row(1, i)};
      const ProductSums of_row = finite_sums<T>([&](double scale_a, double scale_b) {
        const RowSums<3> sum = sum_of_rows<double, 3, T>(crew, in, shape.classes, [&](const S* const* x, auto lanes) {
          const Vec<double> a = scaled(x[0], lanes, scale_a), b = scaled(x[1], lanes, scale_b);
          return Terms<double, 3>{{a * b, a * a, b * b}};
        });
        return ProductSums{sum.field[0], sum.field[1], sum.field[2], scale_a, scale_b};
      });
      if (own.is(i)) sums.set(0, of_row);
    }
    return sums;
  }

  template <class Crew>
  LOGLOSS_INLINE void put_losses(const Crew& crew, const RowsInHand<S, kInputs>& rows, const OwnRow<Crew>& own,
                                 const SumsOfRows& sums, const Numbers& numbers, SumState* sum) const {
    double dd = 0.0, da = 0.0;
    for (int i = 0; i < rows.count; ++i) {
      const double value = numbers.value[i], scale_a = sums.scale_a[i], scale_b = sums.scale_b[i];
      const Vec<double> minus_ratio(-numbers.length_ratio[i]);
      if (!alike(rows.first + i) || !(value > kNearlyAlike)) continue;
      const S* const in[2] = {rows.row(0, i), rows.row(1, i)};
      const RowSums<2> of_row = sum_of_rows<double, 2, T>(crew, in, shape.classes, [&](const S* const* x, auto lanes) {
        const Vec<double> a = scaled(x[0], lanes, scale_a), b = scaled(x[1], lanes, scale_b);
        const Vec<double> difference = fma(minus_ratio, b, a);
        return Terms<double, 2>{{difference * difference, difference * a}};
      });
      if (!own.is(i)) continue;
      dd = of_row.field[0];
      da = of_row.field[1];
    }
    if (!own.writes()) return;
    const double value = numbers.value.group(0).reg[0];
    double loss = unlike(own.row(), value) ? value - margin : 0.0;
    if (alike(own.row())) {
      loss = value > kNearlyAlike ? sums.of_group(0).one_minus_value(Vec<double>(dd), Vec<double>(da)).reg[0]
                                  : 1.0 - value;
    }
    losses.put(own.row(), static_cast<T>(loss), sum);
  }

  template <class Crew>
  LOGLOSS_INLINE void write_gradients(const Crew& crew, const RowsInHand<S, kInputs>& rows, int i,
                                      const SumsOfRows& sums, const Numbers& numbers) const {
    const std::int64_t row = rows.first + i, start = shape.start(row);
    const S* const in[2] = {rows.row(0, i), rows.row(1, i)};
    const OutputRow<S> out[2] = {{grad1 ? grad1 + start : nullptr, shape.inner},
                                 {grad2 ? grad2 + start : nullptr, shape.inner}};
    const bool counts = alike(row) || unlike(row, numbers.value[i]);
    const double scale = losses.grad_scale_of(row), factor = alike(row) ? -scale : scale;
    const double scale_a = sums.scale_a[i], scale_b = sums.scale_b[i];
    const Vec<double> across(numbers.slopes.across[i]), along_a(numbers.slopes.along_a[i]),
        along_b(numbers.slopes.along_b[i]), factor_a(factor * scale_a), factor_b(factor * scale_b);
    transform_one_by_one(crew, shape.classes, in, out, [&](std::int64_t, const Vec<T>* x, Vec<T>* y) {
      Vec<double> a = widen(x[0]), b = widen(x[1]);
      if constexpr (kScalesVectors<T>) {
        a = a * Vec<double>(scale_a);
        b = b * Vec<double>(scale_b);
      }
      y[0] = counts ? narrow<T>((across * b - along_a * a) * factor_a) : Vec<T>(T(0));
      y[1] = counts ? narrow<T>((across * a - along_b * b) * factor_b) : Vec<T>(T(0));
    });
  }
};

}  // namespace logloss::LOGLOSS_LEVEL
