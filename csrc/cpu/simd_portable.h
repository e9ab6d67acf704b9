// SPDX-License-Identifier: BSD-3-Clause
// Registers of the portable level: GCC/Clang vector extensions of 16 bytes, which every target can compile.
//
// There is no fused multiply-add here: `fma` multiplies, rounds, adds, rounds.
#pragma once

#include <cstdint>
#include <type_traits>

#include "common/dtypes.h"
#include "common/half.h"
#include "common/platform.h"

namespace logloss::LOGLOSS_LEVEL {

inline constexpr bool kFusedMultiplyAdd = false;
inline constexpr bool kCheapLookUp = false;
inline constexpr bool kSpreads = false;
inline constexpr int kRegisterCount = 16;

template <class T>
struct Native {
  using Int = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  using UInt = std::make_unsigned_t<Int>;
  typedef T Reg __attribute__((vector_size(16)));
  typedef Int Mask __attribute__((vector_size(16)));
  typedef UInt Bits __attribute__((vector_size(16)));
  static constexpr int kWidth = 16 / sizeof(T);

  static LOGLOSS_INLINE Reg broadcast(T a) { return a - Reg{}; }
  static LOGLOSS_INLINE Reg load(const T* p) {
    Reg a;
    __builtin_memcpy(&a, p, sizeof a);
    return a;
  }
  // Of n < kWidth elements; the other lanes are filled.
  static LOGLOSS_INLINE Reg load(const T* p, int n, T fill) {
    Reg a = broadcast(fill);
    if (n > 0) a[0] = p[0];
    if constexpr (kWidth == 4) {
      if (n > 1) a[1] = p[1];
      if (n > 2) a[2] = p[2];
    }
    return a;
  }
  static LOGLOSS_INLINE void store(T* p, Reg a) { __builtin_memcpy(p, &a, sizeof a); }
  static LOGLOSS_INLINE void store(T* p, int n, Reg a) {
    if (n > 0) p[0] = a[0];
    if constexpr (kWidth == 4) {
      if (n > 1) p[1] = a[1];
      if (n > 2) p[2] = a[2];
    }
  }
  static LOGLOSS_INLINE void stream(T* p, Reg a) { store(p, a); }
  static LOGLOSS_INLINE Reg add(Reg a, Reg b) { return a + b; }
  static LOGLOSS_INLINE Reg sub(Reg a, Reg b) { return a - b; }
  static LOGLOSS_INLINE Reg mul(Reg a, Reg b) { return a * b; }
  static LOGLOSS_INLINE Reg div(Reg a, Reg b) { return a / b; }
  static LOGLOSS_INLINE Reg sqrt(Reg a) {
    for (int i = 0; i < kWidth; ++i) a[i] = __builtin_sqrt(a[i]);
    return a;
  }
  static LOGLOSS_INLINE Reg fma(Reg a, Reg b, Reg c) { return a * b + c; }
  static LOGLOSS_INLINE Reg max(Reg a, Reg b) { return a > b ? a : b; }
  static LOGLOSS_INLINE Mask equal(Reg a, Reg b) { return a == b; }
  static LOGLOSS_INLINE Mask less(Reg a, Reg b) { return a < b; }
  // By bits: of 64-bit masks GCC 12 makes branches without SSE 4.1.
  static LOGLOSS_INLINE Reg select(Mask m, Reg a, Reg b) { return (Reg)((m & (Mask)a) | (~m & (Mask)b)); }
  static LOGLOSS_INLINE Reg clear(Mask m, Reg a) { return (Reg)(~m & (Mask)a); }
  static LOGLOSS_INLINE int count(const Mask* m) {
    constexpr int kRegisters = 16 / kWidth;
    Mask sum = m[0];  // of -1 for each
    for (int i = 1; i < kRegisters; ++i) sum += m[i];
    if constexpr (kWidth == 4) {
      sum += __builtin_shufflevector(sum, sum, 2, 3, 0, 1);
      sum += __builtin_shufflevector(sum, sum, 1, 0, 3, 2);
    } else {
      sum += __builtin_shufflevector(sum, sum, 1, 0);
    }
    return -static_cast<int>(sum[0]);
  }
  static LOGLOSS_INLINE T reduce_add(Reg a) {
    for (int half = kWidth / 2; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) a[i] = a[i] + a[i + half];
    }
    return a[0];
  }
  static LOGLOSS_INLINE T reduce_max(Reg a) {
    for (int half = kWidth / 2; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) a[i] = a[i] > a[i + half] ? a[i] : a[i + half];
    }
    return a[0];
  }
  static LOGLOSS_INLINE Reg add_bits(Reg a, Int b) { return (Reg)((Bits)a + static_cast<UInt>(b)); }
  static LOGLOSS_INLINE Reg add_lane_bits(Reg a, Reg b) { return (Reg)((Bits)a + (Bits)b); }
  static LOGLOSS_INLINE Reg and_bits(Reg a, Int b) { return (Reg)((Bits)a & static_cast<UInt>(b)); }
  static LOGLOSS_INLINE Reg or_bits(Reg a, Int b) { return (Reg)((Bits)a | static_cast<UInt>(b)); }
  static LOGLOSS_INLINE Reg max_bits(Reg a, Reg b) { return select(above((Mask)a, (Mask)b), a, b); }
  static LOGLOSS_INLINE Reg min_bits(Reg a, Reg b) { return select(above((Mask)a, (Mask)b), b, a); }
  static LOGLOSS_INLINE Mask above_bits(Reg a, Int b) { return above((Mask)a, b - Mask{}); }
  template <int kShift>
  static LOGLOSS_INLINE Reg shift_left_bits(Reg a) {
    return (Reg)((Bits)a << kShift);
  }
  template <int kShift>
  static LOGLOSS_INLINE Reg shift_right_bits(Reg a) {
    return (Reg)((Bits)a >> kShift);
  }

 private:
  // a > b. SSE2 does not compare 64-bit integers: there b - a tells, or the signs where they differ.
  static LOGLOSS_INLINE Mask above(Mask a, Mask b) {
    if constexpr (sizeof(T) == 4) {
      return a > b;
    } else {
      const Mask difference = (Mask)((Bits)b - (Bits)a);
      return ((b & ~a) | (difference & ~(a ^ b))) >> 63;
    }
  }
};

using FloatReg = Native<float>::Reg;
using DoubleReg = Native<double>::Reg;

// Four float registers hold 16 lanes, eight double registers do.
LOGLOSS_INLINE void widen_registers(const FloatReg* a, DoubleReg* out) {
  typedef double Four __attribute__((vector_size(32)));
  for (int i = 0; i < 4; ++i) {
    const Four wide = __builtin_convertvector(a[i], Four);
    out[2 * i] = DoubleReg{wide[0], wide[1]};
    out[2 * i + 1] = DoubleReg{wide[2], wide[3]};
  }
}
LOGLOSS_INLINE void narrow_registers(const DoubleReg* a, FloatReg* out) {
  typedef float Pair __attribute__((vector_size(8)));
  for (int i = 0; i < 4; ++i) {
    const Pair low = __builtin_convertvector(a[2 * i], Pair);
    const Pair high = __builtin_convertvector(a[2 * i + 1], Pair);
    out[i] = __builtin_shufflevector(low, high, 0, 1, 2, 3);
  }
}

// 16 values of 16 bits.
struct HalfWords {
  std::uint16_t lane[16];
  LOGLOSS_INLINE void store(std::uint16_t* p) const { __builtin_memcpy(p, lane, sizeof lane); }
  LOGLOSS_INLINE void stream(std::uint16_t* p) const { store(p); }
};

// 16 half-precision values <-> four float registers.
LOGLOSS_NOINLINE inline void widen_half(const std::uint16_t* p, FloatReg* out) {
  for (int i = 0; i < 16; ++i) out[i / 4][i % 4] = widen(Half{p[i]});
}
LOGLOSS_NOINLINE inline HalfWords narrow_half(const FloatReg* a) {
  HalfWords out;
  for (int i = 0; i < 16; ++i) out.lane[i] = narrow_half(a[i / 4][i % 4]).bits;
  return out;
}
LOGLOSS_NOINLINE inline void widen_bfloat16(const std::uint16_t* p, FloatReg* out) {
  for (int i = 0; i < 16; ++i) out[i / 4][i % 4] = widen(BFloat16{p[i]});
}
LOGLOSS_NOINLINE inline HalfWords narrow_bfloat16(const FloatReg* a) {
  HalfWords out;
  for (int i = 0; i < 16; ++i) out.lane[i] = narrow_bfloat16(a[i / 4][i % 4]).bits;
  return out;
}

}  // namespace logloss::LOGLOSS_LEVEL

#include "cpu/simd_quads.h"
