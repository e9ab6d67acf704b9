// SPDX-License-Identifier: BSD-3-Clause
// Exact sums over samples by many threads: additions of integers to the limbs of common/exact_sum.h, atomic and
// therefore in no order that could matter. Each block adds in its own memory first.
#pragma once

#include <cstdint>

#include "common/exact_sum.h"
#include "cuda/device.h"

namespace logloss::LOGLOSS_LEVEL {

// The state of an ExactSum in device memory: limbs, then the counts of infinities and NaN. All zero is a sum of
// nothing. Limbs are not carried: it takes 2^31 additions at most.
struct SumState {
  static constexpr int kWords = ExactSum::kLimbs + ExactSum::kSpecials;
  std::uint64_t word[kWords];
};

LOGLOSS_INLINE void add_exactly(SumState* sum, double value) {
  std::uint64_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  const int biased = static_cast<int>((bits >> 52) & 0x7ff);
  if (biased == 0x7ff) {
    const int special = value != value ? 2 : value < 0 ? 1 : 0;
    return add_atomically(&sum->word[ExactSum::kLimbs + special], 1);
  }
  std::uint64_t fraction = bits & 0xfffffffffffff;
  if (biased != 0) fraction |= std::uint64_t{1} << 52;
  if (fraction == 0) return;
  const int position = (biased != 0 ? biased : 1) - 1075 - ExactSum::kLowestExponent;
  const int shift = position & 31;
  const std::uint64_t low = fraction << shift, high = shift ? fraction >> (64 - shift) : 0;
  const std::uint64_t part[3] = {low & 0xffffffff, low >> 32, high};
  for (int i = 0; i < 3; ++i) {
    if (part[i]) add_atomically(&sum->word[(position >> 5) + i], bits >> 63 ? 0 - part[i] : part[i]);
  }
}

// By all threads of a block, which meet between this and other uses of `sum`.
LOGLOSS_INLINE void clear_sum(SumState* sum) {
  for (int i = thread(); i < SumState::kWords; i += threads()) sum->word[i] = 0;
}
LOGLOSS_INLINE void merge_sum(SumState* total, const SumState& sum) {
  for (int i = thread(); i < SumState::kWords; i += threads()) {
    if (sum.word[i]) add_atomically(&total->word[i], sum.word[i]);
  }
}

}  // namespace logloss::LOGLOSS_LEVEL
