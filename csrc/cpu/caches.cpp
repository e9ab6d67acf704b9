// SPDX-License-Identifier: BSD-3-Clause
#include "cpu/caches.h"

#if defined(LOGLOSS_HAVE_X86)
#include <cpuid.h>
#endif
#include <unistd.h>

namespace logloss {
namespace {

// Zen 5 and what comes after it.
bool is_zen5() {
#if defined(LOGLOSS_HAVE_X86)
  constexpr unsigned kZen5 = 0x1a;
  unsigned eax, ebx, ecx, edx;
  if (!__builtin_cpu_is("amd") || !__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return false;
  return (eax >> 8 & 0xf) + (eax >> 20 & 0xff) >= kZen5;
#else
  return false;
#endif
}

}  // namespace

std::int64_t l2_bytes() {
  constexpr std::int64_t kUsual = 1024 * 1024;
#if defined(_SC_LEVEL2_CACHE_SIZE)
  static const std::int64_t bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return bytes > 0 ? bytes : kUsual;
#else
  return kUsual;
#endif
}

// cross_entropy of 2048 x 32000 float32 on AVX-512, one thread. Zen 4: 3072 to 8192 elements ahead, into L2, are alike,
// 2048 take 3 % more time, and asking for L1 takes 5 to 10 %. Zen 5: into L1 8.5, 8.0, 7.9 and 7.9 ms for 2048, 3072,
// 4096 and 6144 elements, into L2 8.9, 8.9 and 9.5 for 2048, 4096 and 16384.
Prefetch prefetch_of_sweeps() {
  static const bool into_l1 = is_zen5();
  return {4096, into_l1};
}

}  // namespace logloss
