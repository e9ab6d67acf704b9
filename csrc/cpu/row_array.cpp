// SPDX-License-Identifier: BSD-3-Clause
#include "cpu/row_array.h"

#include <algorithm>
#include <cstring>

namespace logloss {
namespace {

std::uint16_t swap_bytes(std::uint16_t a) { return __builtin_bswap16(a); }
std::uint32_t swap_bytes(std::uint32_t a) { return __builtin_bswap32(a); }
std::uint64_t swap_bytes(std::uint64_t a) { return __builtin_bswap64(a); }

// Rows at `rows`, their elements `stride` bytes apart, and the same rows packed one after the other.
struct PackedRows {
  char* const* rows;
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
  for (int row = 1; row < copy.count; ++row) adjacent = adjacent && copy.rows[row] == copy.rows[0] + row * kSize;
  const auto move = [](char* from_to, char* packed) {
    kPack ? std::memcpy(packed, from_to, kSize) : std::memcpy(from_to, packed, kSize);
  };
  for (std::int64_t c = 0; c < copy.classes; ++c) {
    char* packed = copy.packed + c * kSize;
    const std::int64_t row_bytes = copy.classes * kSize;
    if (adjacent) {
      char* line = copy.rows[0] + c * copy.stride;
      for (int row = 0; row < copy.count; ++row) move(line + row * kSize, packed + row * row_bytes);
      continue;
    }
    for (int row = 0; row < copy.count; ++row) {
      char* element = copy.rows[row] + c * copy.stride;
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

}  // namespace

std::int64_t RowArray::rows() const {
  std::int64_t product = 1;
  for (int d = 0; d < row_dims; ++d) product *= shape[d];
  return product;
}

bool RowArray::direct() const {
  const std::int64_t item = item_size(dtype);
  if (byte_swapped || (classes > 1 && class_stride != item)) return false;
  // Unaligned elements are legal NumPy arrays but not legal C++ objects.
  std::uintptr_t misaligned = reinterpret_cast<std::uintptr_t>(data);
  for (int d = 0; d < row_dims; ++d) misaligned |= static_cast<std::uintptr_t>(stride[d]);
  return misaligned % static_cast<std::uintptr_t>(item) == 0;
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

void RowArray::addresses(std::int64_t first, int count, char** out) const {
  std::int64_t index[kMaxRowDims];
  char* address = data;
  for (int d = row_dims - 1; d >= 0; --d) {
    index[d] = first % shape[d];
    first /= shape[d];
    address += index[d] * stride[d];
  }
  for (int row = 0; row < count; ++row) {
    out[row] = address;
    for (int d = row_dims - 1; d >= 0; --d) {
      address += stride[d];
      if (++index[d] < shape[d]) break;
      address -= shape[d] * stride[d];
      index[d] = 0;
    }
  }
}

void RowWindow::open(std::int64_t first, int count) {
  count_ = count;
  array_->addresses(first, count, addresses_);
  if (array_->direct()) {
    std::copy(addresses_, addresses_ + count, pointers_);
    return;
  }
  const std::int64_t row_bytes = array_->classes * item_size(array_->dtype);
  buffer_.resize(static_cast<std::size_t>(count * row_bytes));
  for (int row = 0; row < count; ++row) pointers_[row] = buffer_.data() + row * row_bytes;
  if (use_ == Use::read) copy_rows(true);
}

void RowWindow::close() {
  if (use_ == Use::write && !array_->direct()) copy_rows(false);
}

void RowWindow::copy_rows(bool into_window) {
  const PackedRows copy{addresses_, array_->class_stride, buffer_.data(),
                        count_,     array_->classes,      array_->byte_swapped};
  switch (item_size(array_->dtype)) {
    case 2:
      return copy_words<std::uint16_t>(copy, into_window);
    case 4:
      return copy_words<std::uint32_t>(copy, into_window);
    default:
      return copy_words<std::uint64_t>(copy, into_window);
  }
}

int rows_per_batch(const RowArray& array) {
  constexpr std::int64_t kBatchBytes = 256 * 1024;
  constexpr std::int64_t kCacheLine = 64;
  const std::int64_t row_bytes = std::max<std::int64_t>(array.classes * item_size(array.dtype), 1);
  const std::int64_t fewest = array.direct() ? 1 : kCacheLine / item_size(array.dtype);
  return static_cast<int>(std::clamp<std::int64_t>(kBatchBytes / row_bytes, fewest, kMaxRows));
}

}  // namespace logloss
