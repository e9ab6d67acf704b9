// SPDX-License-Identifier: BSD-3-Clause
// Rows turned into columns and back, where a register holds four floats: the neon and portable levels.
#pragma once

namespace logloss::LOGLOSS_LEVEL {

// 4 x 4 elements, turned.
template <class Reg>
LOGLOSS_INLINE void turn_quads(const Reg* row, Reg* column) {
  const Reg low01 = __builtin_shufflevector(row[0], row[1], 0, 4, 1, 5);
  const Reg high01 = __builtin_shufflevector(row[0], row[1], 2, 6, 3, 7);
  const Reg low23 = __builtin_shufflevector(row[2], row[3], 0, 4, 1, 5);
  const Reg high23 = __builtin_shufflevector(row[2], row[3], 2, 6, 3, 7);
  column[0] = __builtin_shufflevector(low01, low23, 0, 1, 4, 5);
  column[1] = __builtin_shufflevector(low01, low23, 2, 3, 6, 7);
  column[2] = __builtin_shufflevector(high01, high23, 0, 1, 4, 5);
  column[3] = __builtin_shufflevector(high01, high23, 2, 3, 6, 7);
}

// Four registers hold a row of 16 elements, or a column.
template <class Reg>
LOGLOSS_INLINE void transpose_registers(const Reg* row, Reg* column) {
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) {
      Reg from[4], to[4];
      for (int k = 0; k < 4; ++k) from[k] = row[4 * (4 * i + k) + j];
      turn_quads(from, to);
      for (int k = 0; k < 4; ++k) column[4 * (4 * j + k) + i] = to[k];
    }
  }
}

// column[c] for c < kBlock (4, 8, 16), four registers each, from elements start + c of 16 rows, which have n of them.
template <int kBlock, class Reg>
LOGLOSS_INLINE void load_turned(const float* const* row, std::int64_t start, int n, Reg* column) {
  for (int c = 0; c < kBlock && c < n; c += 4) {
    for (int i = 0; i < 4; ++i) {
      Reg from[4], to[4];
      for (int k = 0; k < 4; ++k) {
        const float* x = row[4 * i + k] + start + c;
        from[k] = n - c >= 4 ? Native<float>::load(x) : Native<float>::load(x, n - c, 0.0f);
      }
      turn_quads(from, to);
      for (int k = 0; k < 4; ++k) column[4 * (c + k) + i] = to[k];
    }
  }
}
// The way back.
template <int kBlock, class Reg>
LOGLOSS_INLINE void store_turned(float* const* row, std::int64_t start, int n, const Reg* column) {
  for (int c = 0; c < kBlock && c < n; c += 4) {
    for (int i = 0; i < 4; ++i) {
      Reg from[4], to[4];
      for (int k = 0; k < 4; ++k) from[k] = column[4 * (c + k) + i];
      turn_quads(from, to);
      for (int k = 0; k < 4; ++k) {
        float* y = row[4 * i + k] + start + c;
        n - c >= 4 ? Native<float>::store(y, to[k]) : Native<float>::store(y, n - c, to[k]);
      }
    }
  }
}

}  // namespace logloss::LOGLOSS_LEVEL
