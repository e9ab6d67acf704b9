// SPDX-License-Identifier: BSD-3-Clause
// softmax, log_softmax and logsumexp of rows, and their gradients, all recomputed from the input.
//
// Per row: one sweep for the statistic, then one over the row again (in cache) that writes the result.
#pragma once

#include "common/args.h"
#include "cpu/precise_lse.h"
#include "cpu/rows_in_lanes.h"

namespace logloss::LOGLOSS_LEVEL {

// The statistics of all rows of a batch of contiguous rows.
template <class S, class Batch>
inline BatchStats<compute_t<S>> batch_stats(const Batch& batch) {
  return stats_of_rows(BatchRows<S>(batch.input, batch.rows, batch.classes, 1));
}

// y = f(x) for every element of one row.
template <class S, class F>
LOGLOSS_INLINE void write_row(const BatchRows<S>& rows, int row, void* const* output, F f) {
  using T = compute_t<S>;
  const S* x = rows.row(row);
  S* y = static_cast<S*>(output[row]);
  for_each_vector(rows.classes(), [&](std::int64_t j, auto lanes)
                                      LOGLOSS_INLINE_LAMBDA { store(y + j, lanes, f(load(x + j, lanes, T(0)))); });
}

// The same for 16 rows that lie side by side, as those of the output do.
template <class S, class F>
LOGLOSS_INLINE void write_group(const BatchRows<S>& rows, int first, void* const* output, F f) {
  S* y = static_cast<S*>(output[first]);
  for (std::int64_t c = 0; c < rows.classes(); ++c) store(y + c * kMaxRows, f(rows.column(first, c)));
}

// y = f(x) for every element of a batch: of_row(i) gives the f of row i, of_group(first) that of 16 rows, lane by lane.
template <class S, class OfRow, class OfGroup>
LOGLOSS_INLINE void write_elements(const BatchRows<S>& rows, void* const* output, OfRow of_row, OfGroup of_group) {
  if (rows.side_by_side()) {
    for_each_group(rows.count(),
                   [&](int first) LOGLOSS_INLINE_LAMBDA { write_group(rows, first, output, of_group(first)); });
  } else {
    for (int row = 0; row < rows.count(); ++row) write_row(rows, row, output, of_row(row));
  }
}

// x - (high + low)
template <class T>
struct MinusPair {
  Vec<T> high, low;
  LOGLOSS_INLINE Vec<T> operator()(Vec<T> x) const { return (x - high) - low; }
};

// y = (x - c) with c = max + l as high + low: the high part is subtracted exactly where the result is small.
template <class S>
void log_softmax(const SoftmaxBatch& batch) {
  using T = compute_t<S>;
  const BatchRows<S> rows(batch.input, batch.rows, batch.classes, batch.class_stride);
  const BatchStats<T> stats = stats_of_rows(rows);
  PerRow<T> high, low;
  for_each_group(batch.rows, [&](int first) LOGLOSS_INLINE_LAMBDA {
    const Vec<double> log_rest = stats.log_rest(first);
    const Vec<T> top = narrow<T>(stats.max.group(first) + log_rest);
    high.set_group(first, top);
    low.set_group(first, narrow<T>((stats.max.group(first) - widen(top)) + log_rest));
  });
  write_elements(
      rows, batch.output,
      [&](int row) LOGLOSS_INLINE_LAMBDA { return MinusPair<T>{Vec<T>(high[row]), Vec<T>(low[row])}; },
      [&](int first) LOGLOSS_INLINE_LAMBDA { return MinusPair<T>{high.group(first), low.group(first)}; });
}

template <class S>
void softmax(const SoftmaxBatch& batch) {
  using T = compute_t<S>;
  using Scale = SoftmaxScale<T>;
  const BatchRows<S> rows(batch.input, batch.rows, batch.classes, batch.class_stride);
  const BatchStats<T> stats = stats_of_rows(rows);
  Scale scale;
  for_each_group(batch.rows, [&](int first) LOGLOSS_INLINE_LAMBDA { scale.set_group(stats, first, Vec<double>(1.0)); });
  write_elements(
      rows, batch.output, [&](int row) LOGLOSS_INLINE_LAMBDA { return typename Scale::Row(scale, row); },
      [&](int first) LOGLOSS_INLINE_LAMBDA { return Scale::Row::of_group(scale, first); });
}

// dx = g - softmax(x) sum(g)
template <class S>
void log_softmax_backward(const SoftmaxBatch& batch) {
  using T = compute_t<S>;
  const BatchStats<T> stats = batch_stats<S>(batch);
  PerRow<double> sum_of_grad;
  for (int row = 0; row < batch.rows; ++row) {
    const S* g = static_cast<const S*>(batch.grad_output[row]);
    sum_of_grad[row] = sum_row<T>(
        batch.classes, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA { return load(g + j, lanes, T(0)); });
  }
  SoftmaxScale<T> scale;
  for_each_group(batch.rows, [&](int first) LOGLOSS_INLINE_LAMBDA {
    scale.set_group(stats, first, Vec<double>(0.0) - sum_of_grad.group(first));
  });
  for (int row = 0; row < batch.rows; ++row) {
    const S* x = static_cast<const S*>(batch.input[row]);
    const S* g = static_cast<const S*>(batch.grad_output[row]);
    S* dx = static_cast<S*>(batch.output[row]);
    const typename SoftmaxScale<T>::Row scaled_softmax(scale, row);
    for_each_vector(batch.classes, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
      store(dx + j, lanes, scaled_softmax(load(x + j, lanes, T(0)), load(g + j, lanes, T(0))));
    });
  }
}

// dx = s (g - sum(g s)), s = softmax(x)
template <class S>
void softmax_backward(const SoftmaxBatch& batch) {
  using T = compute_t<S>;
  const BatchStats<T> stats = batch_stats<S>(batch);
  SoftmaxScale<T> scale;
  for_each_group(batch.rows, [&](int first) LOGLOSS_INLINE_LAMBDA { scale.set_group(stats, first, Vec<double>(1.0)); });
  for (int row = 0; row < batch.rows; ++row) {
    const S* x = static_cast<const S*>(batch.input[row]);
    const S* g = static_cast<const S*>(batch.grad_output[row]);
    S* dx = static_cast<S*>(batch.output[row]);
    const typename SoftmaxScale<T>::Row softmax_of(scale, row);
    // Added in float64: the few terms that make up the sum of a confident row would not average out in float.
    const double dot = sum_row<double>(batch.classes, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
      return widen(load(g + j, lanes, T(0))) * widen(softmax_of(load(x + j, lanes, T(0))));
    });
    const T dot_high = static_cast<T>(dot);
    const Vec<T> high(dot_high), low(static_cast<T>(dot - static_cast<double>(dot_high)));
    for_each_vector(batch.classes, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
      const Vec<T> s = softmax_of(load(x + j, lanes, T(0)));
      store(dx + j, lanes, s * ((load(g + j, lanes, T(0)) - high) - low));
    });
  }
}

// `value` rounded to the storage type.
template <class S>
inline double rounded(double value) {
  S stored;
  store_one(&stored, static_cast<compute_t<S>>(value));
  return static_cast<double>(load_one(&stored));
}

// max + l; an infinite maximum is the result itself, unless the row holds NaN.
template <class S>
void logsumexp(const RowValueBatch& batch) {
  const BatchStats<compute_t<S>> stats = batch_stats<S>(batch);
  PerRow<double> lse, sum;
  for_each_group(batch.rows, [&](int first) LOGLOSS_INLINE_LAMBDA {
    const Vec<double> max = stats.max.group(first);
    const Vec<double> limit = max + stats.rest.group(first);  // NaN where the row holds NaN
    lse.set_group(first, select(max - max == Vec<double>(0.0), max + stats.log_rest(first), limit));
    sum.set_group(first, stats.sum(first).high);
  });
  for (int row = 0; row < batch.rows; ++row) {
    const bool recompute = cancels(lse[row], stats.rest[row], sum[row]);
    const double precise = recompute ? precise_lse(static_cast<const S*>(batch.input[row]), batch.classes) : lse[row];
    batch.value[row] = rounded<S>(precise);
  }
}

// The limit of the softmax of a row with `ties` entries +inf (1/ties there, 0 elsewhere) or all -inf (0), times factor.
template <class S>
inline void write_softmax_limit(const S* x, std::int64_t classes, double max, double ties, double factor, S* dx) {
  using T = compute_t<S>;
  const T share = max > 0.0 ? static_cast<T>(factor / ties) : T(0);
  for_each_vector(classes, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
    const auto infinite = Vec<T>(FloatFormat<T>::kLargest) < load(x + j, lanes, T(0));
    store(dx + j, lanes, select(infinite, Vec<T>(share), Vec<T>(T(0))));
  });
}

// dx = g softmax(x), and its limit where the row is infinite.
template <class S>
void logsumexp_backward(const RowValueBatch& batch) {
  using T = compute_t<S>;
  const BatchStats<T> stats = batch_stats<S>(batch);
  PerRow<double> grad;
  for (int row = 0; row < batch.rows; ++row) grad[row] = batch.grad_output[row];
  SoftmaxScale<T> scale;
  for_each_group(batch.rows,
                 [&](int first) LOGLOSS_INLINE_LAMBDA { scale.set_group(stats, first, grad.group(first)); });
  for (int row = 0; row < batch.rows; ++row) {
    const S* x = static_cast<const S*>(batch.input[row]);
    S* dx = static_cast<S*>(batch.output[row]);
    const bool infinite = stats.max[row] - stats.max[row] != 0.0;
    if (infinite && stats.rest[row] == 0.0) {
      write_softmax_limit(x, batch.classes, stats.max[row], stats.ties[row], grad[row], dx);
      continue;
    }
    const typename SoftmaxScale<T>::Row scaled_softmax(scale, row);
    for_each_vector(batch.classes, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
      store(dx + j, lanes, scaled_softmax(load(x + j, lanes, T(0))));
    });
  }
}

}  // namespace logloss::LOGLOSS_LEVEL
