// SPDX-License-Identifier: BSD-3-Clause
#include "cpu/element_array.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <type_traits>

#include "common/half.h"

namespace logloss {
namespace {

using baseline::narrow_bfloat16;
using baseline::narrow_half;
using baseline::widen;

// f(value of the type that `dtype` names)
template <class F>
void with_type(DType dtype, F f) {
  switch (dtype) {
    case DType::float16:
      return f(Half{});
    case DType::bfloat16:
      return f(BFloat16{});
    case DType::float32:
      return f(float{});
    case DType::float64:
      return f(double{});
  }
}

// f(value of the type that `storage` names)
template <class F>
void with_type(Storage storage, F f) {
  switch (storage) {
    case Storage::float16:
    case Storage::bfloat16:
    case Storage::float32:
    case Storage::float64:
      return with_type(static_cast<DType>(storage), f);
    case Storage::int8:
      return f(std::int8_t{});
    case Storage::int16:
      return f(std::int16_t{});
    case Storage::int32:
      return f(std::int32_t{});
    case Storage::int64:
      return f(std::int64_t{});
    case Storage::uint8:
      return f(std::uint8_t{});
    case Storage::uint16:
      return f(std::uint16_t{});
    case Storage::uint32:
      return f(std::uint32_t{});
    case Storage::uint64:
      return f(std::uint64_t{});
  }
}

template <class From>
auto number(From value) {
  if constexpr (std::is_arithmetic_v<From>) {
    return value;
  } else {
    return widen(value);
  }
}

template <class To, class From>
To convert(From value) {
  if constexpr (std::is_same_v<To, From>) {
    return value;
  } else if constexpr (std::is_same_v<To, Half>) {
    return narrow_half(static_cast<float>(number(value)));
  } else if constexpr (std::is_same_v<To, BFloat16>) {
    return narrow_bfloat16(static_cast<float>(number(value)));
  } else {
    return static_cast<To>(number(value));
  }
}

template <class T, bool kSwap>
T load(const char* p) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, p, sizeof(T));
  if (kSwap) std::reverse(bytes, bytes + sizeof(T));
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

template <bool kSwap, class T>
void store(char* p, T value) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  if (kSwap) std::reverse(bytes, bytes + sizeof(T));
  std::memcpy(p, bytes, sizeof(T));
}

// `count` elements `stride` bytes apart, and where they go to or come from: packed, converted.
struct Run {
  char* strided;
  std::int64_t stride;
  char* packed;
  std::int64_t count;
};

template <class Strided, class Packed, bool kSwap>
void copy_run(Run run, bool pack) {
  constexpr std::int64_t kItem = sizeof(Packed);
  if (std::is_same_v<Strided, Packed> && !kSwap && run.stride == kItem) {
    const auto bytes = static_cast<std::size_t>(run.count * kItem);
    pack ? std::memcpy(run.packed, run.strided, bytes) : std::memcpy(run.strided, run.packed, bytes);
    return;
  }
  if (pack && run.stride == 0) {
    const Packed value = convert<Packed>(load<Strided, kSwap>(run.strided));
    for (std::int64_t i = 0; i < run.count; ++i) store<false>(run.packed + i * kItem, value);
    return;
  }
  for (std::int64_t i = 0; i < run.count; ++i) {
    char* element = run.strided + i * run.stride;
    char* packed = run.packed + i * kItem;
    if (pack) {
      store<false>(packed, convert<Packed>(load<Strided, kSwap>(element)));
    } else {
      store<kSwap>(element, convert<Strided>(load<Packed, false>(packed)));
    }
  }
}

// The place of one element, moving along the last axis and on to the next row of it.
class Cursor {
 public:
  Cursor(const ElementArray& array, std::int64_t position) : array_(array), element_(array.data) {
    for (int d = array.dims - 1; d >= 0; --d) {
      index_[d] = position % array.shape[d];
      position /= array.shape[d];
      element_ += index_[d] * array.stride[d];
    }
  }
  char* element() const { return element_; }
  // How many elements, this one included, the last axis still has.
  std::int64_t left_in_row() const { return array_.shape[array_.dims - 1] - index_[array_.dims - 1]; }
  // At most left_in_row() further.
  void advance(std::int64_t count) {
    int d = array_.dims - 1;
    index_[d] += count;
    element_ += count * array_.stride[d];
    for (; d > 0 && index_[d] == array_.shape[d]; --d) {
      index_[d] = 0;
      ++index_[d - 1];
      element_ += array_.stride[d - 1] - array_.shape[d] * array_.stride[d];
    }
  }

 private:
  const ElementArray& array_;
  char* element_;
  std::int64_t index_[kMaxElementDims];
};

// Whether the elements lie one after the other.
bool is_sequence(const ElementArray& array, std::int64_t item) {
  for (int d = array.dims - 1; d >= 0; --d) {
    if (array.shape[d] > 1 && array.stride[d] != item) return false;
    item *= array.shape[d];
  }
  return true;
}

// After how many elements they repeat for good: the first axes step over nothing. 0 if they do not.
std::int64_t period_of(const ElementArray& array) {
  int repeated = 0;
  while (repeated < array.dims && array.stride[repeated] == 0) ++repeated;
  std::int64_t period = repeated > 0;
  for (int d = repeated; d < array.dims; ++d) period *= array.shape[d];
  return period;
}

}  // namespace

std::int64_t ElementArray::size() const {
  std::int64_t product = 1;
  for (int d = 0; d < dims; ++d) product *= shape[d];
  return product;
}

void align_layouts(const std::vector<ElementArray*>& given) {
  std::vector<ElementArray*> arrays;
  std::copy_if(given.begin(), given.end(), std::back_inserter(arrays), [](ElementArray* a) { return a != nullptr; });
  const ElementArray& leader = *arrays.front();
  std::vector<int> order;
  for (int d = 0; d < leader.dims; ++d) {
    if (leader.shape[d] != 1) order.push_back(d);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return std::abs(leader.stride[a]) > std::abs(leader.stride[b]); });
  for (ElementArray* array : arrays) {
    std::int64_t shape[kMaxElementDims], stride[kMaxElementDims];
    std::copy_n(array->shape, array->dims, shape);
    std::copy_n(array->stride, array->dims, stride);
    array->dims = 0;
    for (const int d : order) {
      array->shape[array->dims] = shape[d];
      array->stride[array->dims++] = stride[d];
    }
  }
  // Axis d joins the one before it if every array steps over it evenly.
  int merged = 0;
  const int dims = static_cast<int>(order.size());
  for (int d = 0; d < dims; ++d) {
    const bool joins = merged > 0 && std::all_of(arrays.begin(), arrays.end(), [&](const ElementArray* a) {
                         return a->stride[merged - 1] == a->shape[d] * a->stride[d];
                       });
    if (!joins) ++merged;
    for (ElementArray* array : arrays) {
      array->shape[merged - 1] = array->shape[d] * (joins ? array->shape[merged - 1] : 1);
      array->stride[merged - 1] = array->stride[d];
    }
  }
  for (ElementArray* array : arrays) {
    array->dims = std::max(merged, 1);
    if (merged == 0) array->shape[0] = 1;
  }
}

ElementWindow::ElementWindow(const ElementArray* array, DType as, Use use) : array_(array), as_(as), use_(use) {
  if (!array) return;
  const std::int64_t item = item_size(as);
  const bool aligned = reinterpret_cast<std::uintptr_t>(array->data) % static_cast<std::uintptr_t>(item) == 0;
  direct_ = is_sequence(*array, item) && aligned && array->storage == storage_of(as) && !array->byte_swapped;
  if (use == Use::read && period_of(*array) <= kMaxElements) period_ = period_of(*array);
}

void* ElementWindow::open(std::int64_t first, int count) {
  if (!array_) return nullptr;
  const std::int64_t item = item_size(as_);
  if (direct_) return array_->data + first * item;
  if (period_) {
    if (buffer_.empty()) {  // a period more than a part: every part begins in the first period
      count_ = static_cast<int>(std::min(array_->size(), period_ + kMaxElements));
      buffer_.resize(static_cast<std::size_t>(count_ * item));
      copy(true);
    }
    return buffer_.data() + first % period_ * item;
  }
  first_ = first;
  count_ = count;
  buffer_.resize(static_cast<std::size_t>(kMaxElements * item));
  if (use_ == Use::read) copy(true);
  return buffer_.data();
}

void ElementWindow::close() {
  if (array_ && !direct_ && use_ == Use::write) copy(false);
}

void ElementWindow::copy(bool into_window) {
  Cursor cursor(*array_, first_);
  Run run{nullptr, array_->stride[array_->dims - 1], buffer_.data(), 0};
  const auto copy_runs = [&](auto copy_one) {
    for (std::int64_t left = count_; left > 0; left -= run.count) {
      run.strided = cursor.element();
      run.count = std::min(left, cursor.left_in_row());
      copy_one(run, into_window);
      run.packed += run.count * item_size(as_);
      cursor.advance(run.count);
    }
  };
  with_type(array_->storage, [&](auto strided) {
    with_type(as_, [&](auto packed) {
      using Strided = decltype(strided);
      using Packed = decltype(packed);
      array_->byte_swapped ? copy_runs([](auto&... a) { copy_run<Strided, Packed, true>(a...); })
                           : copy_runs([](auto&... a) { copy_run<Strided, Packed, false>(a...); });
    });
  });
}

}  // namespace logloss
