// SPDX-License-Identifier: BSD-3-Clause
// What a C programmer writes first: plain loops over float32 that call the C library once or twice per element, one
// rounding after another, no vectors. The yardstick of the portable level. bench/yardsticks.py compiles this file.
//
// All functions have one signature. x: rows x classes values in C order; y: what the loss compares x with (another such
// array, or class indices), NULL for functions of one array; out: as large as x or one value per row, NULL for losses.
// Losses return their sum.
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#define SCALAR(name) double name(const float* x, const void* y, float* out, ptrdiff_t rows, ptrdiff_t classes)

static float largest(const float* x, ptrdiff_t n) {
  float found = x[0];
  for (ptrdiff_t i = 1; i < n; ++i) found = x[i] > found ? x[i] : found;
  return found;
}

// log sum exp x
static float lse(const float* x, ptrdiff_t n) {
  const float m = largest(x, n);
  double sum = 0.0;
  for (ptrdiff_t i = 0; i < n; ++i) sum += expf(x[i] - m);
  return m + logf((float)sum);
}

SCALAR(logsumexp) {
  for (ptrdiff_t r = 0; r < rows; ++r, x += classes) out[r] = lse(x, classes);
  return 0.0;
}

SCALAR(log_softmax) {
  for (ptrdiff_t r = 0; r < rows; ++r, x += classes, out += classes) {
    const float total = lse(x, classes);
    for (ptrdiff_t i = 0; i < classes; ++i) out[i] = x[i] - total;
  }
  return 0.0;
}

SCALAR(softmax) {
  for (ptrdiff_t r = 0; r < rows; ++r, x += classes, out += classes) {
    const float m = largest(x, classes);
    double sum = 0.0;
    for (ptrdiff_t i = 0; i < classes; ++i) sum += out[i] = expf(x[i] - m);
    for (ptrdiff_t i = 0; i < classes; ++i) out[i] /= (float)sum;
  }
  return 0.0;
}

SCALAR(cross_entropy) {
  const int64_t* target = y;
  double loss = 0.0;
  for (ptrdiff_t r = 0; r < rows; ++r, x += classes) loss += lse(x, classes) - x[target[r]];
  return loss;
}

SCALAR(entropy) {
  for (ptrdiff_t r = 0; r < rows; ++r, x += classes) {
    double sum = 0.0;
    for (ptrdiff_t i = 0; i < classes; ++i) sum -= x[i] > 0.0f ? x[i] * logf(x[i]) : 0.0f;
    out[r] = (float)sum;
  }
  return 0.0;
}

SCALAR(entropy_with_logits) {
  for (ptrdiff_t r = 0; r < rows; ++r, x += classes) {
    const float m = largest(x, classes);
    double sum = 0.0, weighted = 0.0;
    for (ptrdiff_t i = 0; i < classes; ++i) {
      const float e = expf(x[i] - m);
      sum += e;
      weighted += e * (x[i] - m);
    }
    out[r] = (float)(log(sum) - weighted / sum);
  }
  return 0.0;
}

SCALAR(kl_div_with_logits) {
  const float* t = y;
  double loss = 0.0;
  for (ptrdiff_t r = 0; r < rows; ++r, x += classes, t += classes) {
    const float log_q = lse(x, classes), log_p = lse(t, classes);
    for (ptrdiff_t i = 0; i < classes; ++i) loss += expf(t[i] - log_p) * ((t[i] - log_p) - (x[i] - log_q));
  }
  return loss;
}

SCALAR(kl_div) {
  const float* t = y;
  double loss = 0.0;
  for (ptrdiff_t i = 0; i < rows * classes; ++i) loss += t[i] > 0.0f ? t[i] * (logf(t[i]) - x[i]) : 0.0f;
  return loss;
}

SCALAR(binary_cross_entropy) {
  const float* t = y;
  double loss = 0.0;
  for (ptrdiff_t i = 0; i < rows * classes; ++i) loss -= t[i] * logf(x[i]) + (1.0f - t[i]) * log1pf(-x[i]);
  return loss;
}

SCALAR(binary_cross_entropy_with_logits) {
  const float* t = y;
  double loss = 0.0;
  for (ptrdiff_t i = 0; i < rows * classes; ++i)
    loss += (x[i] > 0.0f ? x[i] : 0.0f) - x[i] * t[i] + log1pf(expf(-fabsf(x[i])));
  return loss;
}

SCALAR(sigmoid) {
  for (ptrdiff_t i = 0; i < rows * classes; ++i) out[i] = 1.0f / (1.0f + expf(-x[i]));
  return 0.0;
}

SCALAR(log_sigmoid) {
  for (ptrdiff_t i = 0; i < rows * classes; ++i) out[i] = (x[i] < 0.0f ? x[i] : 0.0f) - log1pf(expf(-fabsf(x[i])));
  return 0.0;
}
