// SPDX-License-Identifier: BSD-3-Clause
// What operations need to know of the caches of this CPU.
#pragma once

#include <cstdint>

#include "common/args.h"

namespace logloss {

inline constexpr std::int64_t kCacheLine = 64;  // bytes

// Results of more bytes than this go past the caches: half of the 32 MiB of L3 that a core reaches; virtual machines
// report the sum over all cores. (2048 x 32000 on AVX-512, one thread: log_softmax 28.4 ms with plain stores, 24.4 past
// the caches, a copy 18.)
inline constexpr std::int64_t kMostInCaches = 16 * 1024 * 1024;

// The bytes of a core's L2, 1 MiB where the system does not tell.
std::int64_t l2_bytes();

// How a sweep that nothing follows asks memory for what comes next.
Prefetch prefetch_of_sweeps();

}  // namespace logloss
