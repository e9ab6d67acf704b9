// SPDX-License-Identifier: BSD-3-Clause
// What losses are divided by. The floating-point environment must be the default one; the GIL need not be held.
#pragma once

#include <optional>

#include "common/exact_sum.h"

namespace logloss {

using baseline::ExactSum;

// numerator / denominator, rounded once; as IEEE division for zeros, infinities and NaN.
double rounded_quotient(const ExactSum& numerator, const ExactSum& denominator);
double rounded_quotient(const ExactSum& numerator, double denominator);
double rounded_quotient(double numerator, const ExactSum& denominator);

// The divisor of a mean: a sum of weights, or else a number.
struct Divisor {
  double count = 1.0;
  std::optional<ExactSum> weight;

  double of(double numerator) const { return weight ? rounded_quotient(numerator, *weight) : numerator / count; }
  double of(const ExactSum& numerator) const {
    return weight ? rounded_quotient(numerator, *weight) : rounded_quotient(numerator, count);
  }
};

}  // namespace logloss
