// SPDX-License-Identifier: BSD-3-Clause
// The one list of kernels: what every ISA level provides, by storage type. Adding an operation is one line here and
// one in the unit that compiles it, which bears the name of its group: softmax_kernels.cpp, ... Units compile side by
// side, so the longest of them decides how long an install takes on many cores.
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

struct SoftmaxKernels {
  KernelsByDType<SoftmaxBatch> log_softmax;
  KernelsByDType<SoftmaxBatch> softmax;
  KernelsByDType<SoftmaxBatch> log_softmax_backward;
  KernelsByDType<SoftmaxBatch> softmax_backward;
  KernelsByDType<RowValueBatch> logsumexp;
  KernelsByDType<RowValueBatch> logsumexp_backward;
};

struct ClassLossKernels {
  KernelsByDType<CrossEntropyBatch> cross_entropy;
  KernelsByDType<NllLossBatch> nll_loss;
};

struct DivergenceKernels {
  KernelsByDType<RowValueBatch> entropy;
  KernelsByDType<RowValueBatch> entropy_backward;
  KernelsByDType<RowValueBatch> entropy_with_logits;
  KernelsByDType<RowValueBatch> entropy_with_logits_backward;
  KernelsByDType<DivergenceBatch> kl_div_with_logits;
  KernelsByDType<CosineBatch> cosine_embedding_loss;
};

struct ElementwiseKernels {
  KernelsByDType<ElementBatch> sigmoid;
  KernelsByDType<ElementBatch> log_sigmoid;
  KernelsByDType<ElementBatch> sigmoid_backward;
  KernelsByDType<ElementBatch> log_sigmoid_backward;
  KernelsByDType<ElementBatch> binary_cross_entropy;
  KernelsByDType<ElementBatch> binary_cross_entropy_with_logits;
  KernelsByDType<ElementBatch> kl_div;
  KernelsByDType<ElementBatch> kl_div_log_target;
  KernelsByDType<ElementBatch> loss_sum;  // exact, of losses of an input of that dtype
};

struct KernelTable {
  const char* isa;
  const SoftmaxKernels& softmax;
  const ClassLossKernels& class_loss;
  const DivergenceKernels& divergence;
  const ElementwiseKernels& elementwise;

  KernelsByDType<ChunkBatch> sweep_chunk;
  KernelsByDType<ChunkJoin> join_chunks;
  Kernel<WindowCopy> copy_window;

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
