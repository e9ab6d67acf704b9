// SPDX-License-Identifier: BSD-3-Clause
// Registers of the CUDA level: the 16 lanes of a vector are the 16 threads of a team, each of which holds one value.
#pragma once

#include <cstdint>
#include <type_traits>

#include "common/dtypes.h"
#include "common/half.h"
#include "common/platform.h"
#include "cuda/device.h"

namespace logloss::LOGLOSS_LEVEL {

inline constexpr bool kFusedMultiplyAdd = true;
inline constexpr bool kCheapLookUp = true;
inline constexpr bool kSpreads = false;
inline constexpr int kRegisterCount = 32;

// A copy of an array: device code cannot refer to one that lives on the host.
template <class T, int kTerms>
struct ArrayCopy {
  T c[kTerms];
};
template <class T, int kTerms>
constexpr ArrayCopy<T, kTerms> copy_of(const T (&table)[kTerms]) {
  ArrayCopy<T, kTerms> copy{};
  for (int i = 0; i < kTerms; ++i) copy.c[i] = table[i];
  return copy;
}

template <class T>
inline constexpr T kNaN = T(__builtin_nan(""));

LOGLOSS_INLINE int lane_of_team() { return thread() & 15; }
LOGLOSS_INLINE float rounded_once(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
LOGLOSS_INLINE double rounded_once(double a, double b, double c) { return __builtin_fma(a, b, c); }

template <class T>
struct Native {
  using Int = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  using UInt = std::make_unsigned_t<Int>;
  using Reg = T;
  using Mask = bool;
  static constexpr int kWidth = 16;

  static LOGLOSS_INLINE int lane() { return lane_of_team(); }
  static LOGLOSS_INLINE T from_lane(T a, int lane) { return shuffle_from(a, lane); }
  static LOGLOSS_INLINE T from_lane_xor(T a, int distance) { return shuffle_xor(a, distance); }

  static LOGLOSS_INLINE Reg broadcast(T a) { return a; }
  static LOGLOSS_INLINE Reg load(const T* p) { return p[lane()]; }
  static LOGLOSS_INLINE Reg load(const T* p, int n, T fill) { return lane() < n ? p[lane()] : fill; }
  template <class From>
  static LOGLOSS_INLINE Reg load(const From* p) {
    return static_cast<T>(p[lane()]);
  }
  static LOGLOSS_INLINE void store(T* p, Reg a) { p[lane()] = a; }
  static LOGLOSS_INLINE void store(T* p, int n, Reg a) {
    if (lane() < n) p[lane()] = a;
  }
  static LOGLOSS_INLINE void stream(T* p, Reg a) { store(p, a); }
  static LOGLOSS_INLINE Reg add(Reg a, Reg b) { return a + b; }
  static LOGLOSS_INLINE Reg sub(Reg a, Reg b) { return a - b; }
  static LOGLOSS_INLINE Reg mul(Reg a, Reg b) { return a * b; }
  static LOGLOSS_INLINE Reg div(Reg a, Reg b) { return a / b; }
  static LOGLOSS_INLINE Reg sqrt(Reg a) { return __builtin_sqrt(a); }
  static LOGLOSS_INLINE Reg fma(Reg a, Reg b, Reg c) { return rounded_once(a, b, c); }
  static LOGLOSS_INLINE Reg max(Reg a, Reg b) { return a > b ? a : b; }
  static LOGLOSS_INLINE Mask equal(Reg a, Reg b) { return a == b; }
  static LOGLOSS_INLINE Mask less(Reg a, Reg b) { return a < b; }
  static LOGLOSS_INLINE Reg select(Mask m, Reg a, Reg b) { return m ? a : b; }
  static LOGLOSS_INLINE Reg clear(Mask m, Reg a) { return m ? T(0) : a; }
  static LOGLOSS_INLINE int count(const Mask* m) { return count_in_team(m[0]); }
  static LOGLOSS_INLINE T reduce_add(Reg a) {
    LOGLOSS_UNROLL for (int half = kWidth / 2; half > 0; half /= 2) a = a + shuffle_xor(a, half);
    return a;
  }
  // The lower lane's value stands first, as in registers: every thread gets the same zero of two.
  static LOGLOSS_INLINE T reduce_max(Reg a) {
    LOGLOSS_UNROLL for (int half = kWidth / 2; half > 0; half /= 2) {
      const T other = shuffle_xor(a, half);
      a = lane() & half ? max(other, a) : max(a, other);
    }
    return a;
  }
  static LOGLOSS_INLINE Reg add_bits(Reg a, Int b) { return of_bits(bits(a) + static_cast<UInt>(b)); }
  static LOGLOSS_INLINE Reg add_lane_bits(Reg a, Reg b) { return of_bits(bits(a) + bits(b)); }
  // In the device's memory: a copy of a thread's own would lie in its local memory, and be written there first.
  template <class Table>
  static LOGLOSS_INLINE Reg look_up(Reg a) {
    static constexpr auto table = copy_of(Table::bits);
    return of_bits(static_cast<UInt>(table.c[bits(a) & 7]));
  }
  static LOGLOSS_INLINE Reg and_bits(Reg a, Int b) { return of_bits(bits(a) & static_cast<UInt>(b)); }
  static LOGLOSS_INLINE Reg or_bits(Reg a, Int b) { return of_bits(bits(a) | static_cast<UInt>(b)); }
  static LOGLOSS_INLINE Reg max_bits(Reg a, Reg b) { return signed_bits(a) > signed_bits(b) ? a : b; }
  static LOGLOSS_INLINE Reg min_bits(Reg a, Reg b) { return signed_bits(a) < signed_bits(b) ? a : b; }
  static LOGLOSS_INLINE Mask above_bits(Reg a, Int b) { return signed_bits(a) > b; }
  template <int kShift>
  static LOGLOSS_INLINE Reg shift_left_bits(Reg a) {
    return of_bits(bits(a) << kShift);
  }
  template <int kShift>
  static LOGLOSS_INLINE Reg shift_right_bits(Reg a) {
    return of_bits(bits(a) >> kShift);
  }

 private:
  static LOGLOSS_INLINE UInt bits(T a) {
    UInt pattern;
    __builtin_memcpy(&pattern, &a, sizeof pattern);
    return pattern;
  }
  static LOGLOSS_INLINE Int signed_bits(T a) { return static_cast<Int>(bits(a)); }
  static LOGLOSS_INLINE T of_bits(UInt pattern) {
    T a;
    __builtin_memcpy(&a, &pattern, sizeof a);
    return a;
  }
};

LOGLOSS_INLINE void widen_registers(const float* a, double* out) { *out = static_cast<double>(*a); }
LOGLOSS_INLINE void narrow_registers(const double* a, float* out) { *out = static_cast<float>(*a); }

// A value of 16 bits.
struct HalfWords {
  std::uint16_t bits;
  LOGLOSS_INLINE void store(std::uint16_t* p) const { p[lane_of_team()] = bits; }
  LOGLOSS_INLINE void stream(std::uint16_t* p) const { store(p); }
};

LOGLOSS_INLINE void widen_half(const std::uint16_t* p, float* out) { *out = widen(Half{p[lane_of_team()]}); }
LOGLOSS_INLINE HalfWords narrow_half(const float* a) { return {narrow_half(*a).bits}; }
LOGLOSS_INLINE void widen_bfloat16(const std::uint16_t* p, float* out) { *out = widen(BFloat16{p[lane_of_team()]}); }
LOGLOSS_INLINE HalfWords narrow_bfloat16(const float* a) { return {narrow_bfloat16(*a).bits}; }

}  // namespace logloss::LOGLOSS_LEVEL
