// SPDX-License-Identifier: BSD-3-Clause
// Entropies, kl_div_with_logits and cosine_embedding_loss.
#include "cuda/divergence.h"

#include "cuda/launch.h"
#include "cuda/row_values.h"

namespace logloss::LOGLOSS_LEVEL {
namespace {

void entropy(const RowValueCall& call, Stream stream) {
  with_type(call.dtype, [&](auto storage) {
    using S = decltype(storage);
    launch_rows(Entropy<S>{rows_of(call.shape),
                           {static_cast<const S*>(call.input)},
                           nullptr,
                           call.function == RowValue::entropy_with_logits,
                           static_cast<S*>(call.value),
                           call.grad_output,
                           static_cast<S*>(call.output)},
                stream);
  });
}

}  // namespace

void row_value(const RowValueCall& call, Stream stream) {
  call.function == RowValue::logsumexp ? logsumexp(call, stream) : entropy(call, stream);
}
void row_value_backward(const RowValueCall& call, Stream stream) {
  call.function == RowValue::logsumexp ? logsumexp_backward(call, stream) : entropy(call, stream);
}

void kl_div_with_logits(const PairLossCall& call, Stream stream) {
  with_type(call.dtype, [&](auto storage) {
    using S = decltype(storage);
    launch_rows(Divergence<S>{rows_of(call.shape),
                              {static_cast<const S*>(call.first), static_cast<const S*>(call.second)},
                              static_cast<SumState*>(call.sum),
                              losses_of<compute_t<S>>(call),
                              call.loss || call.sum,
                              static_cast<S*>(call.first_grad),
                              static_cast<S*>(call.second_grad)},
                stream);
  });
}

void cosine_embedding_loss(const PairLossCall& call, Stream stream) {
  with_type(call.dtype, [&](auto storage) {
    using S = decltype(storage);
    launch_rows(CosineEmbedding<S>{rows_of(call.shape),
                                   {static_cast<const S*>(call.first), static_cast<const S*>(call.second)},
                                   static_cast<SumState*>(call.sum),
                                   losses_of<compute_t<S>>(call),
                                   call.loss || call.sum,
                                   call.target,
                                   call.margin,
                                   static_cast<S*>(call.first_grad),
                                   static_cast<S*>(call.second_grad)},
                stream);
  });
}

}  // namespace logloss::LOGLOSS_LEVEL
