// SPDX-License-Identifier: BSD-3-Clause
// exp, log and log1p over Vec<float> and Vec<double>; every bound below is enforced by tests/test_vec_math.py, for
// float over every value of the range.
//
//   function    max ulp float   max ulp double   range                   results at the edges
//   exp         1.05 (2.0)      1.02 (2.0)       all                     +inf above, 0 below, subnormals, NaN kept
//   log         1.05 (1.2)      0.95 (1.2)       all                     -inf at +-0, NaN below 0, +inf at +inf
//   log1p       1.60 (1.7)      1.60 (1.6)       all                     -inf at -1, NaN below, +0 at +-0, +inf at +inf
//
// In brackets: the portable level, which has no fused multiply-add. Division is the only operation besides add,
// multiply and fma, and all of them are rounded as IEEE 754 says: no estimates, no calls to the C library.
//
// The polynomials are minimax fits made for this project (Lawson's iteration on Chebyshev nodes in 50 digits; the
// coefficients are rounded one by one from the lowest, the rest being fitted again each time).
#pragma once

#include <type_traits>

#include "cpu/simd.h"

namespace logloss::LOGLOSS_LEVEL {

template <class T>
struct FloatFormat;

template <>
struct FloatFormat<float> {
  static constexpr int kFraction = 23;              // bits of the fraction
  static constexpr int kBias = 127;                 // of the exponent
  static constexpr float kRound = 0x1.8p23f;        // adding it rounds to an integer, held in the low bits
  static constexpr float kTwoToFraction = 0x1p23f;  // its low bits hold an integer too
  static constexpr BitsOf<float> kFractionMask = 0x7fffff;
  static constexpr BitsOf<float> kOne = 0x3f800000;
  static constexpr BitsOf<float> kTwoToFractionBits = 0x4b000000;
  static constexpr BitsOf<float> kSqrtHalf = 0x3f3504f3;
  static constexpr float kSmallestNormal = 0x1p-126f;
  static constexpr float kSmallest = 0x1p-149f;  // above 0
  static constexpr float kLargest = 0x1.fffffep127f;
};

template <>
struct FloatFormat<double> {
  static constexpr int kFraction = 52;
  static constexpr int kBias = 1023;
  static constexpr double kRound = 0x1.8p52;
  static constexpr double kTwoToFraction = 0x1p52;
  static constexpr BitsOf<double> kFractionMask = 0xfffffffffffff;
  static constexpr BitsOf<double> kOne = 0x3ff0000000000000;
  static constexpr BitsOf<double> kSign = static_cast<BitsOf<double>>(0x8000000000000000);
  static constexpr BitsOf<double> kTwoToFractionBits = 0x4330000000000000;
  static constexpr BitsOf<double> kSqrtHalf = 0x3fe6a09e667f3bcd;
  static constexpr double kSmallestNormal = 0x1p-1022;
  static constexpr double kSmallest = 0x1p-1074;
  static constexpr double kLargest = 0x1.fffffffffffffp1023;
};

template <class T>
struct ExpConstants;

template <>
struct ExpConstants<float> {
  static constexpr float kLog2e = 0x1.715476p+0f;
  // ln 2 = high + low; high has 16 bits, so n * high is exact for |n| < 2^8, and x - n * high for any n under fma.
  static constexpr float kLn2High = 0x1.62e4p-1f;
  static constexpr float kLn2Low = 0x1.7f7d1cp-20f;
  // Without fma: 12 bits, so that n * part is exact for |n| < 2^12, and a rest that is rounded with its product, which
  // takes 0.05 ulp of e^x at |n| = 1500.
  static constexpr float kLn2Parts[] = {0x1.62ep-1f, 0x1.0bfbe8p-15f};
  // e^r = 1 + r + r^2 q(r) for |r| <= ln 2 / 2, to 0.05 ulp.
  static constexpr float q[] = {0x1p-1f, 0x1.55548ep-3f, 0x1.555462p-5f, 0x1.123b86p-7f, 0x1.6db0f0p-10f};
  static constexpr float kOverflow = 89.0f;     // e^x = inf from here on
  static constexpr float kUnderflow = -105.0f;  // e^x = 0 up to here
};

template <>
struct ExpConstants<double> {
  static constexpr double kLog2e = 0x1.71547652b82fep+0;
  static constexpr double kLn2 = 0x1.62e42fefa39efp-1;
  static constexpr double kLn2High = 0x1.62e42feep-1;  // 32 bits
  static constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
  // To 0.05 ulp.
  static constexpr double q[] = {0x1p-1,
                                 0x1.5555555555500p-3,
                                 0x1.5555555553178p-5,
                                 0x1.1111111128ceep-7,
                                 0x1.6c16c17cf55cap-10,
                                 0x1.a01a011b0a236p-13,
                                 0x1.a019aa80ce1f7p-16,
                                 0x1.71df568589a66p-19,
                                 0x1.28a0440bbc0d4p-22,
                                 0x1.ad2039c5b5852p-26};
  static constexpr double kOverflow = 710.0;
  static constexpr double kUnderflow = -746.0;
};

// A value as high + low: what no single T holds, or what the rounding of high took.
template <class T>
struct VecPair {
  Vec<T> high, low;
};

// a + b exactly, for any finite a and b.
template <class T>
LOGLOSS_INLINE VecPair<T> two_sum(Vec<T> a, Vec<T> b) {
  const Vec<T> sum = a + b;
  const Vec<T> added = sum - a;
  return {sum, (a - (sum - added)) + (b - added)};
}
// a * b exactly (under fma).
template <class T>
LOGLOSS_INLINE VecPair<T> two_product(Vec<T> a, Vec<T> b) {
  const Vec<T> product = a * b;
  return {product, fma(a, b, Vec<T>(T(0)) - product)};
}
// The pair in float64.
template <class T>
LOGLOSS_INLINE Vec<double> widen(VecPair<T> a) {
  return widen(a.high) + widen(a.low);
}

// c[0] + c[1] x + ... by Horner's rule.
template <class T, int kTerms>
LOGLOSS_INLINE Vec<T> horner(Vec<T> x, const T (&c)[kTerms]) {
  Vec<T> sum(c[kTerms - 1]);
  for (int i = kTerms - 2; i >= 0; --i) sum = fma(sum, x, Vec<T>(c[i]));
  return sum;
}

// The same of several x, each step for all of them.
template <class T, int kCount, int kTerms>
LOGLOSS_INLINE void horner(const Vec<T> (&x)[kCount], const T (&c)[kTerms], Vec<T> (&sum)[kCount]) {
  LOGLOSS_UNROLL for (int i = 0; i < kCount; ++i) sum[i] = Vec<T>(c[kTerms - 1]);
  LOGLOSS_UNROLL for (int term = kTerms - 2; term >= 0; --term) {
    LOGLOSS_UNROLL for (int i = 0; i < kCount; ++i) sum[i] = fma(sum[i], x[i], Vec<T>(c[term]));
  }
}

// The same in powers of x^2, even and odd terms apart: two chains of half the length.
template <class T, int kTerms>
LOGLOSS_INLINE Vec<T> even_odd_horner(Vec<T> x, Vec<T> square, const T (&c)[kTerms]) {
  const auto every_second = [&](int last) LOGLOSS_INLINE_LAMBDA {
    Vec<T> sum(c[last]);
    for (int i = last - 2; i >= 0; i -= 2) sum = fma(sum, square, Vec<T>(c[i]));
    return sum;
  };
  const Vec<T> with_last = every_second(kTerms - 1), other = every_second(kTerms - 2);
  return kTerms % 2 == 1 ? fma(other, x, with_last) : fma(with_last, x, other);
}

// The polynomial with the coefficients Table::q.
template <class Table, class T>
LOGLOSS_INLINE Vec<T> polynomial(Vec<T> x) {
  if constexpr (kLaneIsThread) {
    constexpr auto q = copy_of(Table::q);
    return horner(x, q.c);
  } else {
    return horner(x, Table::q);
  }
}
template <class Table, class T>
LOGLOSS_INLINE Vec<T> even_odd_polynomial(Vec<T> x, Vec<T> square) {
  if constexpr (kLaneIsThread) {
    constexpr auto q = copy_of(Table::q);
    return even_odd_horner(x, square, q.c);
  } else {
    return even_odd_horner(x, square, Table::q);
  }
}

// x - n ln 2, or the fraction of ln 2 that the constants hold.
template <class E, class T>
LOGLOSS_INLINE Vec<T> minus_multiple_of_ln2(Vec<T> x, Vec<T> n) {
  if constexpr (kFusedMultiplyAdd || sizeof(T) == 8) {
    x = fma(n, Vec<T>(-E::kLn2High), x);
    x = fma(n, Vec<T>(-E::kLn2Low), x);
  } else {
    for (const T part : E::kLn2Parts) x = x - n * Vec<T>(part);
  }
  return x;
}

// e^r - 1 for |r| <= ln 2 / 2 (a little more, where n was rounded the other way), by e^r = 1 + r + r^2 q(r).
template <class Series, class T>
LOGLOSS_INLINE Vec<T> exp_m1_by(Vec<T> r) {
  return fma(r * r, polynomial<Series>(r), r);
}
// For r = x - n ln 2.
template <class T>
LOGLOSS_INLINE Vec<T> exp_reduced_m1(Vec<T> x, Vec<T> n) {
  return exp_m1_by<ExpConstants<T>>(minus_multiple_of_ln2<ExpConstants<T>>(x, n));
}

// 2^n for integers n in the exponent range.
template <class T>
LOGLOSS_INLINE Vec<T> power_of_two(Vec<T> n) {
  using F = FloatFormat<T>;
  return shift_left_bits<F::kFraction>(n + Vec<T>(F::kRound + F::kBias));
}

template <class T>
LOGLOSS_INLINE Vec<T> round_to_integer(Vec<T> x) {
  return (x + Vec<T>(FloatFormat<T>::kRound)) - Vec<T>(FloatFormat<T>::kRound);
}

// e^x. 2^n is applied in two halves, so that a subnormal result is rounded once.
template <class T>
LOGLOSS_INLINE Vec<T> exp(Vec<T> x) {
  using E = ExpConstants<T>;
  x = max(Vec<T>(E::kUnderflow), x);
  x = select(Vec<T>(E::kOverflow) < x, Vec<T>(E::kOverflow), x);
  const Vec<T> n = round_to_integer(x * Vec<T>(E::kLog2e));
  const Vec<T> half = round_to_integer(n * Vec<T>(T(0.5)));
  const Vec<T> p = Vec<T>(T(1)) + exp_reduced_m1(x, n);
  return (p * power_of_two(half)) * power_of_two(n - half);
}

// Where one of 8 numbers is looked up in a step or two, e^x = 2^(n / 8) e^r, and |r| is so small that three terms of q
// do instead of five. (On Zen 4, AVX-512 and AVX2 alike, to the time of whole powers of two: cross_entropy of 2048 x
// 32000 0.94, its gradient 0.95. In sixteenths, with two terms, AVX-512 takes 0.86 and AVX2, where a table is two
// registers, 1.07; but three of their roots are off by 0.4 ulp, and a loss could be by more than 2.)
template <class T>
inline constexpr bool kEighths = sizeof(T) == sizeof(float) && kCheapLookUp;

// For |r| <= ln 2 / 16 and n in eighths.
struct EighthConstants {
  static constexpr float kLog2e = 8.0f * ExpConstants<float>::kLog2e;
  static constexpr float kLn2High = ExpConstants<float>::kLn2High / 8.0f;
  static constexpr float kLn2Low = ExpConstants<float>::kLn2Low / 8.0f;
  // e^r = 1 + r + r^2 q(r), to 0.01 ulp.
  static constexpr float q[] = {0x1p-1f, 0x1.555c7cp-3f, 0x1.555652p-5f};
};
// 2^(j / 8) as a float: the bits of its fraction, less those that j itself puts there when it is shifted to the
// exponent with the rest of n. That of j = 0 is 0, so that what is flushed is, too.
struct EighthRoots {
  static constexpr std::int32_t bits[] = {0, -289342, -509968, -655657, -719629, -694486, -572163, -343865};
};

// 2^(kHeadroom - K) e^x for the terms of a row whose largest element is near K ln 2: the largest term is near
// 2^kHeadroom, and a term is flushed to zero only where it is below 2^-(2 kHeadroom) of it, too small to change any
// result, a subnormal softmax included. x may be -inf; NaN is kept. 1.05 ulp where neither flushed nor subnormal.
//
// K may differ from lane to lane; moving to another K scales every term by a power of two, which is exact.
template <class T>
class ScaledExp {
  using E = std::conditional_t<kEighths<T>, EighthConstants, ExpConstants<T>>;

 public:
  // 2^64 leaves room for sums of 2^62 terms in float; 190 binary orders stay below the largest term.
  static constexpr int kHeadroom = sizeof(T) == 4 ? 64 : 512;

  LOGLOSS_INLINE explicit ScaledExp(Vec<T> K)
      : round_(Vec<T>(F::kRound + kSteps * T(F::kBias + kHeadroom)) - Vec<T>(kSteps) * K),
        lowest_((K - Vec<T>(T(F::kBias + kHeadroom))) * Vec<T>(kLn2)) {}

  // scale (1 + m1), before the rounding: scale is 2^(n / kSteps - K + kHeadroom), 0 where the result is flushed.
  struct Parts {
    Vec<T> scale, m1;
  };
  template <class Series = E>
  LOGLOSS_INLINE Parts parts(Vec<T> x) const {
    x = max(lowest_, x);
    const Power power = nearest_power(x);
    return {power.scale, exp_m1_by<Series>(minus_multiple_of_ln2<E>(x, power.n))};
  }
  // The same of several vectors, each step for all of them.
  template <int kCount>
  LOGLOSS_INLINE void parts(const Vec<T> (&x)[kCount], Parts (&e)[kCount]) const {
    Vec<T> r[kCount], q[kCount];
    LOGLOSS_UNROLL for (int i = 0; i < kCount; ++i) r[i] = max(lowest_, x[i]);
    LOGLOSS_UNROLL for (int i = 0; i < kCount; ++i) {
      const Power power = nearest_power(r[i]);
      e[i].scale = power.scale;
      r[i] = minus_multiple_of_ln2<E>(r[i], power.n);
    }
    horner(r, E::q, q);
    LOGLOSS_UNROLL for (int i = 0; i < kCount; ++i) e[i].m1 = fma(r[i] * r[i], q[i], r[i]);
  }
  static LOGLOSS_INLINE Vec<T> value(const Parts& e) { return fma(e.scale, e.m1, e.scale); }
  LOGLOSS_INLINE Vec<T> operator()(Vec<T> x) const { return value(parts(x)); }

 private:
  using F = FloatFormat<T>;
  static constexpr T kLn2 = T(ExpConstants<double>::kLn2);
  static constexpr T kSteps = kEighths<T> ? T(8) : T(1);

  // The integer n nearest to kSteps x log2 e, and 2^(n / kSteps - K + kHeadroom), whose exponent sits in the low bits
  // of a sum before the shift. No x has a product halfway between two integers, but a product that is rounded first may
  // lie there: it must go the same way whatever K is.
  struct Power {
    Vec<T> n, scale;
  };
  LOGLOSS_INLINE Power nearest_power(Vec<T> x) const {
    const Vec<T> log2e(E::kLog2e);
    if constexpr (kEighths<T>) {
      const Vec<T> rounded = fma(x, log2e, round_);
      return {rounded - round_, add_bits(shift_left_bits<F::kFraction - 3>(rounded), look_up<EighthRoots>(rounded))};
    } else if constexpr (kFusedMultiplyAdd) {
      const Vec<T> rounded = fma(x, log2e, round_);
      return {rounded - round_, shift_left_bits<F::kFraction>(rounded)};
    } else {
      const Vec<T> round(F::kRound), rounded = x * log2e + round;
      return {rounded - round, shift_left_bits<F::kFraction>(add_bits(rounded, round_))};
    }
  }

  Vec<T> round_;
  Vec<T> lowest_;
};

// For sqrt(1/2) <= 1 + f < sqrt(2).
template <class T>
struct LogConstants;

template <>
struct LogConstants<float> {
  // log(1 + f) = f + f^2 q(f), to 0.1 ulp.
  static constexpr float q[] = {-0.5f,          0x1.555554p-2f,  -0x1.00022ap-2f, 0x1.99a026p-3f, -0x1.547162p-3f,
                                0x1.22d74ep-3f, -0x1.0d8c58p-3f, 0x1.0571eap-3f,  -0x1.38c326p-4f};
};

template <>
struct LogConstants<double> {
  // With s = f / (2 + f): log(1 + f) = 2 s + s^3 q(s^2), to 0.02 ulp.
  static constexpr double q[] = {0x1.5555555555593p-1, 0x1.999999997f995p-2, 0x1.2492494233606p-2, 0x1.c71c51ce2a7dbp-3,
                                 0x1.74664c0afbae2p-3, 0x1.39a0504ae0fbbp-3, 0x1.2f1484cca2564p-3};
};

// log(1 + f) - f in the interval of the constants.
template <class Constants>
LOGLOSS_INLINE Vec<float> log1p_minus_argument(Vec<float> f) {
  const Vec<float> square = f * f;
  return square * even_odd_polynomial<Constants>(f, square);
}
template <class Constants>
LOGLOSS_INLINE Vec<double> log1p_minus_argument(Vec<double> f) {
  // 2 s = f - f^2/2 + s f^2/2
  const Vec<double> s = f / (Vec<double>(2.0) + f);
  const Vec<double> z = s * s;
  const Vec<double> half_square = Vec<double>(0.5) * f * f;
  return fma(s, fma(z, polynomial<Constants>(z), half_square), Vec<double>(0.0) - half_square);
}

// x = (1 + f) 2^n with f in the interval of LogConstants.
template <class T>
struct LogArgument {
  Vec<T> n, f;
};

// n ln 2 + log(1 + f): the two large parts are added exactly (Fast2Sum), the small ones are in `low`. 0.4 ulp.
template <class T>
LOGLOSS_INLINE VecPair<T> log_assemble(LogArgument<T> x) {
  using E = ExpConstants<T>;
  const Vec<T> n = x.n, f = x.f;
  const Vec<T> high = n * Vec<T>(E::kLn2High);
  const Vec<T> sum = high + f;
  const Vec<T> lost = f - (sum - high);
  return {sum, log1p_minus_argument<LogConstants<T>>(f) + fma(n, Vec<T>(E::kLn2Low), lost)};
}

// x = m 2^n with sqrt(1/2) <= m < sqrt(2), for normal x > 0.
template <class T>
LOGLOSS_INLINE void split_exponent(Vec<T> x, Vec<T>* m, Vec<T>* n) {
  using F = FloatFormat<T>;
  const Vec<T> moved = add_bits(x, F::kOne - F::kSqrtHalf);
  const Vec<T> biased = or_bits(shift_right_bits<F::kFraction>(moved), F::kTwoToFractionBits);
  *n = biased - Vec<T>(F::kTwoToFraction + F::kBias);
  *m = add_bits(and_bits(moved, F::kFractionMask), F::kSqrtHalf);
}

// The value at the edges of the logarithm's domain, `inside` within it.
template <class T>
LOGLOSS_INLINE Vec<T> log_edges(Vec<T> x, Vec<T> inside) {
  constexpr T kInfinity = T(__builtin_inf());
  const Vec<T> zero(T(0));
  Vec<T> out = select(zero < x, inside, Vec<T>(T(__builtin_nan(""))));
  out = select(x == zero, Vec<T>(-kInfinity), out);
  return select(x == Vec<T>(kInfinity), x, out);
}

// Of normal x > 0; something finite at 0.
template <class T>
LOGLOSS_INLINE LogArgument<T> log_argument(Vec<T> x) {
  Vec<T> m, n;
  split_exponent(x, &m, &n);
  return {n, m - Vec<T>(T(1))};
}
// Of x + lost, where lost is what was rounded off x: the argument is m - 1 + lost 2^-n with m 2^n = x.
template <class T>
LOGLOSS_INLINE LogArgument<T> log_argument(Vec<T> x, Vec<T> lost) {
  Vec<T> m, n;
  split_exponent(x, &m, &n);
  return {n, fma(lost, power_of_two(Vec<T>(T(0)) - n), m - Vec<T>(T(1)))};
}

// log x of finite x > 0 (anything else for other x), before the last rounding.
template <class T>
LOGLOSS_INLINE VecPair<T> log_pair(Vec<T> x) {
  using F = FloatFormat<T>;
  const auto subnormal = x < Vec<T>(F::kSmallestNormal);
  const Vec<T> normal = select(subnormal, x * Vec<T>(F::kTwoToFraction), x);
  Vec<T> m, n;
  split_exponent(normal, &m, &n);
  n = select(subnormal, n - Vec<T>(T(F::kFraction)), n);
  return log_assemble<T>({n, m - Vec<T>(T(1))});
}

// log x.
template <class T>
LOGLOSS_INLINE Vec<T> log(Vec<T> x) {
  const VecPair<T> inside = log_pair(x);
  return log_edges(x, inside.high + inside.low);
}

// log(1 + x) of finite x > -1 (anything else for other x), before the last rounding: 1 + x is rounded to u, and what
// was lost is added to the reduced argument.
template <class T>
LOGLOSS_INLINE VecPair<T> log1p_pair(Vec<T> x) {
  using F = FloatFormat<T>;
  const Vec<T> one(T(1));
  const Vec<T> u = one + x;
  Vec<T> lost = select(x < one, x - (u - one), one - (u - x));
  lost = clear(Vec<T>(F::kTwoToFraction * T(4)) < x, lost);
  Vec<T> m, n;
  split_exponent(u, &m, &n);
  const Vec<T> reduced = fma(lost, power_of_two(max(Vec<T>(T(-64)), Vec<T>(T(0)) - n)), m - one);
  return log_assemble<T>({n, select(n == Vec<T>(T(0)), x, reduced)});
}

// Of 1 - p for 0 <= p < 1, something finite for p = 1; where n = 0, f is -p itself.
template <class T>
LOGLOSS_INLINE LogArgument<T> log1m_argument(Vec<T> p) {
  const Vec<T> one(T(1));
  const Vec<T> u = one - p;
  return log_argument(u, (one - u) - p);
}

// log(1 + x).
template <class T>
LOGLOSS_INLINE Vec<T> log1p(Vec<T> x) {
  const VecPair<T> inside = log1p_pair(x);
  return log_edges(Vec<T>(T(1)) + x, inside.high + inside.low);
}

}  // namespace logloss::LOGLOSS_LEVEL
