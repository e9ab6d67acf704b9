// SPDX-License-Identifier: BSD-3-Clause
#include "cpu/operations.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "cpu/caches.h"
#include "cpu/dispatch.h"

namespace logloss {
namespace {

// What one call of a kernel works on: `rows` rows from `first` on, and the classes that it writes.
struct Part {
  std::int64_t first;
  int rows;
  int worker;
  std::int64_t begin = 0;
  std::int64_t end = INT64_MAX;
};

// The rows of `input` in batches. Where rows are too few and too long to keep all threads busy, the first sweep goes
// over chunks of rows, and each batch is one row and the chunk of it that is written.
class Batches {
 public:
  // `output` is null if there is none; may_cut_rows: within rows, in what is read and in what is written; in_turn: see
  // SecondSweep.
  Batches(const RowArray& input, const RowArray* output, bool may_cut_rows, bool in_turn = false)
      : input_(input), rows_(input.rows()), per_batch_(rows_per_batch(input)) {
    // Where nothing is written, or rows are written in turn, a batch need not stay in L2.
    if (in_turn || (!output && input.direct())) per_batch_ = std::max(per_batch_, rows_per_long_batch());
    const int to_line = rows_to_line(output && !output->direct() ? *output : input);
    if (to_line > 0 && to_line < per_batch_ && per_batch_ < rows_) before_first_ = per_batch_ - to_line;
    workers_ = workers_for(batches(), rows_ * input.classes);
    if (!may_cut_rows) return;

    const int threads = workers_for(rows_ * chunks(), rows_ * input.classes);
    const bool in_place = output && (!output->direct() || output->data == input.data);
    split_ = threads > 1 && rows_ < kRowsPerThread * threads && chunks() > 1 && input.direct() && !in_place;
    if (!split_) return;
    writes_ = output;
    per_batch_ = 1;
    before_first_ = 0;
    workers_ = threads;
  }

  int workers() const { return workers_; }
  int per_batch() const { return per_batch_; }
  // The statistics from `first` on; null where rows are not split.
  const RowStats* stats(std::int64_t first) const { return stats_.empty() ? nullptr : &stats_[first * chunks()]; }

  // body(part)
  template <class Body>
  bool run(Interrupted interrupted, Body body) {
    if (split_ && !sweep_chunks(interrupted)) return false;
    const std::int64_t parts = writes_ && !stats_.empty() ? chunks() : 1;
    return parallel_for(batches() * parts, workers_, interrupted, [&](std::int64_t item, int worker) {
      const std::int64_t start = item / parts * per_batch_ - before_first_;
      const std::int64_t first = std::max<std::int64_t>(start, 0), end = std::min(start + per_batch_, rows_);
      Part part{first, static_cast<int>(end - first), worker};
      if (parts > 1) {
        part.begin = item % parts * kChunkElements;
        part.end = part.begin + kChunkElements;
      }
      body(part);
    });
  }

 private:
  // From this many rows for each thread on, whole rows keep all threads busy.
  static constexpr std::int64_t kRowsPerThread = 4;

  // The first row of a batch has none whose sweep takes its maxima, the last one none to be written beside, and rows
  // are finished 16 at a time: batches are long where they are many. (cross_entropy of 2048 x 32000 on Zen 5, one
  // thread: 0.96 of the time that batches of 2 rows take.)
  int rows_per_long_batch() const {
    constexpr std::int64_t kMostRows = 16, kBatchesPerThread = 8;
    return static_cast<int>(std::min(rows_ / (kBatchesPerThread * get_num_threads()), kMostRows));
  }

  std::int64_t batches() const { return (before_first_ + rows_ + per_batch_ - 1) / per_batch_; }
  std::int64_t chunks() const { return (input_.classes + kChunkElements - 1) / kChunkElements; }

  // False if interrupted. Rows that take more than one sweep leave stats_ empty: they are swept whole.
  bool sweep_chunks(Interrupted interrupted) {
    const KernelTable& table = kernels();
    stats_.resize(static_cast<std::size_t>(rows_ * chunks()));
    const bool finished = parallel_for(rows_ * chunks(), workers_, interrupted, [&](std::int64_t item, int) {
      const std::int64_t start = item % chunks() * kChunkElements;
      void* row;
      input_.addresses(item / chunks(), 1, &row);
      table.sweep_chunk[input_.dtype]({static_cast<char*>(row) + start * item_size(input_.dtype),
                                       std::min(input_.classes - start, kChunkElements), &stats_[item],
                                       prefetch_of_sweeps()});
    });
    bool joined = true;
    for (std::int64_t row = 0; finished && joined && row < rows_; ++row) {
      table.join_chunks[input_.dtype]({&stats_[row * chunks()], chunks(), &joined});
    }
    if (!joined) stats_.clear();
    return finished;
  }

  const RowArray& input_;
  std::int64_t rows_;
  int per_batch_;
  int before_first_ = 0;  // by how many rows the first batch is smaller
  int workers_;
  bool split_ = false;
  bool writes_ = false;
  std::vector<RowStats> stats_;  // of each chunk, and then of each row where its first chunk was
};

// Whether results of the size of `input` go past the caches.
bool goes_past_caches(const RowArray& input, const RowArray* output) {
  // Rows that begin and end within a line write it in two parts, which only longer ones make up for. Softmax on
  // AVX-512, one thread, with plain stores and past the caches: of 8192 x 1000 5.1 and 4.2 ms (rows of half a line
  // more: 4.7), of 65536 x 128 6.2 and 5.5 in whole lines, but 12.6 in parts.
  constexpr std::int64_t kShortestStream = 3 * 1024, kShortestStreamOfLines = 512;

  const std::int64_t row_bytes = input.classes * item_size(input.dtype);
  if (!output || output->data == input.data || input.rows() * row_bytes <= kMostInCaches) return false;
  // Rows that are neighbours are written in whole lines where there are any.
  if (!output->direct())
    return output->row_dims > 0 && output->stride[output->row_dims - 1] == item_size(output->dtype);
  bool whole_lines = reinterpret_cast<std::uintptr_t>(output->data) % kCacheLine == 0 && row_bytes % kCacheLine == 0;
  for (int i = 0; i < output->row_dims; ++i) whole_lines = whole_lines && output->stride[i] % kCacheLine == 0;
  return row_bytes >= (whole_lines ? kShortestStreamOfLines : kShortestStream);
}

// Whether each row is written while the next one is swept; takes_exponentials: as run_softmax. One thread, to the time
// of row after row: log_softmax of 2048 x 32000 0.82 on Emerald Rapids and 0.75 on Zen 5, of 512 x 128256 0.82 and 0.8,
// of 16384 x 4096 0.9 and 0.77, of 32768 x 2048 0.83 (Zen 5); softmax of 2048 x 32000 0.9 and 0.81, gradients of
// cross_entropy 0.9 to 1.0 and 0.77; float64 0.8 and 0.9 (Emerald Rapids). 16-bit results, which memory does not wait
// for: 1.0 to 1.1.
bool written_in_turn(const RowArray& input, const RowArray* output, bool takes_exponentials) {
  // Each row is prepared alone, which shorter ones do not make up for (softmax of 16384 x 4096: 1.1 and 0.85).
  const std::int64_t shortest = takes_exponentials ? 6000 : 2048;
  // L2 is to hold two rows, and beside what is kept of them as much again (softmax of 512 x 128256 on Emerald Rapids:
  // 1.03, gradient of cross_entropy 1.2; of 1024 x 32000 float64 on Zen 5: 1.27).
  const std::int64_t most_bytes = l2_bytes() / (takes_exponentials ? 8 : 2);
  return goes_past_caches(input, output) && input.direct() && output->direct() && item_size(input.dtype) >= 4 &&
         input.classes >= shortest && input.classes * item_size(input.dtype) <= most_bytes;
}

// A window on one array for each worker; an absent array gives null pointers.
class Windows {
 public:
  Windows(const RowArray* array, RowWindow::Use use, int workers, Layout layout = Layout::contiguous,
          bool past_caches = false) {
    if (!array) return;
    windows_.reserve(static_cast<std::size_t>(workers));
    for (int i = 0; i < workers; ++i) windows_.emplace_back(*array, use, layout, past_caches);
  }
  OpenRows open(std::int64_t first, int count, int worker) {
    return windows_.empty() ? OpenRows{} : windows_[static_cast<std::size_t>(worker)].open(first, count);
  }
  void close(int worker) {
    if (!windows_.empty()) windows_[static_cast<std::size_t>(worker)].close();
  }

 private:
  std::vector<RowWindow> windows_;
};

// How each worker's second sweeps go about it: see SecondSweep.
class SecondSweeps {
 public:
  SecondSweeps(const RowArray& input, const RowArray* output, const Batches& batches, bool in_turn = false)
      : batches_(batches),
        in_turn_(in_turn),
        batch_elements_(batches.per_batch() * input.classes),
        kept_bytes_(kept_elements(input.classes) * item_size(compute_dtype(input.dtype)) + kKeptBeyond) {
    if (output && kept_bytes_ <= kMostKeptBytes) kept_.resize(static_cast<std::size_t>(batches.workers()));
  }
  // `output`: the rows of the batch.
  SecondSweep of(const Part& part, const OpenRows& output) {
    SecondSweep sweep;
    sweep.prefetch = prefetch_of_sweeps();
    sweep.past_caches = output.past_caches;
    sweep.stats = batches_.stats(part.first);
    sweep.begin = part.begin;
    sweep.end = part.end;
    if (kept_.empty() || sweep.stats) return sweep;
    std::unique_ptr<char[]>& kept = kept_[static_cast<std::size_t>(part.worker)];
    if (!kept) kept = std::make_unique_for_overwrite<char[]>(static_cast<std::size_t>(kept_bytes_) + kPage);
    // A load waits for a store to an address that differs by a multiple of a page as if it read what is stored: what is
    // kept lies half a page away from the results (softmax of 65536 x 128 past the caches on AVX-512, one thread: 8 to
    // 13 ms where both were at one place of a page, 5.5 so).
    const std::uintptr_t place = (reinterpret_cast<std::uintptr_t>(output.rows[0]) + kPage / 2) / kKeptAlignment;
    const std::uintptr_t start = reinterpret_cast<std::uintptr_t>(kept.get());
    sweep.kept = kept.get() + (place * kKeptAlignment - start) % kPage;
    sweep.in_turn = in_turn_;
    // What comes next, while the second sweep keeps the memory busy with stores.
    if (!in_turn_ && !sweep.prefetch.into_l1) sweep.prefetch.distance = std::min(batch_elements_, kMostAhead);
    return sweep;
  }

 private:
  std::int64_t kept_elements(std::int64_t classes) const {
    if (in_turn_) return 2 * classes;
    if (classes > kFewClasses) return batches_.per_batch() * classes;
    return 2 * ((batches_.per_batch() + kRowsSideBySide - 1) / kRowsSideBySide * kRowsSideBySide * classes);
  }

  // What an L2 of 1 MiB holds of it is worth keeping: the gradient of 2048 x 32000 takes 34 ms with every exponential
  // computed twice, 26 with what was kept; 33 and 27 at 512 x 128256, where half of it is found in L3.
  static constexpr std::int64_t kMostKeptBytes = 1024 * 1024;

  // More would push what is kept out of L2 (gradient of 512 x 128256 on Emerald Rapids, one thread: with the whole next
  // row asked for 63 ms, with 2048 to 32768 elements 46 to 49; shorter batches do not care. On Zen 5 32768 into L1 take
  // 3 to 5 % more than 4096.)
  static constexpr std::int64_t kMostAhead = 32768;

  static constexpr std::uintptr_t kPage = 4096;  // what of an address a waiting load is compared by

  const Batches& batches_;
  const bool in_turn_;
  std::int64_t batch_elements_;
  std::int64_t kept_bytes_;
  std::vector<std::unique_ptr<char[]>> kept_;
};

// The losses of batches of rows: kept, added by each worker, or both. Losses that are only added wait until they are
// worth the call of a kernel that adds them.
class LossesByWorker {
 public:
  LossesByWorker(DType input, const RowLosses& losses, std::int64_t rows, int workers)
      : input_(input),
        losses_(losses),
        waits_(losses.loss_sum && !losses.loss && rows > kMaxRows),
        workers_(static_cast<std::size_t>(workers)) {}

  // body(where the losses of the batch go: null if nobody wants them)
  template <class Body>
  void add_batch(const Part& part, Body body) {
    if (part.begin > 0) return body(nullptr);  // the losses of these rows are another part's
    const std::int64_t first = part.first;
    const int rows = part.rows;
    Worker& worker = workers_[static_cast<std::size_t>(part.worker)];
    if (waits_) {
      if (!worker.losses) worker.losses = std::make_unique_for_overwrite<double[]>(kMaxElements);
      if (worker.waiting + rows > kMaxElements) add_waiting(&worker);
      body(reinterpret_cast<char*>(worker.losses.get()) + worker.waiting * item_size(loss_dtype(input_)));
      worker.waiting += rows;
      return;
    }
    double scratch[kMaxRows];  // doubles or floats
    void* loss = losses_.loss_sum ? scratch : nullptr;
    if (losses_.loss) loss = static_cast<char*>(losses_.loss) + first * item_size(loss_dtype(input_));
    body(loss);
    if (losses_.loss_sum) add_losses(&worker.sum, input_, loss, rows);
  }
  void finish() {
    if (!losses_.loss_sum) return;
    for (Worker& worker : workers_) {
      if (worker.waiting > 0) add_waiting(&worker);
      losses_.loss_sum->merge(worker.sum);
    }
  }

 private:
  struct Worker {
    ExactSum sum;
    std::unique_ptr<double[]> losses;  // kMaxElements doubles or floats
    int waiting = 0;
  };

  void add_waiting(Worker* worker) {
    ElementSums sums;
    ElementBatch batch{};
    batch.n = worker->waiting;
    batch.input = worker->losses.get();
    batch.sums = &sums;
    kernels().elementwise.loss_sum[input_](batch);
    if (sums.exact) {
      add_all(&worker->sum, sums.part, kElementSumParts);
    } else {
      add_losses(&worker->sum, input_, worker->losses.get(), worker->waiting);
    }
    worker->waiting = 0;
  }

  DType input_;
  const RowLosses& losses_;
  const bool waits_;
  std::vector<Worker> workers_;
};

// What the batches of all losses have in common.
template <class Batch>
void set_losses(Batch* batch, const RowLosses& losses, void* loss, std::int64_t first) {
  batch->loss = loss;
  batch->grad_scale = losses.grad_scale;
  batch->grad_rows = losses.grad_rows ? losses.grad_rows + first : nullptr;
}

// cross_entropy and nll_loss: fill(batch, part, probs, grad_stride) sets what their batches differ in.
template <class Batch, class Fill>
bool run_class_loss(const KernelsByDType<Batch>& kernels, const ClassLossTask& task, Layout layout, bool splits,
                    Interrupted interrupted, Fill fill) {
  const Kernel<Batch> kernel = kernels[task.input.dtype];
  const bool in_turn = splits && written_in_turn(task.input, task.grad, true);
  Batches batches(task.input, task.grad, splits, in_turn);
  Windows input(&task.input, RowWindow::Use::read, batches.workers(), layout);
  Windows probs(task.probs, RowWindow::Use::read, batches.workers());
  Windows grads(task.grad, RowWindow::Use::write, batches.workers(),
                layout == Layout::in_place ? Layout::contiguous : layout, goes_past_caches(task.input, task.grad));
  SecondSweeps second_sweeps(task.input, task.grad, batches, in_turn);
  LossesByWorker losses(task.input.dtype, task, task.input.rows(), batches.workers());
  const bool finished = batches.run(interrupted, [&](const Part& part) {
    const auto [first, rows, worker, begin, end] = part;
    losses.add_batch(part, [&](void* loss) {
      Batch batch{};
      batch.rows = rows;
      batch.classes = task.input.classes;
      const OpenRows logits = input.open(first, rows, worker), grad = grads.open(first, rows, worker);
      batch.input = logits.rows;
      batch.class_stride = logits.class_stride;
      batch.target = task.target ? task.target + first : nullptr;
      batch.weight = task.weight;
      batch.grad = grad.rows;
      batch.second_sweep = second_sweeps.of(part, grad);
      set_losses(&batch, task, loss, first);
      fill(batch, part, probs.open(first, rows, worker).rows, grad.class_stride);
      kernel(batch);
      grads.close(worker);
    });
  });
  losses.finish();
  return finished;
}

struct PairRows {
  void* const* first;
  void* const* second;
  void* const* first_grad;
  void* const* second_grad;
};

// Losses of pairs of rows: fill(batch, first, rows) sets what their batches differ in.
template <class Batch, class Fill>
bool run_pair_loss(const KernelsByDType<Batch>& kernels, const PairLossTask& task, Interrupted interrupted, Fill fill) {
  const Kernel<Batch> kernel = kernels[task.first.dtype];
  Batches batches(task.first, task.first_grad, false);
  Windows first_rows(&task.first, RowWindow::Use::read, batches.workers());
  Windows second_rows(&task.second, RowWindow::Use::read, batches.workers());
  Windows first_grads(task.first_grad, RowWindow::Use::write, batches.workers());
  Windows second_grads(task.second_grad, RowWindow::Use::write, batches.workers());
  LossesByWorker losses(task.first.dtype, task, task.first.rows(), batches.workers());
  const bool finished = batches.run(interrupted, [&](const Part& part) {
    const auto [first, rows, worker, begin, end] = part;
    losses.add_batch(part, [&](void* loss) {
      Batch batch{};
      batch.rows = rows;
      set_losses(&batch, task, loss, first);
      fill(&batch, first,
           PairRows{first_rows.open(first, rows, worker).rows, second_rows.open(first, rows, worker).rows,
                    first_grads.open(first, rows, worker).rows, second_grads.open(first, rows, worker).rows});
      kernel(batch);
      first_grads.close(worker);
      second_grads.close(worker);
    });
  });
  losses.finish();
  return finished;
}

}  // namespace

bool run_softmax(const KernelsByDType<SoftmaxBatch>& kernels, bool takes_exponentials, const RowArray& input,
                 const RowArray* grad_output, const RowArray& output, Interrupted interrupted) {
  // The gradients take contiguous rows only.
  const bool side_by_side = !grad_output && input.side_by_side();
  const Layout layout = side_by_side ? Layout::side_by_side : Layout::contiguous;
  const Kernel<SoftmaxBatch> kernel = kernels[input.dtype];
  const bool in_turn = !grad_output && written_in_turn(input, &output, takes_exponentials);
  Batches batches(input, &output, !grad_output, in_turn);
  Windows inputs(&input, RowWindow::Use::read, batches.workers(), layout);
  Windows grads(grad_output, RowWindow::Use::read, batches.workers());
  Windows outputs(&output, RowWindow::Use::write, batches.workers(), layout, goes_past_caches(input, &output));
  SecondSweeps second_sweeps(input, &output, batches, in_turn);
  return batches.run(interrupted, [&](const Part& part) {
    const auto [first, rows, worker, begin, end] = part;
    const OpenRows logits = inputs.open(first, rows, worker), results = outputs.open(first, rows, worker);
    kernel({rows, input.classes, logits.class_stride, results.class_stride, logits.rows,
            grads.open(first, rows, worker).rows, results.rows, second_sweeps.of(part, results)});
    outputs.close(worker);
  });
}

bool run_row_values(const KernelsByDType<RowValueBatch>& kernels, const RowArray& input, bool may_cut_rows,
                    double* values, Interrupted interrupted) {
  const Kernel<RowValueBatch> kernel = kernels[input.dtype];
  Batches batches(input, nullptr, may_cut_rows);
  Windows inputs(&input, RowWindow::Use::read, batches.workers());
  SecondSweeps sweeps(input, nullptr, batches);
  return batches.run(interrupted, [&](const Part& part) {
    const auto [first, rows, worker, begin, end] = part;
    kernel({rows, input.classes, inputs.open(first, rows, worker).rows, values + first, nullptr, nullptr,
            sweeps.of(part, OpenRows{})});
  });
}

bool run_row_values_backward(const KernelsByDType<RowValueBatch>& kernels, const RowArray& input, bool may_cut_rows,
                             const double* grad_output, const RowArray& output, Interrupted interrupted) {
  const Kernel<RowValueBatch> kernel = kernels[input.dtype];
  Batches batches(input, &output, may_cut_rows);
  Windows inputs(&input, RowWindow::Use::read, batches.workers());
  Windows outputs(&output, RowWindow::Use::write, batches.workers(), Layout::contiguous,
                  goes_past_caches(input, &output));
  SecondSweeps second_sweeps(input, &output, batches);
  return batches.run(interrupted, [&](const Part& part) {
    const auto [first, rows, worker, begin, end] = part;
    const OpenRows results = outputs.open(first, rows, worker);
    kernel({rows, input.classes, inputs.open(first, rows, worker).rows, nullptr, grad_output + first, results.rows,
            second_sweeps.of(part, results)});
    outputs.close(worker);
  });
}

bool run_cross_entropy(const ClassLossTask& task, Interrupted interrupted) {
  // Linear sums over the classes are made of contiguous rows only.
  const bool side_by_side = task.target && task.smoothing == 0.0 && task.input.side_by_side();
  const bool splits = task.target && task.smoothing == 0.0;
  const Layout layout = side_by_side ? Layout::side_by_side : Layout::contiguous;
  return run_class_loss(kernels().class_loss.cross_entropy, task, layout, splits, interrupted,
                        [&](CrossEntropyBatch& batch, const Part& part, void* const* probs, std::int64_t grad_stride) {
                          batch.grad_stride = grad_stride;
                          batch.probs = probs;
                          batch.smoothing = task.smoothing;
                          batch.hit = task.hit && part.begin == 0 ? task.hit + part.first : nullptr;
                        });
}

bool run_nll_loss(const ClassLossTask& task, Interrupted interrupted) {
  // One element of each row is read.
  const Layout layout = task.input.readable_in_place() ? Layout::in_place : Layout::contiguous;
  return run_class_loss(kernels().class_loss.nll_loss, task, layout, false, interrupted,
                        [](NllLossBatch&, const Part&, void* const*, std::int64_t) {});
}

bool run_kl_div_with_logits(const PairLossTask& task, Interrupted interrupted) {
  return run_pair_loss(kernels().divergence.kl_div_with_logits, task, interrupted,
                       [&](DivergenceBatch* batch, std::int64_t, const PairRows& rows) {
                         batch->classes = task.first.classes;
                         batch->input = rows.first;
                         batch->target = rows.second;
                         batch->input_grad = rows.first_grad;
                         batch->target_grad = rows.second_grad;
                       });
}

bool run_cosine_embedding_loss(const PairLossTask& task, Interrupted interrupted) {
  return run_pair_loss(kernels().divergence.cosine_embedding_loss, task, interrupted,
                       [&](CosineBatch* batch, std::int64_t first, const PairRows& rows) {
                         batch->features = task.first.classes;
                         batch->input1 = rows.first;
                         batch->input2 = rows.second;
                         batch->target = task.target + first;
                         batch->margin = task.margin;
                         batch->grad1 = rows.first_grad;
                         batch->grad2 = rows.second_grad;
                       });
}

void add_all(ExactSum* sum, const float* values, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) sum->add(static_cast<double>(values[i]));
}
void add_all(ExactSum* sum, const double* values, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) sum->add(values[i]);
}
void add_losses(ExactSum* sum, DType input, const void* losses, std::int64_t n) {
  if (input == DType::float64) {
    add_all(sum, static_cast<const double*>(losses), n);
  } else {
    add_all(sum, static_cast<const float*>(losses), n);
  }
}

}  // namespace logloss
