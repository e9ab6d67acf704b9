// SPDX-License-Identifier: BSD-3-Clause
// softmax, log_softmax and logsumexp of rows, and their gradients, all recomputed from the input.
//
// Per row: one sweep for the statistic, then one over the row again (in cache) that writes the result.
#pragma once

#include "common/args.h"
#include "cpu/precise_lse.h"
#include "cpu/row_batch.h"

namespace logloss::LOGLOSS_LEVEL {

// The statistics of all rows of a batch that has `input` and `classes`.
template <class S, class Batch>
inline BatchStats<compute_t<S>> batch_stats(const Batch& batch) {
  BatchStats<compute_t<S>> stats(batch.rows);
  for (int row = 0; row < batch.rows; ++row) {
    stats.set(row, row_stats(static_cast<const S*>(batch.input[row]), batch.classes, NoRowTerm{}));
  }
  return stats;
}

// y = (x - c) with c = max + l as high + low: the high part is subtracted exactly where the result is small.
template <class S>
void log_softmax(const SoftmaxBatch& batch) {
  using T = compute_t<S>;
  const BatchStats<T> stats = batch_stats<S>(batch);
  PerRow<T> high, low;
  for_each_group(batch.rows, [&](int first) LOGLOSS_INLINE_LAMBDA {
    const Vec<double> log_rest = stats.log_rest(first);
    const Vec<T> top = narrow<T>(stats.max.group(first) + log_rest);
    high.set_group(first, top);
    low.set_group(first, narrow<T>((stats.max.group(first) - widen(top)) + log_rest));
  });
  for (int row = 0; row < batch.rows; ++row) {
    const S* x = static_cast<const S*>(batch.input[row]);
    S* y = static_cast<S*>(batch.output[row]);
    const Vec<T> lse_high(high[row]), lse_low(low[row]);
    for_each_vector(batch.classes, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
      store(y + j, lanes, (load(x + j, lanes, T(0)) - lse_high) - lse_low);
    });
  }
}

template <class S>
void softmax(const SoftmaxBatch& batch) {
  using T = compute_t<S>;
  const BatchStats<T> stats = batch_stats<S>(batch);
  SoftmaxScale<T> scale;
  for_each_group(batch.rows, [&](int first) LOGLOSS_INLINE_LAMBDA { scale.set_group(stats, first, Vec<double>(1.0)); });
  for (int row = 0; row < batch.rows; ++row) {
    const S* x = static_cast<const S*>(batch.input[row]);
    S* y = static_cast<S*>(batch.output[row]);
    const typename SoftmaxScale<T>::Row softmax_of(scale, row);
    for_each_vector(batch.classes, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
      store(y + j, lanes, softmax_of(load(x + j, lanes, T(0))));
    });
  }
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
inline void write_softmax_limit(const S* x, std::int64_t classes, double max, std::int64_t ties, double factor, S* dx) {
  using T = compute_t<S>;
  const T share = max > 0.0 ? static_cast<T>(factor / static_cast<double>(ties)) : T(0);
  for_each_vector(classes, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
    const auto infinite = Vec<T>(FloatFormat<T>::kLargest) < load(x + j, lanes, T(0));
    store(dx + j, lanes, select(infinite, Vec<T>(share), Vec<T>(T(0))));
  });
}

// dx = g softmax(x), and its limit where the row is infinite.
template <class S>
void logsumexp_backward(const RowValueBatch& batch) {
  using T = compute_t<S>;
  BatchStats<T> stats(batch.rows);
  std::int64_t ties[kMaxRows];
  PerRow<double> grad;
  for (int row = 0; row < batch.rows; ++row) {
    const RowStats one = row_stats(static_cast<const S*>(batch.input[row]), batch.classes, NoRowTerm{});
    stats.set(row, one);
    ties[row] = one.ties;
    grad[row] = batch.grad_output[row];
  }
  SoftmaxScale<T> scale;
  for_each_group(batch.rows,
                 [&](int first) LOGLOSS_INLINE_LAMBDA { scale.set_group(stats, first, grad.group(first)); });
  for (int row = 0; row < batch.rows; ++row) {
    const S* x = static_cast<const S*>(batch.input[row]);
    S* dx = static_cast<S*>(batch.output[row]);
    const bool infinite = stats.max[row] - stats.max[row] != 0.0;
    if (infinite && stats.rest[row] == 0.0) {
      write_softmax_limit(x, batch.classes, stats.max[row], ties[row], grad[row], dx);
      continue;
    }
    const typename SoftmaxScale<T>::Row scaled_softmax(scale, row);
    for_each_vector(batch.classes, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
      store(dx + j, lanes, scaled_softmax(load(x + j, lanes, T(0))));
    });
  }
}

}  // namespace logloss::LOGLOSS_LEVEL
