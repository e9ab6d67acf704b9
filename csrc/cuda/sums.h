// SPDX-License-Identifier: BSD-3-Clause
// Targets as class rows, weights of targets, and the end of exact sums: one rounding, by one thread.
#pragma once

#include "common/args.h"
#include "cuda/exact_sum.h"
#include "cuda/losses.h"

namespace logloss::LOGLOSS_LEVEL {

// What class_rows has found: how many targets are neither ignored nor out of range, the least position of one that is
// out of range (all ones: none), and its value in 64 bits.
struct TargetReport {
  std::uint64_t valid;
  std::uint64_t first_bad;
  std::uint64_t bad_value;
};

// rows[i] = target[i], or kIgnored for an ignored one, kNoClass for any other that is no class.
template <class Index>
LOGLOSS_KERNEL(256, 4)
class_rows_kernel(const Index* target, std::int64_t n, std::int64_t classes, bool ignores, std::int64_t ignore_index,
                  std::int64_t* rows, TargetReport* report) {
  std::uint64_t valid = 0;
  for (std::int64_t i = block() * threads() + thread(); i < n; i += blocks() * threads()) {
    const std::int64_t t = static_cast<std::int64_t>(target[i]);
    const bool ignored = ignores && t == ignore_index, good = t >= 0 && t < classes && !ignored;
    valid += good;
    if (!good && !ignored) min_atomically(&report->first_bad, static_cast<std::uint64_t>(i));
    rows[i] = good ? t : ignored ? kIgnored : kNoClass;
  }
  if (valid) add_atomically(&report->valid, valid);
}
template <class Index>
LOGLOSS_KERNEL(1, 1)
name_bad_target(const Index* target, TargetReport* report) {
  if (report->first_bad != ~std::uint64_t{0}) {
    report->bad_value = static_cast<std::uint64_t>(target[report->first_bad]);
  }
}

// Adds the weights of the classes of the rows.
template <class T>
LOGLOSS_KERNEL(256, 4)
weight_of_rows_kernel(const T* weight, const std::int64_t* rows, std::int64_t n, std::int64_t classes,
                      SumState* total) {
  LOGLOSS_BLOCK_MEMORY(memory);
  SumState* const sum = reinterpret_cast<SumState*>(memory);
  clear_sum(sum);
  sync_block();
  for (std::int64_t i = block() * threads() + thread(); i < n; i += blocks() * threads()) {
    if (rows[i] >= 0 && rows[i] < classes) add_exactly(sum, static_cast<double>(weight[rows[i]]));
  }
  sync_block();
  merge_sum(total, *sum);
}

LOGLOSS_INLINE ExactSum sum_of_state(const SumState& state) {
  ExactSum sum;
  for (int i = 0; i < ExactSum::kLimbs; ++i) sum.limbs()[i] = static_cast<std::int64_t>(state.word[i]);
  for (int i = 0; i < ExactSum::kSpecials; ++i) sum.specials()[i] = state.word[ExactSum::kLimbs + i];
  sum.propagate();
  return sum;
}

// numerator / denominator, rounded once where both lie between 2^-450 and 2^450; as IEEE division for zeros, infinities
// and NaN.
LOGLOSS_INLINE double rounded_quotient(const ExactSum& numerator, const ExactSum& denominator) {
  const double n = numerator.value(), d = denominator.value();
  const auto ordinary = [](double value) {
    const double magnitude = value < 0 ? -value : value;
    return magnitude > 0x1p-450 && magnitude < 0x1p450;
  };
  return ordinary(n) && ordinary(d) ? quotient(numerator, denominator) : n / d;
}

// *out = numerator / denominator: a state, or null for 1; a state, or else the number *count.valid, or else `divisor`.
// Times *factor, unless that is null.
LOGLOSS_KERNEL(1, 1)
finish_sum_kernel(const SumState* numerator, const SumState* denominator, const TargetReport* count, double divisor,
                  const double* factor, double* out) {
  ExactSum n, d;
  if (numerator) {
    n = sum_of_state(*numerator);
  } else {
    n.add(1.0);
  }
  if (denominator) {
    d = sum_of_state(*denominator);
  } else {
    d.add(count ? static_cast<double>(count->valid) : divisor);
  }
  *out = rounded_quotient(n, d) * (factor ? *factor : 1.0);
}

}  // namespace logloss::LOGLOSS_LEVEL
