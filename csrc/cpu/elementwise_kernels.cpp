// SPDX-License-Identifier: BSD-3-Clause
// The element-wise operations; compiled once per ISA level, as kernels.cpp.
#include "cpu/binary_cross_entropy.h"
#include "cpu/kernel_groups.h"
#include "cpu/kl_div.h"
#include "cpu/loss_sum.h"
#include "cpu/sigmoid.h"

namespace logloss::LOGLOSS_LEVEL {

template <class S>
void kl_div_of_probs(const ElementBatch& batch) {
  kl_div<S, false>(batch);
}
template <class S>
void kl_div_of_log_probs(const ElementBatch& batch) {
  kl_div<S, true>(batch);
}

constexpr ElementwiseKernels kElementwiseKernels = {
    .sigmoid = LOGLOSS_BY_DTYPE(sigmoid),
    .log_sigmoid = LOGLOSS_BY_DTYPE(log_sigmoid),
    .sigmoid_backward = LOGLOSS_BY_DTYPE(sigmoid_backward),
    .log_sigmoid_backward = LOGLOSS_BY_DTYPE(log_sigmoid_backward),
    .binary_cross_entropy = LOGLOSS_BY_DTYPE(binary_cross_entropy),
    .binary_cross_entropy_with_logits = LOGLOSS_BY_DTYPE(binary_cross_entropy_with_logits),
    .kl_div = LOGLOSS_BY_DTYPE(kl_div_of_probs),
    .kl_div_log_target = LOGLOSS_BY_DTYPE(kl_div_of_log_probs),
    .loss_sum = LOGLOSS_BY_DTYPE(loss_sum),
};

}  // namespace logloss::LOGLOSS_LEVEL
