// SPDX-License-Identifier: BSD-3-Clause
#include "cpu/row_array.h"

#include <algorithm>
#include <cstring>

namespace logloss {
namespace {

std::uint16_t swap_bytes(std::uint16_t a) { return __builtin_bswap16(a); }
std::uint32_t swap_bytes(std::uint32_t a) { return __builtin_bswap32(a); }
std::uint64_t swap_bytes(std::uint64_t a) { return __builtin_bswap64(a); }

// f(an integer of the size of an element)
template <class F>
void with_word_of(DType dtype, F f) {
  switch (item_size(dtype)) {
    case 2:
      return f(std::uint16_t{});
    case 4:
      return f(std::uint32_t{});
    default:
      return f(std::uint64_t{});
  }
}

// Rows at `rows`, their elements `stride` bytes apart, and the same rows packed one after the other.
struct PackedRows {
  void* const* rows;
  std::int64_t stride;
  char* packed;
  int count;
  std::int64_t classes;
  bool swap;
};

// Copies one way or the other. Classes outside, rows inside: where neighbouring rows share a cache line, the line is
// used while it is there.
template <class Word, bool kPack>
void copy_words(const PackedRows& copy) {
  constexpr std::int64_t kSize = sizeof(Word);
  bool adjacent = !copy.swap;
  const auto row_at = [&](int row) { return static_cast<char*>(copy.rows[row]); };
  for (int row = 1; row < copy.count; ++row) adjacent = adjacent && row_at(row) == row_at(0) + row * kSize;
  const auto move = [](char* from_to, char* packed) {
    kPack ? std::memcpy(packed, from_to, kSize) : std::memcpy(from_to, packed, kSize);
  };
  for (std::int64_t c = 0; c < copy.classes; ++c) {
    char* packed = copy.packed + c * kSize;
    const std::int64_t row_bytes = copy.classes * kSize;
    if (adjacent) {
      char* line = row_at(0) + c * copy.stride;
      for (int row = 0; row < copy.count; ++row) move(line + row * kSize, packed + row * row_bytes);
      continue;
    }
    for (int row = 0; row < copy.count; ++row) {
      char* element = row_at(row) + c * copy.stride;
      Word word;
      std::memcpy(&word, kPack ? element : packed + row * row_bytes, sizeof word);
      if (copy.swap) word = swap_bytes(word);
      std::memcpy(kPack ? packed + row * row_bytes : element, &word, sizeof word);
    }
  }
}

template <class Word>
void copy_words(const PackedRows& copy, bool pack) {
  pack ? copy_words<Word, true>(copy) : copy_words<Word, false>(copy);
}

// Rows at `rows`, their elements `stride` bytes apart, and the same rows side by side, at `beside`.
struct RowsBesideRows {
  void* const* rows;
  std::int64_t stride;
  void* const* beside;
  int count;
  std::int64_t classes;
};

// Copies one way or the other, class by class, in runs of rows that are neighbours in memory. The runs are too far
// apart for the hardware to see the next one coming: it is asked for. (2 x 1000 x 64 x 64 on AVX-512, one thread: 3.4
// ms for the copies of the input and 16 for those of the result, 2.2 and 2.8 so; where a class is 16 KiB from the next,
// their lines share few sets of a cache, and what is asked for long ahead is gone again.)
template <class Word, bool kToSide>
void copy_classes_of(const RowsBesideRows& copy) {
  constexpr std::int64_t kSize = sizeof(Word), kGroup = kRowsSideBySide * kSize, kLine = 64, kClassesAhead = 4;
  const auto move = [](char* far, char* beside, std::size_t bytes) {
    kToSide ? std::memcpy(beside, far, bytes) : std::memcpy(far, beside, bytes);
  };
  for (int row = 0; row < copy.count;) {
    const auto address_of = [&](int r) { return static_cast<char*>(copy.rows[r]); };
    int end = row + 1;
    while (end < copy.count && address_of(end) == address_of(row) + (end - row) * kSize) ++end;
    for (std::int64_t c = 0; c < copy.classes; ++c) {
      char* far = address_of(row) + c * copy.stride;
      if (c + kClassesAhead < copy.classes) {
        const char* ahead = far + kClassesAhead * copy.stride;
        for (std::int64_t at = 0; at < (end - row) * kSize; at += kLine) __builtin_prefetch(ahead + at, !kToSide);
      }
      for (int first = row; first < end;) {
        const int in_group = kRowsSideBySide - first % kRowsSideBySide, rows = std::min(end - first, in_group);
        char* const beside = static_cast<char*>(copy.beside[first]) + c * kGroup;
        rows == kRowsSideBySide ? move(far, beside, kGroup) : move(far, beside, static_cast<std::size_t>(rows * kSize));
        first += rows;
        far += rows * kSize;
      }
    }
    row = end;
  }
}

template <class Word>
void copy_classes_of(const RowsBesideRows& copy, bool to_side) {
  to_side ? copy_classes_of<Word, true>(copy) : copy_classes_of<Word, false>(copy);
}

}  // namespace

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

void RowWindow::open(std::int64_t first, int count) {
  count_ = count;
  if (layout_ == Layout::in_place || (layout_ == Layout::contiguous && array_->direct())) {
    return array_->addresses(first, count, pointers_);
  }
  array_->addresses(first, count, addresses_);
  const std::int64_t item = item_size(array_->dtype);
  const bool side_by_side = layout_ == Layout::side_by_side;
  const int rows = side_by_side ? (count + kRowsSideBySide - 1) / kRowsSideBySide * kRowsSideBySide : count;
  buffer_.resize(static_cast<std::size_t>(rows * array_->classes * item) + kAlignment);
  const std::uintptr_t start = reinterpret_cast<std::uintptr_t>(buffer_.data());
  char* const window = buffer_.data() + (kAlignment - start % kAlignment) % kAlignment;
  const std::int64_t row_bytes = array_->classes * item;
  if (side_by_side) {
    for (int group = 0; group < count; group += kRowsSideBySide) {
      for (int i = 0; i < kRowsSideBySide; ++i) pointers_[group + i] = window + group * row_bytes + i * item;
    }
  } else {
    for (int row = 0; row < count; ++row) pointers_[row] = window + row * row_bytes;
  }
  if (use_ == Use::read) side_by_side ? copy_classes(true) : copy_rows(true);
}

void RowWindow::close() {
  if (use_ == Use::read) return;
  if (layout_ == Layout::side_by_side) {
    copy_classes(false);
  } else if (!array_->direct()) {
    copy_rows(false);
  }
}

void RowWindow::copy_classes(bool into_window) {
  const RowsBesideRows copy{addresses_, array_->class_stride, pointers_, count_, array_->classes};
  with_word_of(array_->dtype, [&](auto word) { copy_classes_of<decltype(word)>(copy, into_window); });
}

void RowWindow::copy_rows(bool into_window) {
  const PackedRows copy{addresses_, array_->class_stride, static_cast<char*>(pointers_[0]),
                        count_,     array_->classes,      array_->byte_swapped};
  with_word_of(array_->dtype, [&](auto word) { copy_words<decltype(word)>(copy, into_window); });
}

int rows_per_batch(const RowArray& array) {
  constexpr std::int64_t kBatchBytes = 256 * 1024;
  constexpr std::int64_t kCacheLine = 64;
  const std::int64_t row_bytes = std::max<std::int64_t>(array.classes * item_size(array.dtype), 1);
  const std::int64_t fewest = array.direct() ? 1 : kCacheLine / item_size(array.dtype);
  const std::int64_t rows = std::clamp<std::int64_t>(kBatchBytes / row_bytes, fewest, kMaxRows);
  return static_cast<int>(array.side_by_side() ? rows / kRowsSideBySide * kRowsSideBySide : rows);
}

}  // namespace logloss
