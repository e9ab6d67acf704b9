// SPDX-License-Identifier: BSD-3-Clause
#include "cpu/element_operations.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "cpu/caches.h"
#include "cpu/dispatch.h"
#include "cpu/operations.h"

namespace logloss {
namespace {

// What one worker works with.
struct Worker {
  explicit Worker(const ElementTask& task)
      : input(task.input, task.dtype, ElementWindow::Use::read),
        target(task.target, task.dtype, ElementWindow::Use::read),
        weight(task.weight, compute_dtype(task.dtype), ElementWindow::Use::read),
        pos_weight(task.pos_weight, compute_dtype(task.dtype), ElementWindow::Use::read),
        grad_output(task.grad_output, compute_dtype(task.dtype), ElementWindow::Use::read),
        output(task.output, task.dtype, ElementWindow::Use::write),
        loss(task.loss, loss_dtype(task.dtype), ElementWindow::Use::write),
        grad(task.grad, task.dtype, ElementWindow::Use::write),
        past_caches(goes_past_caches(task)) {}

  ElementBatch open(std::int64_t first, int n) {
    ElementBatch batch{};
    batch.n = n;
    batch.input = input.open(first, n);
    batch.target = target.open(first, n);
    batch.weight = weight.open(first, n);
    batch.pos_weight = pos_weight.open(first, n);
    batch.grad_output = grad_output.open(first, n);
    void* const losses = loss.open(first, n);
    batch.output = losses ? losses : output.open(first, n);
    batch.grad = grad.open(first, n);
    batch.past_caches = past_caches;
    return batch;
  }
  void close() {
    output.close();
    loss.close();
    grad.close();
  }

  // Results that the caches do not hold, where batches of them are whole lines.
  bool goes_past_caches(const ElementTask& task) const {
    const ElementArray* result = task.output ? task.output : task.grad;
    if (!result || !(task.output ? output : grad).direct() || result->data == task.input->data) return false;
    return result->size() * item_size(task.dtype) > kMostInCaches &&
           reinterpret_cast<std::uintptr_t>(result->data) % kCacheLine == 0;
  }

  ElementWindow input, target, weight, pos_weight, grad_output, output, loss, grad;
  bool past_caches;
  ExactSum sum;
  bool in_domain = true;
};

// Adds the losses of a batch, one by one where they are out of reach of ElementSums.
void add_batch(DType dtype, const ElementBatch& batch, ExactSum* sum) {
  if (batch.sums->exact) {
    add_all(sum, batch.sums->part, kElementSumParts);
  } else {
    add_losses(sum, dtype, batch.output, batch.n);
  }
}

}  // namespace

bool run_elements(const KernelsByDType<ElementBatch>& kernels, ElementTask* task, Interrupted interrupted) {
  align_layouts({task->input, task->target, task->weight, task->pos_weight, task->grad_output, task->output, task->loss,
                 task->grad});
  const Kernel<ElementBatch> kernel = kernels[task->dtype];
  const std::int64_t n = task->input->size();
  const std::int64_t batches = (n + kMaxElements - 1) / kMaxElements;
  const auto count = static_cast<std::size_t>(workers_for(batches, n));
  std::vector<Worker> workers;
  workers.reserve(count);
  while (workers.size() < count) workers.emplace_back(*task);
  const bool finished =
      parallel_for(batches, static_cast<int>(workers.size()), interrupted, [&](std::int64_t index, int which) {
        Worker& worker = workers[static_cast<std::size_t>(which)];
        const std::int64_t first = index * kMaxElements;
        ElementBatch batch = worker.open(first, static_cast<int>(std::min<std::int64_t>(kMaxElements, n - first)));
        batch.grad_scale = task->grad_scale;
        batch.in_domain = &worker.in_domain;
        ElementSums sums;
        double losses[kMaxElements];  // doubles or floats
        if (task->loss_sum) {
          batch.sums = &sums;
          if (!batch.output) batch.output = losses;
        }
        kernel(batch);
        if (task->loss_sum) add_batch(task->dtype, batch, &worker.sum);
        worker.close();
      });
  for (const Worker& worker : workers) {
    if (task->loss_sum) task->loss_sum->merge(worker.sum);
    task->in_domain = task->in_domain && worker.in_domain;
  }
  return finished;
}

Misfit first_outside_unit_interval(const ElementArray& array) {
  ElementWindow window(&array, DType::float64, ElementWindow::Use::read);
  const std::int64_t n = array.size();
  for (std::int64_t first = 0; first < n; first += kMaxElements) {
    const int count = static_cast<int>(std::min<std::int64_t>(kMaxElements, n - first));
    const double* values = static_cast<const double*>(window.open(first, count));
    for (int i = 0; i < count; ++i) {
      if (!(values[i] >= 0.0 && values[i] <= 1.0)) return {first + i, values[i]};
    }
  }
  return {-1, 0.0};
}

}  // namespace logloss
