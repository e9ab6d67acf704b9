// SPDX-License-Identifier: BSD-3-Clause
// softmax, log_softmax and logsumexp of rows, and their gradients, recomputed from the input; the formulas are those of
// cpu/log_softmax.h.
#pragma once

#include "cpu/precise_lse.h"
#include "cpu/row_batch.h"
#include "cuda/losses.h"

namespace logloss::LOGLOSS_LEVEL {

// The statistics of the rows in hand, each held by the thread of its lane.
template <class Crew, class S, int kInputs>
LOGLOSS_INLINE BatchStats<compute_t<S>> stats_of_rows(const Crew& crew, const RowsInHand<S, kInputs>& rows,
                                                      const OwnRow<Crew>& own, int input) {
  BatchStats<compute_t<S>> stats(kLanes);
  for (int i = 0; i < rows.count; ++i) {
    const RowStats of_row = row_stats(crew, rows.row(input, i), rows.classes, NoRowTerm{});
    if (own.is(i)) stats.set(0, of_row);
  }
  return stats;
}

// Rows of which nothing but the softmax is asked.
template <class S>
LongRowsCall softmax_of_long_rows(const RowShape& shape, const S* input) {
  return {dtype_of<S>, shape.rows, shape.classes, input, nullptr, nullptr, nullptr, false, 0.0};
}

template <class S>
struct Softmax {
  using Storage = S;
  using T = compute_t<S>;
  static constexpr int kInputs = 1;

  RowShape shape;
  const S* input[kInputs];
  SumState* total;
  bool logarithm;
  S* output;

  LongRowsCall long_rows() const { return softmax_of_long_rows(shape, input[0]); }
  bool writes_rows() const { return true; }

  struct Numbers {
    PerRow<T> high, low;    // log_softmax: max + l
    SoftmaxScale<T> scale;  // softmax
  };

  template <class Crew>
  LOGLOSS_INLINE void run(const Crew& crew, const RowsInHand<S, kInputs>& rows, SumState*) const {
    const OwnRow<Crew> own(crew, rows);
    const BatchStats<T> stats = stats_of_rows(crew, rows, own, 0);
    const Numbers numbers = crew.once([&] {
      Numbers mine{};
      if (logarithm) {
        const Vec<double> log_rest = stats.rounded_log_rest(0);
        const Vec<T> top = narrow<T>(stats.max.group(0) + log_rest);
        mine.high.set_group(0, top);
        mine.low.set_group(0, narrow<T>((stats.max.group(0) - widen(top)) + log_rest));
      } else {
        mine.scale.set_group(stats, 0, Vec<double>(1.0));
      }
      return mine;
    });
    for (int i = 0; i < rows.count; ++i) {
      const S* const in[1] = {rows.row(0, i)};
      const OutputRow<S> out[1] = {{output + shape.start(rows.first + i), shape.inner}};
      if (logarithm) {
        const Vec<T> high(numbers.high[i]), low(numbers.low[i]);
        transform(crew, shape.classes, in, out,
                  [&](std::int64_t, const Vec<T>* x, Vec<T>* y) { *y = (*x - high) - low; });
      } else {
        const typename SoftmaxScale<T>::Row softmax_of(numbers.scale, i);
        transform(crew, shape.classes, in, out, [&](std::int64_t, const Vec<T>* x, Vec<T>* y) { *y = softmax_of(*x); });
      }
    }
  }
};

// log_softmax: dx = g - softmax(x) sum(g); softmax: dx = s (g - sum(g s)).
template <class S>
struct SoftmaxBackward {
  using Storage = S;
  using T = compute_t<S>;
  static constexpr int kInputs = 2;

  RowShape shape;
  const S* input[kInputs];  // logits; grad_output
  SumState* total;
  bool logarithm;
  S* output;

  template <class Crew>
  LOGLOSS_INLINE void run(const Crew& crew, const RowsInHand<S, kInputs>& rows, SumState*) const {
    const OwnRow<Crew> own(crew, rows);
    const BatchStats<T> stats = stats_of_rows(crew, rows, own, 0);
    double factor = 1.0;
    for (int i = 0; logarithm && i < rows.count; ++i) {
      const S* const g[1] = {rows.row(1, i)};
      const RowSums<1> sum = sum_of_rows<T, 1>(crew, g, shape.classes, [&](const S* const* x, auto lanes) {
        return Terms<T, 1>{{load(x[0], lanes, T(0))}};
      });
      if (own.is(i)) factor = 0.0 - sum.field[0];
    }
    const SoftmaxScale<T> scale = crew.once([&] {
      SoftmaxScale<T> mine;
      mine.set_group(stats, 0, Vec<double>(factor));
      return mine;
    });
    for (int i = 0; i < rows.count; ++i) write(crew, rows, i, typename SoftmaxScale<T>::Row(scale, i));
  }

 private:
  template <class Crew>
  LOGLOSS_INLINE void write(const Crew& crew, const RowsInHand<S, kInputs>& rows, int i,
                            const typename SoftmaxScale<T>::Row& scaled_softmax) const {
    const S* const in[2] = {rows.row(0, i), rows.row(1, i)};
    const OutputRow<S> out[1] = {{output + shape.start(rows.first + i), shape.inner}};
    if (logarithm) {
      transform(crew, shape.classes, in, out, [&](std::int64_t, const Vec<T>* x, Vec<T>* y) {
        *y = scaled_softmax.from_exponential(scaled_softmax.exponential(x[0]), x[1]);
      });
      return;
    }
    const RowSums<1> sum = sum_of_rows<double, 1, T>(crew, in, shape.classes, [&](const S* const* x, auto lanes) {
      const Vec<double> s = widen(scaled_softmax(load(x[0], lanes, -kInfinity<T>)));
      return Terms<double, 1>{{widen(load(x[1], lanes, T(0))) * s}};
    });
    const double dot = sum.field[0];
    const T dot_high = static_cast<T>(dot);
    const Vec<T> high(dot_high), low(static_cast<T>(dot - static_cast<double>(dot_high)));
    transform(crew, shape.classes, in, out, [&](std::int64_t, const Vec<T>* x, Vec<T>* y) {
      const Vec<T> s = scaled_softmax(x[0]);
      *y = s * ((x[1] - high) - low);
    });
  }
};

template <class S>
struct LogSumExp {
  using Storage = S;
  using T = compute_t<S>;
  static constexpr int kInputs = 1;

  RowShape shape;
  const S* input[kInputs];
  SumState* total;
  S* value;

  LongRowsCall long_rows() const { return softmax_of_long_rows(shape, input[0]); }
  bool writes_rows() const { return false; }

  template <class Crew>
  LOGLOSS_INLINE void run(const Crew& crew, const RowsInHand<S, kInputs>& rows, SumState*) const {
    const OwnRow<Crew> own(crew, rows);
    const BatchStats<T> stats = stats_of_rows(crew, rows, own, 0);
    crew.once([&] {
      // An infinite maximum is the result itself, unless the row holds NaN.
      const Vec<double> max = stats.max.group(0);
      const Vec<double> limit = max + stats.rest.group(0);
      const Vec<double> near = select(max - max == Vec<double>(0.0), max + stats.rounded_log_rest(0), limit);
      double lse = near.reg[0];
      const int recompute = cancels(stats.max.value[0], lse, stats.rest.value[0], stats.sum(0).high.reg[0]);
      for (int i = 0; i < rows.count; ++i) {
        if (!shuffle_from(recompute, i)) continue;
        const double precise = precise_lse(rows.row(0, i), rows.classes);
        if (own.is(i)) lse = precise;
      }
      if (own.writes()) store_one(value + own.row(), static_cast<T>(lse));
      return 0;
    });
  }
};

// dx = g softmax(x), and its limit where the row is infinite: 1/ties at entries of +inf, 0 elsewhere.
template <class S>
struct LogSumExpBackward {
  using Storage = S;
  using T = compute_t<S>;
  static constexpr int kInputs = 1;

  RowShape shape;
  const S* input[kInputs];
  SumState* total;
  const double* grad_output;
  S* output;

  LongRowsCall long_rows() const { return softmax_of_long_rows(shape, input[0]); }
  bool writes_rows() const { return true; }

  struct Numbers {
    SoftmaxScale<T> scale;
    PerRow<T> share;
    PerRow<int> infinite;
  };

  template <class Crew>
  LOGLOSS_INLINE void run(const Crew& crew, const RowsInHand<S, kInputs>& rows, SumState*) const {
    const OwnRow<Crew> own(crew, rows);
    const BatchStats<T> stats = stats_of_rows(crew, rows, own, 0);
    const Numbers numbers = crew.once([&] {
      Numbers mine;
      const double max = stats.max.value[0], factor = own.exists() ? grad_output[own.row()] : 1.0;
      mine.scale.set_group(stats, 0, Vec<double>(factor));
      mine.infinite.value[0] = max - max != 0.0 && stats.rest.value[0] == 0.0;
      mine.share.value[0] = max > 0.0 ? static_cast<T>(factor / stats.ties.value[0]) : T(0);
      return mine;
    });
    for (int i = 0; i < rows.count; ++i) {
      const S* const in[1] = {rows.row(0, i)};
      const OutputRow<S> out[1] = {{output + shape.start(rows.first + i), shape.inner}};
      const typename SoftmaxScale<T>::Row scaled_softmax(numbers.scale, i);
      const Vec<T> share(numbers.share[i]);
      if (numbers.infinite[i]) {
        transform(crew, shape.classes, in, out, [&](std::int64_t, const Vec<T>* x, Vec<T>* y) {
          *y = select(Vec<T>(FloatFormat<T>::kLargest) < *x, share, Vec<T>(T(0)));
        });
      } else {
        transform(crew, shape.classes, in, out,
                  [&](std::int64_t, const Vec<T>* x, Vec<T>* y) { *y = scaled_softmax(*x); });
      }
    }
  }
};

}  // namespace logloss::LOGLOSS_LEVEL
