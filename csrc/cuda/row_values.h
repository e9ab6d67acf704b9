// SPDX-License-Identifier: BSD-3-Clause
// How the unit of the entropies finds logsumexp.
#pragma once

#include "cuda/operations.h"

namespace logloss::LOGLOSS_LEVEL {

void logsumexp(const RowValueCall& call, Stream stream);
void logsumexp_backward(const RowValueCall& call, Stream stream);

}  // namespace logloss::LOGLOSS_LEVEL
