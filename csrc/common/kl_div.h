// SPDX-License-Identifier: BSD-3-Clause
// The terms of Kullback-Leibler divergences; Value is a number or a vector of them.
#pragma once

#include "common/platform.h"

namespace logloss::LOGLOSS_LEVEL {

// Of one class, with d = log p - log q. Because the q sum to 1 as the p do,
//   KL = sum p d = sum p (e^-d - 1 + d) = sum (q - p + p d),
// whose terms are never negative: nearly equal distributions keep their digits.
template <class Value>
struct DivergenceTerms {
  Value divergence{0.0};  // q - p + p d
  Value difference{0.0};  // q - p
};

// What the softmaxes' own rounding leaves: with R = sum (p - q), which should be 0, the divergence of the normalised
// distributions is sum p d + log(1 - R), and that is never negative.
template <class Value>
LOGLOSS_HD Value kl_div_of_sums(const DivergenceTerms<Value>& sum) {
  const Value excess = Value(0.0) - sum.difference;
  const Value normalised = sum.divergence - excess * excess * (Value(0.5) + excess * Value(1.0 / 3.0));
  return normalised < Value(0.0) ? Value(0.0) : normalised;
}

// The gradient with respect to the logits of p: p (d - KL).
template <class Value>
LOGLOSS_HD Value kl_div_target_gradient(Value d, Value p, Value divergence) {
  return p * d - p * divergence;
}

}  // namespace logloss::LOGLOSS_LEVEL
