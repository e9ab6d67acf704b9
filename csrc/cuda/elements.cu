// SPDX-License-Identifier: BSD-3-Clause
// binary_cross_entropy, binary_cross_entropy_with_logits, kl_div, sigmoid and log_sigmoid.
#include "cuda/elements.h"

#include "cuda/launch.h"

namespace logloss::LOGLOSS_LEVEL {
namespace {

template <class T>
RepeatedArray<T> repeated(const Repeated& array) {
  return {static_cast<const T*>(array.value), array.count, array.inner};
}

template <class S>
ElementArgs<S> args_of(const ElementLossCall& call) {
  using T = compute_t<S>;
  return {call.n,
          static_cast<const S*>(call.input),
          static_cast<const S*>(call.target),
          repeated<T>(call.weight),
          repeated<T>(call.pos_weight),
          static_cast<T*>(call.loss),
          static_cast<SumState*>(call.sum),
          static_cast<S*>(call.grad),
          call.grad_scale,
          call.grad_factor,
          static_cast<const T*>(call.grad_output),
          call.misfit};
}

template <class Op>
void launch_elements(const Op& op, Stream stream) {
  constexpr int kThreads = 256;
  const std::int64_t packets = op.args.n / kPerPacket<typename Op::Storage> + 1;
  launch(elements_kernel<Op>, blocks_of_alike(packets, kThreads), kThreads, sizeof(SumState), stream, op);
}

template <class Op>
void launch_map(const Op& op, Stream stream) {
  constexpr int kThreads = 256;
  const std::int64_t packets = op.n / kPerPacket<typename Op::Storage> + 1;
  launch(map_kernel<Op>, blocks_of_alike(packets, kThreads), kThreads, 0, stream, op);
}

}  // namespace

void sigmoid(const SigmoidCall& call, Stream stream) {
  if (call.n == 0) return;
  with_type(call.dtype, [&](auto storage) {
    using S = decltype(storage);
    const S *const x = static_cast<const S*>(call.input), *const g = static_cast<const S*>(call.grad_output);
    S* const y = static_cast<S*>(call.output);
    if (g) {
      launch_map(SigmoidBackward<S>{call.n, {x, g}, y, call.logarithm}, stream);
    } else {
      launch_map(Sigmoid<S>{call.n, {x}, y, call.logarithm}, stream);
    }
  });
}

void element_loss(const ElementLossCall& call, Stream stream) {
  if (call.misfit) set_bytes(call.misfit, 0xff, sizeof *call.misfit, stream);
  if (call.n == 0) return;
  with_type(call.dtype, [&](auto storage) {
    using S = decltype(storage);
    const ElementArgs<S> args = args_of<S>(call);
    switch (call.function) {
      case ElementLoss::binary_cross_entropy:
        return launch_elements(Bce<S>{args}, stream);
      case ElementLoss::binary_cross_entropy_with_logits:
        return launch_elements(BceWithLogits<S>{args}, stream);
      case ElementLoss::kl_div:
        return launch_elements(KlDiv<S>{args, false}, stream);
      case ElementLoss::kl_div_log_target:
        return launch_elements(KlDiv<S>{args, true}, stream);
    }
  });
}

void name_misfit(DType dtype, const void* input, const void* target, void* report, Stream stream) {
  static_assert(kMisfitReportBytes == sizeof(MisfitReport));
  with_type(dtype, [&](auto storage) {
    using S = decltype(storage);
    launch(name_misfit_kernel<S>, 1, 1, 0, stream, static_cast<const S*>(input), static_cast<const S*>(target),
           static_cast<MisfitReport*>(report));
  });
}

}  // namespace logloss::LOGLOSS_LEVEL
