// SPDX-License-Identifier: BSD-3-Clause
// cross_entropy and nll_loss.
#include "cuda/cross_entropy.h"
#include "cuda/launch.h"
#include "cuda/nll_loss.h"

namespace logloss::LOGLOSS_LEVEL {
namespace {

template <class S, bool kLinear>
void launch_cross_entropy(const ClassLossCall& call, Stream stream) {
  using T = compute_t<S>;
  CrossEntropy<S, kLinear> op{};
  op.shape = rows_of(call.shape);
  op.input[0] = static_cast<const S*>(call.input);
  if constexpr (kLinear) op.input[1] = static_cast<const S*>(call.probs);
  op.total = static_cast<SumState*>(call.sum);
  op.losses = losses_of<T>(call);
  op.target = call.target;
  op.weight = static_cast<const T*>(call.weight);
  op.smoothing = call.smoothing;
  op.grad = static_cast<S*>(call.grad);
  launch_rows(op, stream);
}

template <class S>
void launch_nll_loss(const ClassLossCall& call, Stream stream) {
  using T = compute_t<S>;
  constexpr int kThreads = 256;
  NllLoss<S> op{};
  op.shape = rows_of(call.shape);
  op.input = static_cast<const S*>(call.input);
  op.target = call.target;
  op.weight = static_cast<const T*>(call.weight);
  op.losses = losses_of<T>(call);
  op.total = static_cast<SumState*>(call.sum);
  op.grad = static_cast<S*>(call.grad);
  const std::int64_t blocks = blocks_of_alike(op.shape.rows, kThreads);
  if (op.losses.loss || op.total) launch(nll_losses<S>, blocks, kThreads, sizeof(SumState), stream, op);
  if (!op.grad) return;
  set_bytes(op.grad, 0, op.shape.rows * op.shape.classes * static_cast<std::int64_t>(sizeof(S)), stream);
  launch(nll_gradients<S>, blocks, kThreads, 0, stream, op);
}

}  // namespace

void cross_entropy(const ClassLossCall& call, Stream stream) {
  with_type(call.dtype, [&](auto storage) {
    using S = decltype(storage);
    if (call.probs || call.smoothing != 0.0) {
      launch_cross_entropy<S, true>(call, stream);
    } else {
      launch_cross_entropy<S, false>(call, stream);
    }
  });
}

void nll_loss(const ClassLossCall& call, Stream stream) {
  if (call.shape.rows == 0) return;
  with_type(call.dtype, [&](auto storage) { launch_nll_loss<decltype(storage)>(call, stream); });
}

}  // namespace logloss::LOGLOSS_LEVEL
