// SPDX-License-Identifier: BSD-3-Clause
#include "cuda/convert.h"

#include "cuda/launch.h"

namespace logloss::LOGLOSS_LEVEL {

namespace {

constexpr int kThreads = 256;

}  // namespace

void convert(const ConvertCall& call, Stream stream) {
  if (call.n == 0) return;
  with_type(call.to, [&](auto storage) {
    launch(convert_kernel<decltype(storage)>, blocks_of_alike(call.n, kThreads), kThreads, 0, stream,
           AnyArray{call.from, call.source}, call.n, static_cast<decltype(storage)*>(call.output));
  });
}

void fill(DType dtype, std::int64_t n, double value, void* output, Stream stream) {
  if (n == 0) return;
  with_type(dtype, [&](auto storage) {
    launch(fill_kernel<decltype(storage)>, blocks_of_alike(n, kThreads), kThreads, 0, stream, value, n,
           static_cast<decltype(storage)*>(output));
  });
}

}  // namespace logloss::LOGLOSS_LEVEL
