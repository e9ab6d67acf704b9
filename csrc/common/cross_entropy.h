// SPDX-License-Identifier: BSD-3-Clause
// The loss and the gradient of cross-entropy from the statistic of a row; Value is double or a vector of doubles.
//
// With m the maximum, S = e_m + rest and l = log1p(rest / e_m) = log S - log e_m:
//   -log_softmax(x)[c] = (m - x_c) + l             both parts are non-negative: a confident loss does not cancel
//   1 - softmax(x)[t]  = (S - e_t) / S             where S - e_t is `rest` itself if t is the maximum
#pragma once

#include "common/platform.h"

namespace logloss::LOGLOSS_LEVEL {

// The numbers of one row: `target_weight` is (1 - smoothing) weight[t], `uniform` is smoothing / classes; with
// probability targets target_weight is 0 and uniform 1. linear and mass belong to the classes' coefficients v.
template <class Value>
struct CrossEntropyRow {
  Value below_max;  // m - x_t, anything where target_weight is 0
  Value log_rest;   // l
  Value target_weight;
  Value uniform;
  Value linear;
  Value mass;
};

// target_weight ((m - x_t) + l) + uniform sum_c v_c ((m - x_c) + l)
template <class Value>
LOGLOSS_HD Value cross_entropy_loss(const CrossEntropyRow<Value>& row) {
  return row.target_weight * (row.below_max + row.log_rest) + row.uniform * (row.linear + row.log_rest * row.mass);
}

// sum_c of the coefficients that stand before -lp[c]; the gradient at c is scale (softmax_c total - v_c).
template <class Value>
LOGLOSS_HD Value cross_entropy_mass(const CrossEntropyRow<Value>& row) {
  return row.target_weight + row.uniform * row.mass;
}

// The gradient at the target of an index row: total softmax_t - (target_weight + uniform weight_t).
template <class Value>
LOGLOSS_HD Value cross_entropy_target_gradient(const CrossEntropyRow<Value>& row, Value weight_t, Value softmax_t) {
  return cross_entropy_mass(row) * softmax_t - (row.target_weight + row.uniform * weight_t);
}

// The same by way of others = 1 - softmax_t = (S - e_t) / S: uniform (mass - weight_t) - total others.
template <class Value>
LOGLOSS_HD Value cross_entropy_likely_target_gradient(const CrossEntropyRow<Value>& row, Value weight_t, Value others) {
  return row.uniform * (row.mass - weight_t) - cross_entropy_mass(row) * others;
}

}  // namespace logloss::LOGLOSS_LEVEL
