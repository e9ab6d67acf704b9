// SPDX-License-Identifier: BSD-3-Clause
// The sweeps of long rows.
#include "cuda/long_rows.h"

#include "cuda/launch.h"

namespace logloss::LOGLOSS_LEVEL {
namespace {

template <class S, class Terms>
void sweep(const LongRowsCall& call, const Terms& terms, RowStats* chunk, LongRow* row, Stream stream) {
  const LongSweep<S, Terms> op{call.rows,   call.classes, call.chunks(), static_cast<const S*>(call.input),
                               call.target, terms,        chunk,         row};
  const DeviceLimits limits = device_limits();
  int teams = kStreamingTeams;
  while (teams > 2 && bytes_of_long_sweep<S>(teams) > limits.block_memory) teams /= 2;
  const std::int64_t memory = bytes_of_long_sweep<S>(teams);
  launch(sweep_chunks<S, Terms>, std::min(op.rows * op.chunks, kMostBlocks), teams * kLanes, memory, stream, op);
  if (op.chunks == 1) return;
  launch(join_chunks<S, Terms>, std::min(op.rows, kMostBlocks), teams * kLanes, memory, stream, op);
}

}  // namespace

void sweep_long_rows(const LongRowsCall& call, RowStats* chunk, LongRow* row, Stream stream) {
  with_type(call.dtype, [&](auto storage) {
    using S = decltype(storage);
    using T = compute_t<S>;
    const DeviceWeightTerm<T> weight{static_cast<const T*>(call.weight)};
    if (!call.linear) return sweep<S>(call, NoTerms{}, chunk, row, stream);
    if (call.target) return sweep<S>(call, WeightTerms<T>{weight}, chunk, row, stream);
    const S* const probs = static_cast<const S*>(call.probs);
    if (!weight.weight && call.smoothing == 0.0) {
      return sweep<S>(call, PlainProbabilityTerms<S>{call.classes, probs}, chunk, row, stream);
    }
    const double offset = call.smoothing / static_cast<double>(call.classes);
    const DeviceProbabilityTerm<S> first{probs, weight, 1.0 - call.smoothing, offset};
    sweep<S>(call, ProbabilityTerms<S>{call.classes, first}, chunk, row, stream);
  });
}

}  // namespace logloss::LOGLOSS_LEVEL
