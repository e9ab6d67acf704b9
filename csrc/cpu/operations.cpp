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
  Windows(const RowArray* array, RowWindow::Use use, int workers) {
    if (array) windows_.assign(static_cast<std::size_t>(workers), RowWindow(*array, use));
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

// Shared by cross_entropy and nll_loss: fill(batch, pointers) sets what their batches differ in.
template <class Batch, class Fill>
bool run_loss(const KernelsByDType<Batch>& kernels, const LossTask& task, Interrupted interrupted, Fill fill) {
  const DType dtype = task.input.dtype;
  const std::int64_t loss_size = item_size(loss_dtype(dtype));
  const Kernel<Batch> kernel = kernels[dtype];
  const Batches batches(task.input);
  Windows input(&task.input, RowWindow::Use::read, batches.workers());
  Windows probs(task.probs, RowWindow::Use::read, batches.workers());
  Windows grad(task.grad, RowWindow::Use::write, batches.workers());
  std::vector<ExactSum> sums(static_cast<std::size_t>(batches.workers()));
  const bool finished = batches.run(interrupted, [&](std::int64_t first, int rows, int worker) {
    double batch_loss[kMaxRows];  // doubles or floats: where the losses go that nobody asked to keep
    char* loss = task.loss ? static_cast<char*>(task.loss) + first * loss_size : reinterpret_cast<char*>(batch_loss);
    Batch batch{};
    batch.rows = rows;
    batch.classes = task.input.classes;
    batch.input = input.open(first, rows, worker);
    batch.target = task.target ? task.target + first : nullptr;
    batch.weight = task.weight;
    batch.loss = task.loss || task.loss_sum ? loss : nullptr;
    batch.grad = grad.open(first, rows, worker);
    batch.grad_scale = task.grad_scale;
    batch.grad_rows = task.grad_rows ? task.grad_rows + first : nullptr;
    fill(batch, probs.open(first, rows, worker), first);
    kernel(batch);
    grad.close(worker);
    if (!task.loss_sum) return;
    ExactSum& sum = sums[static_cast<std::size_t>(worker)];
    if (dtype == DType::float64) {
      add_all(&sum, reinterpret_cast<const double*>(loss), rows);
    } else {
      add_all(&sum, reinterpret_cast<const float*>(loss), rows);
    }
  });
  if (task.loss_sum) {
    for (const ExactSum& sum : sums) task.loss_sum->merge(sum);
  }
  return finished;
}

}  // namespace

bool run_softmax(const KernelsByDType<SoftmaxBatch>& kernels, const RowArray& input, const RowArray* grad_output,
                 const RowArray& output, Interrupted interrupted) {
  const Kernel<SoftmaxBatch> kernel = kernels[input.dtype];
  const Batches batches(input);
  Windows inputs(&input, RowWindow::Use::read, batches.workers());
  Windows grads(grad_output, RowWindow::Use::read, batches.workers());
  Windows outputs(&output, RowWindow::Use::write, batches.workers());
  return batches.run(interrupted, [&](std::int64_t first, int rows, int worker) {
    kernel({rows, input.classes, inputs.open(first, rows, worker), grads.open(first, rows, worker),
            outputs.open(first, rows, worker)});
    outputs.close(worker);
  });
}

bool run_logsumexp(const RowArray& input, double* lse, Interrupted interrupted) {
  const Kernel<LogSumExpBatch> kernel = kernels().logsumexp[input.dtype];
  const Batches batches(input);
  Windows inputs(&input, RowWindow::Use::read, batches.workers());
  return batches.run(interrupted, [&](std::int64_t first, int rows, int worker) {
    kernel({rows, input.classes, inputs.open(first, rows, worker), lse + first, nullptr, nullptr});
  });
}

bool run_logsumexp_backward(const RowArray& input, const double* grad_output, const RowArray& output,
                            Interrupted interrupted) {
  const Kernel<LogSumExpBatch> kernel = kernels().logsumexp_backward[input.dtype];
  const Batches batches(input);
  Windows inputs(&input, RowWindow::Use::read, batches.workers());
  Windows outputs(&output, RowWindow::Use::write, batches.workers());
  return batches.run(interrupted, [&](std::int64_t first, int rows, int worker) {
    kernel({rows, input.classes, inputs.open(first, rows, worker), nullptr, grad_output + first,
            outputs.open(first, rows, worker)});
    outputs.close(worker);
  });
}

bool run_cross_entropy(const LossTask& task, Interrupted interrupted) {
  return run_loss(kernels().cross_entropy, task, interrupted,
                  [&](CrossEntropyBatch& batch, void* const* probs, std::int64_t first) {
                    batch.probs = probs;
                    batch.smoothing = task.smoothing;
                    batch.hit = task.hit ? task.hit + first : nullptr;
                  });
}

bool run_nll_loss(const LossTask& task, Interrupted interrupted) {
  return run_loss(kernels().nll_loss, task, interrupted, [](NllLossBatch&, void* const*, std::int64_t) {});
}

void add_all(ExactSum* sum, const float* values, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) sum->add(static_cast<double>(values[i]));
}
void add_all(ExactSum* sum, const double* values, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) sum->add(values[i]);
}

}  // namespace logloss
