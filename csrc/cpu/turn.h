// SPDX-License-Identifier: BSD-3-Clause
// 16 rows turned into columns, one row in each lane, and back: column[c] = element c of each of 16 rows of n elements.
#pragma once

#include <concepts>

#include "cpu/simd.h"

namespace logloss::LOGLOSS_LEVEL {

template <int kCount>
using Columns = std::integral_constant<int, kCount>;

// f(start, n, Columns<k>): n elements of each row, from `start` on, in blocks of k = 4, 8 or 16 columns. Few columns
// take few steps: 20, 32 and 64 for 16 rows on AVX-512.
template <class S, class F>
LOGLOSS_INLINE void for_each_block(std::int64_t elements, F f) {
  const std::int64_t few = std::is_same_v<S, float> ? 12 : 0;
  std::int64_t start = 0;
  const auto left = [&](int most) { return elements - start < most ? static_cast<int>(elements - start) : most; };
  for (; elements - start > few; start += 16) f(start, left(16), Columns<16>{});
  if constexpr (!std::is_same_v<S, float>) return;
  for (; elements - start > 4; start += 8) f(start, left(8), Columns<8>{});
  if (start < elements) f(start, left(4), Columns<4>{});
}

// Whole blocks are written. Half types are widened and narrowed row by row.
template <class S>
LOGLOSS_INLINE void load_columns(const S* const* row, std::int64_t n, Vec<float>* column) {
  for_each_block<S>(n, [&](std::int64_t start, int count, auto block) LOGLOSS_INLINE_LAMBDA {
    if constexpr (std::is_same_v<S, float>) {
      load_turned<block>(row, start, count, column + start);
    } else {
      Vec<compute_t<S>> part[kLanes];
      for (int i = 0; i < kLanes; ++i) {
        part[i] = count == kLanes ? load(row[i] + start) : load(row[i] + start, count, 0.0f);
      }
      transpose(part, column + start);
    }
  });
}
template <class S>
LOGLOSS_INLINE void store_columns(S* const* row, std::int64_t n, const Vec<float>* column) {
  for_each_block<S>(n, [&](std::int64_t start, int count, auto block) LOGLOSS_INLINE_LAMBDA {
    if constexpr (std::is_same_v<S, float>) {
      store_turned<block>(row, start, count, column + start);
    } else {
      Vec<compute_t<S>> part[kLanes];
      transpose(column + start, part);
      for (int i = 0; i < kLanes; ++i) {
        count == kLanes ? store(row[i] + start, part[i]) : store(row[i] + start, count, part[i]);
      }
    }
  });
}

// float64: two elements of two rows at a time. Templates, because device code, which names them, has no such vectors.

template <std::same_as<double> T>
LOGLOSS_INLINE void turn_pairs(const T* from, const T* from_next, T* to, T* to_next) {
  typedef T Pair __attribute__((vector_size(16)));
  Pair a, b;
  __builtin_memcpy(&a, from, sizeof a);
  __builtin_memcpy(&b, from_next, sizeof b);
  const Pair first = __builtin_shufflevector(a, b, 0, 2), second = __builtin_shufflevector(a, b, 1, 3);
  __builtin_memcpy(to, &first, sizeof first);
  __builtin_memcpy(to_next, &second, sizeof second);
}

template <std::same_as<double> T>
LOGLOSS_INLINE void load_columns(const T* const* row, std::int64_t n, Vec<T>* column) {
  const auto lane = [&](std::int64_t c, int i) { return reinterpret_cast<T*>(column + c) + i; };
  std::int64_t c = 0;
  for (; c + 2 <= n; c += 2) {
    for (int i = 0; i < kLanes; i += 2) turn_pairs(row[i] + c, row[i + 1] + c, lane(c, i), lane(c + 1, i));
  }
  for (int i = 0; c < n && i < kLanes; ++i) __builtin_memcpy(lane(c, i), row[i] + c, sizeof(T));
}
template <std::same_as<double> T>
LOGLOSS_INLINE void store_columns(T* const* row, std::int64_t n, const Vec<T>* column) {
  const auto lane = [&](std::int64_t c, int i) { return reinterpret_cast<const T*>(column + c) + i; };
  std::int64_t c = 0;
  for (; c + 2 <= n; c += 2) {
    for (int i = 0; i < kLanes; i += 2) turn_pairs(lane(c, i), lane(c + 1, i), row[i] + c, row[i + 1] + c);
  }
  for (int i = 0; c < n && i < kLanes; ++i) __builtin_memcpy(row[i] + c, lane(c, i), sizeof(T));
}

}  // namespace logloss::LOGLOSS_LEVEL
