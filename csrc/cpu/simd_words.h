// SPDX-License-Identifier: BSD-3-Clause
// The first words of 16 bits of a vector, where memory is not accessed under a mask: all levels but avx512.
#pragma once

#include <cstdint>

#include "common/platform.h"

namespace logloss::LOGLOSS_LEVEL {

// In pieces of powers of two.
LOGLOSS_INLINE void copy_words(const std::uint16_t* from, int n, std::uint16_t* to) {
  int done = 0;
  if (n & 16) __builtin_memcpy(to, from, 32);
  if (n & 8) __builtin_memcpy(to, from, 16), done = 8;
  if (n & 4) __builtin_memcpy(to + done, from + done, 8), done += 4;
  if (n & 2) __builtin_memcpy(to + done, from + done, 4), done += 2;
  if (n & 1) to[done] = from[done];
}

// The n <= 16 words at p, zeros after them.
LOGLOSS_INLINE void load_words(const std::uint16_t* p, int n, std::uint16_t* lane) {
  __builtin_memset(lane, 0, 32);
  copy_words(p, n, lane);
}
LOGLOSS_INLINE void store_words(std::uint16_t* p, int n, const std::uint16_t* lane) { copy_words(lane, n, p); }

}  // namespace logloss::LOGLOSS_LEVEL
