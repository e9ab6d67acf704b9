// SPDX-License-Identifier: BSD-3-Clause
// log sum e^x of a row where it is near zero: max and log1p(rest / e_max) then cancel, and the rounding of either would
// show. The exponentials are formed and added as pairs of doubles instead.
#pragma once

#include "cpu/row.h"

namespace logloss::LOGLOSS_LEVEL {

struct ExpPairSeries {
  // 1/4!, 1/5!, ... 1/17!
  static constexpr double q[] = {
      0x1.5555555555555p-5,  0x1.1111111111111p-7,  0x1.6c16c16c16c17p-10, 0x1.a01a01a01a01ap-13, 0x1.a01a01a01a01ap-16,
      0x1.71de3a556c734p-19, 0x1.27e4fb7789f5cp-22, 0x1.ae64567f544e4p-26, 0x1.1eed8eff8d898p-29, 0x1.6124613a86d09p-33,
      0x1.93974a8c07c9dp-37, 0x1.ae7f3e733b81fp-41, 0x1.ae7f3e733b81fp-45, 0x1.952c77030ad4ap-49};
};

// e^x for x <= 2 to 2^-62 of itself, 0 where it is subnormal: 1 + r + r^2/2 + r^3/6 in pairs, the rest of the series in
// double.
LOGLOSS_INLINE VecPair<double> exp_pair(Vec<double> x) {
  using E = ExpConstants<double>;
  const Vec<double> lowest(-708.0);
  const auto subnormal = x < lowest;
  x = max(lowest, x);
  constexpr double kSixth = 0x1.5555555555555p-3, kSixthLow = 0x1.5555555555555p-57;
  const Vec<double> n = round_to_integer(x * Vec<double>(E::kLog2e));
  const Vec<double> r_high = fma(n, Vec<double>(-E::kLn2High), x);
  const VecPair<double> reduction = two_product(n, Vec<double>(-E::kLn2Low));
  const VecPair<double> r_sum = two_sum(r_high, reduction.high);
  const Vec<double> r = r_sum.high, r_low = r_sum.low + reduction.low;

  const VecPair<double> square = two_product(r, r);
  const Vec<double> square_low = fma(r + r, r_low, square.low);
  const VecPair<double> cube = two_product(square.high, r);
  const Vec<double> cube_low = fma(square.high, r_low, fma(square_low, r, cube.low));
  const VecPair<double> sixth = two_product(cube.high, Vec<double>(kSixth));
  const Vec<double> sixth_low = fma(cube_low, Vec<double>(kSixth), fma(cube.high, Vec<double>(kSixthLow), sixth.low));
  const Vec<double> half(0.5);
  const Vec<double> tail = (square.high * square.high) * polynomial<ExpPairSeries>(r);

  const VecPair<double> a = two_sum(Vec<double>(1.0), r);
  const VecPair<double> b = two_sum(a.high, half * square.high);
  const VecPair<double> c = two_sum(b.high, sixth.high);
  const Vec<double> low = ((a.low + b.low) + (c.low + r_low)) + (fma(half, square_low, sixth_low) + tail);
  const VecPair<double> sum = two_sum(c.high, low);
  const Vec<double> scale = power_of_two(n);
  return {clear(subnormal, sum.high * scale), clear(subnormal, sum.low * scale)};
}

// log sum_j e^x_j for a row whose result lies in (-1.3, 1.3); none of its elements is larger then.
template <class S>
LOGLOSS_NOINLINE double precise_lse(const S* x, std::int64_t classes) {
  LaneSum<double> high;
  Vec<double> low(0.0);
  for_each_vector(classes, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
    const VecPair<double> e = exp_pair(widen(load(x + j, lanes, -kInfinity<compute_t<S>>)));
    high.add(e.high);
    low = low + e.low;
  });
  const TwoPartSum sum = high.total();
  const double rest = sum.low + reduce_add(low);
  return reduce_max(log(Vec<double>(sum.high))) + rest / sum.high;
}

// Whether max + log1p(rest / e_max) would lose more than an ulp: log1p's part is wrong by up to 1.7 ulp of rest / S.
LOGLOSS_INLINE bool cancels(double max, double lse, double rest, double sum) {
  return max != 0.0 && (lse < 0 ? -lse : lse) * sum < 1.25 * rest;
}

}  // namespace logloss::LOGLOSS_LEVEL
