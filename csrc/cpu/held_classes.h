// SPDX-License-Identifier: BSD-3-Clause
// The targets of a batch of rows.
#pragma once

#include "common/args.h"
#include "cpu/simd.h"

namespace logloss::LOGLOSS_LEVEL {

// The classes of the rows, each read once, so that the class that is looked at is the one that is used: a target that
// another thread has changed since the check counts as ignored if it is no class any more.
class HeldClasses {
 public:
  LOGLOSS_INLINE HeldClasses(const std::int64_t* target, int rows, std::int64_t classes) {
    if (!target) rows = 0;
    for (int row = 0; row < rows; ++row) class_[row] = target[row];
    std::int64_t* const held = loaded_again(class_);  // in one loop GCC reads `target` twice where that is shorter
    std::int64_t any_other = 0;
    for (int row = 0; row < rows; ++row) {
      const std::int64_t t = held[row];
      const std::int64_t other =
          -static_cast<std::int64_t>(static_cast<std::uint64_t>(t) >= static_cast<std::uint64_t>(classes));
      held[row] = t | other;
      any_other |= other;
    }
    static_assert(kIgnored == -1);
    any_ignored_ = any_other != 0;
  }
  LOGLOSS_INLINE std::int64_t operator[](int row) const { return class_[row]; }
  LOGLOSS_INLINE bool ignored(int row) const { return any_ignored_ && class_[row] == kIgnored; }
  LOGLOSS_INLINE bool any_ignored() const { return any_ignored_; }

 private:
  std::int64_t class_[kMaxRows];
  bool any_ignored_;
};

}  // namespace logloss::LOGLOSS_LEVEL
