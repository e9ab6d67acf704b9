// SPDX-License-Identifier: BSD-3-Clause
// Sums and statistics of 16 rows at once, one row in each lane, from their columns: for rows too short to fill the
// lanes with their classes, and for classes that are not neighbours in memory. The additions are those of row_sweep.h
// and row.h in the same order, and so are the bits. (On AVX-512, one thread, against row by row: cross_entropy of
// float64 rows of 2, 10 and 30 classes takes 0.15, 0.32 and 0.45 of the time.)
#pragma once

#include "cpu/row_batch.h"

namespace logloss::LOGLOSS_LEVEL {

// What sweep_chunk makes of rows of finite maxima that need no shift, lane by lane.
template <class T>
struct LaneStats {
  Vec<T> max, exponent, ties;
  Vec<double> rest, rest_low;  // rest_low: of float64 rows
  Vec<double> linear, mass;    // where there are coefficients
};

// The coefficients of the linear sums of 16 rows, class by class; see row_terms.h.

struct NoColumnTerm {
  static constexpr bool kPresent = false;
};

// The same v_c in all rows; null: 1.
template <class T>
struct SharedColumnTerm {
  static constexpr bool kPresent = true;
  const T* v;
  LOGLOSS_INLINE Vec<double> operator()(std::int64_t c) const {
    return Vec<double>(v ? static_cast<double>(v[c]) : 1.0);
  }
  LOGLOSS_INLINE Vec<T> rounded(std::int64_t c) const { return Vec<T>(v ? v[c] : T(1)); }
};

template <class T>
struct StoredColumnTerm {
  static constexpr bool kPresent = true;
  const Vec<T>* v;
  LOGLOSS_INLINE Vec<double> operator()(std::int64_t c) const { return widen(v[c]); }
  LOGLOSS_INLINE Vec<T> rounded(std::int64_t c) const { return v[c]; }
};

// weight_c (scale p_c + offset)
template <class T>
struct ProbabilityColumnTerm {
  static constexpr bool kPresent = true;
  const Vec<T>* probs;
  const T* weight;  // null: 1
  double scale;
  double offset;
  LOGLOSS_INLINE Vec<double> operator()(std::int64_t c) const {
    const Vec<double> smoothed = fma(widen(probs[c]), Vec<double>(scale), Vec<double>(offset));
    return smoothed * Vec<double>(weight ? static_cast<double>(weight[c]) : 1.0);
  }
  LOGLOSS_INLINE Vec<T> rounded(std::int64_t c) const { return narrow<T>((*this)(c)); }
};

// The lanes of a vector one by one.
template <class T>
struct PerLane {
  alignas(64) T lane[kLanes];
  LOGLOSS_INLINE void set(Vec<T> all) { store(lane, all); }
  LOGLOSS_INLINE Vec<T> all() const { return load(lane); }
};

// The grad_scale_of 16 rows.
template <class Batch>
LOGLOSS_INLINE Vec<double> grad_scale_of_group(const Batch& batch, int first) {
  if (!batch.grad_rows) return Vec<double>(batch.grad_scale);
  PerLane<double> scale;
  for (int i = 0; i < kLanes; ++i) scale.lane[i] = first + i < batch.rows ? grad_scale_of(batch, first + i) : 0.0;
  return scale.all();
}

// Whether all rows are such.
template <class T>
LOGLOSS_INLINE bool plain_maxima(Vec<T> max) {
  const Vec<T> limit(kLargestUnshifted<T>);
  return count(max == max) == kLanes && !any(limit < max) && !any(max < Vec<T>(T(0)) - limit);
}

// Their reference_exponent.
template <class T>
LOGLOSS_INLINE Vec<T> exponents_of(Vec<T> max) {
  return round_to_integer(max * Vec<T>(ExpConstants<T>::kLog2e));
}

// What the largest of the columns column(0), ... of a group make of their statistics; false, if a row needs a shift or
// has no finite maximum.
template <class T, class Column>
LOGLOSS_INLINE bool take_maxima(std::int64_t classes, Column column, LaneStats<T>* stats) {
  Vec<T> m0 = column(0), m1 = m0;
  std::int64_t c = 1;
  for (; c + 1 < classes; c += 2) {
    m0 = max(m0, column(c));
    m1 = max(m1, column(c + 1));
  }
  if (c < classes) m0 = max(m0, column(c));
  stats->max = max(m0, m1);
  if (!plain_maxima(stats->max)) return false;
  stats->exponent = exponents_of(stats->max);
  stats->ties = Vec<T>(T(0));
  return true;
}

// The terms of the rows' sums, and how often the maxima were met.
template <class T>
class ColumnExponentials {
 public:
  LOGLOSS_INLINE explicit ColumnExponentials(const LaneStats<T>& stats) : exp_(stats.exponent), max_(stats.max) {}
  // Of column c; `keep` as ChunkSweep takes it.
  template <class Keep>
  LOGLOSS_INLINE Vec<T> operator()(std::int64_t c, Vec<T> value, Keep keep) {
    const auto is_max = value == max_;
    ties_ = select(is_max, ties_ + Vec<T>(T(1)), ties_);
    const Vec<T> e = exp_(value);
    keep(c * kLanes, AllLanes{}, e);
    return clear(is_max, e);
  }
  LOGLOSS_INLINE Vec<T> ties() const { return ties_; }

 private:
  const ScaledExp<T> exp_;
  const Vec<T> max_;
  Vec<T> ties_{T(0)};
};

// The sums over the rows in the order of reduce_add: lane(i) is what virtual lane i of a contiguous row would hold, for
// each of the rows. Lanes that hold nothing are left out: adding their zero is exact.
template <int kStride = 1, class Lane>
LOGLOSS_INLINE auto add_lanes(std::int64_t lanes, Lane& lane, int first = 0) {
  if constexpr (kStride == kLanes) {
    return lane(first);
  } else {
    const auto sum = add_lanes<2 * kStride>(lanes, lane, first);
    if (first + kStride >= lanes) return sum;
    return sum + add_lanes<2 * kStride>(lanes, lane, first + kStride);
  }
}

// The same in the order of reduce_add_exactly, to whose lower part `low` belongs.
template <class Lane>
LOGLOSS_INLINE VecPair<double> add_lanes_exactly(std::int64_t lanes, Lane& lane, Vec<double> low = Vec<double>(0.0)) {
  Vec<double> sum[kLanes];
  for (int i = 0; i < kLanes && i < lanes; ++i) sum[i] = lane(i);
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half && i + half < lanes; ++i) {
      const VecPair<double> both = two_sum(sum[i], sum[i + half]);
      sum[i] = both.high;
      low = low + both.low;
    }
  }
  return {sum[0], select(low == low, low, Vec<double>(0.0))};
}

// What total() makes of the sum_row of each of 16 rows of at most 2 kLanes classes: the sum of f(c).
template <class T, class F>
LOGLOSS_INLINE Vec<double> sum_columns(std::int64_t classes, F f) {
  Vec<double> held[kLanes];
  for (int i = 0; i < kLanes && i < classes; ++i) {
    auto sum = f(i);
    if (i + kLanes < classes) sum = sum + f(i + kLanes);
    held[i] = Vec<double>(0.0) + widen(sum);  // as LaneSum: never -0
  }
  const auto lane = [&](int i) LOGLOSS_INLINE_LAMBDA { return held[i]; };
  if constexpr (sizeof(T) == sizeof(float)) {
    return add_lanes(classes, lane);
  } else {
    const VecPair<double> sum = add_lanes_exactly(classes, lane);
    return sum.high + sum.low;
  }
}

template <class T, class Lane>
LOGLOSS_INLINE void set_rest(std::int64_t classes, Lane lane, LaneStats<T>* stats) {
  if constexpr (sizeof(T) == sizeof(float)) {
    stats->rest = add_lanes(classes, lane).lanes();
  } else {
    const auto lanes = [&](int i) LOGLOSS_INLINE_LAMBDA { return lane(i).lanes(); };
    const VecPair<double> rest = add_lanes_exactly(classes, lanes);
    stats->rest = rest.high;
    stats->rest_low = rest.low;
  }
}

// The linear sums of 16 rows of at most 2 kLanes classes.
template <class T, class Term>
LOGLOSS_INLINE void set_linear_sums(const Vec<T>* column, std::int64_t classes, Term term, LaneStats<T>* stats) {
  // What is compensated in float64 rows is not used of these; see SummedLinearTiles.
  stats->mass = sum_columns<float>(classes, term);
  stats->linear = sum_columns<float>(classes, [&](std::int64_t c) LOGLOSS_INLINE_LAMBDA {
    return counted_linear_term(term(c), stats->max, column[c]);
  });
}

// The statistics of 16 rows of at most 2 kLanes classes, which fill a virtual lane twice at most.
template <class T, class Keep>
LOGLOSS_NOINLINE bool sweep_few_columns(const Vec<T>* column, std::int64_t classes, Keep keep, LaneStats<T>* stats) {
  if (!take_maxima(classes, [&](std::int64_t c) LOGLOSS_INLINE_LAMBDA { return column[c]; }, stats)) return false;
  ColumnExponentials<T> term(*stats);
  const auto lane = [&](int i) LOGLOSS_INLINE_LAMBDA {
    const NonNegativeSum<T> once(term(i, column[i], keep));
    return i + kLanes < classes ? once + NonNegativeSum<T>(term(i + kLanes, column[i + kLanes], keep)) : once;
  };
  set_rest(classes, lane, stats);
  stats->ties = term.ties();
  return true;
}

// Of at most a tile.
template <class T, class Column, class Keep>
LOGLOSS_INLINE bool sweep_columns(std::int64_t classes, Column column, Keep keep, LaneStats<T>* stats) {
  if (!take_maxima(classes, column, stats)) return false;
  ColumnExponentials<T> term(*stats);
  using Sum = NonNegativeSum<T>;
  Sum sum[kLanes];
  for (int i = 0; i < kLanes && i < classes; ++i) {
    Sum slot[8];
    int s = 0;
    for (std::int64_t c = i; c < classes; c += kLanes) slot[s++] = Sum(term(c, column(c), keep));
    for (; s < 8; ++s) slot[s] = Sum(Vec<T>(T(0)));
    sum[i] = tree_sum(slot);
  }
  const auto lane = [&](int i) LOGLOSS_INLINE_LAMBDA { return sum[i]; };
  set_rest(classes, lane, stats);
  stats->ties = term.ties();
  return true;
}

}  // namespace logloss::LOGLOSS_LEVEL
