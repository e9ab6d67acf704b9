// SPDX-License-Identifier: BSD-3-Clause
// The coefficients of a row's linear sums: of label smoothing, class weights and class probabilities.
#pragma once

#include <type_traits>

#include "cpu/row.h"

namespace logloss::LOGLOSS_LEVEL {

// The coefficients v_j of a row's linear sums, sum_j v_j (max - x_j) and sum_j v_j. For v_j >= 0 nothing cancels in
// them, so terms of type T do, added tile by tile in that type, where v_j itself is exact in T; other coefficients are
// formed and added in float64. (2048 x 32000 on AVX-512, one thread: label smoothing took 54 ms with all terms in
// float64, and takes 17 so, probabilities 61 and 23.)

// None: plain softmax statistics.
struct NoRowTerm {
  static constexpr bool kPresent = false;
};

// v_j = 1: label smoothing.
template <class T>
struct UnitTerm {
  using Number = T;
  static constexpr bool kPresent = true, kUnit = true;
  LOGLOSS_INLINE Vec<T> operator()(std::int64_t, AllLanes) const { return Vec<T>(T(1)); }
  LOGLOSS_INLINE Vec<T> operator()(std::int64_t, FirstLanes lanes) const { return load(kOnes, lanes, T(0)); }
  LOGLOSS_INLINE void ask_ahead(std::int64_t, const Prefetch&) const {}

 private:
  static constexpr T kOnes[kLanes] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
};

// v_j as it stands: class weights, for label smoothing, or class probabilities.
template <class V>
struct StoredTerm {
  using Number = compute_t<V>;
  static constexpr bool kPresent = true, kUnit = false;
  const V* v;
  template <class Lanes>
  LOGLOSS_INLINE Vec<Number> operator()(std::int64_t j, Lanes lanes) const {
    return load(v + j, lanes, Number(0));
  }
  LOGLOSS_INLINE void ask_ahead(std::int64_t tile, const Prefetch& prefetch) const {
    prefetch_tile(v + tile, prefetch);
  }
};

// v_j = weight_j (scale p_j + offset): class probabilities p, weighted or smoothed.
template <class S>
struct ProbabilityTerm {
  using T = compute_t<S>;
  using Number = double;
  static constexpr bool kPresent = true, kUnit = false;
  const S* probs;
  const T* weight;  // null: 1
  double scale;
  double offset;
  template <class Lanes>
  LOGLOSS_INLINE Vec<double> operator()(std::int64_t j, Lanes lanes) const {
    const Vec<double> p = widen(load(probs + j, lanes, T(0)));
    const Vec<double> smoothed = fma(p, Vec<double>(scale), Vec<double>(offset));
    const auto weighted = [&](Vec<T> weights) LOGLOSS_INLINE_LAMBDA { return smoothed * widen(weights); };
    return weight ? weighted(load(weight + j, lanes, T(0))) : weighted(UnitTerm<T>{}(j, lanes));
  }
  LOGLOSS_INLINE void ask_ahead(std::int64_t tile, const Prefetch& prefetch) const {
    prefetch_tile(probs + tile, prefetch);
  }
};

// v (anchor - x), in the type of v.
template <class Number, class T>
LOGLOSS_INLINE Vec<Number> linear_term(Vec<Number> v, Vec<T> anchor, Vec<T> x) {
  if constexpr (std::is_same_v<Number, T>) {
    return v * (anchor - x);
  } else {
    return v * (widen(anchor) - widen(x));
  }
}
// The same where v = 0 counts for nothing, at x = -inf too.
template <class Number, class T>
LOGLOSS_INLINE Vec<Number> counted_linear_term(Vec<Number> v, Vec<T> anchor, Vec<T> x) {
  return clear(v == Vec<Number>(Number(0)), linear_term(v, anchor, x));
}

}  // namespace logloss::LOGLOSS_LEVEL
