// SPDX-License-Identifier: BSD-3-Clause
// The loops over one row.
//
// Additions follow the row length only: tiles of 8 vectors are added as a fixed tree, in float64 what a loss needs
// every bit of, else in T, folded into 16 float64 lanes, and the lanes are merged in a fixed order. Threads, strides
// and batches therefore never change a bit.
#pragma once

#include <cstdint>

#include "common/args.h"
#include "cpu/non_negative_sum.h"
#include "cpu/simd.h"
#include "cpu/vec_math.h"

namespace logloss::LOGLOSS_LEVEL {

inline constexpr int kTile = 8 * kLanes;                // elements added as one tree
inline constexpr int kBlock = 8 * kTile;                // elements whose maximum is taken while they lie in L1
inline constexpr std::int64_t kChunk = kChunkElements;  // elements between two merges; any thread may take a chunk

template <class T>
inline constexpr T kInfinity = T(__builtin_inf());

// How many vectors are taken through each step of their exponentials together, so that the arithmetic of one fills the
// latencies of another: as many as there are registers for. (Rows of 4096 in L2 on Zen 5, cycles for 16 elements:
// float32 one by one 7.6, 4 together 7.5, 8 together 7.1; float64 21.6, 19.3, 22.6; float32 on AVX2 one by one 14.2, 2
// together 13.6.)
inline constexpr int kRegistersTogether = kRegisterCount / 4;
template <class T>
inline constexpr int kVectorsTogether =
    Vec<T>::kRegisters < kRegistersTogether ? kRegistersTogether / Vec<T>::kRegisters : 1;

LOGLOSS_INLINE void prefetch_into_l1(const void* p) { __builtin_prefetch(p, 0, 3); }
LOGLOSS_INLINE void prefetch_into_l2(const void* p) { __builtin_prefetch(p, 0, 2); }
LOGLOSS_INLINE void prefetch_for_writing(const void* p) { __builtin_prefetch(p, 1, 3); }

// Results that do not go past the caches are asked for so many bytes ahead, or else each store waits for its line. On
// Zen 5, one thread: log_softmax of 200000 x 100 takes 10.4 ms without, 8.9, 8.5 and 8.7 with 2, 4 and 16 KiB.
inline constexpr int kWriteAheadBytes = 4096;
template <class S>
LOGLOSS_INLINE void ask_to_write_ahead(const S* y) {
  prefetch_for_writing(reinterpret_cast<const char*>(y) + kWriteAheadBytes);
}

// Asks for the lines of what comes `prefetch.distance` elements after the tile at x.
template <class S>
LOGLOSS_INLINE void prefetch_tile(const S* x, const Prefetch& prefetch) {
  constexpr int kLine = 64, kBytes = kTile * static_cast<int>(sizeof(S));
  const char* from = reinterpret_cast<const char*>(x + prefetch.distance);
  if (prefetch.into_l1) {
    for (int line = 0; line < kBytes; line += kLine) prefetch_into_l1(from + line);
  } else {
    for (int line = 0; line < kBytes; line += kLine) prefetch_into_l2(from + line);
  }
}

// f(j, lanes) for every vector of a row: j is the first element, lanes says how many there are.
template <class F>
LOGLOSS_INLINE void for_each_vector(std::int64_t n, F f) {
  std::int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) f(j, AllLanes{});
  if (j < n) f(j, FirstLanes{static_cast<int>(n - j)});
}

// How many of n elements at y stand before whole vectors that make up lines, where those are written past the caches.
template <class S>
LOGLOSS_INLINE FirstLanes lanes_before_lines(const S* y, std::int64_t n) {
  const std::int64_t beyond = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(y) % kStreamAlignment);
  const std::int64_t to_line = (kStreamAlignment - beyond) % kStreamAlignment / static_cast<std::int64_t>(sizeof(S));
  return {static_cast<int>((to_line < n ? to_line : n) % kLanes)};
}

// y[j] = f(j, lanes) for every vector of a row, past the caches where asked for.
template <class S, class F>
LOGLOSS_INLINE void write_vectors(S* y, std::int64_t n, bool past_caches, F f) {
  std::int64_t j = 0;
  if (past_caches) {
    const FirstLanes first = lanes_before_lines(y, n);
    if (first.n > 0) store(y, first, f(0, first));
    j = first.n;
  }
  for (; j + kLanes <= n; j += kLanes) {
    const auto value = f(j, AllLanes{});
    if (past_caches) {
      stream(y + j, value);
    } else {
      ask_to_write_ahead(y + j);
      store(y + j, value);
    }
  }
  if (j < n) store(y + j, FirstLanes{static_cast<int>(n - j)}, f(j, FirstLanes{static_cast<int>(n - j)}));
}

template <class S>
inline void write_zeros(S* row, std::int64_t n, bool past_caches) {
  using T = compute_t<S>;
  write_vectors(row, n, past_caches, [](std::int64_t, auto) LOGLOSS_INLINE_LAMBDA { return Vec<T>(T(0)); });
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

// A float64 sum of tiles, per lane, for a result in T; for double the lanes are compensated (TwoSum), and so is their
// sum.
template <class T>
class LaneSum;

template <>
class LaneSum<float> {
 public:
  LOGLOSS_INLINE void add(Vec<float> tile) { add(widen(tile)); }
  LOGLOSS_INLINE void add(Vec<double> tile) { sum_ = sum_ + tile; }
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
    double low = reduce_add(lost_);
    const double high = reduce_add_exactly(sum_, &low);
    // Infinities make the lost part NaN; the plain sum is then the answer.
    return {high, low == low ? low : 0.0};
  }

 private:
  Vec<double> sum_{0.0};
  Vec<double> lost_{0.0};
};

// The terms of one tile: slot[s] = f(j, lanes) for its vectors, none beyond the n elements of the row.
template <class Term, class F>
LOGLOSS_INLINE void fill_tile(std::int64_t tile, std::int64_t n, F f, Term (&slot)[8]) {
  if (n - tile >= kTile) {
    for (int s = 0; s < 8; ++s) slot[s] = f(tile + s * kLanes, AllLanes{});
    return;
  }
  // Adding zero is exact. All are set, one by one: a loop over the rest becomes a memset, whose narrower stores make
  // the loads that follow wait (40 ns of the 280 of a row of 900 on AVX-512).
  slot[0] = slot[1] = slot[2] = slot[3] = slot[4] = slot[5] = slot[6] = slot[7] = Term{};
  int used = 0;
  for_each_vector(n - tile,
                  [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA { slot[used++] = f(tile + j, lanes); });
}

template <class Term>
LOGLOSS_INLINE Term tree_sum(const Term (&slot)[8]) {
  return ((slot[0] + slot[1]) + (slot[2] + slot[3])) + ((slot[4] + slot[5]) + (slot[6] + slot[7]));
}

// The same of f(first), ..., f(first + kCount - 1), added as soon as two are there.
template <int kCount, class F>
LOGLOSS_INLINE auto tree_of(int first, F f) {
  if constexpr (kCount == 1) {
    return f(first);
  } else {
    const auto left = tree_of<kCount / 2>(first, f);
    return left + tree_of<kCount / 2>(first + kCount / 2, f);
  }
}

// The tree sum of the terms of half a tile, added as soon as two are there.
template <class Term, class F>
LOGLOSS_INLINE Term sum_of_half(std::int64_t start, std::int64_t n, F f) {
  if (n - start >= kTile / 2) {
    return tree_of<4>(0, [&](int s) LOGLOSS_INLINE_LAMBDA { return f(start + s * kLanes, AllLanes{}); });
  }
  Term slot[4];
  slot[0] = slot[1] = slot[2] = slot[3] = Term{};
  int used = 0;
  for_each_vector(n - start,
                  [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA { slot[used++] = f(start + j, lanes); });
  return (slot[0] + slot[1]) + (slot[2] + slot[3]);
}

// f(j, lanes) returns the terms of one vector, sink(tile) gets the tree sum of each tile; Term has operator+. Of terms
// of several registers eight find no room, so they are added by halves of a tile (cosine_embedding_loss of 65536 x 64
// on AVX-512, one thread: 6.4 ms, 8.8 with whole tiles).
template <class Term, class F, class Sink>
LOGLOSS_INLINE void for_each_tile(std::int64_t n, F f, Sink sink) {
  for (std::int64_t tile = 0; tile < n; tile += kTile) {
    if constexpr (sizeof(Term) > sizeof(Vec<double>)) {
      const std::int64_t middle = tile + kTile / 2;
      const Term first = sum_of_half<Term>(tile, n, f);
      sink(middle < n ? first + sum_of_half<Term>(middle, n, f) : first);
    } else {
      Term slot[8];
      fill_tile(tile, n, f, slot);
      sink(tree_sum(slot));
    }
  }
}

template <class T>
struct OneTerm {
  Vec<T> value{T(0)};
  friend LOGLOSS_INLINE OneTerm operator+(const OneTerm& a, const OneTerm& b) { return {a.value + b.value}; }
};

template <class T>
LOGLOSS_INLINE double total(const LaneSum<T>& sum) {
  const TwoPartSum parts = sum.total();
  return parts.high + parts.low;
}

// The sum of f(j, lanes), a Vec<T>, over a row, for a result in Result.
template <class T, class Result = T, class F>
LOGLOSS_INLINE double sum_row(std::int64_t n, F f) {
  LaneSum<Result> sum;
  for_each_tile<OneTerm<T>>(
      n, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA { return OneTerm<T>{f(j, lanes)}; },
      [&](const OneTerm<T>& tile) LOGLOSS_INLINE_LAMBDA { sum.add(tile.value); });
  return total(sum);
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

}  // namespace logloss::LOGLOSS_LEVEL
