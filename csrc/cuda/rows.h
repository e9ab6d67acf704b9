// SPDX-License-Identifier: BSD-3-Clause
// The kernels of all operations over rows: what a crew is handed, row by row, and how the crews are made up.
//
// An operation is a struct of its arguments with
//   Storage, kInputs     what it reads: input[k], arrays of the shape `shape`, or null
//   total                where the sum of its losses is added, or null
//   run(crew, rows, sum) works on the rows in hand; `sum` is the block's part of the total, or null
// and, if a row may be the work of several blocks (long_rows.h),
//   long_rows()          what is to be known of its rows first
//   writes_rows()        whether it has results of the rows' size
#pragma once

#include <cstdint>
#include <type_traits>

#include "cuda/exact_sum.h"
#include "cuda/long_rows.h"

namespace logloss::LOGLOSS_LEVEL {

// Contiguous arrays (outer, classes, inner), of which each (o, i) is a row.
struct RowShape {
  std::int64_t rows;
  std::int64_t classes;
  std::int64_t inner;

  // The first element of a row; the others are `inner` apart.
  LOGLOSS_INLINE std::int64_t start(std::int64_t row) const {
    return inner == 1 ? row * classes : row / inner * (classes * inner) + row % inner;
  }
};

// The rows that a crew has in hand: contiguous, in block memory or, too large for it, where they are.
template <class S, int kInputs>
struct RowsInHand {
  std::int64_t first;
  int count;
  std::int64_t classes;
  const S* data[kInputs];

  LOGLOSS_INLINE const S* row(int input, int i) const { return data[input] + i * classes; }
};

// How teams that work alone share the rows: `rows` at a time each.
struct TeamPlan {
  int rows;
  int slice_bytes;  // of block memory, for each input of a team
};

inline constexpr int kSumBytes = (static_cast<int>(sizeof(SumState)) + 15) / 16 * 16;

template <class Op>
LOGLOSS_KERNEL(128, 5)
rows_by_team(Op op, TeamPlan plan) {
  using S = typename Op::Storage;
  LOGLOSS_BLOCK_MEMORY(memory);
  SumState* const sum = op.total ? reinterpret_cast<SumState*>(memory) : nullptr;
  if (sum) {
    clear_sum(sum);
    sync_block();
  }
  const Team crew;
  const int team = thread() / kLanes, teams = threads() / kLanes;
  unsigned char* const own = memory + kSumBytes + team * Op::kInputs * plan.slice_bytes;
  RowsInHand<S, Op::kInputs> rows{};
  rows.classes = op.shape.classes;
  for (rows.first = (block() * teams + team) * plan.rows; rows.first < op.shape.rows;
       rows.first += blocks() * teams * plan.rows) {
    const std::int64_t left = op.shape.rows - rows.first;
    rows.count = left < plan.rows ? static_cast<int>(left) : plan.rows;
    LOGLOSS_UNROLL for (int k = 0; k < Op::kInputs; ++k) {
      if (!op.input[k]) continue;
      unsigned char* const space = own + k * plan.slice_bytes;
      if (op.shape.inner == 1) {
        rows.data[k] = stage(crew, op.input[k] + op.shape.start(rows.first), rows.count * rows.classes, space);
      } else {
        for (int i = 0; i < rows.count; ++i) {
          stage_strided(crew, op.input[k] + op.shape.start(rows.first + i), op.shape.inner, rows.classes,
                        space + i * rows.classes * static_cast<int>(sizeof(S)));
        }
        rows.data[k] = reinterpret_cast<const S*>(space);
      }
    }
    finish_copies();
    crew.sync();
    op.run(crew, rows, sum);
    crew.sync();
  }
  if (sum) {
    sync_block();
    merge_sum(op.total, *sum);
  }
}

// A block for each row, which it copies to its memory (kStaged), `slice_bytes` for each input, or else reads from where
// it is, block by block.
template <class Op, bool kStaged>
LOGLOSS_KERNEL(kStaged ? kMaxTeams * kLanes : kStreamingTeams * kLanes, kStaged ? 2 : 4)
rows_by_block(Op op, int slice_bytes) {
  using S = typename Op::Storage;
  LOGLOSS_BLOCK_MEMORY(memory);
  SumState* const sum = op.total ? reinterpret_cast<SumState*>(memory) : nullptr;
  if (sum) clear_sum(sum);
  unsigned char* const tiles = memory + kSumBytes + sizeof(BlockNotes);
  const Block block_crew{reinterpret_cast<BlockNotes*>(memory + kSumBytes), tiles};
  unsigned char* const slices = tiles + block_crew.teams() * kTileBytes;
  const std::conditional_t<kStaged, Block, Streaming> crew = [&] {
    if constexpr (kStaged) {
      return block_crew;
    } else {
      return Streaming{block_crew, slices};
    }
  }();
  RowsInHand<S, Op::kInputs> rows{};
  rows.classes = op.shape.classes;
  rows.count = 1;
  for (rows.first = block(); rows.first < op.shape.rows; rows.first += blocks()) {
    LOGLOSS_UNROLL for (int k = 0; k < Op::kInputs; ++k) {
      if (!op.input[k]) continue;
      const S* const row = op.input[k] + op.shape.start(rows.first);
      unsigned char* const space = slices + k * slice_bytes;
      if constexpr (!kStaged) {
        rows.data[k] = row;
      } else if (op.shape.inner == 1) {
        rows.data[k] = stage(crew, row, rows.classes, space);
      } else {
        rows.data[k] = stage_strided(crew, row, op.shape.inner, rows.classes, space);
      }
    }
    finish_copies();
    crew.sync();
    op.run(crew, rows, sum);
    crew.sync();
  }
  if (sum) merge_sum(op.total, *sum);
}

// The last step of long rows, whose statistics are known: a block for each of the `parts` of a row.
template <class Op>
LOGLOSS_KERNEL(256, 3)
rows_by_part(Op op, const LongRow* known, std::int64_t parts) {
  using S = typename Op::Storage;
  LOGLOSS_BLOCK_MEMORY(memory);
  SumState* const sum = op.total ? reinterpret_cast<SumState*>(memory) : nullptr;
  if (sum) clear_sum(sum);
  Part crew{{reinterpret_cast<BlockNotes*>(memory + kSumBytes), nullptr}, nullptr, {}};
  crew.sync();
  RowsInHand<S, Op::kInputs> rows{};
  rows.classes = op.shape.classes;
  rows.count = 1;
  for (std::int64_t item = block(); item < op.shape.rows * parts; item += blocks()) {
    rows.first = item / parts;
    const std::int64_t begin = item % parts * kPart, end = begin + kPart;
    crew.row = known + rows.first;
    crew.range = {begin, end < rows.classes ? end : rows.classes};
    LOGLOSS_UNROLL for (int k = 0; k < Op::kInputs; ++k) {
      if (op.input[k]) rows.data[k] = op.input[k] + op.shape.start(rows.first);
    }
    op.run(crew, rows, sum);
  }
  crew.sync();
  if (sum) merge_sum(op.total, *sum);
}

}  // namespace logloss::LOGLOSS_LEVEL
