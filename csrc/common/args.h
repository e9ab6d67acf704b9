// SPDX-License-Identifier: BSD-3-Clause
// Arguments of the kernels: plain structs, one per family of operations.
//
// A kernel is handed a batch of at most kMaxRows rows as pointers to contiguous rows of `classes` elements; where the
// rows come from (strides, other axes, byte order) is the caller's business. Every option has become a number.
#pragma once

#include <cstdint>

namespace logloss {

inline constexpr int kMaxRows = 64;

// softmax, log_softmax and their gradients: row by row from `input` (and `grad_output`) to `output`.
struct SoftmaxBatch {
  int rows;
  std::int64_t classes;
  const void* const* input;
  const void* const* grad_output;  // backward only
  void* const* output;
};

// logsumexp: one value per row, and its gradient.
struct LogSumExpBatch {
  int rows;
  std::int64_t classes;
  const void* const* input;
  double* lse;                // forward: rows results, each rounded to the input's dtype
  const double* grad_output;  // backward: one number per row
  void* const* output;        // backward
};

// cross_entropy. Per row i and class c, with lp = log_softmax(input):
//   index targets:  loss = -(1 - smoothing) weight[t] lp[t] - (smoothing / classes) sum_c weight[c] lp[c]
//   probabilities:  loss = -sum_c weight[c] ((1 - smoothing) probs[c] + smoothing / classes) lp[c]
struct CrossEntropyBatch {
  int rows;
  std::int64_t classes;
  const void* const* input;
  const std::int64_t* target;  // class of each row, kIgnored for a row that counts for nothing; null: probabilities
  const void* const* probs;    // null: index targets
  const void* weight;          // classes values of the compute type, or null for ones
  double smoothing;
  void* loss;               // rows values of the loss dtype, or null
  std::uint8_t* hit;        // 1 where the first maximum is the target, or null
  void* const* grad;        // or null; may be the input rows themselves
  double grad_scale;        // factor of every gradient,
  const double* grad_rows;  // and of each row's, or null
};

// nll_loss: loss = -weight[t] input[t].
struct NllLossBatch {
  int rows;
  std::int64_t classes;
  const void* const* input;
  const std::int64_t* target;
  const void* weight;
  void* loss;
  void* const* grad;
  double grad_scale;
  const double* grad_rows;
};

inline constexpr std::int64_t kIgnored = -1;

}  // namespace logloss
