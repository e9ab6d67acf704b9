// SPDX-License-Identifier: BSD-3-Clause
// The losses of rows that have a class; compiled once per ISA level, as kernels.cpp.
#include "cpu/cross_entropy.h"
#include "cpu/kernel_groups.h"
#include "cpu/nll_loss.h"

namespace logloss::LOGLOSS_LEVEL {

constexpr ClassLossKernels kClassLossKernels = {
    .cross_entropy = LOGLOSS_BY_DTYPE(cross_entropy),
    .nll_loss = LOGLOSS_BY_DTYPE(nll_loss),
};

}  // namespace logloss::LOGLOSS_LEVEL
