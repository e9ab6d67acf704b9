// SPDX-License-Identifier: BSD-3-Clause
#include "cpu/operations.h"

#include <algorithm>
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

// The losses of batches of rows: kept, added by each worker, or both.
class LossesByWorker {
 public:
  LossesByWorker(DType input, const RowLosses& losses, int workers)
      : input_(input), losses_(losses), sums_(static_cast<std::size_t>(workers)) {}

  // body(where the losses of the batch go: null if nobody wants them)
  template <class Body>
  void add_batch(std::int64_t first, int rows, int worker, Body body) {
    double scratch[kMaxRows];  // doubles or floats
    void* loss = scratch;
    if (losses_.loss) loss = static_cast<char*>(losses_.loss) + first * item_size(loss_dtype(input_));
    body(losses_.loss || losses_.loss_sum ? loss : nullptr);
    if (losses_.loss_sum) add_losses(&sums_[static_cast<std::size_t>(worker)], input_, loss, rows);
  }
  void finish() {
    if (!losses_.loss_sum) return;
    for (const ExactSum& sum : sums_) losses_.loss_sum->merge(sum);
  }

 private:
  DType input_;
  const RowLosses& losses_;
  std::vector<ExactSum> sums_;
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
  LossesByWorker losses(task.input.dtype, task, batches.workers());
  const bool finished = batches.run(interrupted, [&](std::int64_t first, int rows, int worker) {
    losses.add_batch(first, rows, worker, [&](void* loss) {
      Batch batch{};
      batch.rows = rows;
      batch.classes = task.input.classes;
      batch.input = input.open(first, rows, worker);
      batch.target = task.target ? task.target + first : nullptr;
      batch.weight = task.weight;
      batch.grad = grad.open(first, rows, worker);
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
  LossesByWorker losses(task.first.dtype, task, batches.workers());
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
  return batches.run(interrupted, [&](std::int64_t first, int rows, int worker) {
    kernel({rows, input.classes, side_by_side ? kMaxRows : 1, inputs.open(first, rows, worker),
            grads.open(first, rows, worker), outputs.open(first, rows, worker)});
    outputs.close(worker);
  });
}

bool run_row_values(const KernelsByDType<RowValueBatch>& kernels, const RowArray& input, double* values,
                    Interrupted interrupted) {
  const Kernel<RowValueBatch> kernel = kernels[input.dtype];
  const Batches batches(input);
  Windows inputs(&input, RowWindow::Use::read, batches.workers());
  return batches.run(interrupted, [&](std::int64_t first, int rows, int worker) {
    kernel({rows, input.classes, inputs.open(first, rows, worker), values + first, nullptr, nullptr});
  });
}

bool run_row_values_backward(const KernelsByDType<RowValueBatch>& kernels, const RowArray& input,
                             const double* grad_output, const RowArray& output, Interrupted interrupted) {
  const Kernel<RowValueBatch> kernel = kernels[input.dtype];
  const Batches batches(input);
  Windows inputs(&input, RowWindow::Use::read, batches.workers());
  Windows outputs(&output, RowWindow::Use::write, batches.workers());
  return batches.run(interrupted, [&](std::int64_t first, int rows, int worker) {
    kernel({rows, input.classes, inputs.open(first, rows, worker), nullptr, grad_output + first,
            outputs.open(first, rows, worker)});
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
