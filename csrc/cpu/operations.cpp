// SPDX-License-Identifier: BSD-3-Clause
#include "cpu/operations.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "cpu/dispatch.h"

namespace logloss {
namespace {

// The rows of `input` in batches: body(first_row, rows, worker).
class Batches {
 public:
  explicit Batches(const RowArray& input)
      : rows_(input.rows()),
        per_batch_(rows_per_batch(input)),
        batches_((rows_ + per_batch_ - 1) / per_batch_),
        workers_(workers_for(batches_, rows_ * input.classes)) {}

  int workers() const { return workers_; }
  int per_batch() const { return per_batch_; }

  template <class Body>
  bool run(Interrupted interrupted, Body body) const {
    return parallel_for(batches_, workers_, interrupted, [&](std::int64_t batch, int worker) {
      const std::int64_t first = batch * per_batch_;
      body(first, static_cast<int>(std::min<std::int64_t>(per_batch_, rows_ - first)), worker);
    });
  }

 private:
  std::int64_t rows_;
  int per_batch_;
  std::int64_t batches_;
  int workers_;
};

// A window on one array for each worker; an absent array gives null pointers.
class Windows {
 public:
  Windows(const RowArray* array, RowWindow::Use use, int workers, bool side_by_side = false) {
    if (!array) return;
    windows_.reserve(static_cast<std::size_t>(workers));
    for (int i = 0; i < workers; ++i) windows_.emplace_back(*array, use, side_by_side);
  }
  void* const* open(std::int64_t first, int count, int worker) {
    if (windows_.empty()) return nullptr;
    RowWindow& window = windows_[static_cast<std::size_t>(worker)];
    window.open(first, count);
    return window.pointers();
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
  SecondSweeps(const RowArray& input, const RowArray* output, const Batches& batches)
      : past_caches_(output && output->direct() && output->data != input.data &&
                     input.classes * item_size(input.dtype) >= kShortestStream &&
                     input.rows() * input.classes * item_size(input.dtype) > kMostInCaches),
        batch_elements_(batches.per_batch() * input.classes),
        kept_bytes_(batch_elements_ * item_size(compute_dtype(input.dtype)) + kVectorBytes) {
    if (output && kept_bytes_ <= kMostKept) kept_.resize(static_cast<std::size_t>(batches.workers()));
  }
  SecondSweep of(int worker) {
    if (kept_.empty()) return {nullptr, past_caches_};
    std::unique_ptr<char[]>& kept = kept_[static_cast<std::size_t>(worker)];
    if (!kept) kept = std::make_unique_for_overwrite<char[]>(static_cast<std::size_t>(kept_bytes_));
    return {kept.get(), past_caches_, batch_elements_};
  }

 private:
  static constexpr std::int64_t kMostInCaches = 16 * 1024 * 1024;
  static constexpr std::int64_t kShortestStream = 8 * 1024;
  static constexpr std::int64_t kVectorBytes = 128;
  static constexpr std::int64_t kMostKept = 1024 * 1024;

  bool past_caches_;
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
  void add_batch(std::int64_t first, int rows, int which, Body body) {
    Worker& worker = workers_[static_cast<std::size_t>(which)];
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

// cross_entropy and nll_loss: fill(batch, probs, first) sets what their batches differ in.
template <class Batch, class Fill>
bool run_class_loss(const KernelsByDType<Batch>& kernels, const ClassLossTask& task, bool side_by_side,
                    Interrupted interrupted, Fill fill) {
  const Kernel<Batch> kernel = kernels[task.input.dtype];
  const Batches batches(task.input);
  Windows input(&task.input, RowWindow::Use::read, batches.workers(), side_by_side);
  Windows probs(task.probs, RowWindow::Use::read, batches.workers());
  Windows grad(task.grad, RowWindow::Use::write, batches.workers(), side_by_side);
  SecondSweeps second_sweeps(task.input, task.grad, batches);
  LossesByWorker losses(task.input.dtype, task, task.input.rows(), batches.workers());
  const bool finished = batches.run(interrupted, [&](std::int64_t first, int rows, int worker) {
    losses.add_batch(first, rows, worker, [&](void* loss) {
      Batch batch{};
      batch.rows = rows;
      batch.classes = task.input.classes;
      batch.input = input.open(first, rows, worker);
      batch.target = task.target ? task.target + first : nullptr;
      batch.weight = task.weight;
      batch.grad = grad.open(first, rows, worker);
      batch.second_sweep = second_sweeps.of(worker);
      set_losses(&batch, task, loss, first);
      fill(batch, probs.open(first, rows, worker), first);
      kernel(batch);
      grad.close(worker);
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
  const Batches batches(task.first);
  Windows first_rows(&task.first, RowWindow::Use::read, batches.workers());
  Windows second_rows(&task.second, RowWindow::Use::read, batches.workers());
  Windows first_grads(task.first_grad, RowWindow::Use::write, batches.workers());
  Windows second_grads(task.second_grad, RowWindow::Use::write, batches.workers());
  LossesByWorker losses(task.first.dtype, task, task.first.rows(), batches.workers());
  const bool finished = batches.run(interrupted, [&](std::int64_t first, int rows, int worker) {
    losses.add_batch(first, rows, worker, [&](void* loss) {
      Batch batch{};
      batch.rows = rows;
      set_losses(&batch, task, loss, first);
      fill(&batch, first,
           PairRows{first_rows.open(first, rows, worker), second_rows.open(first, rows, worker),
                    first_grads.open(first, rows, worker), second_grads.open(first, rows, worker)});
      kernel(batch);
      first_grads.close(worker);
      second_grads.close(worker);
    });
  });
  losses.finish();
  return finished;
}

}  // namespace

bool run_softmax(const KernelsByDType<SoftmaxBatch>& kernels, const RowArray& input, const RowArray* grad_output,
                 const RowArray& output, Interrupted interrupted) {
  // The gradients take contiguous rows only.
  const bool side_by_side = !grad_output && input.side_by_side();
  const Kernel<SoftmaxBatch> kernel = kernels[input.dtype];
  const Batches batches(input);
  Windows inputs(&input, RowWindow::Use::read, batches.workers(), side_by_side);
  Windows grads(grad_output, RowWindow::Use::read, batches.workers());
  Windows outputs(&output, RowWindow::Use::write, batches.workers(), side_by_side);
  SecondSweeps second_sweeps(input, &output, batches);
  return batches.run(interrupted, [&](std::int64_t first, int rows, int worker) {
    kernel({rows, input.classes, side_by_side ? kMaxRows : 1, inputs.open(first, rows, worker),
            grads.open(first, rows, worker), outputs.open(first, rows, worker), second_sweeps.of(worker)});
    outputs.close(worker);
  });
}

bool run_row_values(const KernelsByDType<RowValueBatch>& kernels, const RowArray& input, double* values,
                    Interrupted interrupted) {
  const Kernel<RowValueBatch> kernel = kernels[input.dtype];
  const Batches batches(input);
  Windows inputs(&input, RowWindow::Use::read, batches.workers());
  return batches.run(interrupted, [&](std::int64_t first, int rows, int worker) {
    kernel({rows, input.classes, inputs.open(first, rows, worker), values + first, nullptr, nullptr, {}});
  });
}

bool run_row_values_backward(const KernelsByDType<RowValueBatch>& kernels, const RowArray& input,
                             const double* grad_output, const RowArray& output, Interrupted interrupted) {
  const Kernel<RowValueBatch> kernel = kernels[input.dtype];
  const Batches batches(input);
  Windows inputs(&input, RowWindow::Use::read, batches.workers());
  Windows outputs(&output, RowWindow::Use::write, batches.workers());
  SecondSweeps second_sweeps(input, &output, batches);
  return batches.run(interrupted, [&](std::int64_t first, int rows, int worker) {
    kernel({rows, input.classes, inputs.open(first, rows, worker), nullptr, grad_output + first,
            outputs.open(first, rows, worker), second_sweeps.of(worker)});
    outputs.close(worker);
  });
}

bool run_cross_entropy(const ClassLossTask& task, Interrupted interrupted) {
  // Linear sums over the classes are made of contiguous rows only.
  const bool side_by_side = task.target && task.smoothing == 0.0 && task.input.side_by_side();
  return run_class_loss(kernels().cross_entropy, task, side_by_side, interrupted,
                        [&](CrossEntropyBatch& batch, void* const* probs, std::int64_t first) {
                          batch.class_stride = side_by_side ? kMaxRows : 1;
                          batch.probs = probs;
                          batch.smoothing = task.smoothing;
                          batch.hit = task.hit ? task.hit + first : nullptr;
                        });
}

bool run_nll_loss(const ClassLossTask& task, Interrupted interrupted) {
  return run_class_loss(kernels().nll_loss, task, false, interrupted, [](NllLossBatch&, void* const*, std::int64_t) {});
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
