// SPDX-License-Identifier: BSD-3-Clause
// The one list of kernels: what every ISA level provides, by storage type. Adding an operation is one line here and
// one in kernels.cpp.
#pragma once

#include <cstdint>

#include "common/args.h"
#include "common/dtypes.h"

namespace logloss {

template <class Batch>
using Kernel = void (*)(const Batch&);

// One kernel for each DType, in its order.
template <class Batch>
struct KernelsByDType {
  Kernel<Batch> kernel[kDTypes];

  Kernel<Batch> operator[](DType dtype) const { return kernel[static_cast<int>(dtype)]; }
};

// An elementwise function over contiguous values.
template <class T>
using ElementwiseKernel = void (*)(const T* x, T* y, std::int64_t n);

struct KernelTable {
  const char* isa;

  KernelsByDType<SoftmaxBatch> log_softmax;
  KernelsByDType<SoftmaxBatch> softmax;
  KernelsByDType<SoftmaxBatch> log_softmax_backward;
  KernelsByDType<SoftmaxBatch> softmax_backward;
  KernelsByDType<LogSumExpBatch> logsumexp;
  KernelsByDType<LogSumExpBatch> logsumexp_backward;
  KernelsByDType<CrossEntropyBatch> cross_entropy;
  KernelsByDType<NllLossBatch> nll_loss;

  // For tests: the functions of vec_math.h, and a bare maximum as the measure of read bandwidth.
  ElementwiseKernel<float> exp_float, log_float, log1p_float;
  ElementwiseKernel<double> exp_double, log_double, log1p_double;
  float (*max_float)(const float* x, std::int64_t n);
};

// The tables that are compiled in, null where the target has no such level.
const KernelTable* portable_kernels();
const KernelTable* avx2_kernels();
const KernelTable* avx512_kernels();
const KernelTable* neon_kernels();

}  // namespace logloss
