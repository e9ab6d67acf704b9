// SPDX-License-Identifier: BSD-3-Clause
// The targets of a batch of rows.
#pragma once

#include "common/args.h"
#include "common/platform.h"

namespace logloss::LOGLOSS_LEVEL {

// The classes of the rows, read once: a target that another thread has changed since the check counts as ignored if it
// is no class any more.
class HeldClasses {
 public:
  LOGLOSS_INLINE HeldClasses(const std::int64_t* target, int rows, std::int64_t classes) {
    std::int64_t any_other = 0;
    for (int row = 0; target && row < rows; ++row) {
      const std::int64_t t = target[row];
      const std::int64_t other =
          -static_cast<std::int64_t>(static_cast<std::uint64_t>(t) >= static_cast<std::uint64_t>(classes));
      class_[row] = t | other;
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
