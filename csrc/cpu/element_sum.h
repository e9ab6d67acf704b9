// SPDX-License-Identifier: BSD-3-Clause
// The exact sum of a batch of at most kMaxElements values, at a few additions per vector.
//
// A value is cut at a fixed place: adding it to a lane that holds 1.5 2^17 leaves a multiple of 2^-35 there, exactly,
// and what was cut off goes to the next lane sum, where it is exact too, since a batch is short. This holds for
// magnitudes in [2^-55, 2^8) and for zeros; any other value is found out, and the batch is then added one by one.
#pragma once

#include "common/args.h"
#include "cpu/simd.h"

namespace logloss::LOGLOSS_LEVEL {

template <class T>
class ElementSum {
 public:
  static_assert(kMaxElements / kLanes == 256, "the lanes below are exact for 2^8 additions");

  LOGLOSS_INLINE void add(Vec<T> value) {
    // The pattern below that of -0 is a NaN, which max passes over.
    smallest_ = max(add_bits(or_bits(value, kSign), -1), smallest_);
    largest_ = max(and_bits(value, ~kSign), largest_);
    Vec<double> rest = widen(value);
    for (int i = 0; i + 1 < kParts; ++i) {
      const Vec<double> sum = part_[i] + rest;
      rest = rest - (sum - part_[i]);
      part_[i] = sum;
    }
    part_[kParts - 1] = part_[kParts - 1] + rest;
  }

  LOGLOSS_INLINE void finish(ElementSums* sums) const {
    for (int i = 0; i < kParts; ++i) store(sums->part + i * kLanes, part_[i] - Vec<double>(kStart[i]));
    for (int i = kParts * kLanes; i < kElementSumParts; ++i) sums->part[i] = 0.0;
    const T largest = reduce_max(largest_), smallest = -reduce_max(smallest_);
    // A NaN does not show in the magnitudes, but in the last sums.
    const double last = reduce_add(part_[kParts - 1]);
    sums->exact = largest < T(kLimit) && smallest >= T(kSmallest) && last - last == 0.0;
  }

 private:
  static constexpr BitsOf<T> kSign = BitsOf<T>(1) << (8 * sizeof(T) - 1);
  // float: 2^-35 is the unit of the first sums, and the rest, at most 2^-36 each and multiples of 2^-78, add up
  // exactly. double: the rest is cut once more, at 2^-79; the last sums are exact down to multiples of 2^-124.
  static constexpr int kParts = sizeof(T) == 4 ? 2 : 3;
  static constexpr double kStart[] = {0x1.8p17, sizeof(T) == 4 ? 0.0 : 0x1.8p-27, 0.0};
  static constexpr double kLimit = 0x1p8;
  static constexpr double kSmallest = 0x1p-55;

  Vec<T> largest_{T(0)};
  Vec<T> smallest_{-T(__builtin_inf())};
  Vec<double> part_[3] = {Vec<double>(kStart[0]), Vec<double>(kStart[1]), Vec<double>(kStart[2])};
};

}  // namespace logloss::LOGLOSS_LEVEL
