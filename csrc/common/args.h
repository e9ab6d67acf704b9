// SPDX-License-Identifier: BSD-3-Clause
// Arguments of the kernels: plain structs, one per family of operations.
//
// A kernel is handed a batch of at most kMaxRows rows as pointers to rows of `classes` elements; where the rows come
// from (strides, other axes, byte order) is the caller's business. Rows are contiguous, or in kernels that have a
// `class_stride` also side by side: each group of kRowsSideBySide rows are neighbours in memory (in nll_loss they need
// not be), and rows[i] + c class_stride is class c of row i. Every option has become a number.
#pragma once

#include <cstdint>

#include "common/platform.h"
#include "common/row_stats.h"

namespace logloss {

inline constexpr int kMaxRows = 64;
inline constexpr int kRowsSideBySide = 16;
inline constexpr int kMaxElements = 4096;

// Up to this many classes 16 rows, one in each lane, are held as columns between two sweeps.
inline constexpr std::int64_t kFewClasses = 32;

// Rows of up to this many classes may lie side by side; longer ones are made contiguous first: on AVX-512 cross_entropy
// of 8 x 256 x 64 x 64, axis 1, then takes 0.7 of the time, of 512 and 1000 classes the same, of 100 classes 1.1. (On
// Zen 5 1.04, 0.9 and 0.7 for 256, 512 and 1000 classes. Most of it is reading: 256 bytes in every 16 KiB come at a
// third of the bandwidth, more rows at a time at a half.)
inline constexpr std::int64_t kMostClassesSideBySide = 128;

// Room at SecondSweep::kept, from a multiple of a vector on, more than it is asked for: 16 vectors of floats, and a
// number for each row.
inline constexpr std::int64_t kKeptBeyond = 1024 + kMaxRows * sizeof(double);
inline constexpr std::int64_t kKeptAlignment = 64;

// What a sweep asks memory for while it goes on: how many elements ahead, and whether into L1, or else into L2.
struct Prefetch {
  std::int64_t distance = 4096;
  bool into_l1 = false;
};

// How a sweep over the rows of a batch prepares another one, which writes results as large as the input.
struct SecondSweep {
  // Room for what the first sweep found out: rows x classes values of the compute type, of whole groups of 16 rows, and
  // kKeptBeyond bytes; of few classes twice as much. Null: it is computed again.
  void* kept = nullptr;
  // Each row is written while the next one is swept, past the caches; of float32 and float64. `kept` has room for two
  // rows then; the rows are contiguous, and written whole.
  bool in_turn = false;
  // The results do not fit into the caches, and do not replace their input. Where they lie side by side, each group and
  // the classes are whole cache lines then.
  bool past_caches = false;
  // Of the first sweep.
  Prefetch prefetch;
  // The statistics of the rows, where the first sweep has been made; else null.
  const RowStats* stats = nullptr;
  // The classes that are written.
  std::int64_t begin = 0;
  std::int64_t end = INT64_MAX;
};

// One chunk of a long row: the statistic of n elements at x.
inline constexpr std::int64_t kChunkElements = 65536;
struct ChunkBatch {
  const void* x;
  std::int64_t n;
  RowStats* stats;
  Prefetch prefetch;
};

// The chunks of one row: stats[0] becomes the statistic of the row, unless that takes another sweep.
struct ChunkJoin {
  RowStats* stats;
  std::int64_t chunks;
  bool* joined;
};

// A copy between rows of an array, whose elements lie class_stride bytes apart, and a window on them: contiguous rows,
// at equal distances, or groups of kRowsSideBySide rows side by side, class after class.
struct WindowCopy {
  void* const* rows;
  std::int64_t class_stride;
  void* const* window;
  int count;
  std::int64_t classes;
  std::int64_t item_size;
  bool side_by_side;
  bool swap;  // the bytes of every element; of contiguous rows only
  bool into_window;
  bool past_caches;  // out of the window, where whole cache lines are written
};

// The end of the run of rows from `row` on, of `count`, that are neighbours in memory: `item` bytes apart.
LOGLOSS_INLINE int end_of_run(void* const* rows, int row, int count, std::int64_t item) {
  int end = row + 1;
  while (end < count && rows[end] == static_cast<char*>(rows[row]) + (end - row) * item) ++end;
  return end;
}

// softmax, log_softmax and their gradients: row by row from `input` (and `grad_output`) to `output`.
struct SoftmaxBatch {
  int rows;
  std::int64_t classes;
  std::int64_t class_stride;   // of `input`: 1, or that of rows side by side
  std::int64_t output_stride;  // of `output`, likewise
  const void* const* input;
  const void* const* grad_output;  // backward only
  void* const* output;
  SecondSweep second_sweep;
};

// logsumexp and the entropies: one value per row, and its gradient.
struct RowValueBatch {
  int rows;
  std::int64_t classes;
  const void* const* input;
  double* value;              // forward: rows results, each rounded to the input's dtype
  const double* grad_output;  // backward: one number per row
  void* const* output;        // backward
  SecondSweep second_sweep;
};

// cross_entropy. Per row i and class c, with lp = log_softmax(input):
//   index targets:  loss = -(1 - smoothing) weight[t] lp[t] - (smoothing / classes) sum_c weight[c] lp[c]
//   probabilities:  loss = -sum_c weight[c] ((1 - smoothing) probs[c] + smoothing / classes) lp[c]
struct CrossEntropyBatch {
  int rows;
  std::int64_t classes;
  std::int64_t class_stride;  // of `input`: 1, or that of rows side by side
  std::int64_t grad_stride;   // of `grad`, likewise
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
  SecondSweep second_sweep;
};

// nll_loss: loss = -weight[t] input[t].
struct NllLossBatch {
  int rows;
  std::int64_t classes;
  std::int64_t class_stride;  // of `input`
  const void* const* input;
  const std::int64_t* target;
  const void* weight;
  void* loss;
  void* const* grad;
  double grad_scale;
  const double* grad_rows;
  SecondSweep second_sweep;
};

inline constexpr std::int64_t kIgnored = -1;

// kl_div_with_logits: loss = sum_c p_c (log p_c - log q_c) with p = softmax(target), q = softmax(input).
struct DivergenceBatch {
  int rows;
  std::int64_t classes;
  const void* const* input;
  const void* const* target;
  void* loss;               // rows values of the loss dtype, or null
  void* const* input_grad;  // or null, as every gradient below
  void* const* target_grad;
  double grad_scale;        // factor of every gradient,
  const double* grad_rows;  // and of each row's, or null
};

// cosine_embedding_loss of pairs of rows.
struct CosineBatch {
  int rows;
  std::int64_t features;
  const void* const* input1;
  const void* const* input2;
  const double* target;  // 1: alike, -1: unlike, anything else: no loss
  double margin;
  void* loss;
  void* const* grad1;
  void* const* grad2;
  double grad_scale;
  const double* grad_rows;
};

// What the values of a batch of elements add up to.
inline constexpr int kElementSumParts = 12;
struct ElementSums {
  double part[kElementSumParts];  // the exact sum is theirs
  bool exact;                     // unless this is false: then the values must be added one by one
};

// Element-wise operations: at most kMaxElements values, contiguous, in the storage type but where stated.
struct ElementBatch {
  int n;
  const void* input;
  const void* target;  // losses only
  const void* weight;  // of the compute type, or null for ones; as pos_weight and grad_output
  const void* pos_weight;
  const void* grad_output;
  double grad_scale;  // factor of every gradient
  void* output;       // the function's values, or the losses (of the loss dtype); or null
  void* grad;         // or null; may be the input itself
  bool past_caches;   // results of the storage type go past the caches: they begin with a line
  ElementSums* sums;  // of the losses in `output`, or null
  bool* in_domain;    // set to false by a probability outside [0, 1] or NaN, else left alone
};

}  // namespace logloss
