// SPDX-License-Identifier: BSD-3-Clause
// Native registers of the neon level (aarch64): what simd.h builds its 16 virtual lanes from.
#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "common/dtypes.h"
#include "common/platform.h"

namespace logloss::LOGLOSS_LEVEL {

inline constexpr bool kFusedMultiplyAdd = true;
inline constexpr bool kCheapLookUp = true;
inline constexpr bool kSpreads = false;
inline constexpr int kRegisterCount = 32;

template <class T>
struct Native;

template <>
struct Native<float> {
  using Reg = float32x4_t;
  using Mask = uint32x4_t;
  static constexpr int kWidth = 4;

  static LOGLOSS_INLINE Reg broadcast(float a) { return vdupq_n_f32(a); }
  static LOGLOSS_INLINE Reg load(const float* p) { return vld1q_f32(p); }
  // Of n < kWidth elements; the other lanes are filled.
  static LOGLOSS_INLINE Reg load(const float* p, int n, float fill) {
    Reg a = broadcast(fill);
    if (n > 0) a = vld1q_lane_f32(p, a, 0);
    if (n > 1) a = vld1q_lane_f32(p + 1, a, 1);
    if (n > 2) a = vld1q_lane_f32(p + 2, a, 2);
    return a;
  }
  static LOGLOSS_INLINE void store(float* p, Reg a) { vst1q_f32(p, a); }
  static LOGLOSS_INLINE void store(float* p, int n, Reg a) {
    if (n > 0) vst1q_lane_f32(p, a, 0);
    if (n > 1) vst1q_lane_f32(p + 1, a, 1);
    if (n > 2) vst1q_lane_f32(p + 2, a, 2);
  }
  static LOGLOSS_INLINE void stream(float* p, Reg a) { store(p, a); }
  static LOGLOSS_INLINE Reg add(Reg a, Reg b) { return vaddq_f32(a, b); }
  static LOGLOSS_INLINE Reg sub(Reg a, Reg b) { return vsubq_f32(a, b); }
  static LOGLOSS_INLINE Reg mul(Reg a, Reg b) { return vmulq_f32(a, b); }
  static LOGLOSS_INLINE Reg div(Reg a, Reg b) { return vdivq_f32(a, b); }
  static LOGLOSS_INLINE Reg fma(Reg a, Reg b, Reg c) { return vfmaq_f32(c, a, b); }
  // As x86: the second operand where the two do not compare (vmaxq would return the NaN).
  static LOGLOSS_INLINE Reg max(Reg a, Reg b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
  static LOGLOSS_INLINE Mask equal(Reg a, Reg b) { return vceqq_f32(a, b); }
  static LOGLOSS_INLINE Mask less(Reg a, Reg b) { return vcltq_f32(a, b); }
  static LOGLOSS_INLINE Reg select(Mask m, Reg a, Reg b) { return vbslq_f32(m, a, b); }
  static LOGLOSS_INLINE Reg clear(Mask m, Reg a) {
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(a), m));
  }
  static LOGLOSS_INLINE int count(const Mask* m) {
    const Mask sum = vaddq_u32(vaddq_u32(m[0], m[1]), vaddq_u32(m[2], m[3]));  // of -1 for each
    return -static_cast<int>(vaddvq_u32(sum));
  }
  static LOGLOSS_INLINE float reduce_add(Reg a) {
    const float32x2_t two = vadd_f32(vget_low_f32(a), vget_high_f32(a));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
  }
  static LOGLOSS_INLINE float reduce_max(Reg a) {
    const Reg two = max(a, vextq_f32(a, a, 2));
    return vgetq_lane_f32(max(two, vdupq_laneq_f32(two, 1)), 0);
  }
  static LOGLOSS_INLINE Reg add_bits(Reg a, std::int32_t b) {
    return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(a), vdupq_n_s32(b)));
  }
  static LOGLOSS_INLINE Reg add_lane_bits(Reg a, Reg b) {
    return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(a), vreinterpretq_s32_f32(b)));
  }
  static LOGLOSS_INLINE Reg and_bits(Reg a, std::int32_t b) {
    return vreinterpretq_f32_s32(vandq_s32(vreinterpretq_s32_f32(a), vdupq_n_s32(b)));
  }
  static LOGLOSS_INLINE Reg or_bits(Reg a, std::int32_t b) {
    return vreinterpretq_f32_s32(vorrq_s32(vreinterpretq_s32_f32(a), vdupq_n_s32(b)));
  }
  static LOGLOSS_INLINE Reg max_bits(Reg a, Reg b) { return vbslq_f32(greater(a, b), a, b); }
  static LOGLOSS_INLINE Reg min_bits(Reg a, Reg b) { return vbslq_f32(greater(a, b), b, a); }
  static LOGLOSS_INLINE Mask above_bits(Reg a, std::int32_t b) {
    return vcgtq_s32(vreinterpretq_s32_f32(a), vdupq_n_s32(b));
  }
  static LOGLOSS_INLINE Mask greater(Reg a, Reg b) {
    return vcgtq_s32(vreinterpretq_s32_f32(a), vreinterpretq_s32_f32(b));
  }
  template <int kShift>
  static LOGLOSS_INLINE Reg shift_left_bits(Reg a) {
    return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(a), kShift));
  }
  template <int kShift>
  static LOGLOSS_INLINE Reg shift_right_bits(Reg a) {
    return vreinterpretq_f32_u32(vshrq_n_u32(vreinterpretq_u32_f32(a), kShift));
  }
  template <class Table>
  static LOGLOSS_INLINE Reg look_up(Reg a) {
    const uint8x16x2_t table = vld1q_u8_x2(reinterpret_cast<const std::uint8_t*>(Table::bits));
    const uint32x4_t index = vandq_u32(vreinterpretq_u32_f32(a), vdupq_n_u32(7));
    const uint32x4_t bytes = vmlaq_u32(vdupq_n_u32(0x03020100), index, vdupq_n_u32(0x04040404));
    return vreinterpretq_f32_u8(vqtbl2q_u8(table, vreinterpretq_u8_u32(bytes)));
  }
};

template <>
struct Native<double> {
  using Reg = float64x2_t;
  using Mask = uint64x2_t;
  static constexpr int kWidth = 2;

  static LOGLOSS_INLINE Reg broadcast(double a) { return vdupq_n_f64(a); }
  static LOGLOSS_INLINE Reg load(const double* p) { return vld1q_f64(p); }
  // Of n < kWidth elements; the other lanes are filled.
  static LOGLOSS_INLINE Reg load(const double* p, int n, double fill) {
    return n > 0 ? vld1q_lane_f64(p, broadcast(fill), 0) : broadcast(fill);
  }
  static LOGLOSS_INLINE void store(double* p, Reg a) { vst1q_f64(p, a); }
  static LOGLOSS_INLINE void store(double* p, int n, Reg a) {
    if (n > 0) vst1q_lane_f64(p, a, 0);
  }
  static LOGLOSS_INLINE void stream(double* p, Reg a) { store(p, a); }
  static LOGLOSS_INLINE Reg add(Reg a, Reg b) { return vaddq_f64(a, b); }
  static LOGLOSS_INLINE Reg sub(Reg a, Reg b) { return vsubq_f64(a, b); }
  static LOGLOSS_INLINE Reg mul(Reg a, Reg b) { return vmulq_f64(a, b); }
  static LOGLOSS_INLINE Reg div(Reg a, Reg b) { return vdivq_f64(a, b); }
  static LOGLOSS_INLINE Reg sqrt(Reg a) { return vsqrtq_f64(a); }
  static LOGLOSS_INLINE Reg fma(Reg a, Reg b, Reg c) { return vfmaq_f64(c, a, b); }
  static LOGLOSS_INLINE Reg max(Reg a, Reg b) { return vbslq_f64(vcgtq_f64(a, b), a, b); }
  static LOGLOSS_INLINE Mask equal(Reg a, Reg b) { return vceqq_f64(a, b); }
  static LOGLOSS_INLINE Mask less(Reg a, Reg b) { return vcltq_f64(a, b); }
  static LOGLOSS_INLINE Reg select(Mask m, Reg a, Reg b) { return vbslq_f64(m, a, b); }
  static LOGLOSS_INLINE Reg clear(Mask m, Reg a) {
    return vreinterpretq_f64_u64(vbicq_u64(vreinterpretq_u64_f64(a), m));
  }
  static LOGLOSS_INLINE int count(const Mask* m) {
    const Mask low = vaddq_u64(vaddq_u64(m[0], m[1]), vaddq_u64(m[2], m[3]));
    const Mask high = vaddq_u64(vaddq_u64(m[4], m[5]), vaddq_u64(m[6], m[7]));
    return -static_cast<int>(vaddvq_u64(vaddq_u64(low, high)));
  }
  static LOGLOSS_INLINE double reduce_add(Reg a) { return vgetq_lane_f64(a, 0) + vgetq_lane_f64(a, 1); }
  static LOGLOSS_INLINE double reduce_max(Reg a) { return vgetq_lane_f64(max(a, vdupq_laneq_f64(a, 1)), 0); }
  static LOGLOSS_INLINE Reg add_bits(Reg a, std::int64_t b) {
    return vreinterpretq_f64_s64(vaddq_s64(vreinterpretq_s64_f64(a), vdupq_n_s64(b)));
  }
  static LOGLOSS_INLINE Reg and_bits(Reg a, std::int64_t b) {
    return vreinterpretq_f64_s64(vandq_s64(vreinterpretq_s64_f64(a), vdupq_n_s64(b)));
  }
  static LOGLOSS_INLINE Reg or_bits(Reg a, std::int64_t b) {
    return vreinterpretq_f64_s64(vorrq_s64(vreinterpretq_s64_f64(a), vdupq_n_s64(b)));
  }
  static LOGLOSS_INLINE Reg max_bits(Reg a, Reg b) { return vbslq_f64(greater(a, b), a, b); }
  static LOGLOSS_INLINE Reg min_bits(Reg a, Reg b) { return vbslq_f64(greater(a, b), b, a); }
  static LOGLOSS_INLINE Mask above_bits(Reg a, std::int64_t b) {
    return vcgtq_s64(vreinterpretq_s64_f64(a), vdupq_n_s64(b));
  }
  static LOGLOSS_INLINE Mask greater(Reg a, Reg b) {
    return vcgtq_s64(vreinterpretq_s64_f64(a), vreinterpretq_s64_f64(b));
  }
  template <int kShift>
  static LOGLOSS_INLINE Reg shift_left_bits(Reg a) {
    return vreinterpretq_f64_u64(vshlq_n_u64(vreinterpretq_u64_f64(a), kShift));
  }
  template <int kShift>
  static LOGLOSS_INLINE Reg shift_right_bits(Reg a) {
    return vreinterpretq_f64_u64(vshrq_n_u64(vreinterpretq_u64_f64(a), kShift));
  }
};

using FloatReg = Native<float>::Reg;

// Four float registers hold 16 lanes, eight double registers do.
LOGLOSS_INLINE void widen_registers(const float32x4_t* a, float64x2_t* out) {
  for (int i = 0; i < 4; ++i) {
    out[2 * i] = vcvt_f64_f32(vget_low_f32(a[i]));
    out[2 * i + 1] = vcvt_high_f64_f32(a[i]);
  }
}
LOGLOSS_INLINE void narrow_registers(const float64x2_t* a, float32x4_t* out) {
  for (int i = 0; i < 4; ++i) out[i] = vcvt_high_f32_f64(vcvt_f32_f64(a[2 * i]), a[2 * i + 1]);
}

// 16 values of 16 bits.
struct HalfWords {
  uint16x4_t reg[4];
  LOGLOSS_INLINE void store(std::uint16_t* p) const {
    for (int i = 0; i < 4; ++i) vst1_u16(p + 4 * i, reg[i]);
  }
  LOGLOSS_INLINE void stream(std::uint16_t* p) const { store(p); }
};

// 16 half-precision values <-> four float registers.
LOGLOSS_INLINE void widen_half(const std::uint16_t* p, float32x4_t* out) {
  for (int i = 0; i < 4; ++i) out[i] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i)));
}
LOGLOSS_INLINE HalfWords narrow_half(const float32x4_t* a) {
  HalfWords out;
  for (int i = 0; i < 4; ++i) out.reg[i] = vreinterpret_u16_f16(vcvt_f16_f32(a[i]));
  return out;
}
LOGLOSS_INLINE void widen_bfloat16(const std::uint16_t* p, float32x4_t* out) {
  for (int i = 0; i < 4; ++i) out[i] = vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16));
}
LOGLOSS_INLINE HalfWords narrow_bfloat16(const float32x4_t* a) {
  HalfWords out;
  for (int i = 0; i < 4; ++i) {
    const uint32x4_t bits = vreinterpretq_u32_f32(a[i]);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(vaddq_u32(bits, vdupq_n_u32(0x7fff)), odd);
    const uint32x4_t number = vceqq_f32(a[i], a[i]);
    const uint32x4_t kept = vbslq_u32(number, rounded, vdupq_n_u32(0x7fc00000));
    out.reg[i] = vshrn_n_u32(kept, 16);
  }
  return out;
}

}  // namespace logloss::LOGLOSS_LEVEL

#include "cpu/simd_quads.h"
