// SPDX-License-Identifier: BSD-3-Clause
// The loops over one row, and the statistic that every softmax-like operation is made of.
//
// Additions follow the row length only: tiles of 8 vectors are added in T as a fixed tree, folded into 16 float64
// lanes, and the lanes are merged in a fixed order. Threads, strides and batches therefore never change a bit.
#pragma once

#include <cstdint>

#include "common/row_stats.h"
#include "cpu/simd.h"
#include "cpu/vec_math.h"

namespace logloss::LOGLOSS_LEVEL {

inline constexpr int kTile = 8 * kLanes;             // elements added as one tree
inline constexpr int kBlock = 8 * kTile;             // elements whose maximum is taken while they lie in L1
inline constexpr std::int64_t kChunk = 64 * kBlock;  // elements between two merges; any thread may take a chunk

template <class T>
inline constexpr T kInfinity = T(__builtin_inf());

// ---------------------------------------------------------------------------------------------- loops

// f(j, lanes) for every vector of a row: j is the first element, lanes says how many there are.
template <class F>
LOGLOSS_INLINE void for_each_vector(std::int64_t n, F f) {
  std::int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) f(j, AllLanes{});
  if (j < n) f(j, FirstLanes{static_cast<int>(n - j)});
}

template <class S>
inline void write_zeros(S* row, std::int64_t n) {
  using T = compute_t<S>;
  for_each_vector(n, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA { store(row + j, lanes, Vec<T>(T(0))); });
}

// The factor of the gradient of one row of a batch of losses.
template <class Batch>
LOGLOSS_INLINE double grad_scale_of(const Batch& batch, int row) {
  return batch.grad_rows ? batch.grad_scale * batch.grad_rows[row] : batch.grad_scale;
}

// A sum as high + low.
struct TwoPartSum {
  double high;
  double low;
};

// A float64 sum of tiles, per lane; for double the lanes are compensated (TwoSum), and so is their sum.
template <class T>
class LaneSum;

template <>
class LaneSum<float> {
 public:
  LOGLOSS_INLINE void add(Vec<float> tile) { sum_ = sum_ + widen(tile); }
  LOGLOSS_INLINE void scale(double power_of_two) { sum_ = sum_ * Vec<double>(power_of_two); }
  LOGLOSS_INLINE TwoPartSum total() const { return {reduce_add(sum_), 0.0}; }

 private:
  Vec<double> sum_{0.0};
};

template <>
class LaneSum<double> {
 public:
  LOGLOSS_INLINE void add(Vec<double> tile) {
    const Vec<double> sum = sum_ + tile;
    const Vec<double> added = sum - sum_;
    lost_ = lost_ + ((sum_ - (sum - added)) + (tile - added));
    sum_ = sum;
  }
  LOGLOSS_INLINE void scale(double power_of_two) {
    sum_ = sum_ * Vec<double>(power_of_two);
    lost_ = lost_ * Vec<double>(power_of_two);
  }
  LOGLOSS_INLINE TwoPartSum total() const {
    double lane[kLanes];
    store(lane, sum_);
    double low = reduce_add(lost_);
    for (int half = kLanes / 2; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) {
        const double sum = lane[i] + lane[i + half];
        const double added = sum - lane[i];
        low += (lane[i] - (sum - added)) + (lane[i + half] - added);
        lane[i] = sum;
      }
    }
    // Infinities make the lost part NaN; the plain sum is then the answer.
    return {lane[0], low == low ? low : 0.0};
  }

 private:
  Vec<double> sum_{0.0};
  Vec<double> lost_{0.0};
};

// f(j, lanes) returns the terms of one vector, sink(tile) gets the tree sum of each tile; Term has operator+. enter(j)
// is called before the tile that begins at j.
//
// The terms of a tile wait in L1 for their sum: one text for body and tail, and an eighth of the code of a loop that
// is unrolled by 8, at the same speed (the exponentials hide the extra store).
template <class Term, class F, class Sink, class Enter>
LOGLOSS_INLINE void for_each_tile(std::int64_t n, F f, Sink sink, Enter enter) {
  Term slot[8];
  for (std::int64_t j = 0; j < n; j += kTile) {
    enter(j);
    const int full = n - j < kTile ? static_cast<int>((n - j) / kLanes) : 8;
    for (int s = 0; s < full; ++s) slot[s] = f(j + s * kLanes, AllLanes{});
    if (full < 8) {
      const int left = static_cast<int>(n - j) - full * kLanes;
      int used = full;
      if (left > 0) slot[used++] = f(j + full * kLanes, FirstLanes{left});
      for (; used < 8; ++used) slot[used] = Term{};  // adding zero is exact
    }
    sink(((slot[0] + slot[1]) + (slot[2] + slot[3])) + ((slot[4] + slot[5]) + (slot[6] + slot[7])));
  }
}
template <class Term, class F, class Sink>
LOGLOSS_INLINE void for_each_tile(std::int64_t n, F f, Sink sink) {
  for_each_tile<Term>(n, f, sink, [](std::int64_t) {});
}

template <class T>
struct OneTerm {
  Vec<T> value{T(0)};
  friend LOGLOSS_INLINE OneTerm operator+(const OneTerm& a, const OneTerm& b) { return {a.value + b.value}; }
};

// The sum of f(j, lanes) over a row.
template <class T, class F>
LOGLOSS_INLINE double sum_row(std::int64_t n, F f) {
  LaneSum<T> sum;
  for_each_tile<OneTerm<T>>(
      n, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA { return OneTerm<T>{f(j, lanes)}; },
      [&](const OneTerm<T>& tile) LOGLOSS_INLINE_LAMBDA { sum.add(tile.value); });
  const TwoPartSum total = sum.total();
  return total.high + total.low;
}

// The largest element; elements that are NaN may or may not be seen.
template <class S>
LOGLOSS_NOINLINE compute_t<S> max_of(const S* x, std::int64_t n) {
  using T = compute_t<S>;
  const Vec<T> none(-kInfinity<T>);
  Vec<T> m0 = none, m1 = none, m2 = none, m3 = none;
  std::int64_t j = 0;
  for (; j + 4 * kLanes <= n; j += 4 * kLanes) {
    m0 = max(m0, load(x + j));
    m1 = max(m1, load(x + j + kLanes));
    m2 = max(m2, load(x + j + 2 * kLanes));
    m3 = max(m3, load(x + j + 3 * kLanes));
  }
  for (; j + kLanes <= n; j += kLanes) m0 = max(m0, load(x + j));
  if (j < n) m1 = max(m1, load(x + j, static_cast<int>(n - j), -kInfinity<T>));
  return reduce_max(max(max(m0, m1), max(m2, m3)));
}

// The same for at most a block; tile_max gets the maxima of each lane of each tile.
template <class S>
LOGLOSS_NOINLINE compute_t<S> max_by_tile(const S* x, std::int64_t n, Vec<compute_t<S>>* tile_max) {
  using T = compute_t<S>;
  Vec<T> largest(-kInfinity<T>);
  for (std::int64_t j = 0; j < n; j += kTile) {
    Vec<T> here(-kInfinity<T>);
    if (n - j >= kTile) {
      const auto pair = [&](int s) LOGLOSS_INLINE_LAMBDA {
        return max(load(x + j + s * kLanes), load(x + j + (s + 1) * kLanes));
      };
      here = max(max(pair(0), pair(2)), max(pair(4), pair(6)));
    } else {
      for_each_vector(n - j, [&](std::int64_t i, auto lanes)
                                 LOGLOSS_INLINE_LAMBDA { here = max(here, load(x + j + i, lanes, -kInfinity<T>)); });
    }
    tile_max[j / kTile] = here;
    largest = max(largest, here);
  }
  return reduce_max(largest);
}

// The index of the first element equal to `value`, -1 if there is none.
template <class S>
LOGLOSS_NOINLINE std::int64_t first_index_of(const S* x, std::int64_t n, compute_t<S> value) {
  using T = compute_t<S>;
  for (std::int64_t j = 0; j < n; j += kLanes) {
    const int left = n - j < kLanes ? static_cast<int>(n - j) : kLanes;
    T lane[kLanes];
    store(lane, load(x + j, left, T(__builtin_nan(""))));
    for (int i = 0; i < left; ++i) {
      if (lane[i] == value) return j + i;
    }
  }
  return -1;
}

template <class S>
LOGLOSS_NOINLINE bool contains_nan(const S* x, std::int64_t n) {
  using T = compute_t<S>;
  for (std::int64_t j = 0; j < n; j += kLanes) {
    const int left = n - j < kLanes ? static_cast<int>(n - j) : kLanes;
    const Vec<T> value = load(x + j, left, T(0));
    if (count(value == value) < kLanes) return true;
  }
  return false;
}

// ---------------------------------------------------------------------------------- the row statistic

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

// The coefficients v_j of a row's linear sums. `in_double` is what the sums take: their terms do not average out over
// few classes as those of exponentials do, so they are formed and added in float64. operator() is for gradients.

// None: plain softmax statistics.
struct NoRowTerm {
  static constexpr bool kPresent = false;
};

template <class T>
inline constexpr T kOnes[kLanes] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

// v_j = weight_j, or 1 without weights: label smoothing.
template <class T>
struct WeightTerm {
  static constexpr bool kPresent = true;
  const T* weight;
  template <class Lanes>
  LOGLOSS_INLINE Vec<T> operator()(std::int64_t j, Lanes lanes) const {
    return load(weight ? weight + j : kOnes<T>, lanes, T(0));
  }
  template <class Lanes>
  LOGLOSS_INLINE Vec<double> in_double(std::int64_t j, Lanes lanes) const {
    return widen((*this)(j, lanes));
  }
};

// v_j = weight_j (scale p_j + offset): class probabilities p, smoothed.
template <class S>
struct ProbabilityTerm {
  using T = compute_t<S>;
  static constexpr bool kPresent = true;
  const S* probs;
  const T* weight;
  double scale;
  double offset;
  template <class Lanes>
  LOGLOSS_INLINE Vec<double> in_double(std::int64_t j, Lanes lanes) const {
    const Vec<double> p = widen(load(probs + j, lanes, T(0)));
    return fma(p, Vec<double>(scale), Vec<double>(offset)) * WeightTerm<T>{weight}.in_double(j, lanes);
  }
  template <class Lanes>
  LOGLOSS_INLINE Vec<T> operator()(std::int64_t j, Lanes lanes) const {
    return narrow<T>(in_double(j, lanes));
  }
};

// One vector's share of the three sums.
template <class T, bool kLinear>
struct SweepTerms {
  Vec<T> rest{T(0)};
  friend LOGLOSS_INLINE SweepTerms operator+(const SweepTerms& a, const SweepTerms& b) { return {a.rest + b.rest}; }
};
template <class T>
struct SweepTerms<T, true> {
  Vec<T> rest{T(0)};
  Vec<double> linear{0.0};
  Vec<double> mass{0.0};
  friend LOGLOSS_INLINE SweepTerms operator+(const SweepTerms& a, const SweepTerms& b) {
    return {a.rest + b.rest, a.linear + b.linear, a.mass + b.mass};
  }
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

// The three sums of one vector.
template <bool kShifted, class T, class Term, class Lanes>
LOGLOSS_INLINE SweepTerms<T, Term::kPresent> sweep_terms(const ScaledExp<T>& exp, Vec<T> value, T shift, T anchor,
                                                         Term term, std::int64_t j, Lanes lanes) {
  SweepTerms<T, Term::kPresent> terms;
  terms.rest = exp(kShifted ? value - Vec<T>(shift) : value);
  if constexpr (Term::kPresent) {
    const Vec<double> v = term.in_double(j, lanes);
    const Vec<double> below = Vec<double>(static_cast<double>(anchor)) - widen(value);
    terms.linear = clear(v == Vec<double>(0.0), v * below);
    terms.mass = v;
  }
  return terms;
}

// A finite stand-in for a maximum of -inf, so that differences from it are never NaN.
template <class T>
LOGLOSS_INLINE T finite_anchor(T max) {
  return max > -FloatFormat<T>::kLargest ? max : -FloatFormat<T>::kLargest;
}

// The statistic of a row of one vector: the general sweep without its loops.
template <bool kShifted, class S, class Term>
LOGLOSS_INLINE RowStats sweep_vector(const S* x, int n, compute_t<S> shift, Term term) {
  using T = compute_t<S>;
  const Vec<T> value = load(x, n, -kInfinity<T>);
  const T max = reduce_max(value);
  const T K = reference_exponent(kShifted ? max - shift : max);
  const auto is_max = value == Vec<T>(max);
  const T anchor = finite_anchor(max);
  const auto terms = sweep_terms<kShifted>(ScaledExp<T>{Vec<T>(K)}, value, shift, anchor, term, 0, FirstLanes{n});
  LaneSum<T> rest;
  rest.add(clear(is_max, terms.rest));
  const TwoPartSum total = rest.total();
  RowStats stats{};
  stats.max = static_cast<double>(max);
  stats.shift = static_cast<double>(shift);
  stats.exponent = static_cast<double>(K);
  stats.rest = total.high;
  stats.rest_low = total.low;
  stats.ties = max == -kInfinity<T> ? 0 : count(is_max);
  if constexpr (Term::kPresent) {
    stats.linear = reduce_add(terms.linear);
    stats.mass = reduce_add(terms.mass);
  }
  if (stats.ties > 1) {
    const double others = static_cast<double>(stats.ties - 1);
    stats.rest += sum_of_maxima<T>(&stats.max, &others, 1, stats.shift, stats.exponent);
  }
  return stats;
}

// The statistic of at most kChunk elements, read once: each block is brought into L1 by the search for its maximum.
template <bool kShifted, class S, class Term>
LOGLOSS_NOINLINE RowStats sweep_chunk(const S* x, std::int64_t n, compute_t<S> shift, Term term, std::int64_t offset) {
  using T = compute_t<S>;
  if (n <= kLanes) return sweep_vector<kShifted>(x, static_cast<int>(n), shift, term);
  double block_max[kChunk / kBlock];
  double block_ties[kChunk / kBlock];
  LaneSum<T> rest;
  LinearSums linear{-FloatFormat<T>::kLargest, 0.0, 0.0};
  T K = 0;
  Vec<T> tile_max[kBlock / kTile];
  int blocks = 0;
  int winner = 0;
  for (std::int64_t start = 0; start < n; start += kBlock, ++blocks) {
    const S* block = x + start;
    const std::int64_t length = n - start < kBlock ? n - start : kBlock;
    const T max_here = max_by_tile(block, length, tile_max);
    const T K_here = reference_exponent(kShifted ? max_here - shift : max_here);
    if (start == 0) K = K_here;
    if (K_here > K) {
      rest.scale(exact_power_of_two(static_cast<double>(K) - static_cast<double>(K_here)));
      K = K_here;
    }
    const ScaledExp<T> exp{Vec<T>(K)};
    const Vec<T> excluded(max_here);
    const T anchor = finite_anchor(max_here);
    LaneSum<double> linear_here, mass_here;
    int ties = 0;
    bool holds_max = true;  // of the tile at hand: only there are elements compared with the maximum
    for_each_tile<SweepTerms<T, Term::kPresent>>(
        length,
        [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
          __builtin_prefetch(block + j + kBlock);
          const Vec<T> value = load(block + j, lanes, -kInfinity<T>);
          auto terms = sweep_terms<kShifted>(exp, value, shift, anchor, term, offset + start + j, lanes);
          if (holds_max) {
            const auto is_max = value == excluded;
            ties += count(is_max);
            terms.rest = clear(is_max, terms.rest);
          }
          return terms;
        },
        [&](const SweepTerms<T, Term::kPresent>& tile) LOGLOSS_INLINE_LAMBDA {
          rest.add(tile.rest);
          if constexpr (Term::kPresent) {
            linear_here.add(tile.linear);
            mass_here.add(tile.mass);
          }
        },
        [&](std::int64_t j) LOGLOSS_INLINE_LAMBDA { holds_max = any(tile_max[j / kTile] == excluded); });
    if constexpr (Term::kPresent) {
      linear.add({static_cast<double>(anchor), linear_here.total().high, mass_here.total().high});
    }
    if (max_here == -kInfinity<T>) ties = 0;  // the padding of the last vector was counted
    block_max[blocks] = static_cast<double>(max_here);
    block_ties[blocks] = ties;
    if (block_max[blocks] > block_max[winner]) winner = blocks;
  }
  RowStats stats{};
  stats.max = block_max[winner];
  stats.shift = static_cast<double>(shift);
  stats.exponent = static_cast<double>(K);
  const TwoPartSum total = rest.total();
  stats.rest = total.high;
  stats.rest_low = total.low;
  stats.linear = linear.linear;
  stats.mass = linear.mass;
  for (int b = 0; b < blocks; ++b) {
    if (block_max[b] == stats.max) stats.ties += static_cast<std::int64_t>(block_ties[b]);
  }
  block_ties[winner] -= 1.0;
  if (blocks > 1 || block_ties[0] > 0.0) {
    stats.rest += sum_of_maxima<T>(block_max, block_ties, blocks, stats.shift, stats.exponent);
  }
  return stats;
}

// Two neighbouring parts of one row (same shift). Exact but for one addition: the loser's maximum joins the rest.
template <class T>
inline RowStats merge(const RowStats& a, const RowStats& b) {
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

template <bool kShifted, class S, class Term>
inline RowStats sweep_row(const S* x, std::int64_t classes, compute_t<S> shift, Term term) {
  RowStats stats = sweep_chunk<kShifted>(x, classes < kChunk ? classes : kChunk, shift, term, 0);
  for (std::int64_t start = kChunk; start < classes; start += kChunk) {
    const std::int64_t length = classes - start < kChunk ? classes - start : kChunk;
    stats = merge<compute_t<S>>(stats, sweep_chunk<kShifted>(x + start, length, shift, term, start));
  }
  return stats;
}

// The statistic of one row of `classes` > 0 elements.
template <class S, class Term>
LOGLOSS_NOINLINE RowStats row_stats(const S* x, std::int64_t classes, Term term) {
  using T = compute_t<S>;
  RowStats stats = sweep_row<false>(x, classes, T(0), term);
  const T max = static_cast<T>(stats.max);
  if (max >= -kLargestUnshifted<T> && max <= kLargestUnshifted<T>) return stats;
  if (max == kInfinity<T> || max == -kInfinity<T>) {
    stats.rest_low = 0.0;
    stats.rest = contains_nan(x, classes) ? __builtin_nan("") : 0.0;
    return stats;
  }
  return sweep_row<true>(x, classes, max, term);
}

}  // namespace logloss::LOGLOSS_LEVEL
