// SPDX-License-Identifier: BSD-3-Clause
// Which ISA level runs: the best one that is compiled in and that this CPU has, unless one is named.
#pragma once

#include <string>
#include <vector>

#include "cpu/kernel_table.h"

namespace logloss {

// The names of the usable levels, best first; the last one is always "portable".
std::vector<std::string> available_isas();

// The table of a usable level, null for any other name.
const KernelTable* find_kernels(const std::string& isa);

// Makes `isa` the level in use, the best one if it is empty. Throws std::invalid_argument, naming the choices, for a
// level that is unknown or that this CPU does not have.
void select_isa(const std::string& isa);

// The table in use.
const KernelTable& kernels();

}  // namespace logloss
