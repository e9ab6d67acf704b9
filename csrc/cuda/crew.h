// SPDX-License-Identifier: BSD-3-Clause
// Who works on a row: a team alone, or all teams of a block together. Operations are written once for both.
//
// Sums over a row are those of cpu/row.h in the same order: tiles of 8 vectors added as a tree, the tiles one
// after the other into the 16 float64 lanes, the lanes as a tree. Teams of a block share the tiles; the first team then
// adds them in order.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cpu/row.h"
#include "cuda/memory.h"

namespace logloss::LOGLOSS_LEVEL {

inline constexpr int kMaxTeams = 20;

// The terms of one vector of classes: kFields numbers that are added separately.
template <class T, int kFields>
struct Terms {
  Vec<T> field[kFields] = {};
  friend LOGLOSS_INLINE Terms operator+(const Terms& a, const Terms& b) {
    Terms sum;
    LOGLOSS_UNROLL for (int k = 0; k < kFields; ++k) sum.field[k] = a.field[k] + b.field[k];
    return sum;
  }
};
// The sums of them over a row for results in Result, lane by lane, and in the end over the lanes.
template <class T, int kFields, class Result>
struct TermSums {
  LaneSum<Result> field[kFields];
  LOGLOSS_INLINE void add(const Terms<T, kFields>& tile) {
    LOGLOSS_UNROLL for (int k = 0; k < kFields; ++k) field[k].add(tile.field[k]);
  }
};
template <int kFields>
struct RowSums {
  double field[kFields];
};
template <class T, int kFields, class Result>
LOGLOSS_INLINE RowSums<kFields> totals(const TermSums<T, kFields, Result>& sums) {
  RowSums<kFields> out;
  LOGLOSS_UNROLL for (int k = 0; k < kFields; ++k) {
    const TwoPartSum total = sums.field[k].total();
    out.field[k] = total.high + total.low;
  }
  return out;
}

// The tree sum of the terms f(j, lanes) of the tile that begins at element j of n; Term has operator+, and Term{} is
// zero. A tile that is not `whole` is taken with FirstLanes, all of its elements too.
template <class Term, class F>
LOGLOSS_INLINE Term tile_of(std::int64_t j, std::int64_t n, bool whole, F f) {
  // In the order of the tree, so that few terms wait for each other in registers.
  const auto sum_by = [](auto at) {
    const auto pair = [&](int s) {
      const Term first = at(s);
      return first + at(s + 1);
    };
    const auto four = [&](int s) {
      const Term first = pair(s);
      return first + pair(s + 2);
    };
    const Term first = four(0);
    return first + four(4);
  };
  if (whole) return sum_by([&](int s) { return f(j + s * kLanes, AllLanes{}); });
  const int here = n - j < kTile ? static_cast<int>(n - j) : kTile;
  return sum_by([&](int s) {
    const int left = here - s * kLanes;
    return left > 0 ? f(j + s * kLanes, FirstLanes{left < kLanes ? left : kLanes}) : Term{};
  });
}
// Of terms that crew.sum adds: float64 ones are long, and one text of them is enough.
template <class T, int kFields, class F>
LOGLOSS_INLINE Terms<T, kFields> tile_of_sum(std::int64_t j, std::int64_t n, F f) {
  return tile_of<Terms<T, kFields>>(j, n, sizeof(T) == 4 && n - j >= kTile, f);
}

// f(x, lanes) of the elements x[k] of the rows `in`, as a function of their position; `in` and f must outlive it.
template <int kInputs, class S, class F>
LOGLOSS_INLINE auto at_rows(const S* const (&in)[kInputs], const F& f) {
  return [&in, &f](std::int64_t j, auto lanes) {
    const S* x[kInputs];
    LOGLOSS_UNROLL for (int k = 0; k < kInputs; ++k) x[k] = in[k] + j;
    return f(x, lanes);
  };
}

// Neighbouring elements of a row.
struct Range {
  std::int64_t begin, end;
};

// A team alone with its rows.
struct Team {
  static constexpr bool kAlone = true;

  LOGLOSS_INLINE int thread() const { return lane_of_team(); }
  LOGLOSS_INLINE int threads() const { return kLanes; }
  LOGLOSS_INLINE bool first_thread() const { return lane_of_team() == 0; }
  // Whether this thread may write the results of its own row; see OwnRow.
  LOGLOSS_INLINE bool writes_results() const { return true; }
  LOGLOSS_INLINE void sync() const { sync_team(); }
  // Which of n elements this crew writes.
  LOGLOSS_INLINE Range part_of(std::int64_t n) const { return {0, n}; }
  template <class S>
  LOGLOSS_INLINE double element(const S* row, std::int64_t j) const {
    return wide(row[j]);
  }

  // f(), which all teams of the crew need but one can compute.
  template <class F>
  LOGLOSS_INLINE auto once(F f) const {
    return f();
  }
  template <class T, int kFields, class Result, class F>
  LOGLOSS_INLINE RowSums<kFields> sum(std::int64_t n, F f) const {
    TermSums<T, kFields, Result> sums;
    for (std::int64_t j = 0; j < n; j += kTile) sums.add(tile_of_sum<T, kFields>(j, n, f));
    return totals(sums);
  }
};

// Room of each team for the sums of tiles: 8 tiles of doubles.
inline constexpr int kTileBytes = kBlock / kTile * kLanes * static_cast<int>(sizeof(double));

// What the teams of a block leave for each other, besides the tiles.
struct BlockNotes {
  static constexpr int kOnceBytes = 256;
  static constexpr int kMostBlocks = static_cast<int>(kChunk / kBlock);
  alignas(16) unsigned char once[kOnceBytes];
  // For each block of the chunk at hand.
  double max[kMostBlocks];
  double ties[kMostBlocks];
  // For each team's block.
  double linear[kMaxTeams];
  double mass[kMaxTeams];
};

// All teams of a block with one row.
struct Block {
  static constexpr bool kAlone = false;

  BlockNotes* notes;
  void* tiles;

  LOGLOSS_INLINE int thread() const { return LOGLOSS_LEVEL::thread(); }
  LOGLOSS_INLINE int threads() const { return LOGLOSS_LEVEL::threads(); }
  LOGLOSS_INLINE bool first_thread() const { return thread() == 0; }
  LOGLOSS_INLINE bool writes_results() const { return first_thread(); }
  LOGLOSS_INLINE int team() const { return thread() / kLanes; }
  LOGLOSS_INLINE int teams() const { return threads() / kLanes; }
  LOGLOSS_INLINE void sync() const { sync_block(); }
  LOGLOSS_INLINE Range part_of(std::int64_t n) const { return {0, n}; }
  template <class S>
  LOGLOSS_INLINE double element(const S* row, std::int64_t j) const {
    return wide(row[j]);
  }

  template <class F>
  LOGLOSS_INLINE auto once(F f) const {
    using Result = decltype(f());
    static_assert(sizeof(Result) <= BlockNotes::kOnceBytes);
    Result* const noted = reinterpret_cast<Result*>(notes->once);
    if (team() == 0) {
      const Result mine = f();
      if (first_thread()) *noted = mine;
    }
    sync_block();
    const Result result = *noted;
    sync_block();
    return result;
  }

  // Each team adds as many tiles at a time as there is room for.
  template <class T, int kFields>
  static constexpr int kBatch = kTileBytes / static_cast<int>(sizeof(Terms<T, kFields>) * kLanes);
  template <class T, int kFields, class Result, class F>
  LOGLOSS_INLINE RowSums<kFields> sum(std::int64_t n, F f) const {
    static_assert(kBatch<T, kFields> >= 1);
    Terms<T, kFields>* const noted = static_cast<Terms<T, kFields>*>(tiles);
    TermSums<T, kFields, Result> sums;
    const int batch = kBatch<T, kFields> * teams();
    const std::int64_t count = (n + kTile - 1) / kTile;
    for (std::int64_t first = 0; first < count; first += batch) {
      const int here = count - first < batch ? static_cast<int>(count - first) : batch;
      for (int i = team(); i < here; i += teams()) {
        noted[i * kLanes + lane_of_team()] = tile_of_sum<T, kFields>((first + i) * kTile, n, f);
      }
      sync_block();
      if (team() == 0) {
        for (int i = 0; i < here; ++i) sums.add(noted[i * kLanes + lane_of_team()]);
      }
      sync_block();
    }
    return once([&] { return totals(sums); });
  }
};

// A block with rows that are not in its memory, but for what its teams copy there.
struct Streaming : Block {
  static constexpr int kBlocksOfTeam = 2;
  unsigned char* room;  // for so many blocks of elements of each team

  // sum_of_rows: a team copies the tiles of its next batch, which are neighbours here, while it adds those of this one.
  template <class T, int kFields, class Result, int kInputs, class S, class F>
  LOGLOSS_INLINE RowSums<kFields> sum_copied(const S* const (&in)[kInputs], std::int64_t n, F f) const {
    // What a batch of a team may be, that of each input with its phase in a slice of the room.
    constexpr int kMost = kInputs == 1 ? kBlock : kBlock / kInputs - kTile;
    constexpr int kOwn = kBatch<T, kFields> * kTile < kMost ? kBatch<T, kFields> * kTile : kMost;
    static_assert(kOwn % kTile == 0);
    constexpr int kRoom = static_cast<int>(staged_bytes<S>(kBlock)), kSlice = kRoom / kInputs / 16 * 16;
    static_assert(staged_bytes<S>(kOwn) <= kSlice);
    Terms<T, kFields>* const noted = static_cast<Terms<T, kFields>*>(tiles);
    TermSums<T, kFields, Result> sums;
    const S *here[kInputs], *next[kInputs];
    int half = 0;
    const auto length_from = [n](std::int64_t start) {
      const std::int64_t left = n - start;
      return left < 0 ? 0 : left < kOwn ? static_cast<int>(left) : kOwn;
    };
    const auto ask_for = [&](std::int64_t start) {
      unsigned char* const space = room + (team() * kBlocksOfTeam + half) * kRoom;
      LOGLOSS_UNROLL for (int k = 0; k < kInputs; ++k) {
        next[k] = stage(Team{}, in[k] + start, length_from(start), space + k * kSlice);
      }
      half ^= 1;
    };
    ask_for(team() * kOwn);
    for (std::int64_t first = 0; first < n; first += teams() * kOwn) {
      const std::int64_t start = first + team() * kOwn;
      const int length = length_from(start);
      LOGLOSS_UNROLL for (int k = 0; k < kInputs; ++k) here[k] = next[k];
      finish_copies();
      sync_team();
      ask_for(start + teams() * kOwn);
      LOGLOSS_ROLLED for (int j = 0; j < length; j += kTile) {
        noted[(team() * (kOwn / kTile) + j / kTile) * kLanes + lane_of_team()] =
            tile_of_sum<T, kFields>(j, length, at_rows(here, f));
      }
      sync_block();
      if (team() == 0) {
        const std::int64_t left = n - first;
        const int count = static_cast<int>(((left < teams() * kOwn ? left : teams() * kOwn) + kTile - 1) / kTile);
        for (int i = 0; i < count; ++i) sums.add(noted[i * kLanes + lane_of_team()]);
      }
      sync_block();
    }
    return once([&] { return totals(sums); });
  }
};

// The sums over rows, for results in Result, of the terms f(x, lanes) of the elements that begin at x[k] in row k.
template <class T, int kFields, class Result = T, class Crew, int kInputs, class S, class F>
LOGLOSS_INLINE RowSums<kFields> sum_of_rows(const Crew& crew, const S* const (&in)[kInputs], std::int64_t n, F f) {
  if constexpr (std::is_same_v<Crew, Streaming>) {
    return crew.template sum_copied<T, kFields, Result>(in, n, f);
  } else {
    return crew.template sum<T, kFields, Result>(n, at_rows(in, f));
  }
}

}  // namespace logloss::LOGLOSS_LEVEL
