// SPDX-License-Identifier: BSD-3-Clause
// Arrays repeated along axes between others, and the way back: gradients summed over the copies of an element.
#pragma once

#include <cstdint>

#include "cpu/simd.h"
#include "cuda/device.h"
#include "cuda/operations.h"

namespace logloss::LOGLOSS_LEVEL {

// Each run of `inner` elements `copies` times in a row.
template <class S>
LOGLOSS_KERNEL(256, 4)
repeat_kernel(const S* source, std::int64_t copies, std::int64_t inner, std::int64_t n, S* output) {
  for (std::int64_t j = block() * threads() + thread(); j < n; j += blocks() * threads()) {
    output[j] = source[j / (copies * inner) * inner + j % inner];
  }
}

// Where the i-th element along some axes of an array stands, in their row-major order.
LOGLOSS_INLINE std::int64_t offset_of(const RepeatedAxes& axes, std::int64_t i) {
  std::int64_t offset = 0;
  LOGLOSS_ROLLED for (int a = axes.count - 1; a > 0; --a) {
    offset += i % axes.size[a] * axes.stride[a];
    i /= axes.size[a];
  }
  return axes.count ? offset + i * axes.stride[0] : 0;
}

// The host has NumPy add up float64 gradients. Its order is kept here for the same bits:
// - one after the other, where other elements lie between the copies of one;
// - in a tree where the copies are neighbours: halves, the first of a multiple of 8, down to kLeaf values, and these in
// 8
//   chains.
inline constexpr std::int64_t kLeaf = 128;

template <class S>
LOGLOSS_KERNEL(256, 4)
sum_distant_copies(const S* values, RepeatedAxes copies, RepeatedAxes kept, std::int64_t n, std::int64_t sums,
                   double* output) {
  const std::int64_t stride = copies.stride[copies.count - 1], run = copies.size[copies.count - 1];
  for (std::int64_t j = block() * threads() + thread(); j < sums; j += blocks() * threads()) {
    const S* const first = values + offset_of(kept, j);
    double sum = -0.0;
    for (std::int64_t i = 0; i < n; i += run) {
      const S* value = first + offset_of(copies, i);
      for (std::int64_t k = 0; k < run; ++k, value += stride) sum += static_cast<double>(*value);
    }
    output[j] = sum;
  }
}

LOGLOSS_INLINE std::int64_t first_half(std::int64_t n) { return n / 2 / 8 * 8; }

template <class S>
LOGLOSS_INLINE double sum_of_leaf(const S* values, std::int64_t n) {
  double sum = -0.0;
  std::int64_t i = 0;
  if (n >= 8) {
    double chain[8];
    LOGLOSS_UNROLL for (int k = 0; k < 8; ++k) chain[k] = static_cast<double>(values[k]);
    LOGLOSS_ROLLED for (i = 8; i + 8 <= n; i += 8) {
      LOGLOSS_UNROLL for (int k = 0; k < 8; ++k) chain[k] += static_cast<double>(values[i + k]);
    }
    sum = ((chain[0] + chain[1]) + (chain[2] + chain[3])) + ((chain[4] + chain[5]) + (chain[6] + chain[7]));
  }
  LOGLOSS_ROLLED for (; i < n; ++i) sum += static_cast<double>(values[i]);
  return sum;
}

template <class S>
LOGLOSS_INLINE double sum_of_tree(const S* values, std::int64_t n) {
  constexpr int kDepth = 48;         // of the trees of 2^48 values and more
  std::int64_t second_half[kDepth];  // that is still to be added, on the way to where we are; 0: it is being added
  double first_sum[kDepth];
  int depth = 0;
  for (;;) {
    for (; n > kLeaf; n = first_half(n)) second_half[depth++] = n - first_half(n);
    double sum = sum_of_leaf(values, n);
    values += n;
    while (depth > 0 && second_half[depth - 1] == 0) sum = first_sum[--depth] + sum;
    if (depth == 0) return sum;
    first_sum[depth - 1] = sum;
    n = second_half[depth - 1];
    second_half[depth - 1] = 0;
  }
}

// A team for each sum. Lanes go down the first levels of its tree on different ways; where it has no more levels than
// that, lanes make the same sum.
template <class S>
LOGLOSS_KERNEL(256, 4)
sum_neighbouring_copies(const S* values, std::int64_t copies, std::int64_t sums, double* output) {
  constexpr int kLevels = 4;
  static_assert(1 << kLevels == kLanes);
  const int lane = thread() % kLanes;
  const std::int64_t teams = threads() / kLanes;
  for (std::int64_t j = block() * teams + thread() / kLanes; j < sums; j += blocks() * teams) {
    const S* first = values + j * copies;
    std::int64_t n = copies;
    bool halved[kLevels];
    LOGLOSS_UNROLL for (int level = kLevels - 1; level >= 0; --level) {
      halved[level] = n > kLeaf;
      if (!halved[level]) continue;
      const std::int64_t half = first_half(n);
      const bool second = lane >> level & 1;
      first += second ? half : 0;
      n = second ? n - half : half;
    }
    double sum = sum_of_tree(first, n);
    LOGLOSS_UNROLL for (int level = 0; level < kLevels; ++level) {
      const double other = shuffle_xor(sum, 1 << level);
      if (halved[level]) sum += other;
    }
    if (lane == 0) output[j] = sum;
  }
}

}  // namespace logloss::LOGLOSS_LEVEL
