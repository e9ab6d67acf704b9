// SPDX-License-Identifier: BSD-3-Clause
// Native registers of the avx512 level (F, BW, DQ, VL): what simd.h builds its 16 virtual lanes from.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "common/dtypes.h"
#include "common/platform.h"

namespace logloss::LOGLOSS_LEVEL {

inline constexpr bool kFusedMultiplyAdd = true;
inline constexpr bool kMaskedMemory = true;  // loads and stores of the first n lanes
LOGLOSS_INLINE void fence_streams() { _mm_sfence(); }

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
  static LOGLOSS_INLINE int count(Mask m) { return __builtin_popcount(m); }
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
  static LOGLOSS_INLINE Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_pd(a, b, c); }
  static LOGLOSS_INLINE Reg max(Reg a, Reg b) { return _mm512_max_pd(a, b); }
  static LOGLOSS_INLINE Mask equal(Reg a, Reg b) { return _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ); }
  static LOGLOSS_INLINE Mask less(Reg a, Reg b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
  static LOGLOSS_INLINE Reg select(Mask m, Reg a, Reg b) { return _mm512_mask_blend_pd(m, b, a); }
  static LOGLOSS_INLINE Reg clear(Mask m, Reg a) { return _mm512_mask_blend_pd(m, a, _mm512_setzero_pd()); }
  static LOGLOSS_INLINE int count(Mask m) { return __builtin_popcount(m); }
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

// 16 half-precision values <-> one float register.
LOGLOSS_INLINE void widen_half(const std::uint16_t* p, __m512* out) {
  out[0] = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
LOGLOSS_INLINE void narrow_half(const __m512* a, std::uint16_t* p) {
  const __m256i half = _mm512_cvtps_ph(a[0], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), half);
}
LOGLOSS_INLINE void widen_bfloat16(const std::uint16_t* p, __m512* out) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  out[0] = _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
LOGLOSS_INLINE void narrow_bfloat16(const __m512* a, std::uint16_t* p) {
  const __m512i bits = _mm512_castps_si512(a[0]);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  const __mmask16 nan = _mm512_cmp_ps_mask(a[0], a[0], _CMP_UNORD_Q);
  const __m512i kept = _mm512_mask_blend_epi32(nan, rounded, _mm512_set1_epi32(0x7fc00000));
  const __m256i half = _mm512_cvtepi32_epi16(_mm512_srli_epi32(kept, 16));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), half);
}

// out[c] holds element c of each of the 16 rows.
inline constexpr bool kRegisterTranspose = true;
LOGLOSS_INLINE void transpose_registers(const __m512* row, __m512* out) {
  __m512 quad[4][4];  // [g][k]: elements k, k + 4, k + 8, k + 12 of rows 4 g to 4 g + 3
  for (int g = 0; g < 4; ++g) {
    const __m512* r = row + 4 * g;
    const __m512d low01 = _mm512_castps_pd(_mm512_unpacklo_ps(r[0], r[1]));
    const __m512d high01 = _mm512_castps_pd(_mm512_unpackhi_ps(r[0], r[1]));
    const __m512d low23 = _mm512_castps_pd(_mm512_unpacklo_ps(r[2], r[3]));
    const __m512d high23 = _mm512_castps_pd(_mm512_unpackhi_ps(r[2], r[3]));
    quad[g][0] = _mm512_castpd_ps(_mm512_unpacklo_pd(low01, low23));
    quad[g][1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low01, low23));
    quad[g][2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high01, high23));
    quad[g][3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high01, high23));
  }
  for (int k = 0; k < 4; ++k) {
    const __m512 even01 = _mm512_shuffle_f32x4(quad[0][k], quad[1][k], 0x88);
    const __m512 even23 = _mm512_shuffle_f32x4(quad[2][k], quad[3][k], 0x88);
    const __m512 odd01 = _mm512_shuffle_f32x4(quad[0][k], quad[1][k], 0xdd);
    const __m512 odd23 = _mm512_shuffle_f32x4(quad[2][k], quad[3][k], 0xdd);
    out[k] = _mm512_shuffle_f32x4(even01, even23, 0x88);
    out[k + 4] = _mm512_shuffle_f32x4(odd01, odd23, 0x88);
    out[k + 8] = _mm512_shuffle_f32x4(even01, even23, 0xdd);
    out[k + 12] = _mm512_shuffle_f32x4(odd01, odd23, 0xdd);
  }
}

}  // namespace logloss::LOGLOSS_LEVEL
