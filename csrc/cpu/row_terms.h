// SPDX-License-Identifier: BSD-3-Clause
// The coefficients of a row's linear sums: of label smoothing, class weights and class probabilities.
#pragma once

#include <type_traits>

#include "cpu/row.h"

namespace logloss::LOGLOSS_LEVEL {

// The coefficients v_j of a row's linear sums, sum_j v_j (max - x_j) and sum_j v_j: the differences are rounded in the
// type of the row, all else is in float64. rounded<T>(j, lanes) is v_j in the type of a gradient.

// None: plain softmax statistics.
struct NoRowTerm {
  static constexpr bool kPresent = false, kUnit = false;
};

// v_j = 1: label smoothing. The second sum is the number of elements.
struct UnitTerm {
  static constexpr bool kPresent = true, kUnit = true;
  template <class T, class Lanes>
  LOGLOSS_INLINE Vec<T> rounded(std::int64_t, Lanes) const {
    return Vec<T>(T(1));
  }
  LOGLOSS_INLINE void ask_ahead(std::int64_t, const Prefetch&) const {}
};

// v_j as it stands: class weights, for label smoothing, or class probabilities.
template <class V>
struct StoredTerm {
  static constexpr bool kPresent = true, kUnit = false;
  const V* v;
  template <class Lanes>
  LOGLOSS_INLINE Vec<double> operator()(std::int64_t j, Lanes lanes) const {
    return widen(load(v + j, lanes, compute_t<V>(0)));
  }
  template <class T, class Lanes>
  LOGLOSS_INLINE Vec<T> rounded(std::int64_t j, Lanes lanes) const {
    return load(v + j, lanes, T(0));
  }
  LOGLOSS_INLINE void ask_ahead(std::int64_t tile, const Prefetch& prefetch) const {
    prefetch_tile(v + tile, prefetch);
  }
};

// v_j = weight_j (scale p_j + offset): class probabilities p, weighted or smoothed.
template <class S>
struct ProbabilityTerm {
  using T = compute_t<S>;
  static constexpr bool kPresent = true, kUnit = false;
  const S* probs;
  const T* weight;  // null: 1
  double scale;
  double offset;
  template <class Lanes>
  LOGLOSS_INLINE Vec<double> operator()(std::int64_t j, Lanes lanes) const {
    const Vec<double> p = widen(load(probs + j, lanes, T(0)));
    const Vec<double> smoothed = fma(p, Vec<double>(scale), Vec<double>(offset));
    return smoothed * widen(weight ? load(weight + j, lanes, T(0)) : load(kOnes, lanes, T(0)));
  }
  template <class, class Lanes>
  LOGLOSS_INLINE Vec<T> rounded(std::int64_t j, Lanes lanes) const {
    return narrow<T>((*this)(j, lanes));
  }
  LOGLOSS_INLINE void ask_ahead(std::int64_t tile, const Prefetch& prefetch) const {
    prefetch_tile(probs + tile, prefetch);
  }

 private:
  static constexpr T kOnes[kLanes] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
};

// v (anchor - x)
template <class T>
LOGLOSS_INLINE Vec<double> linear_term(Vec<double> v, Vec<T> anchor, Vec<T> x) {
  return v * widen(anchor - x);
}
// The same where v = 0 counts for nothing, at x = -inf too.
template <class T>
LOGLOSS_INLINE Vec<double> counted_linear_term(Vec<double> v, Vec<T> anchor, Vec<T> x) {
  return clear(v == Vec<double>(0.0), linear_term(v, anchor, x));
}

}  // namespace logloss::LOGLOSS_LEVEL
