// SPDX-License-Identifier: BSD-3-Clause
// The cosine of two vectors and the embedding loss made of it, from three sums over the vectors.
#pragma once

#include "common/platform.h"

namespace logloss::LOGLOSS_LEVEL {

// Sums over two vectors, each of which may have been scaled by a power of two.
struct CosineSums {
  double ab;
  double aa;
  double bb;
};

// cos = ab / sqrt((aa + eps)(bb + eps)); torch's eps is float(1e-12).
class Cosine {
 public:
  // scale_a and scale_b are what the vectors were multiplied by before they were summed.
  LOGLOSS_HD Cosine(const CosineSums& sums, double scale_a, double scale_b)
      : sums_(sums),
        eps_a_(kEps * scale_a * scale_a),
        eps_b_(kEps * scale_b * scale_b),
        norm_(__builtin_sqrt(square_a()) * __builtin_sqrt(square_b())) {}

  LOGLOSS_HD double value() const { return sums_.ab / norm_; }
  // The (scaled) vectors' gradients are: of a, across() b - along_a() a; of b, across() a - along_b() b.
  LOGLOSS_HD double across() const { return 1.0 / norm_; }
  LOGLOSS_HD double along_a() const { return value() / square_a(); }
  LOGLOSS_HD double along_b() const { return value() / square_b(); }

  LOGLOSS_HD double length_a() const { return __builtin_sqrt(sums_.aa); }
  LOGLOSS_HD double length_b() const { return __builtin_sqrt(sums_.bb); }
  // 1 - cos where it is small, from two sums over d = a - b |a| / |b|: what of d is perpendicular to a has the square
  // P = dd - da^2 / aa, whatever the rounding of |a| / |b|, and |a| |b| - ab = bb P / (|a| |b| + ab). With A = aa +
  // eps:
  //   1 - cos = ((sqrt(A B) - |a| |b|) + (|a| |b| - ab)) / sqrt(A B),  neither part of which is negative.
  LOGLOSS_HD double one_minus_value(double dd, double da) const {
    const double lengths = length_a() * length_b();
    const double by_eps = (eps_a_ * sums_.bb + eps_b_ * sums_.aa + eps_a_ * eps_b_) / (norm_ + lengths);
    const double perpendicular = dd - da * (da / sums_.aa);
    const double by_direction = lengths * (perpendicular / sums_.aa) / (1.0 + sums_.ab / lengths);
    return (by_eps + (by_direction > 0.0 ? by_direction : 0.0)) / norm_;
  }

 private:
  static constexpr double kEps = 0x1.197998p-40;
  LOGLOSS_HD double square_a() const { return sums_.aa + eps_a_; }
  LOGLOSS_HD double square_b() const { return sums_.bb + eps_b_; }

  CosineSums sums_;
  double eps_a_, eps_b_;
  double norm_;
};

}  // namespace logloss::LOGLOSS_LEVEL
