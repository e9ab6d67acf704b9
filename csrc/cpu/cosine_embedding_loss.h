// SPDX-License-Identifier: BSD-3-Clause
// cosine_embedding_loss of pairs of rows: 1 - cos for alike ones, max(0, cos - margin) for unlike ones. All sums are in
// float64, where products of floats are exact.
#pragma once

#include "common/args.h"
#include "cpu/row_batch.h"

namespace logloss::LOGLOSS_LEVEL {

// One vector's share of the three sums.
struct CosineTerms {
  Vec<double> ab{0.0}, aa{0.0}, bb{0.0};
  friend LOGLOSS_INLINE CosineTerms operator+(const CosineTerms& x, const CosineTerms& y) {
    return {x.ab + y.ab, x.aa + y.aa, x.bb + y.bb};
  }
};

// One vector of both rows, for a result in T. Exact products may be added as they are formed.
template <class T>
struct CosineFactors {
  Vec<double> a, b;
  LOGLOSS_INLINE operator CosineTerms() const { return {a * b, a * a, b * b}; }
  friend LOGLOSS_INLINE CosineTerms operator+(const CosineFactors& x, const CosineFactors& y) {
    const CosineTerms first = x;
    if constexpr (sizeof(T) == sizeof(double)) {
      return first + CosineTerms(y);
    } else {
      return {fma(y.a, y.b, first.ab), fma(y.a, y.a, first.aa), fma(y.b, y.b, first.bb)};
    }
  }
};

// One vector's share of the two sums over d = a - b |a| / |b|.
struct DifferenceTerms {
  Vec<double> dd{0.0}, da{0.0};
  friend LOGLOSS_INLINE DifferenceTerms operator+(const DifferenceTerms& x, const DifferenceTerms& y) {
    return {x.dd + y.dd, x.da + y.da};
  }
};

// 1 - cos is found by way of the difference of the vectors where cos is more than this.
inline constexpr double kNearlyAlike = 0.5;

// The cosines of 16 pairs of vectors, one in each lane, from sums over them: cos = ab / sqrt((aa + eps)(bb + eps));
// torch's eps is float(1e-12). The vectors may have been multiplied by `scale` before they were summed.
class Cosines {
 public:
  LOGLOSS_INLINE Cosines(Vec<double> ab, Vec<double> aa, Vec<double> bb, Vec<double> scale_a, Vec<double> scale_b)
      : ab_(ab),
        aa_(aa),
        bb_(bb),
        eps_a_(Vec<double>(kEps) * scale_a * scale_a),
        eps_b_(Vec<double>(kEps) * scale_b * scale_b),
        norm_(sqrt(aa_ + eps_a_) * sqrt(bb_ + eps_b_)) {}

  LOGLOSS_INLINE Vec<double> value() const { return ab_ / norm_; }
  // The (scaled) vectors' gradients are: of a, across() b - along_a() a; of b, across() a - along_b() b.
  LOGLOSS_INLINE Vec<double> across() const { return Vec<double>(1.0) / norm_; }
  LOGLOSS_INLINE Vec<double> along_a() const { return value() / (aa_ + eps_a_); }
  LOGLOSS_INLINE Vec<double> along_b() const { return value() / (bb_ + eps_b_); }

  LOGLOSS_INLINE Vec<double> length_ratio() const { return sqrt(aa_) / sqrt(bb_); }
  // 1 - cos where it is small, from two sums over d = a - b |a| / |b|: what of d is perpendicular to a has the square
  // P = dd - da^2 / aa, whatever the rounding of |a| / |b|, and |a| |b| - ab = bb P / (|a| |b| + ab). With A = aa +
  // eps:
  //   1 - cos = ((sqrt(A B) - |a| |b|) + (|a| |b| - ab)) / sqrt(A B),  neither part of which is negative.
  LOGLOSS_INLINE Vec<double> one_minus_value(Vec<double> dd, Vec<double> da) const {
    const Vec<double> zero(0.0), one(1.0), lengths = sqrt(aa_) * sqrt(bb_);
    const Vec<double> by_eps = (eps_a_ * bb_ + eps_b_ * aa_ + eps_a_ * eps_b_) / (norm_ + lengths);
    const Vec<double> perpendicular = dd - da * (da / aa_);
    const Vec<double> by_direction = lengths * (perpendicular / aa_) / (one + ab_ / lengths);
    return (by_eps + select(zero < by_direction, by_direction, zero)) / norm_;
  }

 private:
  static constexpr double kEps = 0x1.197998p-40;

  Vec<double> ab_, aa_, bb_;
  Vec<double> eps_a_, eps_b_;
  Vec<double> norm_;
};

// Sums over a pair of vectors, and what they were multiplied by.
struct ProductSums {
  double ab = 0.0, aa = 0.0, bb = 0.0;
  double scale_a = 1.0, scale_b = 1.0;
};

// Squares of large float64 values overflow, and their reciprocals are subnormal; of vectors that are scaled down, what
// becomes subnormal itself is too small to count beside them. Squares of floats do neither.
template <class T>
inline constexpr bool kScalesVectors = sizeof(T) == sizeof(double);

// From sums(scale_a, scale_b), for results in T.
template <class T, class F>
LOGLOSS_INLINE ProductSums finite_sums(F sums) {
  const ProductSums unscaled = sums(1.0, 1.0);
  if constexpr (kScalesVectors<T>) {
    const auto scale_for = [](double square) { return square > 0x1p1000 ? 0x1p-600 : 1.0; };
    const double scale_a = scale_for(unscaled.aa), scale_b = scale_for(unscaled.bb);
    if (scale_a != 1.0 || scale_b != 1.0) return sums(scale_a, scale_b);
  }
  return unscaled;
}

// Those of the rows of a batch.
struct SumsOfRows {
  PerRow<double> ab, aa, bb, scale_a, scale_b;
  LOGLOSS_INLINE void set(int row, const ProductSums& sums) {
    ab[row] = sums.ab;
    aa[row] = sums.aa;
    bb[row] = sums.bb;
    scale_a[row] = sums.scale_a;
    scale_b[row] = sums.scale_b;
  }
  LOGLOSS_INLINE Cosines of_group(int first) const {
    return {ab.group(first), aa.group(first), bb.group(first), scale_a.group(first), scale_b.group(first)};
  }
};

// What the gradients of cos are made of; see Cosines.
struct CosineSlopes {
  PerRow<double> across, along_a, along_b;
  LOGLOSS_INLINE void set_group(int first, const Cosines& cosines) {
    across.set_group(first, cosines.across());
    along_a.set_group(first, cosines.along_a());
    along_b.set_group(first, cosines.along_b());
  }
};

// A row, times its scale.
template <class S>
class ScaledRow {
  using T = compute_t<S>;

 public:
  LOGLOSS_INLINE ScaledRow(const void* x, double scale) : x_(static_cast<const S*>(x)), scale_(scale) {}
  template <class Lanes>
  LOGLOSS_INLINE Vec<double> operator()(std::int64_t j, Lanes lanes) const {
    if constexpr (kScalesVectors<T>) {
      return load(x_ + j, lanes, T(0)) * scale_;
    } else if constexpr (std::is_same_v<S, float> && std::is_same_v<Lanes, AllLanes>) {
      return load_wide(x_ + j);
    } else {
      return widen(load(x_ + j, lanes, T(0)));
    }
  }

 private:
  const S* x_;
  Vec<double> scale_;
};

template <class S>
class CosineKernel {
  using T = compute_t<S>;

 public:
  explicit CosineKernel(const CosineBatch& batch) : batch_(batch) {
    for (int row = 0; row < batch.rows; ++row) {
      sums_.set(row, finite_sums<T>([&](double scale_a, double scale_b)
                                        LOGLOSS_INLINE_LAMBDA { return products_of(row, scale_a, scale_b); }));
    }
    for (int none = batch.rows; none % kLanes != 0; ++none) sums_.set(none, ProductSums{});
    for_each_group(batch.rows,
                   [&](int first) LOGLOSS_INLINE_LAMBDA { value_.set_group(first, sums_.of_group(first).value()); });
  }

  void write_losses() const {
    T* loss = static_cast<T*>(batch_.loss);
    for_each_group(batch_.rows, [&](int first) LOGLOSS_INLINE_LAMBDA {
      const int rows = batch_.rows - first < kLanes ? batch_.rows - first : kLanes;
      store(loss + first, rows, narrow<T>(losses_of_group(first, load(batch_.target + first, rows, 0.0))));
    });
  }

  void write_gradients() const {
    CosineSlopes slopes;
    for_each_group(batch_.rows,
                   [&](int first) LOGLOSS_INLINE_LAMBDA { slopes.set_group(first, sums_.of_group(first)); });
    for (int row = 0; row < batch_.rows; ++row) {
      S* grad1 = batch_.grad1 ? static_cast<S*>(batch_.grad1[row]) : nullptr;
      S* grad2 = batch_.grad2 ? static_cast<S*>(batch_.grad2[row]) : nullptr;
      const double scale = grad_scale_of(batch_, row);
      if (alike(row) || unlike(row)) {
        write_gradients_of(row, slopes, alike(row) ? -scale : scale, grad1, grad2);
      } else {
        if (grad1) write_zeros(grad1, batch_.features, false);
        if (grad2) write_zeros(grad2, batch_.features, false);
      }
    }
  }

 private:
  LOGLOSS_INLINE ScaledRow<S> row_a(int row, double scale) const { return {batch_.input1[row], scale}; }
  LOGLOSS_INLINE ScaledRow<S> row_b(int row, double scale) const { return {batch_.input2[row], scale}; }

  bool alike(int row) const { return batch_.target[row] == 1.0; }
  bool unlike(int row) const { return batch_.target[row] == -1.0 && !(excess(row) < 0.0); }
  double excess(int row) const { return value_[row] - batch_.margin; }

  LOGLOSS_NOINLINE ProductSums products_of(int row, double scale_a, double scale_b) const {
    const ScaledRow<S> a = row_a(row, scale_a), b = row_b(row, scale_b);
    LaneSum<T> ab, aa, bb;
    for_each_tile<CosineTerms>(
        batch_.features,
        [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA { return CosineFactors<T>{a(j, lanes), b(j, lanes)}; },
        [&](const CosineTerms& tile) LOGLOSS_INLINE_LAMBDA {
          ab.add(tile.ab);
          aa.add(tile.aa);
          bb.add(tile.bb);
        });
    return {total(ab), total(aa), total(bb), scale_a, scale_b};
  }

  // Of mixed targets branches would be missed for every other row.
  LOGLOSS_NOINLINE Vec<double> losses_of_group(int first, Vec<double> target) const {
    const Vec<double> zero(0.0), excess = value_.group(first) - Vec<double>(batch_.margin);
    const Vec<double> of_unlike = select(excess < zero, zero, excess);
    return select(target == Vec<double>(1.0), one_minus_cosines(first),
                  select(target == Vec<double>(-1.0), of_unlike, zero));
  }

  // Of alike rows by way of their difference, where it is small.
  LOGLOSS_INLINE Vec<double> one_minus_cosines(int first) const {
    const Vec<double> zero(0.0), value = value_.group(first), one_minus = Vec<double>(1.0) - value;
    const auto near = Vec<double>(kNearlyAlike) < value;
    if (!any(near)) return one_minus;
    const Cosines cosines = sums_.of_group(first);
    PerRow<double> length_ratio, dd, da;
    length_ratio.set_group(first, cosines.length_ratio());
    dd.set_group(first, zero);
    da.set_group(first, zero);
    for (int row = first; row < first + kLanes && row < batch_.rows; ++row) {
      if (alike(row) && value_[row] > kNearlyAlike) add_differences(row, length_ratio[row], &dd[row], &da[row]);
    }
    return select(near, cosines.one_minus_value(dd.group(first), da.group(first)), one_minus);
  }

  LOGLOSS_NOINLINE void add_differences(int row, double length_ratio, double* dd_of_row, double* da_of_row) const {
    const ScaledRow<S> a = row_a(row, sums_.scale_a[row]), b = row_b(row, sums_.scale_b[row]);
    const Vec<double> minus_ratio(-length_ratio);
    LaneSum<T> dd, da;
    for_each_tile<DifferenceTerms>(
        batch_.features,
        [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
          const Vec<double> value_a = a(j, lanes), difference = fma(minus_ratio, b(j, lanes), value_a);
          return DifferenceTerms{difference * difference, difference * value_a};
        },
        [&](const DifferenceTerms& tile) LOGLOSS_INLINE_LAMBDA {
          dd.add(tile.dd);
          da.add(tile.da);
        });
    *dd_of_row = total(dd);
    *da_of_row = total(da);
  }

  // Of factor cos with respect to either row, or both. They are formed before either is written: they may replace
  // their rows.
  LOGLOSS_NOINLINE void write_gradients_of(int row, const CosineSlopes& slopes, double factor, S* grad1,
                                           S* grad2) const {
    const ScaledRow<S> a = row_a(row, sums_.scale_a[row]), b = row_b(row, sums_.scale_b[row]);
    const Vec<double> across(slopes.across[row]), along_a(slopes.along_a[row]), along_b(slopes.along_b[row]);
    const Vec<double> factor_a(factor * sums_.scale_a[row]), factor_b(factor * sums_.scale_b[row]);
    for_each_vector(batch_.features, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
      const Vec<double> value_a = a(j, lanes), value_b = b(j, lanes);
      if (grad1) store(grad1 + j, lanes, narrow<T>((across * value_b - along_a * value_a) * factor_a));
      if (grad2) store(grad2 + j, lanes, narrow<T>((across * value_a - along_b * value_b) * factor_b));
    });
  }

  const CosineBatch& batch_;
  SumsOfRows sums_;
  PerRow<double> value_;
};

template <class S>
void cosine_embedding_loss(const CosineBatch& batch) {
  const CosineKernel<S> kernel(batch);
  if (batch.loss) kernel.write_losses();
  if (batch.grad1 || batch.grad2) kernel.write_gradients();
}

}  // namespace logloss::LOGLOSS_LEVEL
