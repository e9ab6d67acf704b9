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

// Each row of a batch is written while the next one is swept; in_turn(stats, writer, row): its RowInTurn.
template <bool kKeeps, class S, class InTurn>
LOGLOSS_INLINE void sweep_and_write_in_turn(const SoftmaxBatch& batch, const BatchRows<S>& rows, InTurn in_turn) {
  BatchStats<compute_t<S>> stats(batch.rows);
  RowSweeps<S, kKeeps> sweeps(rows, batch.second_sweep);
  const RowWriter<S> writer(rows, batch.second_sweep, batch.output);
  write_rows_in_turn(
      batch.rows, [&](int row) { stats.set(row, sweeps.row_stats(row, NoRowTerm{})); },
      [&](int row, const auto& write) {
        stats.set(row, sweeps.row_stats_beside(row, write));
        return true;
      },
      [&](int row) { return in_turn(stats, writer, row); });
}

// x - (high + low)
template <class T>
struct MinusPair {
  Vec<T> high, low;
  LOGLOSS_INLINE Vec<T> operator()(Vec<T> x) const { return (x - high) - low; }
};

// The logarithms of the sums of rows, c = max + l, as high + low: the high part is subtracted exactly where the result
// is small.
template <class T>
class LseOfRows {
 public:
  LOGLOSS_INLINE void set_group(const BatchStats<T>& stats, int first) {
    const Vec<double> log_rest = stats.rounded_log_rest(first);
    const Vec<T> top = narrow<T>(stats.max.group(first) + log_rest);
    high_.set_group(first, top);
    low_.set_group(first, narrow<T>((stats.max.group(first) - widen(top)) + log_rest));
  }
  LOGLOSS_INLINE MinusPair<T> minus(int row) const { return {Vec<T>(high_[row]), Vec<T>(low_[row])}; }
  LOGLOSS_INLINE MinusPair<T> minus_of_group(int first) const { return {high_.group(first), low_.group(first)}; }

 private:
  PerRow<T> high_, low_;
};

// y = x - c, of one row.
template <class S>
struct LogSoftmaxOfRow {
  const S* x;
  MinusPair<compute_t<S>> minus_lse;
  template <class Lanes>
  LOGLOSS_INLINE Vec<compute_t<S>> operator()(std::int64_t j, Lanes lanes) const {
    return minus_lse(load(x + j, lanes, compute_t<S>(0)));
  }
};

template <class S>
LOGLOSS_NOINLINE void log_softmax_in_turn(const SoftmaxBatch& batch) {
  using T = compute_t<S>;
  const BatchRows<S> rows(batch.input, batch.rows, batch.classes, 1);
  LseOfRows<T> lse;
  sweep_and_write_in_turn<false>(batch, rows, [&](const BatchStats<T>& stats, const RowWriter<S>& writer, int row) {
    lse.set_group(stats, row / kLanes * kLanes);
    return writer.in_turn(row, LogSoftmaxOfRow<S>{rows.row(row), lse.minus(row)});
  });
}

template <class S>
void log_softmax(const SoftmaxBatch& batch) {
  using T = compute_t<S>;
  if constexpr (kWrittenInTurn<S>) {
    if (batch.second_sweep.in_turn) return log_softmax_in_turn<S>(batch);
  }
  const BatchRows<S> rows(batch.input, batch.rows, batch.classes, batch.class_stride);
  const BatchStats<T> stats = stats_of_rows(rows, batch.second_sweep);
  LseOfRows<T> lse;
  for_each_group(batch.rows, [&](int first) LOGLOSS_INLINE_LAMBDA { lse.set_group(stats, first); });
  const RowWriter<S> writer(rows, batch.second_sweep, batch.output, batch.output_stride);
  const auto write_group = [&](int first) LOGLOSS_INLINE_LAMBDA {
    const MinusPair<T> minus_lse = lse.minus_of_group(first);
    writer.write_group(first, [&](std::int64_t, Vec<T> x) LOGLOSS_INLINE_LAMBDA { return minus_lse(x); });
  };
  const auto write_row = [&](int row) LOGLOSS_INLINE_LAMBDA {
    const MinusPair<T> minus_lse = lse.minus(row);
    writer.write(row, [&](std::int64_t, auto, Vec<T> x) LOGLOSS_INLINE_LAMBDA { return minus_lse(x); });
  };
  for_each_row_or_group(rows, write_row, write_group);
}

template <class S>
LOGLOSS_NOINLINE void softmax_in_turn(const SoftmaxBatch& batch) {
  using T = compute_t<S>;
  const BatchRows<S> rows(batch.input, batch.rows, batch.classes, 1);
  SoftmaxScale<T> scale;
  sweep_and_write_in_turn<true>(batch, rows, [&](const BatchStats<T>& stats, const RowWriter<S>& writer, int row) {
    scale.set_group(stats, row / kLanes * kLanes, Vec<double>(1.0));
    return writer.softmax_in_turn(row, scale);
  });
}

template <class S>
void softmax(const SoftmaxBatch& batch) {
  using T = compute_t<S>;
  if constexpr (kWrittenInTurn<S>) {
    if (batch.second_sweep.in_turn) return softmax_in_turn<S>(batch);
  }
  const BatchRows<S> rows(batch.input, batch.rows, batch.classes, batch.class_stride);
  const BatchStats<T> stats = stats_of_rows<true>(rows, batch.second_sweep);
  SoftmaxScale<T> scale;
  for_each_group(batch.rows, [&](int first) LOGLOSS_INLINE_LAMBDA { scale.set_group(stats, first, Vec<double>(1.0)); });
  const RowWriter<S> writer(rows, batch.second_sweep, batch.output, batch.output_stride);
  for_each_row_or_group(
      rows, [&](int row) LOGLOSS_INLINE_LAMBDA { writer.write_softmax(row, scale); },
      [&](int first) LOGLOSS_INLINE_LAMBDA { writer.write_softmax_group(first, scale); });
}

// dx = g - softmax(x) sum(g)
template <class S>
void log_softmax_backward(const SoftmaxBatch& batch) {
  using T = compute_t<S>;
  const BatchRows<S> rows(batch.input, batch.rows, batch.classes, 1);
  const BatchRows<S> grads(batch.grad_output, batch.rows, batch.classes, 1);
  const BatchStats<T> stats = stats_of_rows<true>(rows, batch.second_sweep);
  SoftmaxScale<T> scale;
  const RowWriter<S> writer(rows, batch.second_sweep, batch.output);
  const auto write_group = [&](int first) LOGLOSS_INLINE_LAMBDA {
    Vec<T> g[kTurnedRow];
    turn_rows(RowGroup<S>(grads, first), batch.classes, g);
    const auto g_of = [&](std::int64_t c) LOGLOSS_INLINE_LAMBDA { return g[c]; };
    scale.set_group(stats, first, Vec<double>(0.0) - sum_columns<T>(batch.classes, g_of));
    writer.with_softmax_of_group(first, scale, [&](const auto& softmax, auto exponential_of) LOGLOSS_INLINE_LAMBDA {
      writer.write_columns(first, [&](const Vec<T>* x, Vec<T>* result) LOGLOSS_INLINE_LAMBDA {
        for (std::int64_t c = 0; c < batch.classes; ++c) {
          result[c] = softmax.from_exponential(exponential_of(c, x[c]), g[c]);
        }
      });
    });
  };
  const auto write_row = [&](int row) LOGLOSS_INLINE_LAMBDA {
    const S* g = grads.row(row);
    writer.write_softmax(row, scale,
                         [&](const auto& softmax, Vec<T> e, std::int64_t j, auto lanes)
                             LOGLOSS_INLINE_LAMBDA { return softmax.from_exponential(e, load(g + j, lanes, T(0))); });
  };
  for_each_group(batch.rows, [&](int first) LOGLOSS_INLINE_LAMBDA {
    if (rows.few_classes(first)) return write_group(first);
    const int end = first + kLanes < batch.rows ? first + kLanes : batch.rows;
    PerLane<double> sum{};
    for (int row = first; row < end; ++row) {
      const S* g = grads.row(row);
      sum.lane[row - first] = sum_row<T>(
          batch.classes, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA { return load(g + j, lanes, T(0)); });
    }
    scale.set_group(stats, first, Vec<double>(0.0) - sum.all());
    for (int row = first; row < end; ++row) write_row(row);
  });
}

// dx = s (g - sum(g s)), s = softmax(x)
template <class S>
void softmax_backward(const SoftmaxBatch& batch) {
  using T = compute_t<S>;
  const BatchRows<S> rows(batch.input, batch.rows, batch.classes, 1);
  const BatchRows<S> grads(batch.grad_output, batch.rows, batch.classes, 1);
  const BatchStats<T> stats = stats_of_rows<true>(rows, batch.second_sweep);
  SoftmaxScale<T> scale;
  for_each_group(batch.rows, [&](int first) LOGLOSS_INLINE_LAMBDA { scale.set_group(stats, first, Vec<double>(1.0)); });
  const RowWriter<S> writer(rows, batch.second_sweep, batch.output);
  const auto write_group = [&](int first) LOGLOSS_INLINE_LAMBDA {
    Vec<T> g[kTurnedRow];
    turn_rows(RowGroup<S>(grads, first), batch.classes, g);
    writer.with_softmax_of_group(first, scale, [&](const auto& softmax_of, auto exponential_of) LOGLOSS_INLINE_LAMBDA {
      writer.write_columns(first, [&](const Vec<T>* x, Vec<T>* softmax) LOGLOSS_INLINE_LAMBDA {
        for (std::int64_t c = 0; c < batch.classes; ++c) {
          softmax[c] = softmax_of.from_exponential(exponential_of(c, x[c]));
        }
        const Vec<double> dot = sum_columns<T>(
            batch.classes, [&](std::int64_t c) LOGLOSS_INLINE_LAMBDA { return widen(g[c]) * widen(softmax[c]); });
        const Vec<T> high = narrow<T>(dot), low = narrow<T>(dot - widen(high));
        for (std::int64_t c = 0; c < batch.classes; ++c) softmax[c] = softmax[c] * ((g[c] - high) - low);
      });
    });
  };
  const auto write_row = [&](int row) LOGLOSS_INLINE_LAMBDA {
    const S* x = rows.row(row);
    const S* g = grads.row(row);
    writer.with_softmax(row, scale, [&](const auto& softmax_of, auto exponential_of) LOGLOSS_INLINE_LAMBDA {
      const auto softmax = [&](std::int64_t j, auto lanes, Vec<T> value) LOGLOSS_INLINE_LAMBDA {
        return softmax_of.from_exponential(exponential_of(j, lanes, value));
      };
      // Added in float64: the few terms that make up the sum of a confident row would not average out in float.
      const double dot = sum_row<double, T>(batch.classes, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
        return widen(load(g + j, lanes, T(0))) * widen(softmax(j, lanes, load(x + j, lanes, -kInfinity<T>)));
      });
      const T dot_high = static_cast<T>(dot);
      const Vec<T> high(dot_high), low(static_cast<T>(dot - static_cast<double>(dot_high)));
      writer.write(row, [&](std::int64_t j, auto lanes, Vec<T> value) LOGLOSS_INLINE_LAMBDA {
        return softmax(j, lanes, value) * ((load(g + j, lanes, T(0)) - high) - low);
      });
    });
  };
  for_each_group(batch.rows, [&](int first) LOGLOSS_INLINE_LAMBDA {
    if (rows.few_classes(first)) return write_group(first);
    for (int row = first; row < batch.rows && row < first + kLanes; ++row) write_row(row);
  });
}

// `value` rounded to the storage type.
template <class S>
inline double rounded(double value) {
  S stored;
  store_one(&stored, static_cast<compute_t<S>>(value));
  return static_cast<double>(load_one(&stored));
}

// precise_lse of 16 rows of few classes, addition by addition.
template <class S>
LOGLOSS_NOINLINE Vec<double> precise_lse_of_group(const BatchRows<S>& rows, int first) {
  const Vec<double> zero(0.0);
  Vec<compute_t<S>> column[kTurnedRow];
  turn_rows(RowGroup<S>(rows, first), rows.classes(), column);
  VecPair<double> high[kLanes];
  Vec<double> low[kLanes];
  for (int i = 0; i < kLanes && i < rows.classes(); ++i) {
    const VecPair<double> e = exp_pair(widen(column[i]));
    high[i] = {e.high, zero};
    low[i] = e.low;
    if (i + kLanes < rows.classes()) {
      const VecPair<double> more = exp_pair(widen(column[i + kLanes]));
      high[i] = two_sum(e.high, more.high);
      low[i] = low[i] + more.low;
    }
  }
  const auto sum_of = [&](auto f) LOGLOSS_INLINE_LAMBDA { return add_lanes(rows.classes(), f); };
  const auto lost_of = [&](int i) LOGLOSS_INLINE_LAMBDA { return high[i].low; };
  const auto high_of = [&](int i) LOGLOSS_INLINE_LAMBDA { return high[i].high; };
  const auto low_of = [&](int i) LOGLOSS_INLINE_LAMBDA { return low[i]; };
  const VecPair<double> sum = add_lanes_exactly(rows.classes(), high_of, sum_of(lost_of));
  const Vec<double> rest = sum.low + sum_of(low_of);
  return log(sum.high) + rest / sum.high;
}

// max + l; an infinite maximum is the result itself, unless the row holds NaN.
template <class S>
void logsumexp(const RowValueBatch& batch) {
  const BatchRows<S> rows(batch.input, batch.rows, batch.classes, 1);
  const BatchStats<compute_t<S>> stats = stats_of_rows(rows, batch.second_sweep);
  PerRow<double> lse, sum;
  for_each_group(batch.rows, [&](int first) LOGLOSS_INLINE_LAMBDA {
    const Vec<double> max = stats.max.group(first);
    const Vec<double> limit = max + stats.rest.group(first);  // NaN where the row holds NaN
    lse.set_group(first, select(max - max == Vec<double>(0.0), max + stats.rounded_log_rest(first), limit));
    sum.set_group(first, stats.sum(first).high);
  });
  for_each_group(batch.rows, [&](int first) LOGLOSS_INLINE_LAMBDA {
    PerLane<double> precise;
    bool known = false;
    for (int row = first; row < batch.rows && row < first + kLanes; ++row) {
      if (!cancels(stats.max[row], lse[row], stats.rest[row], sum[row])) continue;
      if (!rows.few_classes(first)) {
        lse[row] = precise_lse(rows.row(row), batch.classes);
        continue;
      }
      if (!known) precise.set(precise_lse_of_group(rows, first));
      known = true;
      lse[row] = precise.lane[row - first];
    }
  });
  for (int row = 0; row < batch.rows; ++row) batch.value[row] = rounded<S>(lse[row]);
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
  const auto write_row = [&](int row) {
    const bool infinite = stats.max[row] - stats.max[row] != 0.0;
    if (!infinite || stats.rest[row] != 0.0) return writer.write_softmax(row, scale);
    const Vec<T> share(stats.max[row] > 0.0 ? static_cast<T>(grad[row] / stats.ties[row]) : T(0));
    writer.write(row, [&](std::int64_t, auto, Vec<T> x) LOGLOSS_INLINE_LAMBDA {
      return select(Vec<T>(FloatFormat<T>::kLargest) < x, share, Vec<T>(T(0)));
    });
  };
  for_each_group(batch.rows, [&](int first) LOGLOSS_INLINE_LAMBDA {
    const Vec<double> max = stats.max.group(first);
    const bool all_finite = count(max - max == Vec<double>(0.0)) == kLanes;
    if (rows.turned(first) && all_finite) return writer.write_softmax_group(first, scale);
    for (int row = first; row < batch.rows && row < first + kLanes; ++row) write_row(row);
  });
}

}  // namespace logloss::LOGLOSS_LEVEL
