// SPDX-License-Identifier: BSD-3-Clause
// The binary cross-entropies of one element and their gradients; Value is a number or a vector of them.
#pragma once

#include "common/platform.h"

namespace logloss::LOGLOSS_LEVEL {

// With logits. loss = (1 - y) x + c softplus(-x) with c = 1 - y + p y, where p is pos_weight. With a = |x|,
// l = log1p(e^-a) and softplus(-x) = max(-x, 0) + l:
//   x > 0:   (1 - y) a + c l
//   x <= 0:  (y - 1) a + c (a + l) = p y a + c l
// so loss = z a + c l, where nothing cancels for y in [0, 1]. The gradient c sigmoid(x) - p y is, with
// q = sigmoid(-a), z - c q for x > 0 and c q - z for x <= 0.
template <class Value>
struct BinaryCoefficients {
  Value z;
  Value c;
};

template <class Value>
LOGLOSS_HD Value bce_with_logits_loss(const BinaryCoefficients<Value>& k, Value magnitude, Value log1p_exp) {
  return k.z * magnitude + k.c * log1p_exp;
}

// The gradient for x > 0, minus that for x <= 0.
template <class Value>
LOGLOSS_HD Value bce_with_logits_gradient(const BinaryCoefficients<Value>& k, Value sigmoid_of_minus) {
  return k.z - k.c * sigmoid_of_minus;
}

// Of probabilities: loss = -(y log x + (1 - y) log(1 - x)), both logarithms at least -100.
inline constexpr double kSmallestLog = -100.0;
// The gradient is (x - y) / max(x (1 - x), kSmallestVariance); the bound is torch's, float(1e-12).
inline constexpr double kSmallestVariance = 0x1.197998p-40;

}  // namespace logloss::LOGLOSS_LEVEL
