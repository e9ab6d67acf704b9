// SPDX-License-Identifier: BSD-3-Clause
// float16 and bfloat16 to float and back, one value at a time; rounding is to nearest, ties to even.
#pragma once

#include <cstdint>

#include "common/dtypes.h"
#include "common/platform.h"

namespace logloss::LOGLOSS_LEVEL {

LOGLOSS_HD std::uint32_t bits_of(float a) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &a, sizeof bits);
  return bits;
}
LOGLOSS_HD float float_of(std::uint32_t bits) {
  float a;
  __builtin_memcpy(&a, &bits, sizeof a);
  return a;
}

LOGLOSS_HD float widen(float a) { return a; }
LOGLOSS_HD double widen(double a) { return a; }

LOGLOSS_HD float widen(BFloat16 a) { return float_of(static_cast<std::uint32_t>(a.bits) << 16); }

LOGLOSS_HD float widen(Half a) {
  const std::uint32_t sign = (a.bits & 0x8000u) << 16;
  const std::uint32_t magnitude = a.bits & 0x7fffu;
  if (magnitude >= 0x7c00u) {  // infinity, NaN (made quiet)
    const std::uint32_t quiet = magnitude > 0x7c00u ? 0x400000u : 0u;
    return float_of(sign | 0x7f800000u | (magnitude << 13) | quiet);
  }
  // The 10-bit fraction is moved into place, then the exponent bias is mended by an exact product (subnormals too).
  return float_of(sign | (magnitude << 13)) * 0x1p112f;
}

LOGLOSS_HD BFloat16 narrow_bfloat16(float a) {
  const std::uint32_t bits = bits_of(a);
  if (a != a) return {0x7fc0};
  return {static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

LOGLOSS_HD Half narrow_half(float a) {
  const std::uint32_t bits = bits_of(a);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return {static_cast<std::uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu))};
  if (magnitude >= 0x47800000u) return {static_cast<std::uint16_t>(sign | 0x7c00u)};  // 2^16 and more
  if (magnitude < 0x38800000u) {  // below 2^-14: adding 0.5 lets the float adder round to multiples of 2^-24
    const std::uint32_t rounded = bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f);
    return {static_cast<std::uint16_t>(sign | rounded)};
  }
  const std::uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return {static_cast<std::uint16_t>(sign | ((rounded - 0x38000000u) >> 13))};
}

}  // namespace logloss::LOGLOSS_LEVEL
