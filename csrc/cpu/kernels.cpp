// SPDX-License-Identifier: BSD-3-Clause
// The table of all kernels of a level, and those that belong to no single operation. Compiled once per ISA level, with
// that level's flags and LOGLOSS_LEVEL set to its name; exports one function.
#include "cpu/kernel_groups.h"
#include "cpu/long_rows.h"
#include "cpu/vec_math.h"
#include "cpu/window_copies.h"

#define LOGLOSS_JOIN_(a, b) a##b
#define LOGLOSS_JOIN(a, b) LOGLOSS_JOIN_(a, b)
#define LOGLOSS_TEXT_(a) #a
#define LOGLOSS_TEXT(a) LOGLOSS_TEXT_(a)

namespace logloss {
namespace LOGLOSS_LEVEL {

template <class T, class F>
LOGLOSS_INLINE void elementwise(const T* x, T* y, std::int64_t n, F f) {
  for_each_vector(
      n, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA { store(y + j, lanes, f(load(x + j, lanes, T(1)))); });
}
template <class T>
void exp_of(const T* x, T* y, std::int64_t n) {
  elementwise(x, y, n, [](Vec<T> a) LOGLOSS_INLINE_LAMBDA { return exp(a); });
}
template <class T>
void log_of(const T* x, T* y, std::int64_t n) {
  elementwise(x, y, n, [](Vec<T> a) LOGLOSS_INLINE_LAMBDA { return log(a); });
}
template <class T>
void log1p_of(const T* x, T* y, std::int64_t n) {
  elementwise(x, y, n, [](Vec<T> a) LOGLOSS_INLINE_LAMBDA { return log1p(a); });
}

float max_float(const float* x, std::int64_t n) { return max_of(x, n); }

constexpr KernelTable kTable = {
    .isa = LOGLOSS_TEXT(LOGLOSS_LEVEL),
    .softmax = kSoftmaxKernels,
    .class_loss = kClassLossKernels,
    .divergence = kDivergenceKernels,
    .elementwise = kElementwiseKernels,
    .sweep_chunk = LOGLOSS_BY_DTYPE(sweep_chunk_alone),
    .join_chunks = LOGLOSS_BY_DTYPE(join_chunks),
    .copy_window = copy_window,
    .exp_float = exp_of<float>,
    .log_float = log_of<float>,
    .log1p_float = log1p_of<float>,
    .exp_double = exp_of<double>,
    .log_double = log_of<double>,
    .log1p_double = log1p_of<double>,
    .max_float = max_float,
};

}  // namespace LOGLOSS_LEVEL

const KernelTable* LOGLOSS_JOIN(LOGLOSS_LEVEL, _kernels)() { return &LOGLOSS_LEVEL::kTable; }

}  // namespace logloss
