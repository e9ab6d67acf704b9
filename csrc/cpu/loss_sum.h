// SPDX-License-Identifier: BSD-3-Clause
// The exact sum of losses that lie in memory.
#pragma once

#include "cpu/element_sum.h"
#include "cpu/row.h"

namespace logloss::LOGLOSS_LEVEL {

template <class S>
void loss_sum(const ElementBatch& batch) {
  using T = compute_t<S>;
  const T* losses = static_cast<const T*>(batch.input);
  ElementSum<T> sum;
  for_each_vector(batch.n,
                  [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA { sum.add(load(losses + j, lanes, T(0))); });
  sum.finish(batch.sums);
}

}  // namespace logloss::LOGLOSS_LEVEL
