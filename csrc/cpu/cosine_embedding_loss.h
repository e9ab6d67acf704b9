// SPDX-License-Identifier: BSD-3-Clause
// cosine_embedding_loss of pairs of rows: 1 - cos for alike ones, max(0, cos - margin) for unlike ones. All sums are in
// float64, where products of floats are exact.
#pragma once

#include "common/args.h"
#include "common/cosine.h"
#include "cpu/row.h"

namespace logloss::LOGLOSS_LEVEL {

// One vector's share of the three sums.
struct CosineTerms {
  Vec<double> ab{0.0}, aa{0.0}, bb{0.0};
  friend LOGLOSS_INLINE CosineTerms operator+(const CosineTerms& a, const CosineTerms& b) {
    return {a.ab + b.ab, a.aa + b.aa, a.bb + b.bb};
  }
};

// One vector's share of the two sums over d = a - b |a| / |b|.
struct DifferenceTerms {
  Vec<double> dd{0.0}, da{0.0};
  friend LOGLOSS_INLINE DifferenceTerms operator+(const DifferenceTerms& a, const DifferenceTerms& b) {
    return {a.dd + b.dd, a.da + b.da};
  }
};

// Two rows, each times a power of two.
template <class S>
class RowPair {
  using T = compute_t<S>;

 public:
  RowPair(const void* a, const void* b, std::int64_t features)
      : a_(static_cast<const S*>(a)), b_(static_cast<const S*>(b)), features_(features), cosine_(measure()) {
    // Squares of large float64 values overflow, and their reciprocals are subnormal; scaled down, what becomes
    // subnormal itself is too small to count beside them.
    if (sums_.aa > kLargestSquare) scale_a_ = kDown;
    if (sums_.bb > kLargestSquare) scale_b_ = kDown;
    if (scale_a_ != 1.0 || scale_b_ != 1.0) cosine_ = measure();
  }

  const Cosine& cosine() const { return cosine_; }

  double one_minus_cosine() const {
    const double value = cosine_.value();
    if (!(value > 0.5)) return 1.0 - value;
    const Vec<double> minus_ratio(-(cosine_.length_a() / cosine_.length_b()));
    LaneSum<T> dd, da;
    for_each_tile<DifferenceTerms>(
        features_,
        [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
          const Vec<double> value_a = a(j, lanes), difference = fma(minus_ratio, b(j, lanes), value_a);
          return DifferenceTerms{difference * difference, difference * value_a};
        },
        [&](const DifferenceTerms& tile) LOGLOSS_INLINE_LAMBDA {
          dd.add(tile.dd);
          da.add(tile.da);
        });
    return cosine_.one_minus_value(total(dd), total(da));
  }

  // The gradient of factor cos with respect to either row, or both. They are formed together: either may replace its
  // row.
  void write_gradients(double factor, S* grad_a, S* grad_b) const {
    const Vec<double> across(cosine_.across()), along_a(cosine_.along_a()), along_b(cosine_.along_b());
    const Vec<double> factor_a(factor * scale_a_), factor_b(factor * scale_b_);
    for_each_vector(features_, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
      const Vec<double> value_a = a(j, lanes), value_b = b(j, lanes);
      if (grad_a) store(grad_a + j, lanes, narrow<T>((across * value_b - along_a * value_a) * factor_a));
      if (grad_b) store(grad_b + j, lanes, narrow<T>((across * value_a - along_b * value_b) * factor_b));
    });
  }

 private:
  static constexpr double kLargestSquare = 0x1p1000;
  static constexpr double kDown = 0x1p-600;

  template <class Lanes>
  LOGLOSS_INLINE Vec<double> a(std::int64_t j, Lanes lanes) const {
    return widen(load(a_ + j, lanes, T(0))) * Vec<double>(scale_a_);
  }
  template <class Lanes>
  LOGLOSS_INLINE Vec<double> b(std::int64_t j, Lanes lanes) const {
    return widen(load(b_ + j, lanes, T(0))) * Vec<double>(scale_b_);
  }

  LOGLOSS_NOINLINE Cosine measure() {
    LaneSum<T> ab, aa, bb;
    for_each_tile<CosineTerms>(
        features_,
        [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
          const Vec<double> value_a = a(j, lanes), value_b = b(j, lanes);
          return CosineTerms{value_a * value_b, value_a * value_a, value_b * value_b};
        },
        [&](const CosineTerms& tile) LOGLOSS_INLINE_LAMBDA {
          ab.add(tile.ab);
          aa.add(tile.aa);
          bb.add(tile.bb);
        });
    sums_ = {total(ab), total(aa), total(bb)};
    return Cosine(sums_, scale_a_, scale_b_);
  }

  const S* a_;
  const S* b_;
  std::int64_t features_;
  double scale_a_ = 1.0, scale_b_ = 1.0;
  CosineSums sums_;
  Cosine cosine_;
};

template <class S>
void cosine_embedding_loss(const CosineBatch& batch) {
  using T = compute_t<S>;
  T* loss = static_cast<T*>(batch.loss);
  for (int row = 0; row < batch.rows; ++row) {
    S* grad1 = batch.grad1 ? static_cast<S*>(batch.grad1[row]) : nullptr;
    S* grad2 = batch.grad2 ? static_cast<S*>(batch.grad2[row]) : nullptr;
    const RowPair<S> pair(batch.input1[row], batch.input2[row], batch.features);
    const bool alike = batch.target[row] == 1.0;
    const double excess = pair.cosine().value() - batch.margin;
    const bool unlike = batch.target[row] == -1.0 && !(excess < 0.0);
    if (loss) loss[row] = static_cast<T>(alike ? pair.one_minus_cosine() : unlike ? excess : 0.0);
    const double scale = grad_scale_of(batch, row);
    if (alike || unlike) {
      if (grad1 || grad2) pair.write_gradients(alike ? -scale : scale, grad1, grad2);
    } else {
      if (grad1) write_zeros(grad1, batch.features, batch.second_sweep.past_caches);
      if (grad2) write_zeros(grad2, batch.features, batch.second_sweep.past_caches);
    }
  }
}

}  // namespace logloss::LOGLOSS_LEVEL
