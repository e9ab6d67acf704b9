// SPDX-License-Identifier: BSD-3-Clause
// How the units of one ISA level find each other's kernels.
#pragma once

#include "common/platform.h"
#include "cpu/kernel_table.h"

// A kernel template's instances in the order of DType.
#define LOGLOSS_BY_DTYPE(kernel)                                    \
  {                                                                 \
    {                                                               \
      kernel<Half>, kernel<BFloat16>, kernel<float>, kernel<double> \
    }                                                               \
  }

namespace logloss::LOGLOSS_LEVEL {

extern const SoftmaxKernels kSoftmaxKernels;
extern const ClassLossKernels kClassLossKernels;
extern const DivergenceKernels kDivergenceKernels;
extern const ElementwiseKernels kElementwiseKernels;

}  // namespace logloss::LOGLOSS_LEVEL
