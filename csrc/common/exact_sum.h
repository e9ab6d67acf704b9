// SPDX-License-Identifier: BSD-3-Clause
// ExactSum: a sum of doubles without any rounding, so that no order of additions and no split over threads, shards or
// machines can change it.
//
// A fixed-point number wide enough for every double (Neal, "Fast exact summation using small and large
// superaccumulators", 2015): limbs of 32 bits, each held in 64 so that carries can wait. An addition touches three
// limbs. Infinities and NaN are counted beside it.
#pragma once

#include <cstdint>

#include "common/platform.h"

namespace logloss::LOGLOSS_LEVEL {

class ExactSum {
 public:
  // Limb i counts units of 2^(32 i + kLowestExponent): from below the smallest subnormal, 2^-1074, to 2^96 times the
  // largest double.
  static constexpr int kLowestExponent = -1088;
  static constexpr int kLimbs = 69;

  LOGLOSS_HD void add(double value) {
    std::uint64_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    const int biased = static_cast<int>((bits >> 52) & 0x7ff);
    if (biased == 0x7ff) return add_special(value);
    std::uint64_t fraction = bits & 0xfffffffffffff;
    if (biased != 0) fraction |= std::uint64_t{1} << 52;
    // value = fraction 2^(max(biased, 1) - 1075)
    const int position = (biased != 0 ? biased : 1) - 1075 - kLowestExponent;
    const int limb = position >> 5;
    const int shift = position & 31;
    const std::uint64_t low = fraction << shift;
    const std::uint64_t high = shift ? fraction >> (64 - shift) : 0;
    const std::int64_t sign = (bits >> 63) ? -1 : 1;
    limb_[limb] += sign * static_cast<std::int64_t>(low & 0xffffffff);
    limb_[limb + 1] += sign * static_cast<std::int64_t>(low >> 32);
    limb_[limb + 2] += sign * static_cast<std::int64_t>(high);
    if (++pending_ == kMaxPending) propagate();
  }

  // a b = product + its rounding error, both doubles: nothing is lost, unless that error lies below 2^-1074 (never so
  // for products of floats).
  LOGLOSS_HD void add_product(double a, double b) {
    const double product = a * b;
    add(product);
    if (product - product == 0.0) add(__builtin_fma(a, b, -product));
  }

  LOGLOSS_HD void merge(const ExactSum& other) {
    for (int i = 0; i < kLimbs; ++i) limb_[i] += other.limb_[i];
    positive_infinities_ += other.positive_infinities_;
    negative_infinities_ += other.negative_infinities_;
    nans_ += other.nans_;
    pending_ += other.pending_ + 1;  // a carried limb is no more than one addition
    if (pending_ >= kMaxPending) propagate();
  }

  LOGLOSS_HD bool finite() const { return positive_infinities_ == 0 && negative_infinities_ == 0 && nans_ == 0; }

  // The sum rounded once, to nearest, ties to even; `exact` tells whether the sum is that finite value itself.
  LOGLOSS_HD double value() const {
    bool exact;
    return value(&exact);
  }
  LOGLOSS_HD double value(bool* exact) const {
    *exact = false;
    if (!finite()) return special_value();
    ExactSum magnitude = *this;
    const bool negative = magnitude.make_magnitude();
    const double rounded = magnitude.round_magnitude(exact);
    return negative ? -rounded : rounded;
  }

  // -1, 0 or 1; of the finite part.
  LOGLOSS_HD int sign() const {
    ExactSum copy = *this;
    copy.propagate();
    for (int i = kLimbs - 1; i >= 0; --i) {
      if (copy.limb_[i] != 0) return copy.limb_[i] < 0 ? -1 : 1;
    }
    return 0;
  }

  // The carried form, the same for equal sums: all limbs in [0, 2^32) but the last, which has the sign.
  LOGLOSS_HD void propagate() {
    for (int i = 0; i + 1 < kLimbs; ++i) {
      const std::int64_t carry = limb_[i] >> 32;
      if (carry == 0) continue;  // most limbs of most sums: a carry that waits for the one before takes far longer
      limb_[i] -= carry * (std::int64_t{1} << 32);
      limb_[i + 1] += carry;
    }
    pending_ = 0;
  }

  // value(), and what is then left: repeated, the sum as a short list of doubles.
  LOGLOSS_HD double take_value() {
    const double taken = value();
    add(-taken);
    return taken;
  }

  // Raw state, for storing; limbs as propagate leaves them.
  LOGLOSS_HD std::int64_t* limbs() { return limb_; }
  LOGLOSS_HD const std::int64_t* limbs() const { return limb_; }
  LOGLOSS_HD std::uint64_t* specials() { return &positive_infinities_; }
  LOGLOSS_HD const std::uint64_t* specials() const { return &positive_infinities_; }
  static constexpr int kSpecials = 3;

 private:
  static constexpr std::uint32_t kMaxPending = 1u << 30;

  LOGLOSS_HD void add_special(double value) {
    if (value != value) {
      ++nans_;
    } else {
      ++(value > 0 ? positive_infinities_ : negative_infinities_);
    }
  }
  LOGLOSS_HD double special_value() const {
    const double infinity = __builtin_inf();
    if (nans_ || (positive_infinities_ && negative_infinities_)) return __builtin_nan("");
    return positive_infinities_ ? infinity : -infinity;
  }

  // Leaves |sum| in carried form, all limbs in [0, 2^32); returns whether the sum was negative.
  LOGLOSS_HD bool make_magnitude() {
    propagate();
    const bool negative = limb_[kLimbs - 1] < 0;
    if (negative) {
      for (std::int64_t& limb : limb_) limb = -limb;
      propagate();
    }
    return negative;
  }

  LOGLOSS_HD double round_magnitude(bool* exact) const {
    int top = kLimbs - 1;
    while (top >= 0 && limb_[top] == 0) --top;
    *exact = top < 0;
    if (top < 0) return 0.0;
    // The leading 96 bits, the rest as one sticky bit.
    const auto limb = [this](int i) { return i >= 0 ? static_cast<std::uint64_t>(limb_[i]) : 0; };
    std::uint64_t head = (limb(top) << 32) | limb(top - 1);
    std::uint64_t tail = limb(top - 2) << 32;
    for (int i = top - 3; i >= 0; --i) tail |= limb_[i] != 0;
    const int zeros = __builtin_clzll(head);
    if (zeros) {
      head = (head << zeros) | (tail >> (64 - zeros));
      tail <<= zeros;
    }
    // |sum| = (head + tail / 2^64) 2^exponent with the top bit of head set.
    const int exponent = 32 * (top - 1) + kLowestExponent - zeros;
    const int keep = exponent >= -1074 - 11 ? 53 : 53 - (-1074 - 11 - exponent);
    if (keep < 0) return 0.0;
    const int drop = 64 - keep;
    std::uint64_t kept = drop < 64 ? head >> drop : 0;
    const std::uint64_t lost = drop < 64 ? head << keep : head;
    const std::uint64_t half = std::uint64_t{1} << 63;
    if (lost > half || (lost == half && (tail != 0 || (kept & 1)))) ++kept;
    const double rounded = scale(static_cast<double>(kept), exponent + drop);
    *exact = lost == 0 && tail == 0 && rounded - rounded == 0.0;
    return rounded;
  }

  // value 2^exponent where the result is representable or overflows.
  LOGLOSS_HD static double scale(double value, int exponent) {
    for (; exponent > 1000; exponent -= 1000) value *= 0x1p1000;
    for (; exponent < -1000; exponent += 1000) value *= 0x1p-1000;
    const std::uint64_t bits = static_cast<std::uint64_t>(exponent + 1023) << 52;
    double power;
    __builtin_memcpy(&power, &bits, sizeof power);
    return value * power;
  }

  std::int64_t limb_[kLimbs] = {};
  std::uint64_t positive_infinities_ = 0;
  std::uint64_t negative_infinities_ = 0;
  std::uint64_t nans_ = 0;
  std::uint32_t pending_ = 0;
};

// The neighbour of a finite x != 0 with the next larger (outward = 1) or smaller (-1) magnitude.
LOGLOSS_HD double next_double(double x, int outward) {
  std::int64_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  bits += outward;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}
LOGLOSS_HD bool is_even(double x) {
  std::int64_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return (bits & 1) == 0;
}

// numerator / denominator rounded once, to nearest, ties to even, for values between 2^-450 and 2^450: the products
// below are exact there.
LOGLOSS_HD double quotient(const ExactSum& numerator, const ExactSum& denominator) {
  const double d = denominator.value();
  double q = numerator.value() / d;
  ExactSum terms = denominator;
  double term[4] = {};
  for (double& t : term) t = terms.take_value();
  const auto subtract_product = [&term](ExactSum* sum, double factor) {
    for (const double t : term) sum->add_product(-factor, t);
  };
  // Three roundings have made q: it is at most two steps from the right double. numerator - q denominator, exactly,
  // tells the side, and the same with half a step more whether the neighbour there is nearer.
  for (int step = 0; step < 4; ++step) {
    ExactSum residual = numerator;
    subtract_product(&residual, q);
    const int side = residual.sign() * (d < 0 ? -1 : 1);
    if (side == 0) return q;
    const int outward = (side > 0) == (q > 0) ? 1 : -1;
    const double neighbour = next_double(q, outward);
    subtract_product(&residual, 0.5 * (neighbour - q));
    const int beyond = residual.sign() * (d < 0 ? -1 : 1) * side;
    if (beyond < 0) return q;
    if (beyond == 0) return is_even(q) ? q : neighbour;
    q = neighbour;
  }
  return q;
}

}  // namespace logloss::LOGLOSS_LEVEL
