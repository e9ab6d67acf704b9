// SPDX-License-Identifier: BSD-3-Clause
// The operations of the CUDA module as its bindings call them. All pointers are to memory of the current device; every
// call goes to a stream and returns without waiting for it.
#pragma once

#include <cstdint>

#include "common/dtypes.h"
#include "common/platform.h"

namespace logloss::LOGLOSS_LEVEL {

struct Stream {
  void* handle;
};

// A contiguous array (outer, classes, inner); rows = outer * inner.
struct ArrayShape {
  std::int64_t rows;
  std::int64_t classes;
  std::int64_t inner;
};

// What every loss gives: per-sample losses of loss_dtype(dtype), their exact sum, or both; and the factors of its
// gradient: grad_scale * *grad_factor * grad_rows[row], where those that are null count as 1.
struct LossOutputs {
  void* loss = nullptr;
  void* sum = nullptr;  // state of an exact sum, added to
  double grad_scale = 1.0;
  const double* grad_factor = nullptr;
  const double* grad_rows = nullptr;
};

// log_softmax or softmax; their gradients: `grad_output` and `output` as `input`.
struct SoftmaxCall {
  DType dtype;
  ArrayShape shape;
  const void* input;
  const void* grad_output;
  bool logarithm;
  void* output;
};
void softmax(const SoftmaxCall& call, Stream stream);
void softmax_backward(const SoftmaxCall& call, Stream stream);

// logsumexp, the entropy of probabilities, the entropy of logits: `value` gets rows results of `dtype`. Their
// gradients: grad_output holds rows doubles, `output` is as `input`.
enum class RowValue { logsumexp, entropy, entropy_with_logits };
struct RowValueCall {
  RowValue function;
  DType dtype;
  ArrayShape shape;
  const void* input;
  void* value;
  const double* grad_output;
  void* output;
};
void row_value(const RowValueCall& call, Stream stream);
void row_value_backward(const RowValueCall& call, Stream stream);

// cross_entropy, or nll_loss of log-probabilities (index targets only, no smoothing).
struct ClassLossCall : LossOutputs {
  DType dtype;
  ArrayShape shape;
  const void* input;
  const std::int64_t* target;  // as class_rows makes them. Null: `probs`
  const void* probs;           // as input
  const void* weight;          // classes values of the compute type, or null
  double smoothing;
  void* grad;  // as input, or null
};
void cross_entropy(const ClassLossCall& call, Stream stream);
void nll_loss(const ClassLossCall& call, Stream stream);

// kl_div_with_logits and cosine_embedding_loss: pairs of rows.
struct PairLossCall : LossOutputs {
  DType dtype;
  ArrayShape shape;
  const void* first;   // input, input1
  const void* second;  // target, input2
  void* first_grad;    // as first, or null
  void* second_grad;
  const double* target;  // cosine: rows numbers, 1, -1 or anything else
  double margin;
};
void kl_div_with_logits(const PairLossCall& call, Stream stream);
void cosine_embedding_loss(const PairLossCall& call, Stream stream);

// An array of the compute type, repeated along the elements: element j is value[j / inner % count].
struct Repeated {
  const void* value;
  std::int64_t count;
  std::int64_t inner;
};
enum class ElementLoss { binary_cross_entropy, binary_cross_entropy_with_logits, kl_div, kl_div_log_target };
struct ElementLossCall : LossOutputs {  // grad_rows: unused
  ElementLoss function;
  DType dtype;
  std::int64_t n;
  const void* input;
  const void* target;
  Repeated weight;
  Repeated pos_weight;
  const void* grad_output;  // n values of the compute type, or null
  void* grad;
  std::uint64_t* misfit;  // first word of a misfit report; see elements.h
};
void element_loss(const ElementLossCall& call, Stream stream);
// Completes a misfit report with the value at its position, while `input` and `target` still hold it.
inline constexpr std::int64_t kMisfitReportBytes = 16;
void name_misfit(DType dtype, const void* input, const void* target, void* report, Stream stream);

// sigmoid or log_sigmoid of n elements; with grad_output (as `input`) their gradients.
struct SigmoidCall {
  DType dtype;
  std::int64_t n;
  const void* input;
  const void* grad_output;  // or null
  bool logarithm;
  void* output;
};
void sigmoid(const SigmoidCall& call, Stream stream);

// Sums and targets; see sums.h.
inline constexpr std::int64_t kSumStateBytes = 576;
inline constexpr std::int64_t kTargetReportBytes = 24;
void clear_sum_state(void* sum, Stream stream);
enum class IndexType : int { int8, int16, int32, int64, uint8, uint16, uint32, uint64 };
struct ClassRowsCall {
  IndexType type;
  std::int64_t n;
  std::int64_t classes;
  bool ignores;  // whether ignore_index counts
  std::int64_t ignore_index;
  const void* target;
  std::int64_t* rows;
  void* report;
};
void class_rows(const ClassRowsCall& call, Stream stream);
void weight_of_rows(DType dtype, const void* weight, const std::int64_t* rows, std::int64_t n, std::int64_t classes,
                    void* sum, Stream stream);
void finish_sum(const void* numerator, const void* denominator, const void* count, double divisor, const double* factor,
                double* out, Stream stream);

// An array in another type: output[i] = source[i / inner % count], rounded once to `to`; n elements. `from` is the
// number of a type of `DType`, or 4 more than that of an IndexType.
struct ConvertCall {
  int from;
  DType to;
  std::int64_t n;
  Repeated source;
  void* output;
};
void convert(const ConvertCall& call, Stream stream);
void fill(DType dtype, std::int64_t n, double value, void* output, Stream stream);

// An array of n elements in which each run of `inner` of the source stands `copies` times in a row.
struct RepeatCall {
  DType dtype;
  std::int64_t n;
  const void* source;
  std::int64_t copies;
  std::int64_t inner;
  void* output;
};
void repeat(const RepeatCall& call, Stream stream);

// Axes of a contiguous array, outermost first: those along which elements were repeated, or the others.
inline constexpr int kMostRepeatedAxes = 8;
struct RepeatedAxes {
  int count = 0;
  std::int64_t size[kMostRepeatedAxes];
  std::int64_t stride[kMostRepeatedAxes];
};
// The sum of all copies of each element, in float64: a contiguous array along `kept`. Of float32 or float64 values, and
// at least one copy.
struct SumCopiesCall {
  DType dtype;
  const void* values;
  RepeatedAxes copies;
  RepeatedAxes kept;
  double* sums;
};
void sum_copies(const SumCopiesCall& call, Stream stream);

}  // namespace logloss::LOGLOSS_LEVEL
