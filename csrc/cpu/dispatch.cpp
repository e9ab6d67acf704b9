// SPDX-License-Identifier: BSD-3-Clause
#include "cpu/dispatch.h"

#include <stdexcept>

namespace logloss {
namespace {

bool cpu_has_avx2() {
#if defined(LOGLOSS_HAVE_X86)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c") &&
         __builtin_cpu_supports("popcnt");
#else
  return false;
#endif
}

bool cpu_has_avx512() {
#if defined(LOGLOSS_HAVE_X86)
  return cpu_has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#else
  return false;
#endif
}

struct Level {
  const char* name;
  const KernelTable* table;  // null: not compiled for this target
  bool supported;
};

// Best first.
std::vector<Level> levels() {
  const KernelTable *avx512 = nullptr, *avx2 = nullptr, *neon = nullptr;
#if defined(LOGLOSS_HAVE_X86)
  avx512 = avx512_kernels();
  avx2 = avx2_kernels();
#elif defined(LOGLOSS_HAVE_NEON)
  neon = neon_kernels();
#endif
  return {{"avx512", avx512, cpu_has_avx512()},
          {"avx2", avx2, cpu_has_avx2()},
          {"neon", neon, neon != nullptr},
          {"portable", portable_kernels(), true}};
}

const KernelTable* in_use = nullptr;

}  // namespace

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Level& level : levels()) {
    if (level.table && level.supported) names.emplace_back(level.name);
  }
  return names;
}

const KernelTable* find_kernels(const std::string& isa) {
  for (const Level& level : levels()) {
    if (isa == level.name && level.table && level.supported) return level.table;
  }
  return nullptr;
}

void select_isa(const std::string& isa) {
  const std::vector<std::string> names = available_isas();
  const KernelTable* table = find_kernels(isa.empty() ? names.front() : isa);
  if (table) {
    in_use = table;
    return;
  }
  std::string choices;
  for (const std::string& name : names) choices += (choices.empty() ? "" : ", ") + name;
  bool known = false;
  for (const Level& level : levels()) known = known || isa == level.name;
  throw std::invalid_argument("LOGLOSS_ISA: got '" + isa + "', " +
                              (known ? "which this machine does not support" : "which is not an ISA level") +
                              "; expected one of: " + choices);
}

const KernelTable& kernels() { return *in_use; }

}  // namespace logloss
