// SPDX-License-Identifier: BSD-3-Clause
// Prints a hash of what every kernel of one ISA level writes, for every dtype and a choice of row lengths and of
// numbers of elements: levels with a fused multiply-add must print the same lines. Needs neither Python nor the machine
// that it was compiled on.
//
// LOGLOSS_TABLE names the level's table, such as neon_kernels.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include "common/half.h"
#include "cpu/kernel_table.h"

namespace {

using namespace logloss;
using Bytes = std::vector<unsigned char>;

constexpr int kRows = 5;
constexpr std::int64_t kClasses[] = {1, 2, 3, 10, 15, 16, 17, 127, 128, 129, 1000, 1024, 1025, 4097, 65537, 131077};
constexpr int kElements[] = {1, 2, 15, 16, 17, 1000, 4095, kMaxElements};
constexpr const char* kDTypeNames[] = {"float16", "bfloat16", "float32", "float64"};

// The same numbers everywhere: integers from a linear congruential generator, scaled by powers of two to about
// [-16, 16), and in one row by 2^9 more, where the maximum is subtracted first.
class Numbers {
 public:
  double next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<double>(static_cast<std::int32_t>(state_ >> 32)) * 0x1p-27;
  }

 private:
  std::uint64_t state_ = 20240607;
};

void put(double value, DType dtype, unsigned char* to) {
  const float narrow = static_cast<float>(value);
  if (dtype == DType::float64) {
    std::memcpy(to, &value, sizeof value);
  } else if (dtype == DType::float32) {
    std::memcpy(to, &narrow, sizeof narrow);
  } else if (dtype == DType::float16) {
    const Half half = baseline::narrow_half(narrow);
    std::memcpy(to, &half, sizeof half);
  } else {
    const BFloat16 half = baseline::narrow_bfloat16(narrow);
    std::memcpy(to, &half, sizeof half);
  }
}

// kRows rows as a kernel takes them.
struct Rows {
  Rows(DType type, std::int64_t classes)
      : size(item_size(type) * classes), bytes(static_cast<std::size_t>(kRows * size)) {
    for (int row = 0; row < kRows; ++row) pointers[row] = bytes.data() + row * size;
  }
  Rows(DType type, std::int64_t classes, Numbers* numbers, double scale, double offset = 0.0) : Rows(type, classes) {
    const std::int64_t item = item_size(type);
    for (std::int64_t i = 0; i < kRows * classes; ++i) {
      put(numbers->next() * (i / classes == 3 ? scale * 0x1p9 : scale) + offset, type, bytes.data() + i * item);
    }
  }
  Rows(const Rows&) = delete;
  Rows& operator=(const Rows&) = delete;
  std::int64_t size;
  Bytes bytes;
  void* pointers[kRows];
};

std::uint64_t hash(const void* data, std::size_t size) {  // FNV-1a
  std::uint64_t value = 14695981039346656037u;
  for (std::size_t i = 0; i < size; ++i) {
    value = (value ^ static_cast<const unsigned char*>(data)[i]) * 1099511628211u;
  }
  return value;
}

void print(const char* operation, DType dtype, std::int64_t classes, const void* data, std::size_t size) {
  std::printf("%-32s %-9s %7lld %016llx\n", operation, kDTypeNames[static_cast<int>(dtype)],
              static_cast<long long>(classes), static_cast<unsigned long long>(hash(data, size)));
}

constexpr double kUpstream[kRows] = {1.0, -0.5, 2.0, 0.25, 3.0};

using RowValueKernels = KernelsByDType<RowValueBatch>;

void hash_row_values(const char* name, const RowValueKernels& forward, const RowValueKernels& backward, DType dtype,
                     const Rows& input) {
  const std::int64_t classes = input.size / item_size(dtype);
  Rows grad(dtype, classes);
  double value[kRows];
  const RowValueBatch batch{kRows, classes, input.pointers, value, kUpstream, grad.pointers};
  forward[dtype](batch);
  print(name, dtype, classes, value, sizeof value);
  backward[dtype](batch);
  print("... gradient", dtype, classes, grad.bytes.data(), grad.bytes.size());
}

void hash_softmax_family(const SoftmaxKernels& kernels, DType dtype, std::int64_t classes) {
  Numbers numbers;
  const Rows input(dtype, classes, &numbers, 1.0), grad(dtype, classes, &numbers, 0.25);
  Rows output(dtype, classes);
  const SoftmaxBatch batch{kRows, classes, 1, 1, input.pointers, grad.pointers, output.pointers};
  const auto run = [&](const char* name, const KernelsByDType<SoftmaxBatch>& kernel) {
    kernel[dtype](batch);
    print(name, dtype, classes, output.bytes.data(), output.bytes.size());
  };
  run("log_softmax", kernels.log_softmax);
  run("softmax", kernels.softmax);
  run("log_softmax_backward", kernels.log_softmax_backward);
  run("softmax_backward", kernels.softmax_backward);
  hash_row_values("logsumexp", kernels.logsumexp, kernels.logsumexp_backward, dtype, input);
}

void hash_losses(const ClassLossKernels& kernels, DType dtype, std::int64_t classes) {
  Numbers numbers;
  const Rows input(dtype, classes, &numbers, 1.0), probs(dtype, classes, &numbers, 0x1p-6);
  Rows grad(dtype, classes);
  std::int64_t target[kRows] = {0, classes - 1, kIgnored, classes / 2, classes / 3};
  std::vector<double> weight(static_cast<std::size_t>(classes));
  std::vector<float> weight_float(weight.size());
  for (std::size_t c = 0; c < weight.size(); ++c) weight_float[c] = weight[c] = static_cast<double>(c % 5) * 0.5;
  double loss[kRows] = {};
  std::uint8_t hit[kRows] = {};
  const auto run = [&](const char* name, CrossEntropyBatch batch) {
    batch.rows = kRows;
    batch.classes = classes;
    batch.input = input.pointers;
    batch.loss = loss;
    batch.grad = grad.pointers;
    batch.grad_scale = 0.5;
    kernels.cross_entropy[dtype](batch);
    print(name, dtype, classes, loss, static_cast<std::size_t>(kRows * item_size(loss_dtype(dtype))));
    print("... gradient", dtype, classes, grad.bytes.data(), grad.bytes.size());
  };
  const void* weights = dtype == DType::float64 ? static_cast<void*>(weight.data()) : weight_float.data();
  CrossEntropyBatch batch{};
  batch.class_stride = batch.grad_stride = 1;
  batch.target = target;
  batch.hit = hit;
  run("cross_entropy", batch);
  print("... hits", dtype, classes, hit, sizeof hit);
  batch.weight = weights;
  batch.smoothing = 0.125;
  run("cross_entropy, smoothed", batch);
  CrossEntropyBatch soft{};
  soft.class_stride = soft.grad_stride = 1;
  soft.probs = probs.pointers;
  soft.weight = weights;
  run("cross_entropy, probabilities", soft);
  NllLossBatch nll{kRows, classes, 1, input.pointers, target, weights, loss, grad.pointers, 0.5, nullptr};
  kernels.nll_loss[dtype](nll);
  print("nll_loss", dtype, classes, loss, static_cast<std::size_t>(kRows * item_size(loss_dtype(dtype))));
}

// A divergence or a cosine of two inputs, which the batch has already, and both gradients.
template <class Batch>
void hash_pairs(const char* name, const KernelsByDType<Batch>& kernel, DType dtype, std::int64_t classes, Batch batch,
                void* const* Batch::* first_grad, void* const* Batch::* second_grad) {
  Rows first(dtype, classes), second(dtype, classes);
  double loss[kRows] = {};
  batch.rows = kRows;
  batch.loss = loss;
  batch.*first_grad = first.pointers;
  batch.*second_grad = second.pointers;
  batch.grad_scale = 0.5;
  batch.grad_rows = kUpstream;
  kernel[dtype](batch);
  print(name, dtype, classes, loss, static_cast<std::size_t>(kRows * item_size(loss_dtype(dtype))));
  print("... first gradient", dtype, classes, first.bytes.data(), first.bytes.size());
  print("... second gradient", dtype, classes, second.bytes.data(), second.bytes.size());
}

void hash_divergences(const DivergenceKernels& kernels, DType dtype, std::int64_t classes) {
  Numbers numbers, again;
  const Rows input(dtype, classes, &numbers, 1.0), other(dtype, classes, &numbers, 1.0);
  const Rows close(dtype, classes, &again, 1.0 + 0x1p-10);
  const Rows probs(dtype, classes, &numbers, 0x1p-14, 0.5);
  hash_row_values("entropy", kernels.entropy, kernels.entropy_backward, dtype, probs);
  hash_row_values("entropy_with_logits", kernels.entropy_with_logits, kernels.entropy_with_logits_backward, dtype,
                  input);
  const double target[kRows] = {1.0, -1.0, 0.0, 1.0, -1.0};
  for (const Rows* second : {&other, &close}) {
    DivergenceBatch divergence{};
    divergence.classes = classes;
    divergence.input = input.pointers;
    divergence.target = second->pointers;
    hash_pairs("kl_div_with_logits", kernels.kl_div_with_logits, dtype, classes, divergence,
               &DivergenceBatch::input_grad, &DivergenceBatch::target_grad);
    CosineBatch cosine{};
    cosine.features = classes;
    cosine.input1 = input.pointers;
    cosine.input2 = second->pointers;
    cosine.target = target;
    cosine.margin = -0.125;
    hash_pairs("cosine_embedding_loss", kernels.cosine_embedding_loss, dtype, classes, cosine, &CosineBatch::grad1,
               &CosineBatch::grad2);
  }
}

// n values of the given type: scale times a number in [-16, 16), plus offset.
Bytes elements(DType dtype, int n, Numbers* numbers, double scale, double offset) {
  Bytes bytes(static_cast<std::size_t>(n * item_size(dtype)));
  for (int i = 0; i < n; ++i) put(numbers->next() * scale + offset, dtype, bytes.data() + i * item_size(dtype));
  return bytes;
}

void hash_functions(const ElementwiseKernels& kernels, DType dtype, int n) {
  Numbers numbers;
  const Bytes input = elements(dtype, n, &numbers, 8.0, 0.0);
  const Bytes upstream = elements(compute_dtype(dtype), n, &numbers, 0.25, 0.0);
  Bytes output(input.size());
  ElementBatch batch{};
  batch.n = n;
  batch.input = input.data();
  batch.grad_scale = 0.5;
  const auto run = [&](const char* name, const KernelsByDType<ElementBatch>& kernel) {
    kernel[dtype](batch);
    print(name, dtype, n, output.data(), output.size());
  };
  batch.output = output.data();
  run("sigmoid", kernels.sigmoid);
  run("log_sigmoid", kernels.log_sigmoid);
  batch.output = nullptr;
  batch.grad = output.data();
  batch.grad_output = upstream.data();
  run("sigmoid_backward", kernels.sigmoid_backward);
  run("log_sigmoid_backward", kernels.log_sigmoid_backward);
}

void hash_element_losses(const ElementwiseKernels& kernels, DType dtype, int n) {
  Numbers numbers;
  const DType compute = compute_dtype(dtype);
  const Bytes logits = elements(dtype, n, &numbers, 2.0, 0.0);
  const Bytes probs = elements(dtype, n, &numbers, 0x1p-5, 0.5), target = elements(dtype, n, &numbers, 0x1p-5, 0.5);
  const Bytes log_probs = elements(dtype, n, &numbers, 0.25, -4.0);
  const Bytes weight = elements(compute, n, &numbers, 0.125, 2.0),
              pos_weight = elements(compute, n, &numbers, 0.5, 8.0);
  const Bytes upstream = elements(compute, n, &numbers, 0.25, 0.0);
  Bytes loss(static_cast<std::size_t>(n * item_size(loss_dtype(dtype)))), grad(logits.size());
  const auto run = [&](const char* name, const KernelsByDType<ElementBatch>& kernel, const Bytes& input,
                       const Bytes& labels, bool weighted) {
    ElementSums sums{};
    bool in_domain = true;
    ElementBatch batch{};
    batch.n = n;
    batch.input = input.data();
    batch.target = labels.data();
    batch.weight = weighted ? weight.data() : nullptr;
    batch.pos_weight = weighted && &kernel == &kernels.binary_cross_entropy_with_logits ? pos_weight.data() : nullptr;
    batch.grad_output = weighted ? upstream.data() : nullptr;
    batch.grad_scale = 0.5;
    batch.output = loss.data();
    batch.grad = grad.data();
    batch.sums = &sums;
    batch.in_domain = &in_domain;
    kernel[dtype](batch);
    print(name, dtype, n, loss.data(), loss.size());
    print("... gradient", dtype, n, grad.data(), grad.size());
    print("... sums", dtype, n, sums.part, sizeof sums.part);
    const bool flags[] = {sums.exact, in_domain};
    print("... exact, in domain", dtype, n, flags, sizeof flags);
  };
  run("binary_cross_entropy", kernels.binary_cross_entropy, probs, target, false);
  run("binary_cross_entropy, weighted", kernels.binary_cross_entropy, probs, target, true);
  run("with_logits", kernels.binary_cross_entropy_with_logits, logits, target, false);
  run("with_logits, weighted", kernels.binary_cross_entropy_with_logits, logits, target, true);
  run("kl_div", kernels.kl_div, log_probs, target, false);
  run("kl_div_log_target", kernels.kl_div_log_target, log_probs, log_probs, false);
  run("kl_div_log_target, other", kernels.kl_div_log_target, logits, log_probs, false);

  bool in_domain = true;
  ElementBatch check{};
  check.n = n;
  check.input = check.target = logits.data();
  check.in_domain = &in_domain;
  kernels.binary_cross_entropy[dtype](check);
  print("in domain", dtype, n, &in_domain, sizeof in_domain);
}

void hash_vec_math(const KernelTable& kernels) {
  Numbers numbers;
  std::vector<double> x(10007), y(x.size());
  std::vector<float> xf(x.size()), yf(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) xf[i] = static_cast<float>(x[i] = numbers.next() * 4.0);
  const auto n = static_cast<std::int64_t>(x.size());
  for (const auto kernel : {kernels.exp_double, kernels.log_double, kernels.log1p_double}) {
    for (double& value : x) value = kernel == kernels.exp_double ? value : value < 0 ? -value : value;
    kernel(x.data(), y.data(), n);
    print("exp, log or log1p", DType::float64, n, y.data(), y.size() * sizeof(double));
  }
  for (const auto kernel : {kernels.exp_float, kernels.log_float, kernels.log1p_float}) {
    for (float& value : xf) value = kernel == kernels.exp_float ? value : value < 0 ? -value : value;
    kernel(xf.data(), yf.data(), n);
    print("exp, log or log1p", DType::float32, n, yf.data(), yf.size() * sizeof(float));
  }
}

}  // namespace

int main() {
  const KernelTable& kernels = *logloss::LOGLOSS_TABLE();
  hash_vec_math(kernels);
  for (int dtype = 0; dtype < kDTypes; ++dtype) {
    for (const std::int64_t classes : kClasses) {
      hash_softmax_family(kernels.softmax, static_cast<DType>(dtype), classes);
      hash_losses(kernels.class_loss, static_cast<DType>(dtype), classes);
      hash_divergences(kernels.divergence, static_cast<DType>(dtype), classes);
    }
    for (const int n : kElements) {
      hash_functions(kernels.elementwise, static_cast<DType>(dtype), n);
      hash_element_losses(kernels.elementwise, static_cast<DType>(dtype), n);
    }
  }
  return 0;
}
