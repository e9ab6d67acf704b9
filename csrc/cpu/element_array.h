// SPDX-License-Identifier: BSD-3-Clause
// ElementArray: any strided array of real numbers seen as a sequence of elements, and the contiguous batches of them
// that kernels take.
#pragma once

#include <cstdint>
#include <vector>

#include "common/args.h"
#include "common/dtypes.h"

namespace logloss {

inline constexpr int kMaxElementDims = 64;

// How a number is stored; the first four are those of DType.
enum class Storage : int {
  float16,
  bfloat16,
  float32,
  float64,
  int8,
  int16,
  int32,
  int64,
  uint8,
  uint16,
  uint32,
  uint64
};
constexpr Storage storage_of(DType dtype) { return static_cast<Storage>(dtype); }

// Elements in C order of the axes. Strides are in bytes and may have any sign, or be zero: a broadcast array.
struct ElementArray {
  char* data = nullptr;
  Storage storage = Storage::float32;
  bool byte_swapped = false;
  int dims = 0;
  std::int64_t shape[kMaxElementDims];
  std::int64_t stride[kMaxElementDims];

  std::int64_t size() const;
};

// Brings arrays of one shape to the order in which the first lies in memory, and joins axes that all of them can join:
// operands that are laid out alike become plain sequences. Null pointers are passed over.
void align_layouts(const std::vector<ElementArray*>& arrays);

// A part of an array for one worker: a pointer into the array itself, or a converted copy of at most kMaxElements. Of
// what repeats, such as a row of weights for every sample, one copy serves all parts.
class ElementWindow {
 public:
  enum class Use { read, write };

  // `array` may be null: pointers are then null. Kernels see elements of type `as`.
  ElementWindow(const ElementArray* array, DType as, Use use);

  // Whether parts lie in the array itself.
  bool direct() const { return direct_; }
  // Makes elements [first, first + count) available; copies them in if they are to be read.
  void* open(std::int64_t first, int count);
  // Copies written elements back.
  void close();

 private:
  void copy(bool into_window);

  const ElementArray* array_;
  DType as_;
  Use use_;
  bool direct_ = false;
  std::int64_t period_ = 0;  // after how many elements the array repeats, if that is at most kMaxElements
  std::int64_t first_ = 0;
  int count_ = 0;
  std::vector<char> buffer_;
};

}  // namespace logloss
