// SPDX-License-Identifier: BSD-3-Clause
// RowArray: any strided array seen as rows of classes, and the batches of rows that kernels take.
#pragma once

#include <cstdint>
#include <vector>

#include "common/args.h"
#include "common/dtypes.h"

namespace logloss {

inline constexpr int kMaxRowDims = 64;

// An array whose last axis is the class axis; the other axes, in C order, count the rows. Strides are in bytes and may
// have any sign.
struct RowArray {
  char* data = nullptr;
  DType dtype = DType::float32;
  bool byte_swapped = false;
  std::int64_t classes = 0;
  std::int64_t class_stride = 0;
  int row_dims = 0;
  std::int64_t shape[kMaxRowDims];
  std::int64_t stride[kMaxRowDims];

  std::int64_t rows() const;
  // Each row is contiguous, aligned and in native byte order: kernels may work on it where it lies.
  bool direct() const;
  // Rows are neighbours in memory and classes are not: kernels may work on rows side by side.
  bool side_by_side() const;
  // Elements are aligned and in native byte order, however far apart: single ones may be read where they lie.
  bool readable_in_place() const;
  // Joins neighbouring row axes that are equally spaced.
  void merge_row_dims();
  // The addresses of `count` rows from row `first` on.
  void addresses(std::int64_t first, int count, void** out) const;
};

// How a kernel finds a row: its classes next to each other, the rows next to each other, or as the array has it.
enum class Layout { contiguous, side_by_side, in_place };

// Rows as a kernel takes them.
struct OpenRows {
  void* const* rows = nullptr;
  std::int64_t class_stride = 1;  // in elements
  bool past_caches = false;       // what the kernel writes there is to go past the caches
};

// One array's rows for one worker: pointers into the array itself, or to copies of at most kMaxRows rows.
class RowWindow {
 public:
  enum class Use { read, write };

  // past_caches: for results that will not be found there later.
  RowWindow(const RowArray& array, Use use, Layout layout, bool past_caches)
      : array_(&array), use_(use), layout_(layout), past_caches_(past_caches) {}

  // Makes rows [first, first + count) available; copies them in if they are to be read.
  OpenRows open(std::int64_t first, int count);
  // Copies written rows back.
  void close();

 private:
  bool usable_side_by_side(bool* at_lines) const;
  void place_copies();
  void copy(bool into_window);

  const RowArray* array_;
  Use use_;
  Layout layout_;
  bool past_caches_;
  bool copied_ = false;
  int count_ = 0;
  void* addresses_[kMaxRows];
  int places_ = 0;  // how many of copies_ are set
  void* copies_[kMaxRows];
  std::vector<char> buffer_;
};

// How many rows a kernel is best handed at a time: few enough to stay in half of a 512 KiB L2 for a second sweep, and
// whole cache lines of rows where neighbouring rows are neighbours in memory.
int rows_per_batch(const RowArray& array);
// Where neighbouring rows are neighbours in memory: how many rows lie before the first whole cache line. A batch that
// begins with a line shares none with another one.
int rows_to_line(const RowArray& array);

}  // namespace logloss
