// SPDX-License-Identifier: BSD-3-Clause
// What the losses of rows share: whose row is whose, where losses go, what gradients are multiplied by.
#pragma once

#include "cuda/rows.h"

namespace logloss::LOGLOSS_LEVEL {

// The row of a target that is neither a class nor ignored: its loss and its gradient are NaN.
inline constexpr std::int64_t kNoClass = -2;

// The rows in hand are finished side by side, each by the thread of a lane; if a whole block has one row, by all lanes
// of its first team alike.
template <class Crew>
class OwnRow {
 public:
  template <class Rows>
  LOGLOSS_INLINE OwnRow(const Crew& crew, const Rows& rows)
      : index_(Crew::kAlone ? lane_of_team() : 0),
        first_(rows.first),
        exists_(index_ < rows.count),
        writes_(exists_ && crew.writes_results()) {}

  LOGLOSS_INLINE bool exists() const { return exists_; }
  LOGLOSS_INLINE int index() const { return index_; }  // among those in hand
  LOGLOSS_INLINE std::int64_t row() const { return first_ + index_; }
  LOGLOSS_INLINE bool is(int i) const { return index_ == i; }
  LOGLOSS_INLINE int lane_of(int i) const { return i; }
  // Whether this thread is the one that writes what belongs to the row.
  LOGLOSS_INLINE bool writes() const { return writes_; }

 private:
  int index_;
  std::int64_t first_;
  bool exists_, writes_;
};

// The losses and the factors of the gradients; see LossOutputs.
template <class T>
struct RowLosses {
  T* loss;
  double grad_scale;
  const double* grad_factor;
  const double* grad_rows;

  LOGLOSS_INLINE void put(std::int64_t row, T value, SumState* sum) const {
    if (loss) loss[row] = value;
    if (sum) add_exactly(sum, static_cast<double>(value));
  }
  LOGLOSS_INLINE double grad_scale_of(std::int64_t row) const {
    double scale = grad_scale;
    if (grad_factor) scale *= *grad_factor;
    if (grad_rows) scale *= grad_rows[row];
    return scale;
  }
};

}  // namespace logloss::LOGLOSS_LEVEL
