// SPDX-License-Identifier: BSD-3-Clause
// The exact sum of losses that lie in memory.
#pragma once

#include "cpu/element_sum.h"

namespace logloss::LOGLOSS_LEVEL {

template <class S>
void loss_sum(const ElementBatch& batch) {
  sum_elements(static_cast<const compute_t<S>*>(batch.input), batch.n, batch.sums);
}

}  // namespace logloss::LOGLOSS_LEVEL
