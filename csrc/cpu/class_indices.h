// SPDX-License-Identifier: BSD-3-Clause
// ClassIndices: targets of any integer type, checked and brought to the form that kernels take.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "common/exact_sum.h"
#include "cpu/element_array.h"

namespace logloss {

class ClassIndices {
 public:
  // n contiguous integers of type `storage`, each a class in [0, classes) or `ignored`, which counts for nothing: the
  // low 64 bits of a number that the type can hold, if there is one.
  //
  // int64 targets that are all classes are checked by a loop of four operations for two of them, and serve as rows():
  // `target` must outlive this. Others are copied.
  ClassIndices(const void* target, Storage storage, std::int64_t n, std::int64_t classes,
               std::optional<std::int64_t> ignored);

  // The class of each row, kIgnored where it counts for nothing. Whoever uses it as an index has to look again whether
  // it is a class: the caller's other threads may write to their targets during a call.
  const std::int64_t* rows() const { return rows_; }
  // How many rows are not ignored.
  std::int64_t valid() const { return valid_; }
  // The first position of a target that is neither a class nor ignored, -1 if there is none: then alone rows() may be
  // used.
  std::int64_t first_bad() const { return first_bad_; }

 private:
  template <class T>
  void scan(const T* target, std::int64_t n, std::int64_t classes, std::optional<std::int64_t> ignored);

  std::unique_ptr<std::int64_t[]> copy_;
  const std::int64_t* rows_ = nullptr;
  std::int64_t valid_ = 0;
  std::int64_t first_bad_ = -1;
};

// The exact sum of weight[rows[i]] over the n rows that have a class; the `classes` weights are of the type `compute`.
baseline::ExactSum sum_of_weights(const void* weight, std::int64_t classes, DType compute, const std::int64_t* rows,
                                  std::int64_t n);

}  // namespace logloss
