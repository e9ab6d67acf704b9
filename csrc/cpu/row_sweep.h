// SPDX-License-Identifier: BSD-3-Clause
// The statistic of one row that every softmax-like operation is made of, from one sweep over it.
#pragma once

#include <type_traits>

#include "common/row_stats.h"
#include "cpu/kept_exponentials.h"
#include "cpu/row.h"
#include "cpu/row_terms.h"

namespace logloss::LOGLOSS_LEVEL {

// The largest element in each lane of a tile.
template <class S>
LOGLOSS_INLINE Vec<compute_t<S>> max_of_tile(const S* x) {
  const auto pair = [&](int s) LOGLOSS_INLINE_LAMBDA { return max(load(x + s * kLanes), load(x + (s + 1) * kLanes)); };
  return max(max(pair(0), pair(2)), max(pair(4), pair(6)));
}

// The maxima of a block of elements: in each lane of each tile, and of all.
template <class S>
struct BlockMaxima {
  using T = compute_t<S>;
  const S* block = nullptr;  // where it begins; null: of no block yet
  Vec<T> tile[kBlock / kTile];
  T all;

  // Of n <= kBlock elements at x; the first `done` tiles have been taken before.
  LOGLOSS_NOINLINE void complete(const S* x, std::int64_t n, std::int64_t done) {
    const Vec<T> none(-kInfinity<T>);
    Vec<T> largest = none;
    const std::int64_t whole = n / kTile;
    for (std::int64_t i = 0; i < whole; ++i) {
      if (i >= done) tile[i] = max_of_tile(x + i * kTile);
      largest = max(largest, tile[i]);
    }
    if (whole * kTile < n) {
      // In two registers: a tile at work in memory takes 40 ns of the 280 of a row of 1000 (AVX-512).
      Vec<T> even = none, odd = none;
      std::int64_t j = whole * kTile;
      for (; j + 2 * kLanes <= n; j += 2 * kLanes) {
        even = max(even, load(x + j));
        odd = max(odd, load(x + j + kLanes));
      }
      for_each_vector(n - j, [&](std::int64_t i, auto lanes)
                                 LOGLOSS_INLINE_LAMBDA { even = max(even, load(x + j + i, lanes, -kInfinity<T>)); });
      tile[whole] = max(even, odd);
      largest = max(largest, tile[whole]);
    }
    all = reduce_max(largest);
    block = x;
  }
};

// Beyond this a maximum is subtracted first. The subtraction is exact for every element that matters (Sterbenz: those
// within a factor of two of the maximum), and below it n ln 2 is formed as exactly as ExpConstants says.
template <class T>
inline constexpr T kLargestUnshifted = sizeof(T) == 8      ? T(65536)
                                       : kFusedMultiplyAdd ? T(4096)
                                                           : T(1024);

// K = rint(max log2 e), kept in the range where integers are exact whatever max is (-inf and NaN included).
template <class T>
LOGLOSS_INLINE T reference_exponent(T max) {
  constexpr T kLimit = kLargestUnshifted<T> * T(2);
  const T scaled = max * ExpConstants<T>::kLog2e;
  const T clamped = scaled > -kLimit ? (scaled < kLimit ? scaled : kLimit) : -kLimit;
  return (clamped + FloatFormat<T>::kRound) - FloatFormat<T>::kRound;
}

// 2^n for integers -1022 <= n <= 1023; 0 below.
LOGLOSS_INLINE double exact_power_of_two(double n) {
  if (n < -1022.0) return 0.0;
  const double bits = n + (FloatFormat<double>::kRound + FloatFormat<double>::kBias);
  std::int64_t pattern;
  __builtin_memcpy(&pattern, &bits, sizeof pattern);
  pattern = static_cast<std::int64_t>(static_cast<std::uint64_t>(pattern) << FloatFormat<double>::kFraction);
  double power;
  __builtin_memcpy(&power, &pattern, sizeof power);
  return power;
}

template <class T, class Keep>
inline constexpr int kSweptTogether =
    kVectorsTogether<T> < Keep::kMostTogether ? kVectorsTogether<T> : Keep::kMostTogether;

// One vector's share of the three sums.
template <class T, class Term>
struct SweepTerms {
  NonNegativeSum<T> rest;
  Vec<double> linear{0.0}, mass{0.0};
  friend LOGLOSS_INLINE SweepTerms operator+(const SweepTerms& a, const SweepTerms& b) {
    return {a.rest + b.rest, a.linear + b.linear, a.mass + b.mass};
  }
};
template <class T>
struct SweepTerms<T, UnitTerm> {
  NonNegativeSum<T> rest, linear;
  friend LOGLOSS_INLINE SweepTerms operator+(const SweepTerms& a, const SweepTerms& b) {
    return {a.rest + b.rest, a.linear + b.linear};
  }
};
template <class T>
struct SweepTerms<T, NoRowTerm> {
  NonNegativeSum<T> rest;
  friend LOGLOSS_INLINE SweepTerms operator+(const SweepTerms& a, const SweepTerms& b) { return {a.rest + b.rest}; }
};

// The exponentials of a chunk, tile by tile; of floats those of a block are added first.
template <class T>
class ChunkSum {
 public:
  LOGLOSS_INLINE void add(const NonNegativeSum<T>& tile) {
    if constexpr (kByBlocks) {
      block_ = block_ + tile;
    } else {
      sum_.add(tile.lanes());
    }
  }
  LOGLOSS_INLINE void end_block() {
    if constexpr (kByBlocks) {
      sum_.add(block_.lanes());
      block_ = NonNegativeSum<T>();
    }
  }
  LOGLOSS_INLINE void scale(double power_of_two) { sum_.scale(power_of_two); }
  LOGLOSS_INLINE TwoPartSum total() const { return sum_.total(); }

 private:
  static constexpr bool kByBlocks = sizeof(T) == sizeof(float);
  LaneSum<T> sum_;
  NonNegativeSum<T> block_;
};

// sum over `blocks` of ties_b e^(max_b - shift), scaled as the terms of the row: what the blocks left out.
template <class T>
LOGLOSS_NOINLINE double sum_of_maxima(const double* max, const double* ties, int blocks, double shift, double K) {
  const ScaledExp<double> exp(Vec<double>{K + (ScaledExp<double>::kHeadroom - ScaledExp<T>::kHeadroom)});
  return sum_row<double>(blocks, [&](std::int64_t b, auto lanes) LOGLOSS_INLINE_LAMBDA {
    const Vec<double> x = load(max + b, lanes, -kInfinity<double>) - Vec<double>(shift);
    return exp(x) * load(ties + b, lanes, 0.0);
  });
}

// A finite stand-in for a maximum of -inf, so that differences from it are never NaN.
template <class T>
LOGLOSS_INLINE T finite_anchor(T max) {
  return max > -FloatFormat<T>::kLargest ? max : -FloatFormat<T>::kLargest;
}

// What the blocks of a chunk left out of their sums: how many elements that equal which maximum.
struct SweptBlocks {
  int count = 0;
  int winner = 0;  // the first block of the largest maximum
  double max[kChunk / kBlock];
  double ties[kChunk / kBlock];

  LOGLOSS_INLINE void add(double block_max, int block_ties) {
    max[count] = block_max;
    ties[count] = block_max == -kInfinity<double> ? 0 : block_ties;  // lanes beyond the end were counted
    if (block_max > max[winner]) winner = count;
    ++count;
  }
  LOGLOSS_INLINE std::int64_t ties_of_winner() const {
    double sum = 0.0;
    for (int b = 0; b < count; ++b) sum += max[b] == max[winner] ? ties[b] : 0.0;
    return static_cast<std::int64_t>(sum);
  }
};

// The sweep over at most kChunk elements of a row, `offset` elements into it, read once. While the exponentials of a
// block are computed, the maxima of the next one are taken: that brings it into L1, and uses ports that the
// exponentials leave idle (2048 x 32000 on AVX-512: 17.4 ms block after block, 14.2 so; the bare maxima take 8.2).
template <bool kShifted, class S, class Term, class Keep>
class ChunkSweep {
  using T = compute_t<S>;
  using Terms = SweepTerms<T, Term>;

 public:
  ChunkSweep(const S* x, std::int64_t n, T shift, Term term, Keep keep, std::int64_t offset, SweptBlocks* blocks)
      : x_(x), n_(n), shift_(shift), term_(term), keep_(keep), offset_(offset), blocks_(blocks) {}

  // `maxima`: perhaps those of the first block; afterwards those of the block that follows, unless that is empty.
  LOGLOSS_INLINE RowStats run(BlockMaxima<S>* maxima, const S* following, std::int64_t following_length) {
    if (n_ <= kLanes) return one_vector();
    if (maxima->block != x_) maxima->complete(x_, n_ < kBlock ? n_ : kBlock, 0);
    for (std::int64_t start = 0; start < n_; start += kBlock) {
      const std::int64_t left = n_ - start;
      if (left > kBlock) {
        add_block(start, start + kBlock, maxima, x_ + start + kBlock, left < 2 * kBlock ? left - kBlock : kBlock);
      } else {
        add_block(start, n_, maxima, following, following_length);
      }
    }
    return stats();
  }

 private:
  // The general sweep without its loops.
  LOGLOSS_INLINE RowStats one_vector() {
    const FirstLanes lanes{static_cast<int>(n_)};
    const Vec<T> value = load(x_, lanes, -kInfinity<T>);
    const T max = reduce_max(value);
    const auto is_max = value == Vec<T>(max);
    raise_reference(reference_exponent(kShifted ? max - shift_ : max), true);
    const T anchor = finite_anchor(max);
    const auto leave_out = [&](Vec<T> e) LOGLOSS_INLINE_LAMBDA { return clear(is_max, e); };
    const Terms terms = terms_of(ScaledExp<T>{Vec<T>(K_)}, anchor, value, 0, lanes, leave_out);
    rest_.add(terms.rest);
    rest_.end_block();
    if constexpr (Term::kPresent) {
      LinearTiles linear;
      linear.add(terms);
      linear_.add(linear.about(anchor, n_));
    }
    blocks_->add(max, count(is_max));
    return stats();
  }

  // The three sums of one vector, j elements into the chunk; leave_out(e) clears the exponentials of maxima.
  template <class Lanes, class LeaveOut>
  LOGLOSS_INLINE Terms terms_of(const ScaledExp<T>& exp, T anchor, Vec<T> value, std::int64_t j, Lanes lanes,
                                LeaveOut leave_out) const {
    Terms terms;
    const Vec<T> e = exp(kShifted ? value - Vec<T>(shift_) : value);
    keep_(offset_ + j, lanes, e);
    terms.rest = NonNegativeSum<T>(leave_out(e));
    if constexpr (Term::kUnit) {  // lanes beyond the end hold -inf
      terms.linear = unit_terms(anchor, std::is_same_v<Lanes, AllLanes> ? value : load(x_ + j, lanes, anchor));
    } else if constexpr (Term::kPresent) {
      terms.mass = term_(offset_ + j, lanes);
      if constexpr (std::is_same_v<Lanes, AllLanes>) {
        terms.linear = linear_term(terms.mass, Vec<T>(anchor), value);
      } else {
        terms.linear = counted_linear_term(terms.mass, Vec<T>(anchor), value);
      }
    }
    return terms;
  }

  // Adds elements [start, end), whose maxima are known, and takes those of the next block.
  LOGLOSS_INLINE void add_block(std::int64_t start, std::int64_t end, BlockMaxima<S>* maxima, const S* next,
                                std::int64_t next_length) {
    const T max_here = maxima->all;
    raise_reference(reference_exponent(kShifted ? max_here - shift_ : max_here), start == 0);
    Block block{ScaledExp<T>{Vec<T>(K_)}, Vec<T>(max_here), finite_anchor(max_here), rest_};
    const auto holds_max_at = [&](std::int64_t tile) LOGLOSS_INLINE_LAMBDA {
      return any(maxima->tile[(tile - start) / kTile] == block.max);
    };
    std::int64_t tile = start;
    for (; tile + kTile <= end; tile += kTile) {
      Vec<T>& tile_max = maxima->tile[(tile - start) / kTile];
      const bool holds_max = holds_max_at(tile);
      if (tile - start + kTile <= next_length) tile_max = max_of_tile(next + (tile - start));
      add_whole_tile(tile, holds_max, &block);
    }
    if (tile < end) add_last_tile(tile, end, holds_max_at(tile), &block);
    rest_ = block.rest;
    rest_.end_block();
    if constexpr (Term::kPresent) {
      linear_.add(block.linear.about(block.anchor, end - start));
    }
    blocks_->add(max_here, block.ties);
    if (next_length > 0) maxima->complete(next, next_length, (tile - start) / kTile);
  }

  // Of an anchor of -0 a difference could be -0: it is made +0.
  static LOGLOSS_INLINE NonNegativeSum<T> unit_terms(T anchor, Vec<T> value) {
    return NonNegativeSum<T>(Vec<T>(anchor + T(0)) - value);
  }

  // The linear sums of a block.
  struct NoLinearTiles {};
  struct UnitTiles {
    NonNegativeSum<T> linear;
    LOGLOSS_INLINE void add(const Terms& tile) { linear = linear + tile.linear; }
    // An element may be -inf; if it is NaN, the exponentials tell.
    LOGLOSS_INLINE LinearSums about(T anchor, std::int64_t elements) const {
      const double not_finite = anchor < kInfinity<T> ? kInfinity<double> : __builtin_nan("");
      return {anchor, linear.total(not_finite), static_cast<double>(elements)};
    }
  };
  struct SummedLinearTiles {
    LaneSum<double> linear, mass;
    LOGLOSS_INLINE void add(const Terms& tile) {
      linear.add(tile.linear);
      mass.add(tile.mass);
    }
    LOGLOSS_INLINE LinearSums about(T anchor, std::int64_t) const {
      return {anchor, linear.total().high, mass.total().high};
    }
  };
  using LinearTiles =
      std::conditional_t<Term::kUnit, UnitTiles, std::conditional_t<Term::kPresent, SummedLinearTiles, NoLinearTiles>>;

  // A block at work: what it is measured against, and its sums.
  struct Block {
    ScaledExp<T> exp;
    Vec<T> max;
    T anchor;
    ChunkSum<T> rest;
    LinearTiles linear = {};
    int ties = 0;

    LOGLOSS_INLINE void add(const Terms& tile) {
      rest.add(tile.rest);
      if constexpr (Term::kPresent) linear.add(tile);
    }
  };

  // The elements of kCount vectors from x_ + j on, and their exponentials.
  template <int kCount>
  LOGLOSS_INLINE void take_vectors(std::int64_t j, const ScaledExp<T>& exp, Vec<T> (&value)[kCount],
                                   typename ScaledExp<T>::Parts (&parts)[kCount]) const {
    Vec<T> shifted[kCount];
    LOGLOSS_UNROLL for (int i = 0; i < kCount; ++i) {
      value[i] = load(x_ + j + i * kLanes);
      shifted[i] = kShifted ? value[i] - Vec<T>(shift_) : value[i];
    }
    exp.parts(shifted, parts);
  }

  LOGLOSS_INLINE void add_whole_tile(std::int64_t tile, bool holds_max, Block* block) const {
    if constexpr (Term::kPresent) {
      add_tile_of_terms(tile, holds_max, block);
    } else {
      constexpr int kCount = kSweptTogether<T, Keep>;
      Vec<T> e[8];
      prefetch_tile(x_ + tile, keep_.prefetch);
      LOGLOSS_UNROLL for (int first = 0; first < 8; first += kCount) {
        Vec<T> value[kCount];
        typename ScaledExp<T>::Parts parts[kCount];
        take_vectors(tile + first * kLanes, block->exp, value, parts);
        LOGLOSS_UNROLL for (int i = 0; i < kCount; ++i) {
          e[first + i] = block->exp.value(parts[i]);
          keep_(offset_ + tile + (first + i) * kLanes, AllLanes{}, e[first + i]);
        }
      }
      if (holds_max) {
        const S* const again = loaded_again(x_ + tile);
        for (int s = 0; s < 8; ++s) e[s] = leave_out_max(load(again + s * kLanes), block, e[s]);
      }
      block->rest.add(tree_of<8>(0, [&](int s) LOGLOSS_INLINE_LAMBDA { return NonNegativeSum<T>(e[s]); }));
    }
  }

  LOGLOSS_INLINE void add_tile_of_terms(std::int64_t tile, bool holds_max, Block* block) const {
    prefetch_tile(x_ + tile, keep_.prefetch);
    term_.ask_ahead(offset_ + tile, keep_.prefetch);
    add_terms(tile, tile + kTile, sum_of_tile(tile, holds_max, block), block);
  }
  LOGLOSS_INLINE Terms sum_of_tile(std::int64_t tile, bool holds_max, Block* block) const {
    if constexpr (Vec<T>::kRegisters <= 2) {
      return sum_of_vectors<8>(tile, holds_max, block);
    } else {  // of as many registers that would be a very long text
      Terms slot[8];
      for (int s = 0; s < 8; ++s) slot[s] = sum_of_vectors<1>(tile + s * kLanes, holds_max, block);
      return tree_sum(slot);
    }
  }
  // The sums of the tile [tile, end), which may hold -inf where v = 0.
  LOGLOSS_INLINE void add_terms(std::int64_t tile, std::int64_t end, Terms sum, Block* block) const {
    if constexpr (Term::kPresent && !Term::kUnit) {
      if (count(sum.linear == sum.linear) < kLanes) {
        sum.linear = counted_linear_of(tile, end, block->anchor);
      }
    }
    block->add(sum);
  }
  LOGLOSS_NOINLINE auto counted_linear_of(std::int64_t tile, std::int64_t end, T anchor) const {
    OneTerm<double> slot[8];
    fill_tile(
        tile, end,
        [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
          const Vec<T> value = load(x_ + j, lanes, -kInfinity<T>);
          return OneTerm<double>{counted_linear_term(term_(offset_ + j, lanes), Vec<T>(anchor), value)};
        },
        slot);
    return tree_sum(slot).value;
  }
  // Of kCount vectors from x_ + j on. Eight times three sums are more than there are registers: they are added as soon
  // as two groups are there (1024 x 32000 with label smoothing on AVX2: 14.7 and 11.9 ms), and groups are smaller;
  // beside stored coefficients they gain nothing. (Label smoothing of 2048 x 32000 on Zen 5, 4 together: 0.91 of the
  // time.)
  template <int kCount>
  LOGLOSS_INLINE Terms sum_of_vectors(std::int64_t j, bool holds_max, Block* block) const {
    constexpr int kMost = Term::kUnit ? kRegistersTogether / 2 : 1;
    constexpr int kTogether = kSweptTogether<T, Keep> < kMost ? kSweptTogether<T, Keep> : kMost;
    if constexpr (kCount > kTogether) {
      const Terms left = sum_of_vectors<kCount / 2>(j, holds_max, block);
      return left + sum_of_vectors<kCount / 2>(j + kCount / 2 * kLanes, holds_max, block);
    } else {
      Vec<T> value[kCount];
      typename ScaledExp<T>::Parts parts[kCount];
      take_vectors(j, block->exp, value, parts);
      return tree_of<kCount>(0, [&](int i) LOGLOSS_INLINE_LAMBDA {
        const std::int64_t at = offset_ + j + i * kLanes;
        Terms terms;
        const Vec<T> e = block->exp.value(parts[i]);
        keep_(at, AllLanes{}, e);
        terms.rest = NonNegativeSum<T>(holds_max ? leave_out_max(value[i], block, e) : e);
        if constexpr (Term::kUnit) {
          terms.linear = unit_terms(block->anchor, value[i]);
        } else {
          terms.mass = term_(at, AllLanes{});
          terms.linear = linear_term(terms.mass, Vec<T>(block->anchor), value[i]);
        }
        return terms;
      });
    }
  }

  LOGLOSS_INLINE void add_last_tile(std::int64_t tile, std::int64_t end, bool holds_max, Block* block) const {
    Terms slot[8];
    prefetch_tile(x_ + tile, keep_.prefetch);
    fill_tile(
        tile, end,
        [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
          const Vec<T> value = load(x_ + j, lanes, -kInfinity<T>);
          const auto leave_out = [&](Vec<T> e)
                                     LOGLOSS_INLINE_LAMBDA { return holds_max ? leave_out_max(value, block, e) : e; };
          return terms_of(block->exp, block->anchor, value, j, lanes, leave_out);
        },
        slot);
    add_terms(tile, end, tree_sum(slot), block);
  }

  static LOGLOSS_INLINE Vec<T> leave_out_max(Vec<T> value, Block* block, Vec<T> e) {
    const auto is_max = value == block->max;
    block->ties += count(is_max);
    return clear(is_max, e);
  }

  LOGLOSS_INLINE void raise_reference(T K, bool first) {
    if (first) K_ = keep_.begin_chunk(offset_, K);
    if (K <= K_ + T(Keep::kRoom)) return;
    rest_.scale(exact_power_of_two(static_cast<double>(K_) - static_cast<double>(K)));
    K_ = K;
    keep_.give_up();
  }

  LOGLOSS_INLINE RowStats stats() {
    RowStats stats{};
    stats.max = blocks_->max[blocks_->winner];
    stats.shift = static_cast<double>(shift_);
    stats.exponent = static_cast<double>(K_);
    const TwoPartSum total = rest_.total();
    stats.rest = total.high;
    stats.rest_low = total.low;
    stats.linear = linear_.linear;
    stats.mass = linear_.mass;
    stats.ties = blocks_->ties_of_winner();
    if (blocks_->count > 1 || stats.ties > 1) {
      blocks_->ties[blocks_->winner] -= 1.0;
      stats.rest += sum_of_maxima<T>(blocks_->max, blocks_->ties, blocks_->count, stats.shift, stats.exponent);
    }
    return stats;
  }

  const S* const x_;
  const std::int64_t n_;
  const T shift_;
  const Term term_;
  const Keep keep_;
  const std::int64_t offset_;
  T K_ = 0;
  ChunkSum<T> rest_;
  LinearSums linear_{-FloatFormat<T>::kLargest, 0.0, 0.0};
  SweptBlocks* const blocks_;
};

template <bool kShifted, class S, class Term, class Keep>
LOGLOSS_NOINLINE RowStats sweep_chunk(const S* x, std::int64_t n, compute_t<S> shift, Term term, Keep keep,
                                      std::int64_t offset, BlockMaxima<S>* maxima, const S* following,
                                      std::int64_t following_length) {
  SweptBlocks blocks;
  ChunkSweep<kShifted, S, Term, Keep> sweep(x, n, shift, term, keep, offset, &blocks);
  return sweep.run(maxima, following, following_length);
}

// Two neighbouring parts of one row (same shift). Exact but for one addition: the loser's maximum joins the rest.
template <class T>
LOGLOSS_INLINE RowStats merge(const RowStats& a, const RowStats& b) {
  const RowStats& winner = b.max > a.max ? b : a;
  const RowStats& loser = b.max > a.max ? a : b;
  const double one = 1.0;
  RowStats sum = winner;
  sum.rest += loser.rest * exact_power_of_two(loser.exponent - winner.exponent);
  sum.rest_low += loser.rest_low * exact_power_of_two(loser.exponent - winner.exponent);
  if (loser.ties > 0) sum.rest += sum_of_maxima<T>(&loser.max, &one, 1, loser.shift, winner.exponent);
  if (a.max == b.max) sum.ties += loser.ties;
  LinearSums linear{a.max, a.linear, a.mass};
  linear.add({b.max, b.linear, b.mass});
  sum.linear = linear.linear;
  sum.mass = linear.mass;
  return sum;
}

// The same about the reference of its own maximum.
template <class T>
LOGLOSS_INLINE void move_to_own_reference(RowStats* stats) {
  const double K = static_cast<double>(reference_exponent(static_cast<T>(stats->max - stats->shift)));
  const double power = exact_power_of_two(stats->exponent - K);
  stats->exponent = K;
  stats->rest *= power;
  stats->rest_low *= power;
}

// One row, chunk by chunk; `maxima` as ChunkSweep takes them, `following` is a row of the same length or null.
template <bool kShifted, class S, class Term, class Keep>
inline RowStats sweep_row(const S* x, std::int64_t classes, compute_t<S> shift, Term term, Keep keep,
                          BlockMaxima<S>* maxima, const S* following) {
  RowStats stats{};
  for (std::int64_t start = 0; start < classes; start += kChunk) {
    const std::int64_t left = classes - start;
    const bool last = left <= kChunk;
    const S* next = last ? following : x + start + kChunk;
    const std::int64_t elements_left = last ? classes : left - kChunk;
    const std::int64_t next_length = !next ? 0 : elements_left < kBlock ? elements_left : kBlock;
    const RowStats chunk =
        sweep_chunk<kShifted>(x + start, last ? left : kChunk, shift, term, keep, start, maxima, next, next_length);
    stats = start == 0 ? chunk : merge<compute_t<S>>(stats, chunk);
  }
  if constexpr (Keep::kRoom > 0) move_to_own_reference<compute_t<S>>(&stats);
  return stats;
}

template <class T>
LOGLOSS_INLINE bool needs_no_shift(T max) {
  return max >= -kLargestUnshifted<T> && max <= kLargestUnshifted<T>;
}

// The statistic of one row of `classes` > 0 elements; `keep` is for rows that need no shift. Where rows are swept one
// after the other, `maxima` go from each to the one that is `following`.
template <class S, class Term, class Keep = NothingKept>
LOGLOSS_NOINLINE RowStats row_stats(const S* x, std::int64_t classes, Term term, Keep keep, BlockMaxima<S>* maxima,
                                    const S* following) {
  using T = compute_t<S>;
  const RowStats stats = sweep_row<false>(x, classes, T(0), term, keep, maxima, following);
  const T max = static_cast<T>(stats.max);
  if (needs_no_shift(max)) return stats;
  if (max == kInfinity<T> || max == -kInfinity<T>) {
    RowStats limit = stats;
    limit.rest_low = 0.0;
    limit.rest = contains_nan(x, classes) ? __builtin_nan("") : 0.0;
    return limit;
  }
  BlockMaxima<S> own;
  return sweep_row<true>(x, classes, max, term, NothingKept{}, &own, static_cast<const S*>(nullptr));
}

}  // namespace logloss::LOGLOSS_LEVEL
