// SPDX-License-Identifier: BSD-3-Clause
#include "cpu/class_indices.h"

#include <type_traits>

#include "common/args.h"

namespace logloss {
namespace {

using baseline::ExactSum;

// What a target is, without branches or comparisons of 64 bits, which SSE2 does not have. A target comes as its low 64
// bits: a uint64 beyond int64 becomes a negative number, which is no class either.
class Classify {
 public:
  Classify(std::int64_t classes, std::optional<std::int64_t> ignored)
      : last_class_(static_cast<std::uint64_t>(classes - 1)),
        ignored_(static_cast<std::uint64_t>(ignored.value_or(0))),
        any_ignored_(ignored ? ~std::uint64_t{0} : 0) {}

  template <class T>
  static std::uint64_t word(T target) {
    return static_cast<std::uint64_t>(static_cast<std::int64_t>(target));
  }
  // The sign bit tells: t is negative, or beyond the last class.
  std::uint64_t no_class(std::uint64_t t) const { return t | (last_class_ - t); }
  // All bits or none.
  std::uint64_t is_ignored(std::uint64_t t) const {
    const std::uint64_t difference = t ^ ignored_;
    const std::uint64_t negative_unless_zero = difference | (0 - difference);
    return (0 - (~negative_unless_zero >> 63)) & any_ignored_;
  }
  // The sign bit tells.
  std::uint64_t is_bad(std::uint64_t t) const { return no_class(t) & ~is_ignored(t); }
  bool ignores_a_class() const { return any_ignored_ && ignored_ <= last_class_; }

 private:
  std::uint64_t last_class_, ignored_, any_ignored_;
};

bool has_sign(std::uint64_t word) { return word >> 63 != 0; }

static_assert(kIgnored == -1);  // all bits of is_ignored, joined with any target

// f(value of the integer type that `storage` names)
template <class F>
void with_integer(Storage storage, F f) {
  switch (storage) {
    case Storage::int8:
      return f(std::int8_t{});
    case Storage::int16:
      return f(std::int16_t{});
    case Storage::int32:
      return f(std::int32_t{});
    case Storage::uint8:
      return f(std::uint8_t{});
    case Storage::uint16:
      return f(std::uint16_t{});
    case Storage::uint32:
      return f(std::uint32_t{});
    case Storage::uint64:
      return f(std::uint64_t{});
    default:
      return f(std::int64_t{});
  }
}

template <class T>
ExactSum sum_of_weights(const T* weight, std::int64_t classes, const std::int64_t* rows, std::int64_t n) {
  ExactSum sum;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t row = __atomic_load_n(rows + i, __ATOMIC_RELAXED);  // once: another thread may write there
    if (0 <= row && row < classes) sum.add(static_cast<double>(weight[row]));
  }
  return sum;
}

}  // namespace

ClassIndices::ClassIndices(const void* target, Storage storage, std::int64_t n, std::int64_t classes,
                           std::optional<std::int64_t> ignored) {
  with_integer(storage, [&](auto type) { scan(static_cast<const decltype(type)*>(target), n, classes, ignored); });
}

template <class T>
void ClassIndices::scan(const T* target, std::int64_t n, std::int64_t classes, std::optional<std::int64_t> ignored) {
  const Classify classify(classes, ignored);
  if constexpr (std::is_same_v<T, std::int64_t>) {
    std::uint64_t any_other = 0;
    for (std::int64_t i = 0; i < n; ++i) any_other |= classify.no_class(Classify::word(target[i]));
    if (!has_sign(any_other) && !classify.ignores_a_class()) {
      rows_ = target;
      valid_ = n;
      return;
    }
  }
  copy_ = std::make_unique_for_overwrite<std::int64_t[]>(static_cast<std::size_t>(n));
  rows_ = copy_.get();
  std::int64_t* rows = copy_.get();
  std::uint64_t any_bad = 0, ignored_rows = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint64_t t = Classify::word(target[i]);
    any_bad |= classify.is_bad(t);
    ignored_rows -= classify.is_ignored(t);
    rows[i] = static_cast<std::int64_t>(t | classify.is_ignored(t));
  }
  valid_ = n - static_cast<std::int64_t>(ignored_rows);
  for (std::int64_t i = 0; has_sign(any_bad) && first_bad_ < 0 && i < n; ++i) {
    if (has_sign(classify.is_bad(Classify::word(target[i])))) first_bad_ = i;
  }
}

ExactSum sum_of_weights(const void* weight, std::int64_t classes, DType compute, const std::int64_t* rows,
                        std::int64_t n) {
  if (compute == DType::float64) return sum_of_weights(static_cast<const double*>(weight), classes, rows, n);
  return sum_of_weights(static_cast<const float*>(weight), classes, rows, n);
}

}  // namespace logloss
