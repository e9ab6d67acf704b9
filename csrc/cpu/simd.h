// SPDX-License-Identifier: BSD-3-Clause
// Vec<T>: 16 lanes of T, the same 16 on every machine: one AVX-512 register of floats, two of AVX2, four of NEON.
//
// Everything above this file is written once against Vec, and adds in the order that the lanes prescribe, so the
// results have the same bits at every level that has a fused multiply-add. Verbs only; what differs between the
// levels is in simd_<level>.h.
#pragma once

#include <cstdint>
#include <type_traits>

#include "common/dtypes.h"
#include "common/half.h"
#include "common/platform.h"

#if defined(LOGLOSS_LEVEL_AVX512)
#include "cpu/simd_avx512.h"
#elif defined(LOGLOSS_LEVEL_AVX2)
#include "cpu/simd_avx2.h"
#elif defined(LOGLOSS_LEVEL_NEON)
#include "cpu/simd_neon.h"
#elif defined(LOGLOSS_LEVEL_CUDA)
#include "cuda/simd_cuda.h"
#else
#include "cpu/simd_portable.h"
#endif
#if !defined(LOGLOSS_LEVEL_AVX512)
#include "cpu/simd_words.h"
#endif

namespace logloss::LOGLOSS_LEVEL {

inline constexpr int kLanes = 16;
// Whether each lane is a thread of its own (CUDA): what it holds, the others do not see.
inline constexpr bool kLaneIsThread = sizeof(Native<float>::Reg) == sizeof(float);

// The same address, of which the compiler does not know so: what lies there is loaded from there, where it would hold
// it in registers that others need (cross_entropy of bfloat16 rows of 4096 on AVX-512: 9.3 cycles for 16 elements, 8.0
// so), or take it from where it was copied from.
template <class S>
LOGLOSS_INLINE S* loaded_again(S* x) {
#ifndef __CUDACC__
  asm("" : "+r"(x));
#endif
  return x;
}

// Integer of the width of T, for the bit patterns of floating-point constants.
template <class T>
using BitsOf = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;

// f(i) for every register of a vector. Not a loop: what lies in an array that is walked by a loop stays in memory where
// GCC decides on it before it unrolls (cross_entropy of 65536 x 10 on AVX2: 1.54 ms with loops, 0.85 so).
template <class V, class F>
LOGLOSS_INLINE void for_each_register(F f) {
  f(0);
  if constexpr (V::kRegisters > 1) f(1);
  if constexpr (V::kRegisters > 2) f(2), f(3);
  if constexpr (V::kRegisters > 4) f(4), f(5), f(6), f(7);
}

template <class T>
struct Vec {
  using N = Native<T>;
  static constexpr int kRegisters = kLanes / N::kWidth;
  typename N::Reg reg[kRegisters];

  Vec() = default;
  LOGLOSS_INLINE explicit Vec(T a) {
    for_each_register<Vec>([&](int i) LOGLOSS_INLINE_LAMBDA { reg[i] = N::broadcast(a); });
  }
};

template <class T>
struct Mask {
  using N = Native<T>;
  static constexpr int kRegisters = kLanes / N::kWidth;
  typename N::Mask reg[kRegisters];
};

// Elementwise arithmetic, each operation rounded once.

template <auto kVerb, class T>
LOGLOSS_INLINE Vec<T> lanewise(Vec<T> a, Vec<T> b) {
  Vec<T> out;
  for_each_register<Vec<T>>([&](int i) LOGLOSS_INLINE_LAMBDA { out.reg[i] = kVerb(a.reg[i], b.reg[i]); });
  return out;
}
template <class T>
LOGLOSS_INLINE Vec<T> operator+(Vec<T> a, Vec<T> b) {
  return lanewise<Native<T>::add>(a, b);
}
template <class T>
LOGLOSS_INLINE Vec<T> operator-(Vec<T> a, Vec<T> b) {
  return lanewise<Native<T>::sub>(a, b);
}
template <class T>
LOGLOSS_INLINE Vec<T> operator*(Vec<T> a, Vec<T> b) {
  return lanewise<Native<T>::mul>(a, b);
}
template <class T>
LOGLOSS_INLINE Vec<T> operator/(Vec<T> a, Vec<T> b) {
  return lanewise<Native<T>::div>(a, b);
}
LOGLOSS_INLINE Vec<double> sqrt(Vec<double> a) {
  for_each_register<Vec<double>>([&](int i) LOGLOSS_INLINE_LAMBDA { a.reg[i] = Native<double>::sqrt(a.reg[i]); });
  return a;
}
// The larger operand; the second one where they do not compare, so a NaN is kept if it stands second.
template <class T>
LOGLOSS_INLINE Vec<T> max(Vec<T> a, Vec<T> b) {
  return lanewise<Native<T>::max>(a, b);
}

// a * b + c, rounded once (twice at the portable level).
template <class T>
LOGLOSS_INLINE Vec<T> fma(Vec<T> a, Vec<T> b, Vec<T> c) {
  Vec<T> out;
  for_each_register<Vec<T>>([&](int i)
                                LOGLOSS_INLINE_LAMBDA { out.reg[i] = Native<T>::fma(a.reg[i], b.reg[i], c.reg[i]); });
  return out;
}

// Comparisons are false for NaN.

template <class T>
LOGLOSS_INLINE Mask<T> operator==(Vec<T> a, Vec<T> b) {
  Mask<T> out;
  for_each_register<Vec<T>>([&](int i) LOGLOSS_INLINE_LAMBDA { out.reg[i] = Native<T>::equal(a.reg[i], b.reg[i]); });
  return out;
}
template <class T>
LOGLOSS_INLINE Mask<T> operator<(Vec<T> a, Vec<T> b) {
  Mask<T> out;
  for_each_register<Vec<T>>([&](int i) LOGLOSS_INLINE_LAMBDA { out.reg[i] = Native<T>::less(a.reg[i], b.reg[i]); });
  return out;
}
// a where the mask is set, b elsewhere.
template <class T>
LOGLOSS_INLINE Vec<T> select(Mask<T> m, Vec<T> a, Vec<T> b) {
  Vec<T> out;
  for_each_register<Vec<T>>(
      [&](int i) LOGLOSS_INLINE_LAMBDA { out.reg[i] = Native<T>::select(m.reg[i], a.reg[i], b.reg[i]); });
  return out;
}
// +0 where the mask is set, a elsewhere.
template <class T>
LOGLOSS_INLINE Vec<T> clear(Mask<T> m, Vec<T> a) {
  Vec<T> out;
  for_each_register<Vec<T>>([&](int i) LOGLOSS_INLINE_LAMBDA { out.reg[i] = Native<T>::clear(m.reg[i], a.reg[i]); });
  return out;
}
// How many lanes are set.
template <class T>
LOGLOSS_INLINE int count(Mask<T> m) {
  return Native<T>::count(m.reg);
}

template <class T>
LOGLOSS_INLINE bool any(Mask<T> m) {
  return count(m) != 0;
}

// Integer operations on the bit patterns.

template <class T>
LOGLOSS_INLINE Vec<T> add_bits(Vec<T> a, BitsOf<T> b) {
  for_each_register<Vec<T>>([&](int i) LOGLOSS_INLINE_LAMBDA { a.reg[i] = Native<T>::add_bits(a.reg[i], b); });
  return a;
}
template <class T>
LOGLOSS_INLINE Vec<T> add_bits(Vec<T> a, Vec<T> b) {
  return lanewise<Native<T>::add_lane_bits>(a, b);
}
template <class T>
LOGLOSS_INLINE Vec<T> and_bits(Vec<T> a, BitsOf<T> b) {
  for_each_register<Vec<T>>([&](int i) LOGLOSS_INLINE_LAMBDA { a.reg[i] = Native<T>::and_bits(a.reg[i], b); });
  return a;
}
template <class T>
LOGLOSS_INLINE Vec<T> or_bits(Vec<T> a, BitsOf<T> b) {
  for_each_register<Vec<T>>([&](int i) LOGLOSS_INLINE_LAMBDA { a.reg[i] = Native<T>::or_bits(a.reg[i], b); });
  return a;
}
template <int kShift, class T>
LOGLOSS_INLINE Vec<T> shift_left_bits(Vec<T> a) {
  for_each_register<Vec<T>>(
      [&](int i) LOGLOSS_INLINE_LAMBDA { a.reg[i] = Native<T>::template shift_left_bits<kShift>(a.reg[i]); });
  return a;
}
template <int kShift, class T>
LOGLOSS_INLINE Vec<T> shift_right_bits(Vec<T> a) {
  for_each_register<Vec<T>>(
      [&](int i) LOGLOSS_INLINE_LAMBDA { a.reg[i] = Native<T>::template shift_right_bits<kShift>(a.reg[i]); });
  return a;
}

// Table::bits[i], of eight, for the integer i in the lowest three bits of each lane.
template <class Table, class T>
LOGLOSS_INLINE Vec<T> look_up(Vec<T> a) {
  for_each_register<Vec<T>>([&](int i)
                                LOGLOSS_INLINE_LAMBDA { a.reg[i] = Native<T>::template look_up<Table>(a.reg[i]); });
  return a;
}

// Bit patterns compared as signed integers.

template <class T>
LOGLOSS_INLINE Vec<T> max_bits(Vec<T> a, Vec<T> b) {
  return lanewise<Native<T>::max_bits>(a, b);
}
template <class T>
LOGLOSS_INLINE Vec<T> min_bits(Vec<T> a, Vec<T> b) {
  return lanewise<Native<T>::min_bits>(a, b);
}
template <class T>
LOGLOSS_INLINE Mask<T> above_bits(Vec<T> a, BitsOf<T> b) {
  Mask<T> out;
  for_each_register<Vec<T>>([&](int i) LOGLOSS_INLINE_LAMBDA { out.reg[i] = Native<T>::above_bits(a.reg[i], b); });
  return out;
}

// float lanes <-> double lanes.

LOGLOSS_INLINE Vec<double> widen(Vec<float> a) {
  Vec<double> out;
  widen_registers(a.reg, out.reg);
  return out;
}
LOGLOSS_INLINE Vec<double> widen(Vec<double> a) { return a; }

template <class T>
LOGLOSS_INLINE Vec<T> narrow(Vec<double> a) {
  if constexpr (sizeof(T) == sizeof(double)) {
    return a;
  } else {
    Vec<float> out;
    narrow_registers(a.reg, out.reg);
    return out;
  }
}
template <class T>
LOGLOSS_INLINE Vec<T> narrow(Vec<float> a) {
  static_assert(sizeof(T) == sizeof(float));
  return a;
}

// Which lanes a load or store touches: all 16, or the first n. Loop bodies are templates over the two, so the body and
// the tail of a loop are one text.
struct AllLanes {};
struct FirstLanes {
  int n;
};

// A single value.
LOGLOSS_INLINE float load_one(const Half* p) { return widen(*p); }
LOGLOSS_INLINE float load_one(const BFloat16* p) { return widen(*p); }
template <class T>
LOGLOSS_INLINE T load_one(const T* p) {
  return *p;
}
LOGLOSS_INLINE void store_one(Half* p, float a) { *p = narrow_half(a); }
LOGLOSS_INLINE void store_one(BFloat16* p, float a) { *p = narrow_bfloat16(a); }
template <class T>
LOGLOSS_INLINE void store_one(T* p, T a) {
  *p = a;
}

// Memory: 16 values, or the first n of them. Half types are widened on load and rounded once on store.

template <class T>
LOGLOSS_INLINE Vec<T> load(const T* p) {
  Vec<T> out;
  for_each_register<Vec<T>>([&](int i)
                                LOGLOSS_INLINE_LAMBDA { out.reg[i] = Native<T>::load(p + i * Native<T>::kWidth); });
  return out;
}
LOGLOSS_INLINE Vec<float> load(const Half* p) {
  Vec<float> out;
  widen_half(&p->bits, out.reg);
  return out;
}
LOGLOSS_INLINE Vec<float> load(const BFloat16* p) {
  Vec<float> out;
  widen_bfloat16(&p->bits, out.reg);
  return out;
}

// Widened on the way, where registers are wide: of those floats need not be cut into halves.
template <class T>
LOGLOSS_INLINE Vec<double> load_wide(const T* p) {
  if constexpr (Native<T>::kWidth == 4) {
    return widen(load(p));
  } else {
    Vec<double> out;
    for_each_register<Vec<double>>(
        [&](int i) LOGLOSS_INLINE_LAMBDA { out.reg[i] = Native<double>::load(p + i * Native<double>::kWidth); });
    return out;
  }
}

template <class T>
LOGLOSS_INLINE void store(T* p, Vec<T> a) {
  for_each_register<Vec<T>>([&](int i)
                                LOGLOSS_INLINE_LAMBDA { Native<T>::store(p + i * Native<T>::kWidth, a.reg[i]); });
}
LOGLOSS_INLINE void store(Half* p, Vec<float> a) { narrow_half(a.reg).store(&p->bits); }
LOGLOSS_INLINE void store(BFloat16* p, Vec<float> a) { narrow_bfloat16(a.reg).store(&p->bits); }

// Past the caches, line by line from a multiple of kStreamAlignment on: for results that are too large to be found
// there later. Other threads see them when parallel_for has returned.
inline constexpr std::int64_t kStreamAlignment = 64;
template <class T>
LOGLOSS_INLINE void stream(T* p, Vec<T> a) {
  for_each_register<Vec<T>>([&](int i)
                                LOGLOSS_INLINE_LAMBDA { Native<T>::stream(p + i * Native<T>::kWidth, a.reg[i]); });
}
LOGLOSS_INLINE void stream(Half* p, Vec<float> a) { narrow_half(a.reg).stream(&p->bits); }
LOGLOSS_INLINE void stream(BFloat16* p, Vec<float> a) { narrow_bfloat16(a.reg).stream(&p->bits); }

inline constexpr float kLaneNumbers[kLanes] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// The lanes from n on are filled with `fill`. Half types go by way of a buffer.
template <class S>
LOGLOSS_INLINE Vec<compute_t<S>> load(const S* p, int n, compute_t<S> fill) {
  using T = compute_t<S>;
  if constexpr (!kLaneIsThread && std::is_same_v<S, T>) {
    constexpr int kWidth = Native<T>::kWidth;
    Vec<T> out;
    for (int i = 0; i < Vec<T>::kRegisters; ++i) {
      const int left = n - i * kWidth;
      if (left >= kWidth) {
        out.reg[i] = Native<T>::load(p + i * kWidth);
      } else if (left > 0) {
        out.reg[i] = Native<T>::load(p + i * kWidth, left, fill);
      } else {
        out.reg[i] = Native<T>::broadcast(fill);
      }
    }
    return out;
  } else if constexpr (kLaneIsThread) {
    const int lane = Native<T>::lane();
    return Vec<T>(lane < n ? load_one(p + lane) : fill);
  } else {
    alignas(32) std::uint16_t lane[kLanes];
    load_words(reinterpret_cast<const std::uint16_t*>(p), n, lane);
    const Vec<T> value = load(reinterpret_cast<const S*>(lane));
    return select(load(kLaneNumbers) < Vec<T>(static_cast<T>(n)), value, Vec<T>(fill));
  }
}
template <class S, class T>
LOGLOSS_INLINE void store(S* p, int n, Vec<T> a) {
  if constexpr (!kLaneIsThread && std::is_same_v<S, T>) {
    constexpr int kWidth = Native<T>::kWidth;
    for (int i = 0; i < Vec<T>::kRegisters; ++i) {
      const int left = n - i * kWidth;
      if (left >= kWidth) {
        Native<T>::store(p + i * kWidth, a.reg[i]);
      } else if (left > 0) {
        Native<T>::store(p + i * kWidth, left, a.reg[i]);
      }
    }
  } else if constexpr (kLaneIsThread) {
    const int lane = Native<T>::lane();
    if (lane < n) store_one(p + lane, a.reg[0]);
  } else {
    alignas(32) std::uint16_t lane[kLanes];
    store(reinterpret_cast<S*>(lane), a);
    store_words(reinterpret_cast<std::uint16_t*>(p), n, lane);
  }
}

template <class S>
LOGLOSS_INLINE Vec<compute_t<S>> load(const S* p, AllLanes, compute_t<S>) {
  return load(p);
}
template <class S>
LOGLOSS_INLINE Vec<compute_t<S>> load(const S* p, FirstLanes first, compute_t<S> fill) {
  return load(p, first.n, fill);
}
template <class S, class T>
LOGLOSS_INLINE void store(S* p, AllLanes, Vec<T> a) {
  store(p, a);
}
template <class S, class T>
LOGLOSS_INLINE void store(S* p, FirstLanes first, Vec<T> a) {
  store(p, first.n, a);
}

// Across the lanes, in one fixed order: lane i with lane i + 8, then + 4, + 2, + 1.

template <auto kVerb, class T>
LOGLOSS_INLINE typename Native<T>::Reg fold_registers(Vec<T> a) {
  for (int half = Vec<T>::kRegisters / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) a.reg[i] = kVerb(a.reg[i], a.reg[i + half]);
  }
  return a.reg[0];
}
template <class T>
LOGLOSS_INLINE T reduce_add(Vec<T> a) {
  return Native<T>::reduce_add(fold_registers<Native<T>::add>(a));
}
template <class T>
LOGLOSS_INLINE T reduce_max(Vec<T> a) {
  return Native<T>::reduce_max(fold_registers<Native<T>::max>(a));
}

// The same sum with what its roundings took, which is added to *low in one fixed order.
template <class T>
LOGLOSS_INLINE T reduce_add_exactly(Vec<T> a, T* low) {
  if constexpr (kLaneIsThread) {
    for (int half = kLanes / 2; half > 0; half /= 2) {
      const T mine = a.reg[0], other = Native<T>::from_lane_xor(mine, half);
      const T sum = mine + other;
      const T added = sum - mine;
      const T lost = (mine - (sum - added)) + (other - added);
      for (int i = 0; i < half; ++i) *low += Native<T>::from_lane(lost, i);
      a.reg[0] = sum;
    }
    return a.reg[0];
  } else {
    T lane[kLanes];
    store(lane, a);
    for (int half = kLanes / 2; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) {
        const T sum = lane[i] + lane[i + half];
        const T added = sum - lane[i];
        *low += (lane[i] - (sum - added)) + (lane[i + half] - added);
        lane[i] = sum;
      }
    }
    return lane[0];
  }
}

}  // namespace logloss::LOGLOSS_LEVEL
