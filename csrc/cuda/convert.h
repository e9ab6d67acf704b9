// SPDX-License-Identifier: BSD-3-Clause
// Arrays in another type: weights, targets and upstream gradients in that of a kernel, gradients in that of their
// input.
#pragma once

#include <cstdint>

#include "cpu/simd.h"
#include "cuda/device.h"
#include "cuda/operations.h"

namespace logloss::LOGLOSS_LEVEL {

// A float that rounds to float16 as `value` itself does: to odd, so that a tie of the second rounding was one of
// `value`.
LOGLOSS_INLINE float rounded_to_odd(double value) {
  const float nearest = static_cast<float>(value);
  const double back = static_cast<double>(nearest);
  if (back == value || value != value) return nearest;
  const bool beyond = (back < 0 ? -back : back) > (value < 0 ? -value : value);
  return float_of((bits_of(nearest) - (beyond ? 1 : 0)) | 1);
}

template <class To, class From>
LOGLOSS_INLINE void store_converted(To* to, From value) {
  if constexpr (std::is_same_v<To, Half> && std::is_same_v<From, double>) {
    store_one(to, rounded_to_odd(value));
  } else {
    store_one(to, static_cast<compute_t<To>>(value));
  }
}

// The source of a ConvertCall.
struct AnyArray {
  int type;
  Repeated elements;

  template <class S>
  LOGLOSS_INLINE const S* at(std::int64_t j) const {
    return static_cast<const S*>(elements.value) + j / elements.inner % elements.count;
  }
};

template <class To>
LOGLOSS_KERNEL(256, 4)
convert_kernel(AnyArray source, std::int64_t n, To* output) {
  for (std::int64_t j = block() * threads() + thread(); j < n; j += blocks() * threads()) {
    To* const to = output + j;
    switch (source.type) {
      case 0:
        store_converted(to, load_one(source.at<Half>(j)));
        break;
      case 1:
        store_converted(to, load_one(source.at<BFloat16>(j)));
        break;
      case 2:
        store_converted(to, *source.at<float>(j));
        break;
      case 3:
        store_converted(to, *source.at<double>(j));
        break;
      case 4:
        store_converted(to, *source.at<std::int8_t>(j));
        break;
      case 5:
        store_converted(to, *source.at<std::int16_t>(j));
        break;
      case 6:
        store_converted(to, *source.at<std::int32_t>(j));
        break;
      case 7:
        store_converted(to, *source.at<std::int64_t>(j));
        break;
      case 8:
        store_converted(to, *source.at<std::uint8_t>(j));
        break;
      case 9:
        store_converted(to, *source.at<std::uint16_t>(j));
        break;
      case 10:
        store_converted(to, *source.at<std::uint32_t>(j));
        break;
      default:
        store_converted(to, *source.at<std::uint64_t>(j));
    }
  }
}

template <class To>
LOGLOSS_KERNEL(256, 4)
fill_kernel(double value, std::int64_t n, To* output) {
  for (std::int64_t j = block() * threads() + thread(); j < n; j += blocks() * threads()) {
    store_converted(output + j, value);
  }
}

}  // namespace logloss::LOGLOSS_LEVEL
