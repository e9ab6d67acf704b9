// SPDX-License-Identifier: BSD-3-Clause
// Native registers of the avx512 level (F, BW, DQ, VL): what simd.h builds its 16 virtual lanes from.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "common/dtypes.h"
#include "common/platform.h"

namespace logloss::LOGLOSS_LEVEL {

inline constexpr bool kFusedMultiplyAdd = true;
inline constexpr bool kCheapLookUp = true;
inline constexpr bool kSpreads = true;
inline constexpr int kRegisterCount = 32;

template <class T>
struct Native;

template <>
struct Native<float> {
  using Reg = __m512;
  using Mask = __mmask16;
  static constexpr int kWidth = 16;

  static LOGLOSS_INLINE __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1u); }
  static LOGLOSS_INLINE Reg broadcast(float a) { return _mm512_set1_ps(a); }
  static LOGLOSS_INLINE Reg load(const float* p) { return _mm512_loadu_ps(p); }
  static LOGLOSS_INLINE Reg load(const float* p, int n, float fill) {
    return _mm512_mask_loadu_ps(broadcast(fill), first(n), p);
  }
  static LOGLOSS_INLINE void store(float* p, Reg a) { _mm512_storeu_ps(p, a); }
  static LOGLOSS_INLINE void stream(float* p, Reg a) { _mm512_stream_ps(p, a); }
  static LOGLOSS_INLINE void store(float* p, int n, Reg a) { _mm512_mask_storeu_ps(p, first(n), a); }
  static LOGLOSS_INLINE Reg add(Reg a, Reg b) { return _mm512_add_ps(a, b); }
  static LOGLOSS_INLINE Reg sub(Reg a, Reg b) { return _mm512_sub_ps(a, b); }
  static LOGLOSS_INLINE Reg mul(Reg a, Reg b) { return _mm512_mul_ps(a, b); }
  static LOGLOSS_INLINE Reg div(Reg a, Reg b) { return _mm512_div_ps(a, b); }
  static LOGLOSS_INLINE Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }
  static LOGLOSS_INLINE Reg max(Reg a, Reg b) { return _mm512_max_ps(a, b); }
  static LOGLOSS_INLINE Mask equal(Reg a, Reg b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
  static LOGLOSS_INLINE Mask less(Reg a, Reg b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
  static LOGLOSS_INLINE Reg select(Mask m, Reg a, Reg b) { return _mm512_mask_blend_ps(m, b, a); }
  static LOGLOSS_INLINE Reg clear(Mask m, Reg a) { return _mm512_mask_blend_ps(m, a, _mm512_setzero_ps()); }
  static LOGLOSS_INLINE int count(const Mask* m) { return __builtin_popcount(m[0]); }
  static LOGLOSS_INLINE float reduce_add(Reg a) {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
  static LOGLOSS_INLINE float reduce_max(Reg a) {
    const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
  static LOGLOSS_INLINE Reg add_bits(Reg a, std::int32_t b) {
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), _mm512_set1_epi32(b)));
  }
  static LOGLOSS_INLINE Reg add_lane_bits(Reg a, Reg b) {
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b)));
  }
  static LOGLOSS_INLINE Reg and_bits(Reg a, std::int32_t b) {
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(b)));
  }
  static LOGLOSS_INLINE Reg or_bits(Reg a, std::int32_t b) {
    return _mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(a), _mm512_set1_epi32(b)));
  }
  static LOGLOSS_INLINE Reg max_bits(Reg a, Reg b) {
    return _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b)));
  }
  static LOGLOSS_INLINE Reg min_bits(Reg a, Reg b) {
    return _mm512_castsi512_ps(_mm512_min_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b)));
  }
  static LOGLOSS_INLINE Mask above_bits(Reg a, std::int32_t b) {
    return _mm512_cmpgt_epi32_mask(_mm512_castps_si512(a), _mm512_set1_epi32(b));
  }
  template <int kShift>
  static LOGLOSS_INLINE Reg shift_left_bits(Reg a) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a), kShift));
  }
  template <int kShift>
  static LOGLOSS_INLINE Reg shift_right_bits(Reg a) {
    return _mm512_castsi512_ps(_mm512_srli_epi32(_mm512_castps_si512(a), kShift));
  }
  template <class Table>
  static LOGLOSS_INLINE Reg look_up(Reg a) {
    const __m256i eight = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(Table::bits));
    return _mm512_castsi512_ps(_mm512_permutexvar_epi32(_mm512_castps_si512(a), _mm512_broadcast_i64x4(eight)));
  }
  // See non_negative_sum.h. The lanes of even number go to the first register, their neighbours to the second.
  static LOGLOSS_INLINE void spread(const __m512* a, __m512d* out) {
    const __m512i bits = _mm512_castps_si512(a[0]);
    const __m512i upper = _mm512_and_si512(bits, _mm512_set1_epi64(static_cast<std::int64_t>(0xffffffff00000000)));
    out[0] = _mm512_castsi512_pd(_mm512_mul_epu32(bits, _mm512_set1_epi64(1 << 29)));
    out[1] = _mm512_castsi512_pd(_mm512_srli_epi64(upper, 3));
  }
  static LOGLOSS_INLINE void gather(const __m512d* a, __m512d* out) {
    out[0] = _mm512_permutex2var_pd(a[0], _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), a[1]);
    out[1] = _mm512_permutex2var_pd(a[0], _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), a[1]);
  }
  static LOGLOSS_INLINE double reduce_add_spread(const __m512d* a) {
    const __m512d low = _mm512_unpacklo_pd(a[0], a[1]);   // lanes 0 1, 4 5, 8 9, 12 13
    const __m512d high = _mm512_unpackhi_pd(a[0], a[1]);  // the others
    const __m256d low4 = _mm256_add_pd(_mm512_castpd512_pd256(low), _mm512_extractf64x4_pd(low, 1));
    const __m256d high4 = _mm256_add_pd(_mm512_castpd512_pd256(high), _mm512_extractf64x4_pd(high, 1));
    const __m128d low2 = _mm_add_pd(_mm256_castpd256_pd128(low4), _mm256_extractf128_pd(low4, 1));
    const __m128d high2 = _mm_add_pd(_mm256_castpd256_pd128(high4), _mm256_extractf128_pd(high4, 1));
    const __m128d two = _mm_add_pd(low2, high2);
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
  }
};

template <>
struct Native<double> {
  using Reg = __m512d;
  using Mask = __mmask8;
  static constexpr int kWidth = 8;

  static LOGLOSS_INLINE __mmask8 first(int n) { return static_cast<__mmask8>((1u << n) - 1u); }
  static LOGLOSS_INLINE Reg broadcast(double a) { return _mm512_set1_pd(a); }
  static LOGLOSS_INLINE Reg load(const double* p) { return _mm512_loadu_pd(p); }
  static LOGLOSS_INLINE Reg load(const float* p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
  static LOGLOSS_INLINE Reg load(const double* p, int n, double fill) {
    return _mm512_mask_loadu_pd(broadcast(fill), first(n), p);
  }
  static LOGLOSS_INLINE void store(double* p, Reg a) { _mm512_storeu_pd(p, a); }
  static LOGLOSS_INLINE void stream(double* p, Reg a) { _mm512_stream_pd(p, a); }
  static LOGLOSS_INLINE void store(double* p, int n, Reg a) { _mm512_mask_storeu_pd(p, first(n), a); }
  static LOGLOSS_INLINE Reg add(Reg a, Reg b) { return _mm512_add_pd(a, b); }
  static LOGLOSS_INLINE Reg sub(Reg a, Reg b) { return _mm512_sub_pd(a, b); }
  static LOGLOSS_INLINE Reg mul(Reg a, Reg b) { return _mm512_mul_pd(a, b); }
  static LOGLOSS_INLINE Reg div(Reg a, Reg b) { return _mm512_div_pd(a, b); }
  static LOGLOSS_INLINE Reg sqrt(Reg a) { return _mm512_sqrt_pd(a); }
  static LOGLOSS_INLINE Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_pd(a, b, c); }
  static LOGLOSS_INLINE Reg max(Reg a, Reg b) { return _mm512_max_pd(a, b); }
  static LOGLOSS_INLINE Mask equal(Reg a, Reg b) { return _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ); }
  static LOGLOSS_INLINE Mask less(Reg a, Reg b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
  static LOGLOSS_INLINE Reg select(Mask m, Reg a, Reg b) { return _mm512_mask_blend_pd(m, b, a); }
  static LOGLOSS_INLINE Reg clear(Mask m, Reg a) { return _mm512_mask_blend_pd(m, a, _mm512_setzero_pd()); }
  static LOGLOSS_INLINE int count(const Mask* m) { return __builtin_popcount(m[0]) + __builtin_popcount(m[1]); }
  static LOGLOSS_INLINE double reduce_add(Reg a) {
    const __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd(a, 1));
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
  }
  static LOGLOSS_INLINE double reduce_max(Reg a) {
    const __m256d four = _mm256_max_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd(a, 1));
    const __m128d two = _mm_max_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_max_sd(two, _mm_unpackhi_pd(two, two)));
  }
  static LOGLOSS_INLINE Reg add_bits(Reg a, std::int64_t b) {
    return _mm512_castsi512_pd(_mm512_add_epi64(_mm512_castpd_si512(a), _mm512_set1_epi64(b)));
  }
  static LOGLOSS_INLINE Reg and_bits(Reg a, std::int64_t b) {
    return _mm512_castsi512_pd(_mm512_and_si512(_mm512_castpd_si512(a), _mm512_set1_epi64(b)));
  }
  static LOGLOSS_INLINE Reg or_bits(Reg a, std::int64_t b) {
    return _mm512_castsi512_pd(_mm512_or_si512(_mm512_castpd_si512(a), _mm512_set1_epi64(b)));
  }
  static LOGLOSS_INLINE Reg max_bits(Reg a, Reg b) {
    return _mm512_castsi512_pd(_mm512_max_epi64(_mm512_castpd_si512(a), _mm512_castpd_si512(b)));
  }
  static LOGLOSS_INLINE Reg min_bits(Reg a, Reg b) {
    return _mm512_castsi512_pd(_mm512_min_epi64(_mm512_castpd_si512(a), _mm512_castpd_si512(b)));
  }
  static LOGLOSS_INLINE Mask above_bits(Reg a, std::int64_t b) {
    return _mm512_cmpgt_epi64_mask(_mm512_castpd_si512(a), _mm512_set1_epi64(b));
  }
  template <int kShift>
  static LOGLOSS_INLINE Reg shift_left_bits(Reg a) {
    return _mm512_castsi512_pd(_mm512_slli_epi64(_mm512_castpd_si512(a), kShift));
  }
  template <int kShift>
  static LOGLOSS_INLINE Reg shift_right_bits(Reg a) {
    return _mm512_castsi512_pd(_mm512_srli_epi64(_mm512_castpd_si512(a), kShift));
  }
};

// One float register holds 16 lanes, two double registers do.
LOGLOSS_INLINE void widen_registers(const __m512* a, __m512d* out) {
  out[0] = _mm512_cvtps_pd(_mm512_castps512_ps256(a[0]));
  out[1] = _mm512_cvtps_pd(_mm512_extractf32x8_ps(a[0], 1));
}
LOGLOSS_INLINE void narrow_registers(const __m512d* a, __m512* out) {
  const __m512 low = _mm512_castps256_ps512(_mm512_cvtpd_ps(a[0]));
  out[0] = _mm512_insertf32x8(low, _mm512_cvtpd_ps(a[1]), 1);
}

// The n <= 16 words at p, zeros after them; and back.
LOGLOSS_INLINE void load_words(const std::uint16_t* p, int n, std::uint16_t* lane) {
  const __m256i words = _mm256_maskz_loadu_epi16(Native<float>::first(n), p);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(lane), words);
}
LOGLOSS_INLINE void store_words(std::uint16_t* p, int n, const std::uint16_t* lane) {
  const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lane));
  _mm256_mask_storeu_epi16(p, Native<float>::first(n), words);
}

// 16 values of 16 bits.
struct HalfWords {
  __m256i reg;
  LOGLOSS_INLINE void store(std::uint16_t* p) const { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), reg); }
  LOGLOSS_INLINE void stream(std::uint16_t* p) const { _mm256_stream_si256(reinterpret_cast<__m256i*>(p), reg); }
};

// 16 half-precision values <-> one float register.
LOGLOSS_INLINE void widen_half(const std::uint16_t* p, __m512* out) {
  out[0] = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
LOGLOSS_INLINE HalfWords narrow_half(const __m512* a) {
  return {_mm512_cvtps_ph(a[0], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
// A float is its bfloat16 followed by 16 bits more.
LOGLOSS_INLINE void widen_bfloat16(const std::uint16_t* p, __m512* out) {
  const __m512i words = _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  const __m512i twice = _mm512_set_epi16(15, 15, 14, 14, 13, 13, 12, 12, 11, 11, 10, 10, 9, 9, 8, 8,  //
                                         7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
  out[0] = _mm512_castsi512_ps(_mm512_maskz_permutexvar_epi16(0xaaaaaaaa, twice, words));
}
LOGLOSS_INLINE HalfWords narrow_bfloat16(const __m512* a) {
  const __m512i bits = _mm512_castps_si512(a[0]);
  const __mmask16 odd = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x10000));
  const __m512i up = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff));
  const __m512i rounded = _mm512_mask_add_epi32(up, odd, up, _mm512_set1_epi32(1));
  const __mmask16 nan = _mm512_cmp_ps_mask(a[0], a[0], _CMP_UNORD_Q);
  const __m512i kept = _mm512_mask_blend_epi32(nan, rounded, _mm512_set1_epi32(0x7fc00000));
  const __m512i high = _mm512_set_epi16(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1,  //
                                        31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
  return {_mm512_castsi512_si256(_mm512_permutexvar_epi16(high, kept))};
}

// The 4 x 4 elements in each quarter of four registers, turned.
LOGLOSS_INLINE void turn_quads(const __m512* row, __m512* column) {
  const __m512d low01 = _mm512_castps_pd(_mm512_unpacklo_ps(row[0], row[1]));
  const __m512d high01 = _mm512_castps_pd(_mm512_unpackhi_ps(row[0], row[1]));
  const __m512d low23 = _mm512_castps_pd(_mm512_unpacklo_ps(row[2], row[3]));
  const __m512d high23 = _mm512_castps_pd(_mm512_unpackhi_ps(row[2], row[3]));
  column[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(low01, low23));
  column[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low01, low23));
  column[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high01, high23));
  column[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high01, high23));
}

// V is Vec<float>. 16 rows of 16 elements become 16 columns: column[c] holds element c of each row.
template <class V>
LOGLOSS_INLINE void transpose(const V* row, V* column) {
  __m512 quad[4][4];  // [g][k]: elements k, k + 4, k + 8, k + 12 of rows 4 g to 4 g + 3
  for (int g = 0; g < 4; ++g) {
    __m512 four[4];
    for (int i = 0; i < 4; ++i) four[i] = row[4 * g + i].reg[0];
    turn_quads(four, quad[g]);
  }
  for (int k = 0; k < 4; ++k) {
    const __m512 even01 = _mm512_shuffle_f32x4(quad[0][k], quad[1][k], 0x88);
    const __m512 even23 = _mm512_shuffle_f32x4(quad[2][k], quad[3][k], 0x88);
    const __m512 odd01 = _mm512_shuffle_f32x4(quad[0][k], quad[1][k], 0xdd);
    const __m512 odd23 = _mm512_shuffle_f32x4(quad[2][k], quad[3][k], 0xdd);
    column[k].reg[0] = _mm512_shuffle_f32x4(even01, even23, 0x88);
    column[k + 4].reg[0] = _mm512_shuffle_f32x4(odd01, odd23, 0x88);
    column[k + 8].reg[0] = _mm512_shuffle_f32x4(even01, even23, 0xdd);
    column[k + 12].reg[0] = _mm512_shuffle_f32x4(odd01, odd23, 0xdd);
  }
}

// column[c] for c < kBlock (4, 8, 16) from elements start + c of 16 rows, which have n of them.
template <int kBlock, class V>
LOGLOSS_INLINE void load_turned(const float* const* row, std::int64_t start, int n, V* column) {
  const __mmask16 first = Native<float>::first(n);
  if constexpr (kBlock == 16) {
    V whole[16];
    for (int i = 0; i < 16; ++i) whole[i].reg[0] = _mm512_maskz_loadu_ps(first, row[i] + start);
    transpose(whole, column);
  } else if constexpr (kBlock == 8) {
    const auto eight = [&](int i) { return _mm256_maskz_loadu_ps(static_cast<__mmask8>(first), row[i] + start); };
    __m512 quad[2][4];  // [g][k]: elements k and k + 4 of rows 8 g to 8 g + 3, and of 8 g + 4 to 8 g + 7
    for (int g = 0; g < 2; ++g) {
      __m512 pair[4];
      for (int i = 0; i < 4; ++i) {
        pair[i] = _mm512_insertf32x8(_mm512_castps256_ps512(eight(8 * g + i)), eight(8 * g + 4 + i), 1);
      }
      turn_quads(pair, quad[g]);
    }
    for (int k = 0; k < 4; ++k) {
      column[k].reg[0] = _mm512_shuffle_f32x4(quad[0][k], quad[1][k], 0x88);
      column[k + 4].reg[0] = _mm512_shuffle_f32x4(quad[0][k], quad[1][k], 0xdd);
    }
  } else {
    const auto four = [&](int i) { return _mm_maskz_loadu_ps(static_cast<__mmask8>(first), row[i] + start); };
    __m512 every_fourth[4], turned[4];
    for (int i = 0; i < 4; ++i) {
      const __m512 two = _mm512_insertf32x4(_mm512_castps128_ps512(four(i)), four(4 + i), 1);
      every_fourth[i] = _mm512_insertf32x4(_mm512_insertf32x4(two, four(8 + i), 2), four(12 + i), 3);
    }
    turn_quads(every_fourth, turned);
    for (int k = 0; k < 4; ++k) column[k].reg[0] = turned[k];
  }
}
// A part of a register, stored where the mask is set. GCC would make one instruction of taking the part and storing it,
// one that touches what its mask leaves out: a row may end where memory does.
LOGLOSS_INLINE void store_part(float* p, __mmask8 m, __m256 a) {
  asm("" : "+v"(a));
  _mm256_mask_storeu_ps(p, m, a);
}
LOGLOSS_INLINE void store_part(float* p, __mmask8 m, __m128 a) {
  asm("" : "+v"(a));
  _mm_mask_storeu_ps(p, m, a);
}

// The way back.
template <int kBlock, class V>
LOGLOSS_INLINE void store_turned(float* const* row, std::int64_t start, int n, const V* column) {
  const __mmask16 first = Native<float>::first(n);
  const auto quad_of = [&](int c, __m512* turned) {
    const __m512 four[4] = {column[c].reg[0], column[c + 1].reg[0], column[c + 2].reg[0], column[c + 3].reg[0]};
    turn_quads(four, turned);
  };
  if constexpr (kBlock == 16) {
    V whole[16];
    transpose(column, whole);
    for (int i = 0; i < 16; ++i) _mm512_mask_storeu_ps(row[i] + start, first, whole[i].reg[0]);
  } else if constexpr (kBlock == 8) {
    const __m512i kRows01 = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    const __m512i kRows23 = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    __m512 low[4], high[4];  // [i]: of rows i, i + 4, i + 8, i + 12
    quad_of(0, low);
    quad_of(4, high);
    const auto store_two = [&](int i, __m512i rows, int k) {
      const __m512d l = _mm512_castps_pd(low[i]), h = _mm512_castps_pd(high[i]);
      const __m512 two = _mm512_castpd_ps(_mm512_permutex2var_pd(l, rows, h));
      store_part(row[k] + start, static_cast<__mmask8>(first), _mm512_castps512_ps256(two));
      store_part(row[k + 4] + start, static_cast<__mmask8>(first), _mm512_extractf32x8_ps(two, 1));
    };
    for (int i = 0; i < 4; ++i) {
      store_two(i, kRows01, i);
      store_two(i, kRows23, i + 8);
    }
  } else {
    __m512 every_fourth[4];
    quad_of(0, every_fourth);
    const auto store_four = [&](int i, __m128 a) { store_part(row[i] + start, static_cast<__mmask8>(first), a); };
    for (int i = 0; i < 4; ++i) {
      store_four(i, _mm512_castps512_ps128(every_fourth[i]));
      store_four(4 + i, _mm512_extractf32x4_ps(every_fourth[i], 1));
      store_four(8 + i, _mm512_extractf32x4_ps(every_fourth[i], 2));
      store_four(12 + i, _mm512_extractf32x4_ps(every_fourth[i], 3));
    }
  }
}

}  // namespace logloss::LOGLOSS_LEVEL
