// SPDX-License-Identifier: BSD-3-Clause
// The step between the two sweeps of a row: statistics of up to kMaxRows rows become the numbers that the results are
// made of, 16 rows at a time, in float64 whatever the storage type.
#pragma once

#include <type_traits>

#include "common/args.h"
#include "cpu/row_sweep.h"

namespace logloss::LOGLOSS_LEVEL {

// One number for each row of a batch. Where lanes are threads a batch is one group, and each thread holds the number of
// one row: it can read those of the others, but write only its own.
template <class T>
struct PerRow {
  static constexpr int kHeld = kLaneIsThread ? 1 : kMaxRows;
  alignas(kLaneIsThread ? alignof(T) : 64) T value[kHeld];

  LOGLOSS_INLINE T& operator[](int row) { return value[kLaneIsThread ? 0 : row]; }
  LOGLOSS_INLINE T operator[](int row) const {
    if constexpr (kLaneIsThread) {
      return Native<T>::from_lane(value[0], row);
    } else {
      return value[row];
    }
  }
  LOGLOSS_INLINE Vec<T> group(int first) const {
    if constexpr (kLaneIsThread) {
      return Vec<T>(value[0]);
    } else {
      return load(value + first);
    }
  }
  LOGLOSS_INLINE void set_group(int first, Vec<T> a) {
    if constexpr (kLaneIsThread) {
      value[0] = a.reg[0];
    } else {
      store(value + first, a);
    }
  }
};

// f(first) for each group of 16 rows.
template <class F>
LOGLOSS_INLINE void for_each_group(int rows, F f) {
  for (int first = 0; first < rows; first += kLanes) f(first);
}

// For numbers that end up in a float: e^r to 2^-39, log to 2^-37 of itself, as the series of ExpConstants<double> and
// LogConstants<double>.
struct ShortExpSeries {
  static constexpr double q[] = {0x1.000000005e43cp-1, 0x1.5555557deda11p-3,  0x1.5555541d65048p-5,
                                 0x1.1110a22fe09f7p-7, 0x1.6c18d467d5ef7p-10, 0x1.a185ad38575eap-13,
                                 0x1.9e887292069c4p-16};
};
struct ShortLogSeries {
  static constexpr double q[] = {0x1.555554fd83f62p-1, 0x1.999a7acf5cc53p-2, 0x1.2438c1a8294e5p-2,
                                 0x1.e2fa48e603d70p-3};
};

// The statistics of a batch, for kernels that compute in T. What rounds to T is made as exactly as T needs: a group of
// 16 float rows then costs one division and two short series (65536 x 10 on AVX-512, one thread: 0.96 ms with the long
// ones, 0.87 so).
template <class T>
class BatchStats {
  static constexpr bool kWide = sizeof(T) == sizeof(double);

 public:
  // Rows that are never set read as the row of one zero.
  LOGLOSS_INLINE explicit BatchStats(int rows) : rows_(rows) {
    for_each_group(rows, [&](int first) LOGLOSS_INLINE_LAMBDA { clear_group(first); });
  }
  // Every group is to be set or cleared.
  struct Unset {};
  LOGLOSS_INLINE BatchStats(int rows, Unset) : rows_(rows) {}

  LOGLOSS_INLINE void clear_group(int first) {
    const Vec<double> zero(0.0);
    set_group(first, zero, zero, {zero, zero}, zero);
  }
  // Of rows that have no shift and no linear sums.
  LOGLOSS_INLINE void set_group(int first, Vec<double> max_x, Vec<double> K, VecPair<double> sum, Vec<double> times) {
    max.set_group(first, max_x);
    exponent.set_group(first, K);
    rest.set_group(first, sum.high);
    ties.set_group(first, times);
    shift.set_group(first, Vec<double>(0.0));
    if constexpr (kWide) rest_low.set_group(first, sum.low);
    linear.set_group(first, Vec<double>(0.0));
    mass.set_group(first, Vec<double>(0.0));
  }
  LOGLOSS_INLINE void set_linear_sums(int first, Vec<double> linear_sum, Vec<double> mass_sum) {
    linear.set_group(first, linear_sum);
    mass.set_group(first, mass_sum);
  }
  LOGLOSS_INLINE void set(int row, const RowStats& stats) {
    max[row] = stats.max;
    shift[row] = stats.shift;
    exponent[row] = stats.exponent;
    rest[row] = stats.rest;
    if constexpr (kWide) rest_low[row] = stats.rest_low;
    linear[row] = stats.linear;
    mass[row] = stats.mass;
    ties[row] = static_cast<double>(stats.ties);
  }
  int rows() const { return rows_; }

  // e^(x - shift), scaled as the terms of `rest`, for what rounds to T.
  LOGLOSS_NOINLINE Vec<double> scaled_exp(int first, Vec<double> x) const {
    return value_of(exp_parts<SeriesOfT>(first, x));
  }
  // `rest`, NaN for a row whose maximum is infinite: such a row has no softmax.
  LOGLOSS_INLINE Vec<double> finite_rest(int first) const {
    const Vec<double> m = max.group(first);
    return select(m - m == Vec<double>(0.0), rest.group(first), Vec<double>(__builtin_nan("")));
  }
  // log S - log e_max = log1p(rest / e_max), the quotient in two parts.
  LOGLOSS_NOINLINE Vec<double> log_rest(int first) const {
    const VecPair<double> e = exp_max<ExpConstants<double>>(first);
    const Vec<double> r = finite_rest(first);
    const Vec<double> ratio = r / e.high;
    const Vec<double> left = fma(Vec<double>(0.0) - ratio, e.high, r) + (low_of_rest(first) - ratio * e.low);
    return log1p(ratio) + left / (e.high + r);
  }
  // The same for what rounds to T.
  LOGLOSS_NOINLINE Vec<double> rounded_log_rest(int first) const {
    if constexpr (kWide) {
      return log_rest(first);
    } else {
      return short_log_rest(first);
    }
  }
  // S = sum_j e_j, for what rounds to T.
  LOGLOSS_NOINLINE VecPair<double> sum(int first) const {
    const VecPair<double> e = exp_max<SeriesOfT>(first);
    const Vec<double> r = finite_rest(first);
    const Vec<double> high = r + e.high;
    if constexpr (!kWide) return {high, Vec<double>(0.0)};
    const Vec<double> added = high - r;
    return {high, ((r - (high - added)) + (e.high - added)) + (e.low + low_of_rest(first))};
  }

  PerRow<double> max, shift, exponent, rest, linear, mass, ties;
  PerRow<double> rest_low;  // of float64 rows

 private:
  LOGLOSS_INLINE Vec<double> low_of_rest(int first) const {
    if constexpr (kWide) {
      return rest_low.group(first);
    } else {
      return Vec<double>(0.0);
    }
  }

  using SeriesOfT = std::conditional_t<kWide, ExpConstants<double>, ShortExpSeries>;
  using Parts = ScaledExp<double>::Parts;

  template <class Series>
  LOGLOSS_INLINE Parts exp_parts(int first, Vec<double> x) const {
    constexpr double kMove = ScaledExp<double>::kHeadroom - ScaledExp<T>::kHeadroom;
    return ScaledExp<double>(exponent.group(first) + Vec<double>(kMove)).parts<Series>(x - shift.group(first));
  }
  static LOGLOSS_INLINE Vec<double> value_of(const Parts& e) { return ScaledExp<double>::value(e); }
  // e_max, with what its rounding took.
  template <class Series>
  LOGLOSS_INLINE VecPair<double> exp_max(int first) const {
    const Parts e = exp_parts<Series>(first, max.group(first));
    const Vec<double> high = value_of(e);
    return {high, fma(e.scale, e.m1, e.scale - high)};
  }

  // With r = rest / 2^H, e = e_max / 2^H = e^d and S = r + e = 2^n m:
  //   log(S / e) = 2 atanh(r / (e + S))                       where r is small beside e,
  //              = n ln 2 - d + 2 atanh((m - 1) / (m + 1))    elsewhere.
  LOGLOSS_INLINE Vec<double> short_log_rest(int first) const {
    constexpr double kScale = 0x1p-64, kLn2 = ExpConstants<double>::kLn2, kSmall = 0.41;  // less than sqrt 2 - 1
    static_assert(ScaledExp<float>::kHeadroom == 64);
    const Vec<double> one(1.0), m_x = max.group(first);
    const Vec<double> d = minus_multiple_of_ln2<ExpConstants<double>>(m_x - shift.group(first), exponent.group(first));
    const Vec<double> e = one + exp_m1_by<ShortExpSeries>(d);
    const Vec<double> r = rest.group(first) * Vec<double>(kScale);
    const Vec<double> sum = r + e;
    Vec<double> m, n;
    split_exponent(sum, &m, &n);
    const auto small = r < e * Vec<double>(kSmall);
    const Vec<double> s = select(small, r, m - one) / select(small, e + sum, m + one);
    const Vec<double> z = s * s;
    const Vec<double> log_ratio = fma(s * z, polynomial<ShortLogSeries>(z), s + s);
    const Vec<double> apart = select(small, Vec<double>(0.0), fma(n, Vec<double>(kLn2), Vec<double>(0.0) - d));
    const Vec<double> no_softmax = (m_x - m_x) + (r - r);  // NaN as finite_rest and where the row holds NaN
    return (log_ratio + apart) + no_softmax;
  }

  int rows_;
};

// floor(log2 |a|) of normal numbers; what is below or above their exponents for 0, subnormals, infinities and NaN.
LOGLOSS_INLINE Vec<double> exponent_of(Vec<double> a) {
  using F = FloatFormat<double>;
  const Vec<double> magnitude = and_bits(a, 0x7ff0000000000000);
  const Vec<double> biased = or_bits(shift_right_bits<F::kFraction>(magnitude), F::kTwoToFractionBits);
  return biased - Vec<double>(F::kTwoToFraction + F::kBias);
}

// factor / S times e^(x - shift) for every element of a row: softmax for the factor 1.
//
// factor / S = (high + low) unit with `high` in [1, 2) and a power of two `unit`, or its negative: products are formed
// far from where they would be flushed, and multiplied by `unit` last, so that zeros have its sign whether e^x was
// flushed or the product. A factor so large that e^x would be flushed beside it lowers the reference of the
// exponentials.
template <class T>
class SoftmaxScale {
 public:
  LOGLOSS_INLINE void set_group(const BatchStats<T>& stats, int first, Vec<double> factor) {
    set_group(stats, first, factor, stats.sum(first));
  }
  // `sum`: that of the group.
  LOGLOSS_INLINE void set_group(const BatchStats<T>& stats, int first, Vec<double> factor, VecPair<double> sum) {
    // Where nothing but the maximum counts its softmax is 1: relative to the maximum it is computed so.
    const auto alone = stats.rest.group(first) == Vec<double>(0.0);
    const Vec<double> max = stats.max.group(first);
    const auto relative = [&](Vec<double> at_maximum, Vec<double> elsewhere)
                              LOGLOSS_INLINE_LAMBDA { return select(alone, at_maximum, elsewhere); };
    const Vec<double> high_sum = relative(max - max + Vec<double>(kHeadroomScale), sum.high);
    const Vec<double> low_sum = relative(Vec<double>(0.0), sum.low);
    const Vec<double> exponent = relative(Vec<double>(0.0), stats.exponent.group(first));
    shift_.set_group(first, narrow<T>(relative(max, stats.shift.group(first))));

    const Vec<double> quotient = factor / high_sum;
    const Vec<double> size = exponent_of(quotient);
    const Vec<double> lowered = clamp(kLowest, Vec<double>(kLargestQuotient) - size, 0.0);
    const Vec<double> up = clamp(kLowest, Vec<double>(0.0) - size - lowered, kMostUp);
    const auto negative = quotient < Vec<double>(0.0);
    const auto signed_as_factor = [&](Vec<double> a)
                                      LOGLOSS_INLINE_LAMBDA { return select(negative, Vec<double>(0.0) - a, a); };
    const Vec<double> mantissa = signed_as_factor(quotient) * power_of_two(lowered + up);
    const Vec<T> high = narrow<T>(mantissa);
    Vec<T> low;
    if constexpr (sizeof(T) == sizeof(double)) {
      low = (fma(Vec<T>(0.0) - quotient, high_sum, factor) - quotient * low_sum) / factor * high;
    } else {
      low = narrow<T>(mantissa - widen(high));
    }
    high_.set_group(first, high);
    low_.set_group(first, select(low - low == Vec<T>(T(0)), low, Vec<T>(T(0))));
    unit_.set_group(first, narrow<T>(signed_as_factor(power_of_two(Vec<double>(0.0) - up))));
    exponent_.set_group(first, narrow<T>(exponent + lowered));
  }

  // Whether exponentials serve that were kept relative to `exponent`: none may have been flushed that counts here.
  LOGLOSS_INLINE bool takes_kept(int row, T exponent) const {
    return shift_[row] == T(0) && exponent <= exponent_[row];
  }
  // Those of all rows of a group, kept relative to the exponents of their statistics.
  LOGLOSS_INLINE bool takes_kept_of_group(int first, Vec<T> exponent) const {
    return count(shift_.group(first) == Vec<T>(T(0))) == kLanes && count(exponent == exponent) == kLanes &&
           !any(exponent_.group(first) < exponent);
  }

  // From exponentials, of one row or of the 16 rows of a group, lane by lane.
  class Factors {
   public:
    LOGLOSS_INLINE Factors(const SoftmaxScale& scale, int row)
        : high_(scale.high_[row]), low_(scale.low_[row]), unit_(scale.unit_[row]) {}
    // For exponentials that were kept relative to `exponent`.
    LOGLOSS_INLINE Factors(const SoftmaxScale& scale, int row, T exponent) : Factors(scale, row) {
      unit_ = unit_ * power_of_two(Vec<T>(exponent - scale.exponent_[row]));
    }
    LOGLOSS_INLINE void set_group(const SoftmaxScale& scale, int first) {
      high_ = scale.high_.group(first);
      low_ = scale.low_.group(first);
      unit_ = scale.unit_.group(first);
    }

    // factor softmax(x) from e = e^x.
    LOGLOSS_INLINE Vec<T> from_exponential(Vec<T> e) const { return product(e) * unit_; }
    // The same + addend; zeros are +0.
    LOGLOSS_INLINE Vec<T> from_exponential(Vec<T> e, Vec<T> addend) const {
      return fma(product(e), unit_, addend) + Vec<T>(T(0));
    }

   private:
    LOGLOSS_INLINE Vec<T> product(Vec<T> e) const { return fma(e, high_, e * low_); }

    Vec<T> high_, low_, unit_;
  };

  // From logits.
  class Row : public Factors {
   public:
    LOGLOSS_INLINE Row(const SoftmaxScale& scale, int row)
        : Factors(scale, row), exp_(Vec<T>(scale.exponent_[row])), shift_(scale.shift_[row]) {}
    static LOGLOSS_INLINE Row of_group(const SoftmaxScale& scale, int first) {
      Row rows(scale, first);
      rows.set_group(scale, first);
      rows.exp_ = ScaledExp<T>(scale.exponent_.group(first));
      rows.shift_ = scale.shift_.group(first);
      return rows;
    }

    LOGLOSS_INLINE Vec<T> exponential(Vec<T> x) const { return exp_(x - shift_); }
    LOGLOSS_INLINE Vec<T> operator()(Vec<T> x) const { return this->from_exponential(exponential(x)); }

   private:
    ScaledExp<T> exp_;
    Vec<T> shift_;
  };

 private:
  static constexpr double kHeadroomScale = sizeof(T) == 4 ? 0x1p64 : 0x1p512;
  // Beside a quotient up to 2^this no exponential is flushed that counts.
  static constexpr double kLargestQuotient = sizeof(T) == 4 ? -40.0 : -64.0;
  // The lowered exponentials stay finite,
  static constexpr double kLowest = sizeof(T) == 4 ? -60.0 : -500.0;
  // and the unit of kept ones, lower by KeptRow::kRoom, normal.
  static constexpr double kMostUp = sizeof(T) == 4 ? 90.0 : 980.0;

  static LOGLOSS_INLINE Vec<double> clamp(double lowest, Vec<double> a, double largest) {
    const Vec<double> above = max(Vec<double>(lowest), a);
    return select(above < Vec<double>(largest), above, Vec<double>(largest));
  }

  PerRow<T> exponent_, shift_, high_, low_, unit_;
};

// The factors g of rows, for products g softmax(x) v that are rounded once, subnormal ones too: the softmax is computed
// times a power of two that keeps the digits of what remains, then multiplied by v, a number near 1, and a power of
// two.
template <class T>
class FactorOfSoftmax {
 public:
  // Returns by what the softmax is to be multiplied.
  LOGLOSS_INLINE Vec<double> set_group(int first, Vec<double> g) {
    const Vec<double> zero(0.0), limit(kMostUp);
    const Vec<double> exponent = exponent_of(g), above_one = max(zero, exponent);
    const Vec<double> up = select(above_one < limit, above_one, limit);
    const Vec<double> down = max(Vec<double>(kSmallestPower), exponent - up - Vec<double>(kDigits));
    number_.set_group(first,
                      narrow<T>((g * power_of_two(zero - down)) * power_of_two(zero - up - Vec<double>(kDigits))));
    power_.set_group(first, narrow<T>(power_of_two(down)));
    return power_of_two(up + Vec<double>(kDigits));
  }

  class Row {
   public:
    LOGLOSS_INLINE Row(const FactorOfSoftmax& factors, int row)
        : number_(factors.number_[row]), power_(factors.power_[row]) {}
    // For a v that was multiplied by a power of two.
    LOGLOSS_INLINE void divide(Vec<T> power) { number_ = number_ / power; }
    // Of the softmax times what set_group returned, times v.
    LOGLOSS_INLINE Vec<T> operator()(Vec<T> product) const { return product * number_ * power_; }

   private:
    Vec<T> number_, power_;
  };

 private:
  // 2^kDigits is the most for which what the sweep kept serves where g <= 1; see SoftmaxScale::takes_kept.
  static constexpr double kDigits = sizeof(T) == 4 ? 24.0 : 64.0;
  static constexpr double kMostUp = sizeof(T) == 4 ? 64.0 : 512.0;
  static constexpr double kSmallestPower = sizeof(T) == 4 ? -126.0 : -1022.0;
  PerRow<T> number_, power_;
};

// The softmax of one row, or of the 16 rows of a group, lane by lane, and its logarithm in float64, as accurate as the
// row's statistic.
template <class T>
class RowSoftmax;

template <>
class RowSoftmax<float> {
 public:
  LOGLOSS_INLINE RowSoftmax(Vec<double> max, Vec<double> log_rest) : max_(max), log_rest_(log_rest) {}

  // What probability() gives for 1.
  static constexpr double kOne = 1.0;

  // log softmax(x) = (x - max) - l <= 0
  LOGLOSS_INLINE Vec<double> log(Vec<float> x) const { return (widen(x) - max_) - log_rest_; }
  LOGLOSS_INLINE Vec<double> probability(Vec<float> x) const { return exp(log(x)); }
  // log softmax(x) - log other(y)
  LOGLOSS_INLINE Vec<double> log_ratio(Vec<float> x, const RowSoftmax& other, Vec<float> y) const {
    return log(x) - other.log(y);
  }

 private:
  Vec<double> max_, log_rest_;
};

// The exponential of a rounded logarithm would be off by as many ulps as that is large.
template <>
class RowSoftmax<double> {
 public:
  LOGLOSS_INLINE RowSoftmax(Vec<double> max, Vec<double> log_rest, const SoftmaxScale<double>::Row& softmax)
      : max_(max), log_rest_(log_rest), softmax_(softmax) {}

  // Subnormal probabilities keep their digits until the last product.
  static constexpr double kOne = 0x1p64;

  LOGLOSS_INLINE Vec<double> log(Vec<double> x) const { return (x - max_) - log_rest_; }
  LOGLOSS_INLINE Vec<double> probability(Vec<double> x) const { return softmax_(x); }
  // log softmax(x) - log other(y). The logits are subtracted first, in two parts: nothing is lost where the rows are
  // equal but for a constant.
  LOGLOSS_INLINE Vec<double> log_ratio(Vec<double> x, const RowSoftmax& other, Vec<double> y) const {
    const Vec<double> zero(0.0);
    const VecPair<double> logits = two_sum(x, zero - y), maxima = two_sum(max_, zero - other.max_);
    const Vec<double> near = ((logits.high - maxima.high) + (logits.low - maxima.low)) + (other.log_rest_ - log_rest_);
    return select(near - near == Vec<double>(0.0), near, log(x) - other.log(y));
  }

 private:
  Vec<double> max_, log_rest_;
  SoftmaxScale<double>::Row softmax_;
};

// The same of all rows of a batch.
template <class T>
class SoftmaxOfRows {
 public:
  LOGLOSS_INLINE explicit SoftmaxOfRows(const BatchStats<T>& stats) : max_(stats.max) {
    for_each_group(stats.rows(), [&](int first) LOGLOSS_INLINE_LAMBDA {
      log_rest_.set_group(first, stats.log_rest(first));
      if constexpr (sizeof(T) == sizeof(double)) scale_.set_group(stats, first, Vec<double>(RowSoftmax<T>::kOne));
    });
  }
  LOGLOSS_INLINE RowSoftmax<T> operator[](int row) const {
    return softmax(Vec<double>(max_[row]), Vec<double>(log_rest_[row]),
                   [&] { return typename SoftmaxScale<T>::Row(scale_, row); });
  }
  LOGLOSS_INLINE RowSoftmax<T> group(int first) const {
    return softmax(max_.group(first), log_rest_.group(first),
                   [&] { return SoftmaxScale<T>::Row::of_group(scale_, first); });
  }

 private:
  template <class Scale>
  static LOGLOSS_INLINE RowSoftmax<T> softmax(Vec<double> max, Vec<double> log_rest, Scale scale) {
    if constexpr (sizeof(T) == sizeof(double)) {
      return {max, log_rest, scale()};
    } else {
      return {max, log_rest};
    }
  }

  PerRow<double> max_, log_rest_;
  SoftmaxScale<T> scale_;  // of float64 rows
};

}  // namespace logloss::LOGLOSS_LEVEL
