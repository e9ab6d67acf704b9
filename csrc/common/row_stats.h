// SPDX-License-Identifier: BSD-3-Clause
// What a row is reduced to, and how two parts of a row are joined. Knows neither vectors nor threads.
#pragma once

#include <cstdint>

#include "common/platform.h"

namespace logloss {

// With K = exponent, an integer near max log2 e, and a fixed headroom H:
//   sum_j e^(x_j - shift) = 2^(K - H) (rest + 2^(H - K) e^(max - shift)),
// where `rest` leaves one occurrence of the maximum out, so that log1p(rest / e_max) does not cancel however
// confident the row is. `shift` is 0, or the maximum where that is too large for the range reduction of e^x.
//   all -inf: max = -inf, rest = 0.   +inf anywhere: max = +inf, rest = 0.   NaN anywhere: rest = NaN.
// For coefficients v_j (class weights or probabilities): linear = sum_j v_j (max - x_j), mass = sum_j v_j.
struct RowStats {
  double max;
  double shift;
  double exponent;
  double rest;
  double rest_low;  // what rounding took from `rest`, where the sum is kept in two parts (float64 rows)
  double linear;
  double mass;
  std::int64_t ties;  // how many elements equal the maximum
};

namespace LOGLOSS_LEVEL {

// `linear` and `mass` about one maximum, and about a larger one: sum v (M - x) = sum v (m - x) + (M - m) sum v.
// For v >= 0 every term is non-negative: nothing cancels.
struct LinearSums {
  double max;
  double linear;
  double mass;

  LOGLOSS_HD void move_to(double larger_max) {
    if (mass != 0.0 && larger_max > max) linear += (larger_max - max) * mass;
    max = larger_max;
  }
  LOGLOSS_HD void add(LinearSums other) {
    if (other.max > max) {
      move_to(other.max);
    } else {
      other.move_to(max);
    }
    linear += other.linear;
    mass += other.mass;
  }
};

}  // namespace LOGLOSS_LEVEL
}  // namespace logloss
