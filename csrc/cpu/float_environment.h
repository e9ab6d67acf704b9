// SPDX-License-Identifier: BSD-3-Clause
// The default floating-point environment (rounding to nearest, no flushing of subnormals, no traps) for the time of a
// scope: callers may have set another one.
#pragma once

#include <cfenv>

namespace logloss {

class DefaultFloatEnvironment {
 public:
  DefaultFloatEnvironment() {
    std::fegetenv(&saved_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~DefaultFloatEnvironment() { std::fesetenv(&saved_); }
  DefaultFloatEnvironment(const DefaultFloatEnvironment&) = delete;
  DefaultFloatEnvironment& operator=(const DefaultFloatEnvironment&) = delete;

 private:
  std::fenv_t saved_;
};

}  // namespace logloss
