// SPDX-License-Identifier: BSD-3-Clause
// The exact sum of a batch of at most kMaxElements values, at a few additions per vector.
//
// A value is cut at a fixed place: adding it to a lane that holds 1.5 2^17 leaves a multiple of 2^-35 there, exactly,
// and what was cut off goes to the next lane sum, where it is exact too, since a batch is short. This holds for
// magnitudes in [2^-55, 2^8) and for zeros; any other value is found out, and the batch is then added one by one.
#pragma once

#include "common/args.h"
#include "cpu/row.h"

namespace logloss::LOGLOSS_LEVEL {

// The largest magnitude of some values, and the number below the smallest one that is not 0.
template <class T>
class MagnitudeRange {
 public:
  LOGLOSS_INLINE void add(Vec<T> value) {
    const Vec<T> magnitude = and_bits(value, kAllButSign);
    largest_ = max_bits(largest_, magnitude);
    // As signed integers: the pattern of minus the number below the magnitude; from 0 becomes the largest one, a NaN.
    smallest_ = min_bits(smallest_, add_bits(magnitude, kAllButSign));
  }
  // Of NaN too.
  LOGLOSS_INLINE bool below(T limit) const {
    return !any(above_bits(largest_, __builtin_bit_cast(BitsOf<T>, limit) - 1));
  }
  // Of finite values.
  LOGLOSS_INLINE T largest() const { return reduce_max(largest_); }
  // Infinity if all values are 0.
  LOGLOSS_INLINE T below_smallest() const {
    return -reduce_max(select(smallest_ == smallest_, smallest_, Vec<T>(-kInfinity<T>)));
  }

 private:
  static constexpr BitsOf<T> kAllButSign = ~(BitsOf<T>(1) << (8 * sizeof(T) - 1));

  Vec<T> largest_{T(0)};
  Vec<T> smallest_ = add_bits(Vec<T>(T(0)), kAllButSign);
};

// Sums of values of T, cut.
template <class T>
class CutSum {
 public:
  static_assert(kMaxElements / kLanes == 256, "the lanes below are exact for 2^8 additions");

  LOGLOSS_INLINE void add(Vec<double> value) {
    for (int i = 0; i + 1 < kParts; ++i) {
      const Vec<double> sum = part_[i] + value;
      value = value - (sum - part_[i]);
      part_[i] = sum;
    }
    part_[kParts - 1] = part_[kParts - 1] + value;
  }

  // Four lanes of a part still add up exactly: 2^53 of its units are above 4 times what a lane may hold.
  LOGLOSS_INLINE void finish(double* part) const {
    for (int i = 0; i < 3; ++i, part += 4) {
      double lane[kLanes];
      store(lane, part_[i] - Vec<double>(kStart[i]));
      for (int j = 0; j < 4; ++j) part[j] = (lane[j] + lane[j + 4]) + (lane[j + 8] + lane[j + 12]);
    }
  }

 private:
  // float: 2^-35 is the unit of the first sums, and the rest, at most 2^-36 each and multiples of 2^-78, add up
  // exactly. double: the rest is cut once more, at 2^-79; the last sums are exact down to multiples of 2^-124.
  static constexpr int kParts = sizeof(T) == 4 ? 2 : 3;
  static constexpr double kStart[] = {0x1.8p17, sizeof(T) == 4 ? 0.0 : 0x1.8p-27, 0.0};

  Vec<double> part_[3] = {Vec<double>(kStart[0]), Vec<double>(kStart[1]), Vec<double>(kStart[2])};
};

// Each value is cut.
template <class T>
LOGLOSS_NOINLINE MagnitudeRange<T> sum_one_by_one(const T* values, int n, double* part) {
  MagnitudeRange<T> range;
  CutSum<T> sum;
  for_each_vector(n, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
    const Vec<T> value = load(values + j, lanes, T(0));
    range.add(value);
    sum.add(widen(value));
  });
  sum.finish(part);
  return range;
}

// Tiles of 8 vectors are added in float64 and then cut: 2.8 additions for each register instead of 4. The sum of 8
// floats is exact if their exponents are at most 26 apart: it is below 2^30 units of the last place of the smallest.
LOGLOSS_NOINLINE inline MagnitudeRange<float> sum_by_tile(const float* values, int n, double* part) {
  MagnitudeRange<float> range;
  CutSum<float> sum;
  const int tiled = n - n % kTile;
  for (int j = 0; j < tiled; j += kTile) {
    const auto pair = [&](int s) LOGLOSS_INLINE_LAMBDA {
      const float* at = values + j + s * kLanes;
      range.add(load(at));
      range.add(load(at + kLanes));
      return load_wide(at) + load_wide(at + kLanes);
    };
    const Vec<double> first = pair(0) + pair(2);
    sum.add(first + (pair(4) + pair(6)));
  }
  for_each_vector(n - tiled, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
    const Vec<float> value = load(values + tiled + j, lanes, 0.0f);
    range.add(value);
    sum.add(widen(value));
  });
  sum.finish(part);
  return range;
}

template <class T>
inline bool can_be_cut(const MagnitudeRange<T>& range) {
  return range.below(T(0x1p8)) && range.below_smallest() >= T(0x1p-55);
}
inline void sum_elements(const double* values, int n, ElementSums* sums) {
  sums->exact = can_be_cut(sum_one_by_one(values, n, sums->part));
}
inline void sum_elements(const float* values, int n, ElementSums* sums) {
  constexpr int kFarthest = 26;
  const MagnitudeRange<float> range = sum_by_tile(values, n, sums->part);
  sums->exact = can_be_cut(range);
  const auto exponent = [](float a) { return __builtin_bit_cast(std::int32_t, a) >> FloatFormat<float>::kFraction; };
  if (sums->exact && exponent(range.largest()) - exponent(range.below_smallest()) > kFarthest) {
    sum_one_by_one(values, n, sums->part);
  }
}

}  // namespace logloss::LOGLOSS_LEVEL
