// SPDX-License-Identifier: BSD-3-Clause
// Entropies, divergences and cosines of rows; compiled once per ISA level, as kernels.cpp.
#include "cpu/cosine_embedding_loss.h"
#include "cpu/entropy.h"
#include "cpu/kernel_groups.h"
#include "cpu/kl_div_with_logits.h"

namespace logloss::LOGLOSS_LEVEL {

constexpr DivergenceKernels kDivergenceKernels = {
    .entropy = LOGLOSS_BY_DTYPE(entropy),
    .entropy_backward = LOGLOSS_BY_DTYPE(entropy_backward),
    .entropy_with_logits = LOGLOSS_BY_DTYPE(entropy_with_logits),
    .entropy_with_logits_backward = LOGLOSS_BY_DTYPE(entropy_with_logits_backward),
    .kl_div_with_logits = LOGLOSS_BY_DTYPE(kl_div_with_logits),
    .cosine_embedding_loss = LOGLOSS_BY_DTYPE(cosine_embedding_loss),
};

}  // namespace logloss::LOGLOSS_LEVEL
