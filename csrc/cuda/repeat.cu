// SPDX-License-Identifier: BSD-3-Clause
#include "cuda/repeat.h"

#include "cuda/launch.h"

namespace logloss::LOGLOSS_LEVEL {
namespace {

constexpr int kThreads = 256;

std::int64_t elements_of(const RepeatedAxes& axes) {
  std::int64_t n = 1;
  for (int a = 0; a < axes.count; ++a) n *= axes.size[a];
  return n;
}

template <class S>
void launch_sums(const SumCopiesCall& call, Stream stream) {
  const auto* const values = static_cast<const S*>(call.values);
  const std::int64_t copies = elements_of(call.copies), sums = elements_of(call.kept);
  if (call.copies.count == 1 && call.copies.stride[0] == 1) {
    launch(sum_neighbouring_copies<S>, blocks_of_alike(sums * kLanes, kThreads), kThreads, 0, stream, values, copies,
           sums, call.sums);
  } else {
    launch(sum_distant_copies<S>, blocks_of_alike(sums, kThreads), kThreads, 0, stream, values, call.copies, call.kept,
           copies, sums, call.sums);
  }
}

}  // namespace

void repeat(const RepeatCall& call, Stream stream) {
  if (call.n == 0) return;
  with_type(call.dtype, [&](auto storage) {
    using S = decltype(storage);
    launch(repeat_kernel<S>, blocks_of_alike(call.n, kThreads), kThreads, 0, stream, static_cast<const S*>(call.source),
           call.copies, call.inner, call.n, static_cast<S*>(call.output));
  });
}

void sum_copies(const SumCopiesCall& call, Stream stream) {
  if (call.dtype == DType::float64) {
    launch_sums<double>(call, stream);
  } else {
    launch_sums<float>(call, stream);
  }
}

}  // namespace logloss::LOGLOSS_LEVEL
