// SPDX-License-Identifier: BSD-3-Clause
// 16 rows turned into columns, one row in each lane, and back.
#pragma once

#include "cpu/simd.h"

namespace logloss::LOGLOSS_LEVEL {

// A copy of the registers of kCount vectors, one after the other.
template <class T, int kCount>
struct Registers {
  static constexpr int kEach = Vec<T>::kRegisters;
  typename Native<T>::Reg reg[kCount * kEach];

  LOGLOSS_INLINE void from(const Vec<T>* all) {
    for (int i = 0; i < kCount * kEach; ++i) reg[i] = all[i / kEach].reg[i % kEach];
  }
  LOGLOSS_INLINE void to(Vec<T>* all) const {
    for (int i = 0; i < kCount * kEach; ++i) all[i / kEach].reg[i % kEach] = reg[i];
  }
};

// 16 rows of 16 elements become 16 columns: column[c] holds element c of each row.
template <class T>
LOGLOSS_INLINE void transpose(const Vec<T> (&row)[kLanes], Vec<T>* column) {
  Registers<T, kLanes> rows, columns;
  rows.from(row);
  transpose_registers(rows.reg, columns.reg);
  columns.to(column);
}

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

// column[c] = element c of each of 16 rows of n elements; whole blocks are written. Half types are widened and narrowed
// row by row.
template <class S>
LOGLOSS_INLINE void load_columns(const S* const* row, std::int64_t n, Vec<float>* column) {
  for_each_block<S>(n, [&](std::int64_t start, int count, auto block) LOGLOSS_INLINE_LAMBDA {
    Registers<compute_t<S>, block> columns;
    if constexpr (std::is_same_v<S, float>) {
      load_turned<block>(row, start, count, columns.reg);
      columns.to(column + start);
    } else {
      Vec<float> part[kLanes];
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
    Registers<compute_t<S>, block> columns;
    if constexpr (std::is_same_v<S, float>) {
      columns.from(column + start);
      store_turned<block>(row, start, count, columns.reg);
    } else {
      Vec<float> held[kLanes], part[kLanes];
      for (int c = 0; c < kLanes; ++c) held[c] = column[start + c];
      transpose(held, part);
      for (int i = 0; i < kLanes; ++i) {
        count == kLanes ? store(row[i] + start, part[i]) : store(row[i] + start, count, part[i]);
      }
    }
  });
}

}  // namespace logloss::LOGLOSS_LEVEL
