// SPDX-License-Identifier: BSD-3-Clause
// The statistic of a long row from chunks that several threads sweep; the bits are those of row_stats.
#pragma once

#include "common/args.h"
#include "cpu/row_sweep.h"

namespace logloss::LOGLOSS_LEVEL {

template <class S>
void sweep_chunk_alone(const ChunkBatch& chunk) {
  BlockMaxima<S> maxima;
  *chunk.stats = sweep_chunk<false>(static_cast<const S*>(chunk.x), chunk.n, compute_t<S>(0), NoRowTerm{},
                                    NothingKept{chunk.prefetch}, 0, &maxima, static_cast<const S*>(nullptr), 0);
}

template <class S>
void join_chunks(const ChunkJoin& join) {
  using T = compute_t<S>;
  RowStats stats = join.stats[0];
  for (std::int64_t c = 1; c < join.chunks; ++c) stats = merge<T>(stats, join.stats[c]);
  *join.joined = needs_no_shift(static_cast<T>(stats.max));
  join.stats[0] = stats;
}

}  // namespace logloss::LOGLOSS_LEVEL
