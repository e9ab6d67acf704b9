// SPDX-License-Identifier: BSD-3-Clause
// Sums of numbers that are not negative, lane by lane, in float64 from the first addition on: where one exponential of
// a row outweighs all others, every float32 addition that it passes may round by half an ulp of the loss.
//
// AVX2 and AVX-512 have no cheap conversion: the halves of a register are cut and converted in 5 operations (Zen 4),
// and two more add them. But the bits of a float, moved up by 29 places, are those of a double 2^896 times smaller, and
// the floats that share 64 bits may as well go to different registers: 3 operations do. (cross_entropy of rows of 4096
// in L2 on Zen 4, AVX-512 and AVX2, to sums of tiles in float32: 1.41 and 1.26 of the time with conversions, 1.18
// and 1.19 so.)
#pragma once

#include "cpu/simd.h"

namespace logloss::LOGLOSS_LEVEL {

template <class T>
class NonNegativeSum {
 public:
  LOGLOSS_INLINE NonNegativeSum() : sum_(0.0) {}
  LOGLOSS_INLINE explicit NonNegativeSum(Vec<T> a) {
    if constexpr (kSpread) {
      Native<T>::spread(a.reg, sum_.reg);
    } else {
      sum_ = widen(a);
    }
  }
  friend LOGLOSS_INLINE NonNegativeSum operator+(NonNegativeSum a, const NonNegativeSum& b) {
    a.sum_ = a.sum_ + b.sum_;
    return a;
  }

  LOGLOSS_INLINE Vec<double> lanes() const {
    if constexpr (kSpread) {
      Vec<double> lanes;
      Native<T>::gather(sum_.reg, lanes.reg);
      return select(lanes < Vec<double>(kNotFinite), lanes * Vec<double>(kScale), Vec<double>(__builtin_nan("")));
    } else {
      return sum_;
    }
  }
  // reduce_add(lanes()); `not_finite` if one of the numbers was not.
  LOGLOSS_INLINE double total(double not_finite = __builtin_nan("")) const {
    if constexpr (kSpread) {
      const double total = Native<T>::reduce_add_spread(sum_.reg);
      return total < kNotFinite ? total * kScale : not_finite;
    } else {
      return reduce_add(sum_);
    }
  }

 private:
  static constexpr bool kSpread = kSpreads && sizeof(T) == sizeof(float);
  static constexpr double kScale = 0x1p896;
  // What an infinity or NaN becomes, at least; sums below 2^127 stay below it.
  static constexpr double kNotFinite = 0x1p-768;

  Vec<double> sum_;
};

}  // namespace logloss::LOGLOSS_LEVEL
