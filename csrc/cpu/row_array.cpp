// SPDX-License-Identifier: BSD-3-Clause
#include "cpu/row_array.h"

#include <algorithm>
#include <cstring>

namespace logloss {
namespace {

constexpr std::int64_t kLine = 64;  // bytes of a cache line

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

// Element by element, one way or the other: classes [first_class, classes) of rows [first, end). Classes outside, rows
// inside: where rows share a cache line, the line is used while it is there.
template <class Word, bool kPack>
void copy_single_words(const PackedRows& copy, int first, int end, std::int64_t first_class) {
  constexpr std::int64_t kSize = sizeof(Word);
  const std::int64_t row_bytes = copy.classes * kSize;
  for (std::int64_t c = first_class; c < copy.classes; ++c) {
    for (int row = first; row < end; ++row) {
      char* const element = static_cast<char*>(copy.rows[row]) + c * copy.stride;
      char* const packed = copy.packed + row * row_bytes + c * kSize;
      Word word;
      std::memcpy(&word, kPack ? element : packed, kSize);
      if (copy.swap) word = swap_bytes(word);
      std::memcpy(kPack ? packed : element, &word, kSize);
    }
  }
}

// 16 bytes of words, and the two halves of two of them taken in turns.
template <class Word>
struct Words;
template <>
struct Words<std::uint16_t> {
  typedef std::uint16_t Reg __attribute__((vector_size(16)));
  static Reg low(Reg a, Reg b) { return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
  static Reg high(Reg a, Reg b) { return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15); }
};
template <>
struct Words<std::uint32_t> {
  typedef std::uint32_t Reg __attribute__((vector_size(16)));
  static Reg low(Reg a, Reg b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
  static Reg high(Reg a, Reg b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }
};
template <>
struct Words<std::uint64_t> {
  typedef std::uint64_t Reg __attribute__((vector_size(16)));
  static Reg low(Reg a, Reg b) { return __builtin_shufflevector(a, b, 0, 2); }
  static Reg high(Reg a, Reg b) { return __builtin_shufflevector(a, b, 1, 3); }
};

// A square of words, as many as a register holds each way, read from lines `from_stride` bytes apart and written
// transposed. Each round deals the first half of the registers and the second one like a pack of cards.
template <class Word>
void transpose_square(const char* from, std::int64_t from_stride, char* to, std::int64_t to_stride) {
  using W = Words<Word>;
  constexpr int kSide = 16 / sizeof(Word);
  typename W::Reg line[kSide], dealt[kSide];
  LOGLOSS_UNROLL for (int i = 0; i < kSide; ++i) std::memcpy(&line[i], from + i * from_stride, 16);
  for (int round = 1; round < kSide; round *= 2) {
    LOGLOSS_UNROLL for (int i = 0; i < kSide / 2; ++i) {
      dealt[2 * i] = W::low(line[i], line[i + kSide / 2]);
      dealt[2 * i + 1] = W::high(line[i], line[i + kSide / 2]);
    }
    LOGLOSS_UNROLL for (int i = 0; i < kSide; ++i) line[i] = dealt[i];
  }
  LOGLOSS_UNROLL for (int i = 0; i < kSide; ++i) std::memcpy(to + i * to_stride, &line[i], 16);
}

// Rows [first, end), which are neighbours in memory.
template <class Word, bool kPack>
void copy_adjacent_words(const PackedRows& copy, int first, int end) {
  constexpr std::int64_t kSize = sizeof(Word);
  constexpr int kSide = 16 / kSize, kTile = kLine / kSize;
  const std::int64_t row_bytes = copy.classes * kSize;
  const std::int64_t whole_classes = copy.classes / kSide * kSide;
  const int whole_rows = first + (end - first) / kSide * kSide;
  char* const line = static_cast<char*>(copy.rows[first]);
  char* const packed = copy.packed + first * row_bytes;
  for (std::int64_t tile = 0; tile < whole_classes; tile += kTile) {
    const std::int64_t classes_end = std::min(tile + kTile, whole_classes);
    for (std::int64_t c = classes_end; c < std::min(classes_end + kTile, copy.classes); ++c) {
      for (std::int64_t at = 0; at < (end - first) * kSize; at += kLine) {
        __builtin_prefetch(line + c * copy.stride + at, !kPack, 2);
      }
    }
    for (int rows = first; rows < whole_rows; rows += kTile) {
      const int rows_end = std::min(rows + kTile, whole_rows);
      for (std::int64_t c = tile; c < classes_end; c += kSide) {
        for (int row = rows; row < rows_end; row += kSide) {
          char* const far = line + c * copy.stride + (row - first) * kSize;
          char* const near = packed + (row - first) * row_bytes + c * kSize;
          kPack ? transpose_square<Word>(far, copy.stride, near, row_bytes)
                : transpose_square<Word>(near, row_bytes, far, copy.stride);
        }
      }
    }
  }
  copy_single_words<Word, kPack>(copy, first, whole_rows, whole_classes);
  copy_single_words<Word, kPack>(copy, whole_rows, end, 0);
}

// The end of the run of rows from `row` on that are neighbours in memory.
int end_of_run(void* const* rows, int row, int count, std::int64_t item) {
  int end = row + 1;
  while (end < count && rows[end] == static_cast<char*>(rows[row]) + (end - row) * item) ++end;
  return end;
}

template <class Word, bool kPack>
void copy_words(const PackedRows& copy) {
  if (copy.swap) return copy_single_words<Word, kPack>(copy, 0, copy.count, 0);
  constexpr int kSide = 16 / sizeof(Word);
  const auto run_from = [&](int row) { return end_of_run(copy.rows, row, copy.count, sizeof(Word)); };
  for (int row = 0; row < copy.count;) {
    int end = run_from(row);
    if (end - row >= kSide) {
      copy_adjacent_words<Word, kPack>(copy, row, end);
    } else {
      for (int next = end; end < copy.count && (next = run_from(end)) - end < kSide;) end = next;
      copy_single_words<Word, kPack>(copy, row, end, 0);
    }
    row = end;
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
  constexpr std::int64_t kSize = sizeof(Word), kGroup = kRowsSideBySide * kSize, kClassesAhead = 4;
  const auto move = [](char* far, char* beside, std::size_t bytes) {
    kToSide ? std::memcpy(beside, far, bytes) : std::memcpy(far, beside, bytes);
  };
  for (int row = 0; row < copy.count;) {
    const int end = end_of_run(copy.rows, row, copy.count, kSize);
    for (std::int64_t c = 0; c < copy.classes; ++c) {
      char* far = static_cast<char*>(copy.rows[row]) + c * copy.stride;
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
  const std::int64_t row_bytes = std::max<std::int64_t>(array.classes * item_size(array.dtype), 1);
  if (array.direct()) return static_cast<int>(std::clamp<std::int64_t>(kBatchBytes / row_bytes, 1, kMaxRows));
  const std::int64_t line = std::max<std::int64_t>(kLine / item_size(array.dtype), kRowsSideBySide);
  return static_cast<int>(std::clamp<std::int64_t>(kBatchBytes / row_bytes, line, kMaxRows) / line * line);
}

int rows_to_line(const RowArray& array) {
  constexpr std::int64_t kFewestNeighbours = 16 * kMaxRows;
  const std::int64_t item = item_size(array.dtype);
  const int last = array.row_dims - 1;
  if (array.direct() || last < 0 || array.stride[last] != item || array.shape[last] < kFewestNeighbours) return 0;
  const std::uintptr_t beyond = reinterpret_cast<std::uintptr_t>(array.data) % kLine;
  return static_cast<int>((kLine - static_cast<std::int64_t>(beyond)) % kLine / item);
}

}  // namespace logloss
