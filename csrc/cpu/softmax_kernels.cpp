// SPDX-License-Identifier: BSD-3-Clause
// log_softmax, softmax and logsumexp with their gradients; compiled once per ISA level, as kernels.cpp.
#include "cpu/kernel_groups.h"
#include "cpu/log_softmax.h"

namespace logloss::LOGLOSS_LEVEL {

constexpr SoftmaxKernels kSoftmaxKernels = {
    .log_softmax = LOGLOSS_BY_DTYPE(log_softmax),
    .softmax = LOGLOSS_BY_DTYPE(softmax),
    .log_softmax_backward = LOGLOSS_BY_DTYPE(log_softmax_backward),
    .softmax_backward = LOGLOSS_BY_DTYPE(softmax_backward),
    .logsumexp = LOGLOSS_BY_DTYPE(logsumexp),
    .logsumexp_backward = LOGLOSS_BY_DTYPE(logsumexp_backward),
};

}  // namespace logloss::LOGLOSS_LEVEL
