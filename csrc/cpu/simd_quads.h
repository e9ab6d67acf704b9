// SPDX-License-Identifier: BSD-3-Clause
// Rows turned into columns and back, where a register holds four floats: the neon and portable levels.
#pragma once

namespace logloss::LOGLOSS_LEVEL {

// 4 x 4 elements, turned.
LOGLOSS_INLINE void turn_quads(const FloatReg* row, FloatReg* column) {
  const FloatReg low01 = __builtin_shufflevector(row[0], row[1], 0, 4, 1, 5);
  const FloatReg high01 = __builtin_shufflevector(row[0], row[1], 2, 6, 3, 7);
  const FloatReg low23 = __builtin_shufflevector(row[2], row[3], 0, 4, 1, 5);
  const FloatReg high23 = __builtin_shufflevector(row[2], row[3], 2, 6, 3, 7);
  column[0] = __builtin_shufflevector(low01, low23, 0, 1, 4, 5);
  column[1] = __builtin_shufflevector(low01, low23, 2, 3, 6, 7);
  column[2] = __builtin_shufflevector(high01, high23, 0, 1, 4, 5);
  column[3] = __builtin_shufflevector(high01, high23, 2, 3, 6, 7);
}

// V is Vec<float>. 16 rows of 16 elements become 16 columns: column[c] holds element c of each row.
template <class V>
LOGLOSS_INLINE void transpose(const V* row, V* column) {
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) {
      FloatReg from[4], to[4];
      for (int k = 0; k < 4; ++k) from[k] = row[4 * i + k].reg[j];
      turn_quads(from, to);
      for (int k = 0; k < 4; ++k) column[4 * j + k].reg[i] = to[k];
    }
  }
}

// column[c] for c < kBlock (4, 8, 16) from elements start + c of 16 rows, which have n of them.
template <int kBlock, class V>
LOGLOSS_INLINE void load_turned(const float* const* row, std::int64_t start, int n, V* column) {
  for (int c = 0; c < kBlock && c < n; c += 4) {
    for (int i = 0; i < 4; ++i) {
      FloatReg from[4], to[4];
      for (int k = 0; k < 4; ++k) {
        const float* x = row[4 * i + k] + start + c;
        from[k] = n - c >= 4 ? Native<float>::load(x) : Native<float>::load(x, n - c, 0.0f);
      }
      turn_quads(from, to);
      for (int k = 0; k < 4; ++k) column[c + k].reg[i] = to[k];
    }
  }
}
// The way back.
template <int kBlock, class V>
LOGLOSS_INLINE void store_turned(float* const* row, std::int64_t start, int n, const V* column) {
  for (int c = 0; c < kBlock && c < n; c += 4) {
    for (int i = 0; i < 4; ++i) {
      FloatReg from[4], to[4];
      for (int k = 0; k < 4; ++k) from[k] = column[c + k].reg[i];
      turn_quads(from, to);
      for (int k = 0; k < 4; ++k) {
        float* y = row[4 * i + k] + start + c;
        n - c >= 4 ? Native<float>::store(y, to[k]) : Native<float>::store(y, n - c, to[k]);
      }
    }
  }
}

}  // namespace logloss::LOGLOSS_LEVEL
