// SPDX-License-Identifier: BSD-3-Clause
// softmax, log_softmax, logsumexp and their gradients.
#include "cuda/softmax.h"

#include "cuda/launch.h"
#include "cuda/row_values.h"

namespace logloss::LOGLOSS_LEVEL {

void softmax(const SoftmaxCall& call, Stream stream) {
  with_type(call.dtype, [&](auto storage) {
    using S = decltype(storage);
    launch_rows(Softmax<S>{rows_of(call.shape),
                           {static_cast<const S*>(call.input)},
                           nullptr,
                           call.logarithm,
                           static_cast<S*>(call.output)},
                stream);
  });
}

void softmax_backward(const SoftmaxCall& call, Stream stream) {
  with_type(call.dtype, [&](auto storage) {
    using S = decltype(storage);
    launch_rows(SoftmaxBackward<S>{rows_of(call.shape),
                                   {static_cast<const S*>(call.input), static_cast<const S*>(call.grad_output)},
                                   nullptr,
                                   call.logarithm,
                                   static_cast<S*>(call.output)},
                stream);
  });
}

void logsumexp(const RowValueCall& call, Stream stream) {
  with_type(call.dtype, [&](auto storage) {
    using S = decltype(storage);
    launch_rows(
        LogSumExp<S>{rows_of(call.shape), {static_cast<const S*>(call.input)}, nullptr, static_cast<S*>(call.value)},
        stream);
  });
}

void logsumexp_backward(const RowValueCall& call, Stream stream) {
  with_type(call.dtype, [&](auto storage) {
    using S = decltype(storage);
    launch_rows(LogSumExpBackward<S>{rows_of(call.shape),
                                     {static_cast<const S*>(call.input)},
                                     nullptr,
                                     call.grad_output,
                                     static_cast<S*>(call.output)},
                stream);
  });
}

}  // namespace logloss::LOGLOSS_LEVEL
