// SPDX-License-Identifier: BSD-3-Clause
// The statistic of a row: sweep_chunk and row_stats of cpu/row_sweep.h for teams of threads, with the same bits.
//
// A block of at most kBlock elements is the work of one team: it finds the maximum, then adds the exponentials. The
// power-of-two reference of a block is that of the largest maximum so far, so a crew first finds the maxima of as many
// blocks as it has teams, and adds the tile sums in order afterwards.
#pragma once

#include <cstdint>

#include "common/row_stats.h"
#include "cpu/row_sweep.h"
#include "cuda/crew.h"

namespace logloss::LOGLOSS_LEVEL {

// The coefficients v_j of a row's linear sums; see cpu/row_terms.h. Its StoredTerm serves here as well.

// v_j = weight_j, or 1 without weights: label smoothing.
template <class T>
struct DeviceWeightTerm {
  static constexpr bool kPresent = true;
  const T* weight;
  LOGLOSS_INLINE double at(std::int64_t j) const { return weight ? static_cast<double>(weight[j]) : 1.0; }
  LOGLOSS_INLINE Vec<double> operator()(std::int64_t j, AllLanes) const { return Vec<double>(at(j + lane_of_team())); }
  LOGLOSS_INLINE Vec<double> operator()(std::int64_t j, FirstLanes first) const {
    return Vec<double>(lane_of_team() < first.n ? at(j + lane_of_team()) : 0.0);
  }
};

// v_j = weight_j (scale p_j + offset): class probabilities p, weighted or smoothed.
template <class S>
struct DeviceProbabilityTerm {
  using T = compute_t<S>;
  static constexpr bool kPresent = true;
  const S* probs;
  DeviceWeightTerm<T> weight;
  double scale;
  double offset;
  LOGLOSS_INLINE Vec<double> of(Vec<T> p, Vec<double> weight_here) const {
    return fma(widen(p), Vec<double>(scale), Vec<double>(offset)) * weight_here;
  }
  template <class Lanes>
  LOGLOSS_INLINE Vec<double> operator()(std::int64_t j, Lanes lanes) const {
    return of(load(probs + j, lanes, T(0)), weight(j, lanes));
  }
};

// The largest of n <= kBlock elements, the same for every thread of the team.
template <class S>
LOGLOSS_INLINE compute_t<S> max_of_block(const S* x, int n) {
  using T = compute_t<S>;
  Vec<T> m[4] = {Vec<T>(-kInfinity<T>), Vec<T>(-kInfinity<T>), Vec<T>(-kInfinity<T>), Vec<T>(-kInfinity<T>)};
  int j = 0;
  for (; j + 4 * kLanes <= n; j += 4 * kLanes) {
    LOGLOSS_UNROLL for (int i = 0; i < 4; ++i) m[i] = max(m[i], load(x + j + i * kLanes));
  }
  LOGLOSS_UNROLL for (int i = 0; i < 4; ++i) {
    const int left = n - j - i * kLanes;
    if (left > 0) m[i] = max(m[i], load(x + j + i * kLanes, left < kLanes ? left : kLanes, -kInfinity<T>));
  }
  return reduce_max(max(max(m[0], m[1]), max(m[2], m[3])));
}

// What one block adds to the statistic besides its tile sums.
struct BlockSums {
  int ties;
  double linear;
  double mass;
};

// The sums of the block of n elements x, which is element `offset` of its row and on; sink(i, rest) gets the sum of
// tile i. `exp` is about the row's reference, `largest` is the block's maximum. Only whole tiles of rows without a
// shift go without its subtraction, which changes nothing where it is 0: one text less for what is rare.
template <class S, class Term, class Sink>
LOGLOSS_INLINE BlockSums sweep_block(const S* x, int n, const ScaledExp<compute_t<S>>& exp, compute_t<S> largest,
                                     compute_t<S> shift, const Term& term, std::int64_t offset, Sink sink) {
  using T = compute_t<S>;
  using Sweep = SweepTerms<T, Term>;
  const Vec<T> excluded(largest);
  const T anchor = finite_anchor(largest);
  LaneSum<double> linear, mass;
  int ties = 0;
  for (int j = 0; j < n; j += kTile) {
    const bool whole = shift == T(0) && n - j >= kTile;
    const Sweep tile = tile_of<Sweep>(j, n, whole, [&]<class Lanes>(std::int64_t at, Lanes lanes) {
      const Vec<T> value = load(x + at, lanes, -kInfinity<T>);
      const auto is_max = value == excluded;
      ties += is_max.reg[0];
      Sweep terms;
      const Vec<T> e = exp(std::is_same_v<Lanes, AllLanes> ? value : value - Vec<T>(shift));
      terms.rest = NonNegativeSum<T>(clear(is_max, e));
      if constexpr (Term::kPresent) {
        terms.mass = term(offset + at, lanes);
        terms.linear = counted_linear_term(terms.mass, Vec<T>(anchor), value);
      }
      return terms;
    });
    sink(j / kTile, tile.rest);
    if constexpr (Term::kPresent) {
      linear.add(tile.linear);
      mass.add(tile.mass);
    }
  }
  BlockSums sums{0, 0.0, 0.0};
  if constexpr (Term::kPresent) {
    sums.linear = linear.total().high;
    sums.mass = mass.total().high;
  }
  LOGLOSS_UNROLL for (int distance = kLanes / 2; distance > 0; distance /= 2) ties += shuffle_xor(ties, distance);
  sums.ties = largest == -kInfinity<T> ? 0 : ties;  // the lanes beyond the end were counted
  return sums;
}

// e^x, scaled as the terms of a row with the reference K.
template <class T>
LOGLOSS_NOINLINE double exp_of_maximum(double x, double K) {
  const ScaledExp<double> exp(Vec<double>{K + (ScaledExp<double>::kHeadroom - ScaledExp<T>::kHeadroom)});
  return exp(Vec<double>(x)).reg[0];
}

// sum_of_maxima of cpu/row_sweep.h for the blocks of a chunk, which are one tile of vectors at most.
template <class T>
LOGLOSS_INLINE double sum_of_block_maxima(const double* max, const double* ties, int blocks, double shift, double K) {
  static_assert(kChunk / kBlock == 4 * kLanes);
  double sum = 0.0, even = 0.0;
  LOGLOSS_ROLLED for (int s = 0; s < 4; ++s) {
    const int b = s * kLanes + lane_of_team();
    const double term = b < blocks ? exp_of_maximum<T>(max[b] - shift, K) * ties[b] : 0.0;
    if (s % 2 == 0) {
      even = term;
    } else {
      sum = sum + (even + term);
    }
  }
  double low = 0.0;
  const double high = reduce_add_exactly(Vec<double>(sum), &low);
  return low == low ? high + low : high;
}

// The statistic of a chunk from its blocks, of which `max` and `ties` hold the maxima and how often they occur.
template <class T>
LOGLOSS_INLINE RowStats chunk_stats(const ChunkSum<T>& rest, T K, T shift, const LinearSums& linear, const double* max,
                                    double* ties, int blocks) {
  RowStats stats{};
  int winner = 0;
  for (int b = 1; b < blocks; ++b) {
    if (max[b] > max[winner]) winner = b;
  }
  stats.max = max[winner];
  stats.shift = static_cast<double>(shift);
  stats.exponent = static_cast<double>(K);
  const TwoPartSum total = rest.total();
  stats.rest = total.high;
  stats.rest_low = total.low;
  stats.linear = linear.linear;
  stats.mass = linear.mass;
  for (int b = 0; b < blocks; ++b) {
    if (max[b] == stats.max) stats.ties += static_cast<std::int64_t>(ties[b]);
  }
  // Of an infinite maximum only this counts: whether there is a NaN beside it.
  if (stats.max - stats.max != 0.0) return stats;
  const double ties_of_winner = ties[winner];
  if (blocks == 1) {
    if (ties_of_winner > 1.0) {
      stats.rest += exp_of_maximum<T>(stats.max - stats.shift, stats.exponent) * (ties_of_winner - 1.0);
    }
    return stats;
  }
  sync_team();
  if (lane_of_team() == 0) ties[winner] = ties_of_winner - 1.0;
  sync_team();
  stats.rest += sum_of_block_maxima<T>(max, ties, blocks, stats.shift, stats.exponent);
  return stats;
}

// A row of at most kBlock elements, swept by a team.
template <class S, class Term>
LOGLOSS_INLINE RowStats sweep_row(const Team&, const S* x, std::int64_t classes, compute_t<S> shift, const Term& term) {
  using T = compute_t<S>;
  const int n = static_cast<int>(classes);
  const T max = max_of_block(x, n);
  const T K = reference_exponent(max - shift);
  ChunkSum<T> rest;
  const BlockSums sums = sweep_block(x, n, ScaledExp<T>(Vec<T>(K)), max, shift, term, 0,
                                     [&](int, const NonNegativeSum<T>& tile) { rest.add(tile); });
  rest.end_block();
  LinearSums linear{-static_cast<double>(FloatFormat<T>::kLargest), 0.0, 0.0};
  if constexpr (Term::kPresent) linear.add({static_cast<double>(finite_anchor(max)), sums.linear, sums.mass});
  const double wide_max = static_cast<double>(max);
  double ties = sums.ties;
  return chunk_stats<T>(rest, K, shift, linear, &wide_max, &ties, 1);
}

// The reference of block b: that of the largest of the maxima up to it.
template <class T>
LOGLOSS_INLINE T reference_of_block(const double* max, int b, T shift) {
  Vec<T> K(-kLargestUnshifted<T> * T(2));
  for (int i = lane_of_team(); i <= b; i += kLanes) {
    K = logloss::LOGLOSS_LEVEL::max(K, Vec<T>(reference_exponent(static_cast<T>(max[i]) - shift)));
  }
  return reduce_max(K);
}

// Where the teams of a block find the blocks of a chunk: in the chunk itself, which lies in block memory.
template <class S>
struct BlocksInPlace {
  const S* x;
  LOGLOSS_INLINE const S* get(int b) { return x + b * kBlock; }
};
// Or in room of their own, into which each team copies its next block while it sweeps the one before.
template <class S>
class CopiedBlocks {
 public:
  LOGLOSS_INLINE CopiedBlocks(const Streaming& crew, const S* x, std::int64_t n)
      : x_(x), n_(n), teams_(crew.teams()), room_(crew.room + crew.team() * crew.kBlocksOfTeam * kRoom) {
    next_ = ask_for(crew.team());
  }
  // Block b, of the team that calls it for every block of its own, in order.
  LOGLOSS_INLINE const S* get(int b) {
    const S* const here = next_;
    finish_copies();
    sync_team();
    next_ = ask_for(b + teams_);
    return here;
  }

 private:
  static constexpr int kRoom = static_cast<int>(staged_bytes<S>(kBlock));
  LOGLOSS_INLINE const S* ask_for(int b) const {
    const std::int64_t start = static_cast<std::int64_t>(b) * kBlock, left = n_ - start;
    unsigned char* const half = room_ + b / teams_ % Streaming::kBlocksOfTeam * kRoom;
    return stage(Team{}, x_ + start, left < 0 ? 0 : left < kBlock ? left : kBlock, half);
  }

  const S* x_;
  std::int64_t n_;
  int teams_;
  unsigned char* room_;
  const S* next_;
};
template <class S>
LOGLOSS_INLINE BlocksInPlace<S> blocks_of_chunk(const Block&, const S* x, std::int64_t) {
  return {x};
}
template <class S>
LOGLOSS_INLINE CopiedBlocks<S> blocks_of_chunk(const Streaming& crew, const S* x, std::int64_t n) {
  return {crew, x, n};
}

// A chunk of a row, swept by all teams of a block. The result is that of the first team.
template <class Crew, class S, class Term>
LOGLOSS_INLINE RowStats sweep_chunk(const Crew& crew, const S* x, std::int64_t n, compute_t<S> shift, const Term& term,
                                    std::int64_t offset) {
  using T = compute_t<S>;
  BlockNotes& notes = *crew.notes;
  using Sum = NonNegativeSum<T>;
  Sum* const tiles = static_cast<Sum*>(crew.tiles);
  const int blocks = static_cast<int>((n + kBlock - 1) / kBlock);
  const int lane = lane_of_team();
  const auto length_of = [n](int b) {
    const int left = static_cast<int>(n) - b * kBlock;
    return left <= 0 ? 0 : left < kBlock ? left : kBlock;
  };
  auto find = blocks_of_chunk(crew, x, n);
  // Of the first team.
  ChunkSum<T> rest;
  LinearSums linear{-static_cast<double>(FloatFormat<T>::kLargest), 0.0, 0.0};
  T K = 0;
  for (int first = 0; first < blocks; first += crew.teams()) {
    const int b = first + crew.team();
    const int length = length_of(b);
    const S* const here = find.get(b);
    T max = T(0);
    if (length > 0) {
      max = max_of_block(here, length);
      if (lane == 0) notes.max[b] = static_cast<double>(max);
    }
    crew.sync();
    if (length > 0) {
      const T K_here = reference_of_block(notes.max, b, shift);
      Sum* const own = tiles + crew.team() * (kBlock / kTile) * kLanes;
      const BlockSums sums =
          sweep_block(here, length, ScaledExp<T>(Vec<T>(K_here)), max, shift, term, offset + b * std::int64_t{kBlock},
                      [&](int tile, const Sum& sum) { own[tile * kLanes + lane] = sum; });
      if (lane == 0) {
        notes.ties[b] = sums.ties;
        notes.linear[crew.team()] = sums.linear;
        notes.mass[crew.team()] = sums.mass;
      }
    }
    crew.sync();
    if (crew.team() != 0) continue;
    for (int i = 0; i < crew.teams() && first + i < blocks; ++i) {
      const T max_here = static_cast<T>(notes.max[first + i]);
      const T K_here = reference_exponent(max_here - shift);
      if (first + i == 0) K = K_here;
      if (K_here > K) {
        rest.scale(exact_power_of_two(static_cast<double>(K) - static_cast<double>(K_here)));
        K = K_here;
      }
      const int count = (length_of(first + i) + kTile - 1) / kTile;
      const Sum* const tile = tiles + i * (kBlock / kTile) * kLanes + lane;
      for (int t = 0; t < count; ++t) rest.add(tile[t * kLanes]);
      rest.end_block();
      if constexpr (Term::kPresent) {
        linear.add({static_cast<double>(finite_anchor(max_here)), notes.linear[i], notes.mass[i]});
      }
    }
  }
  RowStats stats{};
  if (crew.team() == 0) stats = chunk_stats<T>(rest, K, shift, linear, notes.max, notes.ties, blocks);
  crew.sync();
  return stats;
}

// What merge of cpu/row_sweep.h does with a chunk, found before it is known what has been summed so far: rest becomes
// rest a + b + e, and likewise for the others.
struct MergeStep {
  double scale, rest, rest_low;  // a, b
  double loser;                  // e: the maximum that joins the rest
  double gap, linear, mass;
};

// The first of the largest of the maxima so far: of the row, or of the chunk of a lane.
struct Winner {
  double max;
  double exponent;
  LOGLOSS_INLINE Winner before(const Winner& next) const { return next.max > max ? next : *this; }
};

template <class T>
LOGLOSS_INLINE MergeStep merge_step(const Winner& above, const RowStats& chunk, double shift) {
  const bool wins = chunk.max > above.max;
  const double loser = wins ? above.max : chunk.max;
  const double K = wins ? chunk.exponent : above.exponent;
  const double scale = exact_power_of_two((wins ? above.exponent : chunk.exponent) - K);
  MergeStep step;
  step.scale = wins ? scale : 1.0;
  step.rest = wins ? chunk.rest : chunk.rest * scale;
  step.rest_low = wins ? chunk.rest_low : chunk.rest_low * scale;
  step.loser = loser > -kInfinity<double> ? exp_of_maximum<T>(loser - shift, K) : 0.0;
  LinearSums linear{chunk.max, chunk.linear, chunk.mass};
  if (!wins) linear.move_to(above.max);
  step.gap = wins ? chunk.max - above.max : 0.0;
  step.linear = linear.linear;
  step.mass = linear.mass;
  return step;
}

template <class T, bool kLinear>
LOGLOSS_INLINE void take_step(RowStats* row, const MergeStep& step) {
  row->rest = row->rest * step.scale + step.rest + step.loser;
  if constexpr (sizeof(T) == 8) row->rest_low = row->rest_low * step.scale + step.rest_low;
  if constexpr (kLinear) {
    if (row->mass != 0.0 && step.gap > 0.0) row->linear += step.gap * row->mass;
    row->linear += step.linear;
    row->mass += step.mass;
  }
}

// A row in block memory, where no more than a chunk finds room.
template <class S, class Term>
LOGLOSS_INLINE RowStats sweep_row(const Block& crew, const S* x, std::int64_t classes, compute_t<S> shift,
                                  const Term& term) {
  const RowStats stats = sweep_chunk(crew, x, classes, shift, term, 0);
  return crew.once([&] { return stats; });
}
// Any other, chunk by chunk.
template <class S, class Term>
LOGLOSS_INLINE RowStats sweep_row(const Streaming& crew, const S* x, std::int64_t classes, compute_t<S> shift,
                                  const Term& term) {
  using T = compute_t<S>;
  RowStats stats{};
  bool holds_nan = false;
  for (std::int64_t start = 0; start < classes; start += kChunk) {
    const std::int64_t length = classes - start < kChunk ? classes - start : kChunk;
    const RowStats here = sweep_chunk(crew, x + start, length, shift, term, start);
    if (crew.team() != 0) continue;
    holds_nan = holds_nan || here.rest != here.rest;
    if (start == 0) {
      stats = here;
      continue;
    }
    take_step<T, Term::kPresent>(&stats, merge_step<T>({stats.max, stats.exponent}, here, static_cast<double>(shift)));
    stats.ties = here.max > stats.max ? here.ties : here.max == stats.max ? stats.ties + here.ties : stats.ties;
    const Winner winner = Winner{stats.max, stats.exponent}.before({here.max, here.exponent});
    stats.max = winner.max;
    stats.exponent = winner.exponent;
  }
  // Where two parts have an infinite maximum the sum of the maxima is NaN.
  if (stats.max - stats.max != 0.0) stats.rest = holds_nan ? __builtin_nan("") : 0.0;
  return crew.once([&] { return stats; });
}

// The statistic of one row of `classes` > 0 elements, the same for every thread of the crew: sweep(shift) for shift 0
// and, if the maximum asks for it and is that of a `whole` row, for the maximum.
template <class T, class Sweep>
LOGLOSS_INLINE RowStats row_stats_by(bool whole, Sweep sweep) {
  T shift = T(0);
  for (;;) {
    RowStats stats = sweep(shift);
    const T max = static_cast<T>(stats.max);
    if (!whole || shift != T(0) || needs_no_shift(max)) return stats;
    if (max == kInfinity<T> || max == -kInfinity<T>) {
      stats.rest_low = 0.0;
      stats.rest = stats.rest == stats.rest ? 0.0 : __builtin_nan("");
      return stats;
    }
    shift = max;
  }
}
template <class Crew, class S, class Term>
LOGLOSS_INLINE RowStats row_stats(const Crew& crew, const S* x, std::int64_t classes, const Term& term) {
  using T = compute_t<S>;
  return row_stats_by<T>(true, [&](T shift) { return sweep_row(crew, x, classes, shift, term); });
}

}  // namespace logloss::LOGLOSS_LEVEL
