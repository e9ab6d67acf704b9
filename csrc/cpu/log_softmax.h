// SPDX-License-Identifier: BSD-3-Clause
// softmax, log_softmax and logsumexp of rows, and their gradients, all recomputed from the input.
//
// Per row: one sweep for the statistic, then one over the row again (in cache) that writes the result.
#pragma once

#include "common/args.h"
#include "cpu/precise_lse.h"
#include "cpu/row_writer.h"

namespace logloss::LOGLOSS_LEVEL {

// The statistics of all rows of a batch of contiguous rows.
template <class S, class Batch>
inline BatchStats<compute_t<S>> batch_stats(const Batch& batch) {
  return stats_of_rows(BatchRows<S>(batch.input, batch.rows, batch.classes, 1), batch.second_sweep);
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
  const BatchStats<T> stats = stats_of_rows(rows, batch.second_sweep);
  PerRow<T> high, low;
  for_each_group(batch.rows, [&](int first) LOGLOSS_INLINE_LAMBDA {
    const Vec<double> log_rest = stats.rounded_log_rest(first);
    const Vec<T> top = narrow<T>(stats.max.group(first) + log_rest);
    high.set_group(first, top);
    low.set_group(first, narrow<T>((stats.max.group(first) - widen(top)) + log_rest));
  });
  const RowWriter<S> writer(rows, batch.second_sweep, batch.output);
  const auto write_group = [&](int first) LOGLOSS_INLINE_LAMBDA {
    writer.write_group(first, MinusPair<T>{high.group(first), low.group(first)});
  };
  const auto write_row = [&](int row) LOGLOSS_INLINE_LAMBDA {
    const MinusPair<T> minus_lse{Vec<T>(high[row]), Vec<T>(low[row])};
    writer.write(row, [&](std::int64_t, auto, Vec<T> x) LOGLOSS_INLINE_LAMBDA { return minus_lse(x); });
  };
  for_each_row_or_group(rows, write_row, write_group);
}

template <class S>
void softmax(const SoftmaxBatch& batch) {
  using T = compute_t<S>;
  const BatchRows<S> rows(batch.input, batch.rows, batch.classes, batch.class_stride);
  const BatchStats<T> stats = stats_of_rows<true>(rows, batch.second_sweep);
  SoftmaxScale<T> scale;
  for_each_group(batch.rows, [&](int first) LOGLOSS_INLINE_LAMBDA { scale.set_group(stats, first, Vec<double>(1.0)); });
  const RowWriter<S> writer(rows, batch.second_sweep, batch.output);
  for_each_row_or_group(
      rows, [&](int row) LOGLOSS_INLINE_LAMBDA { writer.write_softmax(row, stats, scale); },
      [&](int first) LOGLOSS_INLINE_LAMBDA { writer.write_softmax_group(first, stats, scale); });
}

// dx = g - softmax(x) sum(g)
template <class S>
void log_softmax_backward(const SoftmaxBatch& batch) {
  using T = compute_t<S>;
  const BatchRows<S> rows(batch.input, batch.rows, batch.classes, 1);
  const BatchStats<T> stats = stats_of_rows<true>(rows, batch.second_sweep);
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
  const RowWriter<S> writer(rows, batch.second_sweep, batch.output);
  for (int row = 0; row < batch.rows; ++row) {
    const S* g = static_cast<const S*>(batch.grad_output[row]);
    writer.write_softmax(row, stats, scale,
                         [&](const auto& scaled_softmax, const auto& parts, std::int64_t j, auto lanes)
                             LOGLOSS_INLINE_LAMBDA { return scaled_softmax(parts, load(g + j, lanes, T(0))); });
  }
}

// dx = s (g - sum(g s)), s = softmax(x)
template <class S>
void softmax_backward(const SoftmaxBatch& batch) {
  using T = compute_t<S>;
  const BatchRows<S> rows(batch.input, batch.rows, batch.classes, 1);
  const BatchStats<T> stats = stats_of_rows<true>(rows, batch.second_sweep);
  SoftmaxScale<T> scale;
  for_each_group(batch.rows, [&](int first) LOGLOSS_INLINE_LAMBDA { scale.set_group(stats, first, Vec<double>(1.0)); });
  const RowWriter<S> writer(rows, batch.second_sweep, batch.output);
  for (int row = 0; row < batch.rows; ++row) {
    const S* x = rows.row(row);
    const S* g = static_cast<const S*>(batch.grad_output[row]);
    const typename SoftmaxScale<T>::Row softmax_of(scale, row);
    // Added in float64: the few terms that make up the sum of a confident row would not average out in float.
    const double dot = sum_row<double, T>(batch.classes, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
      return widen(load(g + j, lanes, T(0))) * widen(softmax_of(load(x + j, lanes, T(0))));
    });
    const T dot_high = static_cast<T>(dot);
    const Vec<T> high(dot_high), low(static_cast<T>(dot - static_cast<double>(dot_high)));
    writer.write_softmax(row, stats, scale,
                         [&](const auto& softmax, const auto& parts, std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
                           return softmax(parts) * ((load(g + j, lanes, T(0)) - high) - low);
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

// dx = g softmax(x). Where the row is infinite, its limit: g / ties at each of the `ties` entries +inf, 0 elsewhere.
template <class S>
void logsumexp_backward(const RowValueBatch& batch) {
  using T = compute_t<S>;
  const BatchRows<S> rows(batch.input, batch.rows, batch.classes, 1);
  const BatchStats<T> stats = stats_of_rows<true>(rows, batch.second_sweep);
  PerRow<double> grad;
  for (int row = 0; row < batch.rows; ++row) grad[row] = batch.grad_output[row];
  SoftmaxScale<T> scale;
  for_each_group(batch.rows,
                 [&](int first) LOGLOSS_INLINE_LAMBDA { scale.set_group(stats, first, grad.group(first)); });
  const RowWriter<S> writer(rows, batch.second_sweep, batch.output);
  for (int row = 0; row < batch.rows; ++row) {
    const bool infinite = stats.max[row] - stats.max[row] != 0.0;
    if (!infinite || stats.rest[row] != 0.0) {
      writer.write_softmax(row, stats, scale);
      continue;
    }
    const Vec<T> share(stats.max[row] > 0.0 ? static_cast<T>(grad[row] / stats.ties[row]) : T(0));
    writer.write(row, [&](std::int64_t, auto, Vec<T> x) LOGLOSS_INLINE_LAMBDA {
      return select(Vec<T>(FloatFormat<T>::kLargest) < x, share, Vec<T>(T(0)));
    });
  }
}

}  // namespace logloss::LOGLOSS_LEVEL
