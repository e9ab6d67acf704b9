// SPDX-License-Identifier: BSD-3-Clause
// The logistic functions of x, all from e = e^-|x|, which neither overflows nor cancels:
//   log1p(e)       log(1 + e^-x) = max(-x, 0) + log1p(e)
//   q = e/(1+e)    sigmoid(-|x|); sigmoid(|x|) = 1 - q
// Both are pairs within 0.5 ulp, subnormal results excepted, which are within 1.5 ulp.
#pragma once

#include "cpu/elements.h"
#include "cpu/vec_math.h"

namespace logloss::LOGLOSS_LEVEL {

// log(1 + f) on [-1/4, 1/2], in the forms of LogConstants.
template <class T>
struct Log1pOfUnitConstants;

template <>
struct Log1pOfUnitConstants<float> {
  // To 0.07 ulp.
  static constexpr float q[] = {-0.5f,          0x1.555588p-2f,  -0x1.fffeb8p-3f, 0x1.996df8p-3f, -0x1.552f96p-3f,
                                0x1.28d216p-3f, -0x1.0b992cp-3f, 0x1.a0fd1cp-4f,  -0x1.5f4cfcp-5f};
  static constexpr float kLowest = -105.0f;  // e^x = 0 up to here
  static constexpr float kNormal = 87.0f;    // e^-x is a normal number up to here
};

template <>
struct Log1pOfUnitConstants<double> {
  // To 0.002 ulp.
  static constexpr double q[] = {0x1.555555555554fp-1, 0x1.999999999c14bp-2, 0x1.24924921e89c2p-2,
                                 0x1.c71c748b118cbp-3, 0x1.745c4c1640e3dp-3, 0x1.3b3595a95167ep-3,
                                 0x1.0dce8e920ff22p-3, 0x1.1b6cc4343b40ep-3};
  static constexpr double kLowest = -746.0;
  static constexpr double kNormal = 708.0;
};

template <class T>
class Logistic {
 public:
  Logistic() = default;
  LOGLOSS_INLINE explicit Logistic(Vec<T> x) : magnitude_(abs(x)) {
    const Vec<T> exponent = max(Vec<T>(Log1pOfUnitConstants<T>::kLowest), Vec<T>(T(0)) - magnitude_);
    const Vec<T> rounded = rounded_power(exponent);
    const Vec<T> normal = max(Vec<T>(F::kRound + T(1)), rounded);
    set_exp(exponent, rounded, normal);
    tail_ = power_of_two(rounded - normal);
  }
  // The same where |x| <= kNormal in all lanes: there is no tail.
  static LOGLOSS_INLINE Logistic of_ordinary(Vec<T> x) {
    Logistic logistic;
    logistic.magnitude_ = abs(x);
    const Vec<T> exponent = or_bits(x, kSign);
    const Vec<T> rounded = rounded_power(exponent);
    logistic.set_exp(exponent, rounded, rounded);
    logistic.tail_ = Vec<T>(T(1));
    return logistic;
  }

  // |x|
  LOGLOSS_INLINE Vec<T> magnitude() const { return magnitude_; }

  // log1p(e) = log(1 + f) + c with f = e, c = 0 up to e = 1/2 and f = (e - 1) / 2, c = ln 2 from there on, both exact.
  // The derivative 1 / (1 + e) that the low part of e needs is 1 - e/2 well enough. Where the tail counts, the low part
  // does not: it is below 2^-150 of a float, 2^-1075 of a double.
  LOGLOSS_INLINE VecPair<T> log1p() const {
    using E = ExpConstants<T>;
    const Vec<T> half(T(0.5)), e = e_.high;
    const auto small = e < half;
    const Vec<T> f = select(small, e, fma(e, half, Vec<T>(T(0)) - half));
    const Vec<T> high = clear(small, Vec<T>(E::kLn2High)) + f;
    const Vec<T> lost = clear(small, (f - (high - Vec<T>(E::kLn2High))) + Vec<T>(E::kLn2Low));
    const Vec<T> low = fma(e_.low, fma(e, Vec<T>(T(-0.5)), Vec<T>(T(1))), lost);
    return {high * tail_, low + log1p_minus_argument<Log1pOfUnitConstants<T>>(f)};
  }

  // q = e / (1 + e); the low part is the remainder of the division times 1 / (1 + e) = 1 - q.
  LOGLOSS_INLINE VecPair<T> sigmoid_of_minus() const {
    const Vec<T> one(T(1));
    const Vec<T> divisor = one + e_.high;
    const Vec<T> lost = (e_.high - (divisor - one)) + e_.low;
    const Vec<T> q = e_.high / divisor;
    const Vec<T> remainder = fma(Vec<T>(T(0)) - q, divisor, e_.high) + fma(Vec<T>(T(0)) - q, lost, e_.low);
    return {q * tail_, remainder * (one - q)};
  }

 private:
  using F = FloatFormat<T>;
  static constexpr T kOrigin = F::kRound + T(F::kBias);
  static constexpr BitsOf<T> kSign = BitsOf<T>(1) << (8 * sizeof(T) - 1);

  static LOGLOSS_INLINE Vec<T> abs(Vec<T> x) { return and_bits(x, ~kSign); }

  // e^exponent = 2^n (1 + m1): n + kBias sits in the low bits of the result, from where a shift makes it 2^n.
  static LOGLOSS_INLINE Vec<T> rounded_power(Vec<T> exponent) {
    return fma(exponent, Vec<T>(ExpConstants<T>::kLog2e), Vec<T>(kOrigin));
  }
  // `normal` is `rounded`, or the smallest power that is a normal number: the rest of it waits in `tail_`.
  LOGLOSS_INLINE void set_exp(Vec<T> exponent, Vec<T> rounded, Vec<T> normal) {
    const Vec<T> scale = shift_left_bits<F::kFraction>(normal);
    const Vec<T> m1 = exp_reduced_m1(exponent, rounded - Vec<T>(kOrigin));
    e_.high = fma(scale, m1, scale);
    e_.low = fma(scale, m1, scale - e_.high);
  }

  Vec<T> magnitude_;
  VecPair<T> e_;
  Vec<T> tail_;  // what of 2^n is applied last, so that a subnormal result is rounded once
};

// Of one of a group's vectors, or of any.
template <class Form, class T>
LOGLOSS_INLINE Logistic<T> logistic_of(Vec<T> x) {
  if constexpr (Form::kOrdinary) {
    return Logistic<T>::of_ordinary(x);
  } else {
    return Logistic<T>(x);
  }
}

// Whether the arguments of a group are ordinary.
template <class T, class S>
LOGLOSS_INLINE bool ordinary_logits(const S* x) {
  constexpr PatternRange<T> kOrdinary(T(0), Log1pOfUnitConstants<T>::kNormal);
  return kOrdinary.holds([&](int i) LOGLOSS_INLINE_LAMBDA { return and_bits(load(x + i * kLanes), kAllButSign<T>); });
}

}  // namespace logloss::LOGLOSS_LEVEL
