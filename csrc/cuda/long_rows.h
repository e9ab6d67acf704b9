// SPDX-License-Identifier: BSD-3-Clause
// Rows that do not fit into block memory, however few there are: their chunks are swept by as many blocks as there are
// chunks, the statistics of the chunks are merged in order, and parts of the rows are written by as many blocks again.
// The bits are those of a row that one crew sweeps (cpu/long_rows.h does the same with threads).
#pragma once

#include <cstdint>
#include <type_traits>

#include "cuda/operations.h"
#include "cuda/row_sweep.h"

namespace logloss::LOGLOSS_LEVEL {

inline constexpr int kStreamingTeams = 8;
// What of a row a block writes: enough to outweigh the numbers that each block finds first.
inline constexpr std::int64_t kPart = 16384;

// What is known of a row before it is written.
struct LongRow {
  RowStats stats;
  double target_logit;  // the row itself may be written over
};

// The sweeps of an operation, for any type; long_rows.cu.
struct LongRowsCall {
  DType dtype;
  std::int64_t rows;
  std::int64_t classes;
  const void* input;
  const std::int64_t* target;  // or null; rows whose target is no class are passed over
  const void* probs;           // or null
  const void* weight;          // or null
  bool linear;                 // sums over the coefficients of the classes: of `probs`, or weights beside a target
  double smoothing;

  std::int64_t chunks() const { return (classes + kChunk - 1) / kChunk; }
};
// Finds `row` for every row; `chunk` is room for rows x chunks.
void sweep_long_rows(const LongRowsCall& call, RowStats* chunk, LongRow* row, Stream stream);

template <class S>
constexpr DType dtype_of = std::is_same_v<S, Half>       ? DType::float16
                           : std::is_same_v<S, BFloat16> ? DType::bfloat16
                           : std::is_same_v<S, float>    ? DType::float32
                                                         : DType::float64;

// Of which rows the coefficients are; see row_sweep.h.
struct NoTerms {
  LOGLOSS_INLINE NoRowTerm of_row(std::int64_t) const { return {}; }
};
template <class T>
struct WeightTerms {
  DeviceWeightTerm<T> weight;
  LOGLOSS_INLINE DeviceWeightTerm<T> of_row(std::int64_t) const { return weight; }
};
template <class S>
struct PlainProbabilityTerms {
  std::int64_t classes;
  const S* first;
  LOGLOSS_INLINE StoredTerm<S> of_row(std::int64_t row) const { return {first + row * classes}; }
};
template <class S>
struct ProbabilityTerms {
  std::int64_t classes;
  DeviceProbabilityTerm<S> first;
  LOGLOSS_INLINE DeviceProbabilityTerm<S> of_row(std::int64_t row) const {
    DeviceProbabilityTerm<S> term = first;
    term.probs += row * classes;
    return term;
  }
};

template <class S, class Terms>
struct LongSweep {
  using Storage = S;
  std::int64_t rows, classes, chunks;
  const S* input;
  const std::int64_t* target;  // or null; rows whose target is no class are passed over
  Terms terms;
  RowStats* chunk;  // rows x chunks; unused where a row is one chunk
  LongRow* row;

  LOGLOSS_INLINE bool counts(std::int64_t r) const { return !target || (target[r] >= 0 && target[r] < classes); }
  LOGLOSS_INLINE void put(std::int64_t r, const RowStats& stats) const {
    row[r] = {stats, target ? wide(input[r * classes + target[r]]) : 0.0};
  }
};

// The block memory of the kernels below: notes, tiles, then room for two blocks of each team.
template <class S>
constexpr std::int64_t bytes_of_long_sweep(int teams) {
  return static_cast<std::int64_t>(sizeof(BlockNotes)) +
         teams * (kTileBytes + Streaming::kBlocksOfTeam * staged_bytes<S>(kBlock));
}
LOGLOSS_INLINE Streaming crew_of_long_sweep(unsigned char* memory) {
  unsigned char* const tiles = memory + sizeof(BlockNotes);
  return {{reinterpret_cast<BlockNotes*>(memory), tiles}, tiles + threads() / kLanes * kTileBytes};
}

template <class S, class Terms>
LOGLOSS_KERNEL(kStreamingTeams* kLanes, 5)
sweep_chunks(LongSweep<S, Terms> op) {
  using T = compute_t<S>;
  LOGLOSS_BLOCK_MEMORY(memory);
  const Streaming crew = crew_of_long_sweep(memory);
  for (std::int64_t item = block(); item < op.rows * op.chunks; item += blocks()) {
    const std::int64_t r = item / op.chunks, start = item % op.chunks * kChunk;
    if (!op.counts(r)) continue;
    const std::int64_t length = op.classes - start < kChunk ? op.classes - start : kChunk;
    const auto term = op.terms.of_row(r);
    const RowStats stats = row_stats_by<T>(op.chunks == 1, [&](T shift) {
      const RowStats mine = sweep_chunk(crew, op.input + r * op.classes + start, length, shift, term, start);
      return crew.once([&] { return mine; });
    });
    if (!crew.first_thread()) continue;
    if (op.chunks == 1) {
      op.put(r, stats);
    } else {
      op.chunk[item] = stats;
    }
  }
}

// The winner up to the lane before this one, and up to the last lane.
LOGLOSS_INLINE Winner winner_above(const Winner& row, const RowStats& chunk, Winner* last) {
  const int lane = lane_of_team();
  Winner winner{chunk.max, chunk.exponent};
  for (int distance = 1; distance < kLanes; distance *= 2) {
    const int from = lane >= distance ? lane - distance : lane;
    const Winner left{shuffle_from(winner.max, from), shuffle_from(winner.exponent, from)};
    if (lane >= distance) winner = left.before(winner);
  }
  const int from = lane > 0 ? lane - 1 : 0;
  const Winner left{shuffle_from(winner.max, from), shuffle_from(winner.exponent, from)};
  *last = row.before({shuffle_from(winner.max, kLanes - 1), shuffle_from(winner.exponent, kLanes - 1)});
  return lane > 0 ? row.before(left) : row;
}

// The statistic of a row from those of its chunks, swept without a shift and merged one after the other, by a team:
// each lane prepares the step of one chunk, so that only additions wait for each other.
template <class T, bool kLinear>
LOGLOSS_INLINE RowStats merge_chunks(const RowStats* chunk, std::int64_t chunks) {
  RowStats row = chunk[0];
  bool holds_nan = row.rest != row.rest;
  for (std::int64_t first = 1; first < chunks; first += kLanes) {
    const std::int64_t mine = first + lane_of_team();
    RowStats own{};
    own.max = -kInfinity<double>;
    if (mine < chunks) own = chunk[mine];
    Winner last;
    const Winner above = winner_above({row.max, row.exponent}, own, &last);
    const MergeStep step = merge_step<T>(above, own, 0.0);
    const int count = chunks - first < kLanes ? static_cast<int>(chunks - first) : kLanes;
    for (int i = 0; i < count; ++i) {
      MergeStep next;
      next.scale = shuffle_from(step.scale, i);
      next.rest = shuffle_from(step.rest, i);
      next.loser = shuffle_from(step.loser, i);
      if constexpr (sizeof(T) == 8) next.rest_low = shuffle_from(step.rest_low, i);
      if constexpr (kLinear) {
        next.gap = shuffle_from(step.gap, i);
        next.linear = shuffle_from(step.linear, i);
        next.mass = shuffle_from(step.mass, i);
      }
      take_step<T, kLinear>(&row, next);
    }
    holds_nan = holds_nan || count_in_team(own.rest != own.rest) != 0;
    std::int64_t ties = own.max == last.max ? own.ties : 0;
    LOGLOSS_UNROLL for (int distance = kLanes / 2; distance > 0; distance /= 2) ties += shuffle_xor(ties, distance);
    row.ties = ties + (row.max == last.max ? row.ties : 0);
    row.max = last.max;
    row.exponent = last.exponent;
  }
  // Where two chunks have an infinite maximum the sum of the maxima is NaN.
  if (row.max - row.max != 0.0) row.rest = holds_nan ? __builtin_nan("") : 0.0;
  return row;
}

// One block for each row; a row that needs a shift it sweeps again.
template <class S, class Terms>
LOGLOSS_KERNEL(kStreamingTeams* kLanes, 5)
join_chunks(LongSweep<S, Terms> op) {
  using T = compute_t<S>;
  using Term = decltype(op.terms.of_row(0));
  LOGLOSS_BLOCK_MEMORY(memory);
  const Streaming crew = crew_of_long_sweep(memory);
  for (std::int64_t r = block(); r < op.rows; r += blocks()) {
    if (!op.counts(r)) continue;
    const RowStats stats = row_stats_by<T>(true, [&](T shift) {
      if (shift != T(0)) {
        return sweep_row(crew, op.input + r * op.classes, op.classes, shift, op.terms.of_row(r));
      }
      return crew.once([&] { return merge_chunks<T, Term::kPresent>(op.chunk + r * op.chunks, op.chunks); });
    });
    if (crew.first_thread()) op.put(r, stats);
  }
}

// A block with a part of a row of which the statistic is known.
struct Part : Block {
  const LongRow* row;
  Range range;

  LOGLOSS_INLINE bool writes_results() const { return first_thread() && range.begin == 0; }
  LOGLOSS_INLINE Range part_of(std::int64_t) const { return range; }
  template <class S>
  LOGLOSS_INLINE double element(const S*, std::int64_t) const {
    return row->target_logit;
  }
};
template <class S, class Term>
LOGLOSS_INLINE RowStats row_stats(const Part& crew, const S*, std::int64_t, const Term&) {
  return crew.row->stats;
}

}  // namespace logloss::LOGLOSS_LEVEL
