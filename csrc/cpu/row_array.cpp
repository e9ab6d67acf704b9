// SPDX-License-Identifier: BSD-3-Clause
#include "cpu/row_array.h"

#include <algorithm>

#include "cpu/caches.h"
#include "cpu/dispatch.h"

namespace logloss {

std::int64_t RowArray::rows() const {
  std::int64_t product = 1;
  for (int d = 0; d < row_dims; ++d) product *= shape[d];
  return product;
}

bool RowArray::readable_in_place() const {
  // Unaligned elements are legal NumPy arrays but not legal C++ objects.
  std::uintptr_t misaligned = reinterpret_cast<std::uintptr_t>(data) | static_cast<std::uintptr_t>(class_stride);
  for (int d = 0; d < row_dims; ++d) misaligned |= static_cast<std::uintptr_t>(stride[d]);
  return !byte_swapped && misaligned % static_cast<std::uintptr_t>(item_size(dtype)) == 0;
}

bool RowArray::direct() const { return (classes <= 1 || class_stride == item_size(dtype)) && readable_in_place(); }

bool RowArray::side_by_side() const {
  return !direct() && !byte_swapped && classes <= kMostClassesSideBySide && row_dims > 0 &&
         stride[row_dims - 1] == item_size(dtype);
}

void RowArray::merge_row_dims() {
  int merged = 0;
  for (int d = 0; d < row_dims; ++d) {
    if (shape[d] == 1) continue;
    if (merged > 0 && stride[merged - 1] == shape[d] * stride[d]) {
      shape[merged - 1] *= shape[d];
      stride[merged - 1] = stride[d];
    } else {
      shape[merged] = shape[d];
      stride[merged] = stride[d];
      ++merged;
    }
  }
  row_dims = merged;
}

void RowArray::addresses(std::int64_t first, int count, void** out) const {
  std::int64_t index[kMaxRowDims];
  char* address = data;
  for (int d = row_dims - 1; d >= 0; --d) {
    index[d] = first % shape[d];
    first /= shape[d];
    address += index[d] * stride[d];
  }
  const int last = row_dims - 1;
  for (int row = 0; row < count;) {
    // Rows along the last axis are equally spaced.
    const std::int64_t along = last < 0 ? 1 : shape[last] - index[last], step = last < 0 ? 0 : stride[last];
    const int end = static_cast<int>(std::min<std::int64_t>(count, row + along));
    for (; row < end; ++row, address += step) out[row] = address;
    if (row == count) return;
    address -= shape[last] * step;
    index[last] = 0;
    for (int d = last - 1; d >= 0; --d) {
      address += stride[d];
      if (++index[d] < shape[d]) break;
      address -= shape[d] * stride[d];
      index[d] = 0;
    }
  }
}

OpenRows RowWindow::open(std::int64_t first, int count) {
  count_ = count;
  copied_ = false;
  array_->addresses(first, count, addresses_);
  const std::int64_t item = item_size(array_->dtype), class_stride = array_->class_stride / item;
  if (layout_ == Layout::in_place) return {addresses_, class_stride, false};
  if (layout_ == Layout::contiguous && array_->direct()) return {addresses_, 1, past_caches_};
  bool at_lines = false;
  if (layout_ == Layout::side_by_side && usable_side_by_side(&at_lines)) {
    return {addresses_, class_stride, past_caches_ && at_lines};
  }
  copied_ = true;
  place_copies();
  if (use_ == Use::read) copy(true);
  return {copies_, layout_ == Layout::side_by_side ? kRowsSideBySide : 1, false};
}

void RowWindow::close() {
  if (copied_ && use_ == Use::write) copy(false);
}

// Whether a kernel may work on these rows, whole groups side by side, where they lie, and whether their groups begin
// and end with cache lines. It goes class by class, a line or two at a time: more classes are more than the hardware
// follows. A line that belongs to two groups is gone when the second one wants it, if those of all classes fall into
// the same sets of a cache; and copies make lines of what goes past the caches in halves of one, as 16-bit results do.
bool RowWindow::usable_side_by_side(bool* at_lines) const {
  constexpr std::int64_t kPage = 4096;
  const std::int64_t item = item_size(array_->dtype);
  if (array_->classes > kFewClasses || !array_->readable_in_place() || count_ % kRowsSideBySide != 0) return false;
  const bool half_lines = kRowsSideBySide * item < kCacheLine;
  if (half_lines && (past_caches_ || array_->class_stride % kPage == 0)) return false;
  std::uintptr_t beyond_lines = static_cast<std::uintptr_t>(array_->class_stride);
  for (int group = 0; group < count_; group += kRowsSideBySide) {
    const int end = group + kRowsSideBySide;
    if (end_of_run(addresses_, group, end, item) != end) return false;
    beyond_lines |= reinterpret_cast<std::uintptr_t>(addresses_[group]);
  }
  *at_lines = beyond_lines % kCacheLine == 0;
  return *at_lines || array_->class_stride % kPage != 0;
}

void RowWindow::place_copies() {
  if (count_ <= places_) return;
  const std::int64_t item = item_size(array_->dtype), row_bytes = array_->classes * item;
  const bool side_by_side = layout_ == Layout::side_by_side;
  // Contiguous rows: an odd number of lines each, so that none shares one, and those of a column fall into all sets of
  // a cache. (2 x 1000 x 64 x 64, float32, on Emerald Rapids: copying takes 0.8 of the time.)
  const std::int64_t pitch = side_by_side ? row_bytes : ((row_bytes + kCacheLine - 1) / kCacheLine | 1) * kCacheLine;
  places_ = side_by_side ? (count_ + kRowsSideBySide - 1) / kRowsSideBySide * kRowsSideBySide : count_;
  buffer_.resize(static_cast<std::size_t>(places_ * pitch + kCacheLine));
  const std::uintptr_t beyond = reinterpret_cast<std::uintptr_t>(buffer_.data()) % kCacheLine;
  char* const window = buffer_.data() + (kCacheLine - static_cast<std::int64_t>(beyond)) % kCacheLine;
  for (int row = 0; row < places_; ++row) {
    const int in_group = side_by_side ? row % kRowsSideBySide : 0;
    copies_[row] = window + (row - in_group) * pitch + in_group * item;
  }
}

void RowWindow::copy(bool into_window) {
  kernels().copy_window({addresses_, array_->class_stride, copies_, count_, array_->classes, item_size(array_->dtype),
                         layout_ == Layout::side_by_side, array_->byte_swapped, into_window,
                         past_caches_ && !into_window});
}

int rows_per_batch(const RowArray& array) {
  constexpr std::int64_t kBatchBytes = 256 * 1024;
  const std::int64_t row_bytes = std::max<std::int64_t>(array.classes * item_size(array.dtype), 1);
  if (array.direct()) return static_cast<int>(std::clamp<std::int64_t>(kBatchBytes / row_bytes, 1, kMaxRows));
  const std::int64_t line = std::max<std::int64_t>(kCacheLine / item_size(array.dtype), kRowsSideBySide);
  return static_cast<int>(std::clamp<std::int64_t>(kBatchBytes / row_bytes, line, kMaxRows) / line * line);
}

int rows_to_line(const RowArray& array) {
  constexpr std::int64_t kFewestNeighbours = 16 * kMaxRows;
  const std::int64_t item = item_size(array.dtype);
  const int last = array.row_dims - 1;
  if (array.direct() || last < 0 || array.stride[last] != item || array.shape[last] < kFewestNeighbours) return 0;
  const std::uintptr_t beyond = reinterpret_cast<std::uintptr_t>(array.data) % kCacheLine;
  return static_cast<int>((kCacheLine - static_cast<std::int64_t>(beyond)) % kCacheLine / item);
}

}  // namespace logloss
