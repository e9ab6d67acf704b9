// SPDX-License-Identifier: BSD-3-Clause
// What the element-wise operations share: groups of vectors that are computed side by side, and results that go where a
// batch wants them.
//
// Most values are ordinary: no NaN, nothing that overflows or becomes subnormal on the way. A kernel takes groups of
// kGroup vectors of ordinary values through each of its steps together, so that the arithmetic of one fills the
// latencies of another, and leaves out what only other values need. Groups with other values, and the last elements of
// a batch, go vector by vector. Both ways give the same bits.
#pragma once

#include "common/args.h"
#include "cpu/element_sum.h"
#include "cpu/row.h"

namespace logloss::LOGLOSS_LEVEL {

// Without fused multiply-adds, on a level of few registers, 3 (0.97 of the time for log_sigmoid).
inline constexpr int kGroup = kFusedMultiplyAdd ? 4 : 3;
inline constexpr int kGroupElements = kGroup * kLanes;

// How a step is taken.
struct OrdinaryGroup {
  static constexpr int kVectors = kGroup;
  static constexpr bool kOrdinary = true;
};
struct AnyVector {
  static constexpr int kVectors = 1;
  static constexpr bool kOrdinary = false;
};

// group(j) for every whole group, and where that returns false, and for the rest, any(j, lanes) for every vector.
template <class Group, class Any>
LOGLOSS_INLINE void for_each_vector_group(int n, Group group, Any any) {
  for (int j = 0; j < n; j += kGroupElements) {
    const int left = n - j < kGroupElements ? n - j : kGroupElements;
    if (left == kGroupElements && group(j)) continue;
    for_each_vector(left, [&](std::int64_t i, auto lanes) LOGLOSS_INLINE_LAMBDA { any(j + i, lanes); });
  }
}

// f(0), f(1), ..., f(kTimes - 1), spelt out.
template <int kTimes, class F>
LOGLOSS_INLINE void repeat(F f) {
  if constexpr (kTimes > 1) repeat<kTimes - 1>(f);
  f(kTimes - 1);
}

// Asks memory for what a group will read some groups later. kl_div of 16 M floats takes 11.7, 10.6, 10.4, 11.6 and 12.3
// ms at 512, 1024, 2048, 4096 and 8192 bytes, other losses alike (Zen 4).
inline constexpr int kAheadBytes = 2048;
template <class S>
LOGLOSS_INLINE void ask_ahead(const S* group) {
  constexpr int kLine = 64, kBytes = kGroupElements * static_cast<int>(sizeof(S));
  const char* from = reinterpret_cast<const char*>(group) + kAheadBytes;
  for (int line = 0; line < kBytes; line += kLine) __builtin_prefetch(from + line);
}

// Where results as large as the input go: past the caches, in whole vectors of lines, or else asked for ahead.
template <class S>
class Results {
 public:
  LOGLOSS_INLINE Results(void* y, const ElementBatch& batch)
      : y_(static_cast<S*>(y)), past_caches_(batch.past_caches) {}
  LOGLOSS_INLINE explicit operator bool() const { return y_; }
  template <class Lanes>
  LOGLOSS_INLINE void put(std::int64_t j, Lanes lanes, Vec<compute_t<S>> value) const {
    if constexpr (std::is_same_v<Lanes, AllLanes>) {
      if (past_caches_) return stream(y_ + j, value);
      ask_to_write_ahead(y_ + j);
    }
    store(y_ + j, lanes, value);
  }

 private:
  S* y_;
  bool past_caches_;
};

// Whether all patterns of a group, as unsigned integers, lie in [first, last].
template <class T>
class PatternRange {
 public:
  constexpr PatternRange(T first, T last)
      : move_(static_cast<BitsOf<T>>(kLowest - pattern(first))),
        last_(static_cast<BitsOf<T>>(kLowest - pattern(first) + pattern(last))) {}

  // Of value(0), ..., value(kGroup - 1).
  template <class Value>
  LOGLOSS_INLINE bool holds(Value value) const {
    Vec<T> largest = add_bits(value(0), move_);
    repeat<kGroup - 1>([&](int i)
                           LOGLOSS_INLINE_LAMBDA { largest = max_bits(largest, add_bits(value(i + 1), move_)); });
    return !any(above_bits(largest, last_));
  }

 private:
  using Unsigned = std::make_unsigned_t<BitsOf<T>>;
  static constexpr Unsigned kLowest = Unsigned(1) << (8 * sizeof(T) - 1);  // of signed integers, which are compared
  static constexpr Unsigned pattern(T value) { return __builtin_bit_cast(Unsigned, value); }

  BitsOf<T> move_, last_;
};

template <class T>
inline constexpr BitsOf<T> kAllButSign = ~(BitsOf<T>(1) << (8 * sizeof(T) - 1));
template <class T>
inline constexpr PatternRange<T> kFinite(T(0), FloatFormat<T>::kLargest);  // of magnitudes

// The losses of a batch: stored, and added in the end while they lie in the caches. In the loop that computes them the
// sum's registers would be spilled: 0.75 instead of 0.67 ns per element of binary_cross_entropy_with_logits.
template <class T>
class LossSink {
 public:
  LOGLOSS_INLINE explicit LossSink(const ElementBatch& batch) : batch_(batch), loss_(static_cast<T*>(batch.output)) {}

  template <class Lanes>
  LOGLOSS_INLINE void put(std::int64_t j, Lanes lanes, Vec<T> loss) const {
    if (loss_) store(loss_ + j, lanes, loss);
  }
  LOGLOSS_INLINE void finish() const {
    if (batch_.sums) sum_elements(loss_, batch_.n, batch_.sums);
  }

 private:
  const ElementBatch& batch_;
  T* loss_;
};

// The factors of a batch's gradients: grad_scale, and grad_output where there is one.
template <class T>
class GradientScale {
 public:
  LOGLOSS_INLINE explicit GradientScale(const ElementBatch& batch)
      : scale_(batch.grad_scale), grad_output_(static_cast<const T*>(batch.grad_output)) {}

  template <class Lanes>
  LOGLOSS_INLINE Vec<double> operator()(std::int64_t j, Lanes lanes) const {
    if (!grad_output_) return scale_;
    return scale_ * widen(load(grad_output_ + j, lanes, T(0)));
  }

 private:
  Vec<double> scale_;
  const T* grad_output_;
};

}  // namespace logloss::LOGLOSS_LEVEL
