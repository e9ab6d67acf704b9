// SPDX-License-Identifier: BSD-3-Clause
// Native registers of the avx2 level (AVX2, FMA, F16C): what simd.h builds its 16 virtual lanes from.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "common/dtypes.h"
#include "common/platform.h"

namespace logloss::LOGLOSS_LEVEL {

inline constexpr bool kFusedMultiplyAdd = true;
inline constexpr bool kCheapLookUp = true;
inline constexpr bool kSpreads = true;
inline constexpr int kRegisterCount = 16;

template <class T>
struct Native;

template <>
struct Native<float> {
  using Reg = __m256;
  using Mask = __m256;
  static constexpr int kWidth = 8;

  static LOGLOSS_INLINE __m256i first(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static LOGLOSS_INLINE Reg broadcast(float a) { return _mm256_set1_ps(a); }
  static LOGLOSS_INLINE Reg load(const float* p) { return _mm256_loadu_ps(p); }
  static LOGLOSS_INLINE Reg load(const float* p, int n, float fill) {
    const __m256i mask = first(n);
    return _mm256_blendv_ps(broadcast(fill), _mm256_maskload_ps(p, mask), _mm256_castsi256_ps(mask));
  }
  static LOGLOSS_INLINE void store(float* p, Reg a) { _mm256_storeu_ps(p, a); }
  static LOGLOSS_INLINE void stream(float* p, Reg a) { _mm256_stream_ps(p, a); }
  // In pieces: a masked store takes Zen 4 twelve cycles.
  static LOGLOSS_INLINE void store(float* p, int n, Reg a) {
    if (n < 4) return store_four(p, n, _mm256_castps256_ps128(a));
    _mm_storeu_ps(p, _mm256_castps256_ps128(a));
    store_four(p + 4, n - 4, _mm256_extractf128_ps(a, 1));
  }
  static LOGLOSS_INLINE void store_four(float* p, int n, __m128 a) {
    if (n >= 4) return _mm_storeu_ps(p, a);
    if (n >= 2) {
      _mm_storel_pi(reinterpret_cast<__m64*>(p), a);
      a = _mm_movehl_ps(a, a);
      p += 2;
    }
    if (n % 2 == 1) _mm_store_ss(p, a);
  }
  static LOGLOSS_INLINE Reg add(Reg a, Reg b) { return _mm256_add_ps(a, b); }
  static LOGLOSS_INLINE Reg sub(Reg a, Reg b) { return _mm256_sub_ps(a, b); }
  static LOGLOSS_INLINE Reg mul(Reg a, Reg b) { return _mm256_mul_ps(a, b); }
  static LOGLOSS_INLINE Reg div(Reg a, Reg b) { return _mm256_div_ps(a, b); }
  static LOGLOSS_INLINE Reg fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_ps(a, b, c); }
  static LOGLOSS_INLINE Reg max(Reg a, Reg b) { return _mm256_max_ps(a, b); }
  static LOGLOSS_INLINE Mask equal(Reg a, Reg b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
  static LOGLOSS_INLINE Mask less(Reg a, Reg b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
  static LOGLOSS_INLINE Reg select(Mask m, Reg a, Reg b) { return _mm256_blendv_ps(b, a, m); }
  static LOGLOSS_INLINE Reg clear(Mask m, Reg a) { return _mm256_andnot_ps(m, a); }
  static LOGLOSS_INLINE int count(const Mask* m) {
    return __builtin_popcount(static_cast<unsigned>(_mm256_movemask_ps(m[0]) | _mm256_movemask_ps(m[1]) << 8));
  }
  static LOGLOSS_INLINE float reduce_add(Reg a) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
  static LOGLOSS_INLINE float reduce_max(Reg a) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
  static LOGLOSS_INLINE Reg add_bits(Reg a, std::int32_t b) {
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), _mm256_set1_epi32(b)));
  }
  static LOGLOSS_INLINE Reg add_lane_bits(Reg a, Reg b) {
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b)));
  }
  static LOGLOSS_INLINE Reg and_bits(Reg a, std::int32_t b) {
    return _mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(a), _mm256_set1_epi32(b)));
  }
  static LOGLOSS_INLINE Reg or_bits(Reg a, std::int32_t b) {
    return _mm256_castsi256_ps(_mm256_or_si256(_mm256_castps_si256(a), _mm256_set1_epi32(b)));
  }
  static LOGLOSS_INLINE Reg max_bits(Reg a, Reg b) {
    return _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b)));
  }
  static LOGLOSS_INLINE Reg min_bits(Reg a, Reg b) {
    return _mm256_castsi256_ps(_mm256_min_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b)));
  }
  static LOGLOSS_INLINE Mask above_bits(Reg a, std::int32_t b) {
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_castps_si256(a), _mm256_set1_epi32(b)));
  }
  template <int kShift>
  static LOGLOSS_INLINE Reg shift_left_bits(Reg a) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a), kShift));
  }
  template <int kShift>
  static LOGLOSS_INLINE Reg shift_right_bits(Reg a) {
    return _mm256_castsi256_ps(_mm256_srli_epi32(_mm256_castps_si256(a), kShift));
  }
  template <class Table>
  static LOGLOSS_INLINE Reg look_up(Reg a) {
    const __m256i eight = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(Table::bits));
    return _mm256_castsi256_ps(_mm256_permutevar8x32_epi32(eight, _mm256_castps_si256(a)));
  }
  // See non_negative_sum.h. The lanes of even number go to registers 0 and 2, their neighbours to 1 and 3.
  static LOGLOSS_INLINE void spread(const __m256* a, __m256d* out) {
    for (int i = 0; i < 2; ++i) {
      const __m256i bits = _mm256_castps_si256(a[i]);
      const __m256i upper = _mm256_and_si256(bits, _mm256_set1_epi64x(static_cast<std::int64_t>(0xffffffff00000000)));
      out[2 * i] = _mm256_castsi256_pd(_mm256_mul_epu32(bits, _mm256_set1_epi64x(1 << 29)));
      out[2 * i + 1] = _mm256_castsi256_pd(_mm256_srli_epi64(upper, 3));
    }
  }
  static LOGLOSS_INLINE void gather(const __m256d* a, __m256d* out) {
    for (int i = 0; i < 4; i += 2) {
      const __m256d low = _mm256_unpacklo_pd(a[i], a[i + 1]);   // lanes 0 1, 4 5
      const __m256d high = _mm256_unpackhi_pd(a[i], a[i + 1]);  // lanes 2 3, 6 7
      out[i] = _mm256_permute2f128_pd(low, high, 0x20);
      out[i + 1] = _mm256_permute2f128_pd(low, high, 0x31);
    }
  }
  static LOGLOSS_INLINE double reduce_add_spread(const __m256d* a) {
    const __m256d even = _mm256_add_pd(a[0], a[2]), odd = _mm256_add_pd(a[1], a[3]);
    const __m256d low = _mm256_unpacklo_pd(even, odd), high = _mm256_unpackhi_pd(even, odd);
    const __m128d low2 = _mm_add_pd(_mm256_castpd256_pd128(low), _mm256_extractf128_pd(low, 1));
    const __m128d high2 = _mm_add_pd(_mm256_castpd256_pd128(high), _mm256_extractf128_pd(high, 1));
    const __m128d two = _mm_add_pd(low2, high2);
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
  }
};

template <>
struct Native<double> {
  using Reg = __m256d;
  using Mask = __m256d;
  static constexpr int kWidth = 4;

  static LOGLOSS_INLINE __m256i first(int n) {
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
  }
  static LOGLOSS_INLINE Reg broadcast(double a) { return _mm256_set1_pd(a); }
  static LOGLOSS_INLINE Reg load(const double* p) { return _mm256_loadu_pd(p); }
  static LOGLOSS_INLINE Reg load(const float* p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
  static LOGLOSS_INLINE Reg load(const double* p, int n, double fill) {
    const __m256i mask = first(n);
    return _mm256_blendv_pd(broadcast(fill), _mm256_maskload_pd(p, mask), _mm256_castsi256_pd(mask));
  }
  static LOGLOSS_INLINE void store(double* p, Reg a) { _mm256_storeu_pd(p, a); }
  static LOGLOSS_INLINE void stream(double* p, Reg a) { _mm256_stream_pd(p, a); }
  static LOGLOSS_INLINE void store(double* p, int n, Reg a) { _mm256_maskstore_pd(p, first(n), a); }
  static LOGLOSS_INLINE Reg add(Reg a, Reg b) { return _mm256_add_pd(a, b); }
  static LOGLOSS_INLINE Reg sub(Reg a, Reg b) { return _mm256_sub_pd(a, b); }
  static LOGLOSS_INLINE Reg mul(Reg a, Reg b) { return _mm256_mul_pd(a, b); }
  static LOGLOSS_INLINE Reg div(Reg a, Reg b) { return _mm256_div_pd(a, b); }
  static LOGLOSS_INLINE Reg sqrt(Reg a) { return _mm256_sqrt_pd(a); }
  static LOGLOSS_INLINE Reg fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_pd(a, b, c); }
  static LOGLOSS_INLINE Reg max(Reg a, Reg b) { return _mm256_max_pd(a, b); }
  static LOGLOSS_INLINE Mask equal(Reg a, Reg b) { return _mm256_cmp_pd(a, b, _CMP_EQ_OQ); }
  static LOGLOSS_INLINE Mask less(Reg a, Reg b) { return _mm256_cmp_pd(a, b, _CMP_LT_OQ); }
  static LOGLOSS_INLINE Reg select(Mask m, Reg a, Reg b) { return _mm256_blendv_pd(b, a, m); }
  static LOGLOSS_INLINE Reg clear(Mask m, Reg a) { return _mm256_andnot_pd(m, a); }
  static LOGLOSS_INLINE int count(const Mask* m) {
    const int low = _mm256_movemask_pd(m[0]) | _mm256_movemask_pd(m[1]) << 4;
    const int high = _mm256_movemask_pd(m[2]) | _mm256_movemask_pd(m[3]) << 4;
    return __builtin_popcount(static_cast<unsigned>(low | high << 8));
  }
  static LOGLOSS_INLINE double reduce_add(Reg a) {
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
  }
  static LOGLOSS_INLINE double reduce_max(Reg a) {
    const __m128d two = _mm_max_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_max_sd(two, _mm_unpackhi_pd(two, two)));
  }
  static LOGLOSS_INLINE Reg add_bits(Reg a, std::int64_t b) {
    return _mm256_castsi256_pd(_mm256_add_epi64(_mm256_castpd_si256(a), _mm256_set1_epi64x(b)));
  }
  static LOGLOSS_INLINE Reg and_bits(Reg a, std::int64_t b) {
    return _mm256_castsi256_pd(_mm256_and_si256(_mm256_castpd_si256(a), _mm256_set1_epi64x(b)));
  }
  static LOGLOSS_INLINE Reg or_bits(Reg a, std::int64_t b) {
    return _mm256_castsi256_pd(_mm256_or_si256(_mm256_castpd_si256(a), _mm256_set1_epi64x(b)));
  }
  static LOGLOSS_INLINE Reg max_bits(Reg a, Reg b) { return _mm256_blendv_pd(b, a, greater(a, b)); }
  static LOGLOSS_INLINE Reg min_bits(Reg a, Reg b) { return _mm256_blendv_pd(a, b, greater(a, b)); }
  static LOGLOSS_INLINE Mask above_bits(Reg a, std::int64_t b) {
    return greater(a, _mm256_castsi256_pd(_mm256_set1_epi64x(b)));
  }
  static LOGLOSS_INLINE Mask greater(Reg a, Reg b) {
    return _mm256_castsi256_pd(_mm256_cmpgt_epi64(_mm256_castpd_si256(a), _mm256_castpd_si256(b)));
  }
  template <int kShift>
  static LOGLOSS_INLINE Reg shift_left_bits(Reg a) {
    return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_castpd_si256(a), kShift));
  }
  template <int kShift>
  static LOGLOSS_INLINE Reg shift_right_bits(Reg a) {
    return _mm256_castsi256_pd(_mm256_srli_epi64(_mm256_castpd_si256(a), kShift));
  }
};

// Two float registers hold 16 lanes, four double registers do.
LOGLOSS_INLINE void widen_registers(const __m256* a, __m256d* out) {
  for (int i = 0; i < 2; ++i) {
    out[2 * i] = _mm256_cvtps_pd(_mm256_castps256_ps128(a[i]));
    out[2 * i + 1] = _mm256_cvtps_pd(_mm256_extractf128_ps(a[i], 1));
  }
}
LOGLOSS_INLINE void narrow_registers(const __m256d* a, __m256* out) {
  for (int i = 0; i < 2; ++i) out[i] = _mm256_set_m128(_mm256_cvtpd_ps(a[2 * i + 1]), _mm256_cvtpd_ps(a[2 * i]));
}

// 16 values of 16 bits.
struct HalfWords {
  __m128i reg[2];
  LOGLOSS_INLINE void store(std::uint16_t* p) const {
    for (int i = 0; i < 2; ++i) _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8 * i), reg[i]);
  }
  LOGLOSS_INLINE void stream(std::uint16_t* p) const {
    for (int i = 0; i < 2; ++i) _mm_stream_si128(reinterpret_cast<__m128i*>(p + 8 * i), reg[i]);
  }
};

// 16 half-precision values <-> two float registers.
LOGLOSS_INLINE void widen_half(const std::uint16_t* p, __m256* out) {
  for (int i = 0; i < 2; ++i) out[i] = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8 * i)));
}
LOGLOSS_INLINE HalfWords narrow_half(const __m256* a) {
  HalfWords out;
  for (int i = 0; i < 2; ++i) out.reg[i] = _mm256_cvtps_ph(a[i], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  return out;
}
LOGLOSS_INLINE void widen_bfloat16(const std::uint16_t* p, __m256* out) {
  for (int i = 0; i < 2; ++i) {
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8 * i)));
    out[i] = _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
  }
}
LOGLOSS_INLINE HalfWords narrow_bfloat16(const __m256* a) {
  HalfWords out;
  for (int i = 0; i < 2; ++i) {
    const __m256i bits = _mm256_castps_si256(a[i]);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a[i], a[i], _CMP_UNORD_Q));
    const __m256i kept = _mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc00000), nan);
    const __m256i high = _mm256_srli_epi32(kept, 16);
    out.reg[i] = _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
  }
  return out;
}

// The 4 x 4 elements in each half of four registers, turned.
LOGLOSS_INLINE void turn_quads(const __m256* row, __m256* column) {
  const __m256d low01 = _mm256_castps_pd(_mm256_unpacklo_ps(row[0], row[1]));
  const __m256d high01 = _mm256_castps_pd(_mm256_unpackhi_ps(row[0], row[1]));
  const __m256d low23 = _mm256_castps_pd(_mm256_unpacklo_ps(row[2], row[3]));
  const __m256d high23 = _mm256_castps_pd(_mm256_unpackhi_ps(row[2], row[3]));
  column[0] = _mm256_castpd_ps(_mm256_unpacklo_pd(low01, low23));
  column[1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low01, low23));
  column[2] = _mm256_castpd_ps(_mm256_unpacklo_pd(high01, high23));
  column[3] = _mm256_castpd_ps(_mm256_unpackhi_pd(high01, high23));
}
// 8 x 8 elements, turned.
LOGLOSS_INLINE void turn_eight(const __m256 (&row)[8], __m256* column) {
  __m256 quad[2][4];  // [g][k]: elements k and k + 4 of rows 4 g to 4 g + 3
  for (int g = 0; g < 2; ++g) turn_quads(row + 4 * g, quad[g]);
  for (int k = 0; k < 4; ++k) {
    column[k] = _mm256_permute2f128_ps(quad[0][k], quad[1][k], 0x20);
    column[k + 4] = _mm256_permute2f128_ps(quad[0][k], quad[1][k], 0x31);
  }
}

// V is Vec<float>. 16 rows of 16 elements become 16 columns: column[c] holds element c of each row.
template <class V>
LOGLOSS_INLINE void transpose(const V* row, V* column) {
  for (int upper = 0; upper < 2; ++upper) {
    for (int right = 0; right < 2; ++right) {
      __m256 eight[8], turned[8];
      for (int i = 0; i < 8; ++i) eight[i] = row[8 * upper + i].reg[right];
      turn_eight(eight, turned);
      for (int c = 0; c < 8; ++c) column[8 * right + c].reg[upper] = turned[c];
    }
  }
}

// column[c] for c < kBlock (4, 8, 16) from elements start + c of 16 rows, which have n of them.
template <int kBlock, class V>
LOGLOSS_INLINE void load_turned(const float* const* row, std::int64_t start, int n, V* column) {
  if constexpr (kBlock == 16) {
    load_turned<8>(row, start, 8, column);
    load_turned<8>(row, start + 8, n - 8, column + 8);
  } else {
    for (int half = 0; half < 2; ++half) {
      __m256 part[8], turned[8];
      const float* const* from = row + 8 * half;
      if constexpr (kBlock == 8) {
        for (int i = 0; i < 8; ++i) part[i] = _mm256_maskload_ps(from[i] + start, Native<float>::first(n));
        turn_eight(part, turned);
      } else {
        const __m128i first = _mm256_castsi256_si128(Native<float>::first(n));
        const auto four = [&](int i) { return _mm_maskload_ps(from[i] + start, first); };
        for (int i = 0; i < 4; ++i) part[i] = _mm256_set_m128(four(i + 4), four(i));
        turn_quads(part, turned);
      }
      for (int c = 0; c < kBlock; ++c) column[c].reg[half] = turned[c];
    }
  }
}
// The way back.
template <int kBlock, class V>
LOGLOSS_INLINE void store_turned(float* const* row, std::int64_t start, int n, const V* column) {
  if constexpr (kBlock == 16) {
    store_turned<8>(row, start, 8, column);
    store_turned<8>(row, start + 8, n - 8, column + 8);
  } else {
    for (int half = 0; half < 2; ++half) {
      float* const* to = row + 8 * half;
      __m256 part[8], turned[8];
      for (int c = 0; c < kBlock; ++c) part[c] = column[c].reg[half];
      if constexpr (kBlock == 8) {
        turn_eight(part, turned);
        for (int i = 0; i < 8; ++i) {
          n >= 8 ? Native<float>::store(to[i] + start, turned[i]) : Native<float>::store(to[i] + start, n, turned[i]);
        }
      } else {
        turn_quads(part, turned);
        for (int i = 0; i < 4; ++i) {
          Native<float>::store_four(to[i] + start, n, _mm256_castps256_ps128(turned[i]));
          Native<float>::store_four(to[i + 4] + start, n, _mm256_extractf128_ps(turned[i], 1));
        }
      }
    }
  }
}

}  // namespace logloss::LOGLOSS_LEVEL
