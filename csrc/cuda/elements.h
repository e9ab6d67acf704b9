// SPDX-License-Identifier: BSD-3-Clause
// The element-wise operations: packets of neighbouring elements, one thread each. The formulas are those of
// cpu/binary_cross_entropy.h, cpu/kl_div.h and cpu/sigmoid.h.
#pragma once

#include "common/binary_cross_entropy.h"
#include "cpu/binary_cross_entropy.h"
#include "cpu/kl_div.h"
#include "cpu/logistic.h"
#include "cuda/crew.h"
#include "cuda/exact_sum.h"

namespace logloss::LOGLOSS_LEVEL {

// An exact sum of one thread: as cpu/element_sum.h, values are cut at a fixed place, and up to kMostPending of them add
// up without rounding. Values out of reach go to the block's sum one by one.
template <class T>
class ThreadSum {
 public:
  LOGLOSS_INLINE void add(SumState* sum, T value) {
    const T magnitude = value < T(0) ? -value : value;
    if (!(value == T(0) || (magnitude >= T(0x1p-55) && magnitude < T(0x1p8)))) {
      return add_exactly(sum, static_cast<double>(value));
    }
    double rest = static_cast<double>(value);
    LOGLOSS_UNROLL for (int i = 0; i + 1 < kParts; ++i) {
      const double with = part_[i] + rest;
      rest = rest - (with - part_[i]);
      part_[i] = with;
    }
    part_[kParts - 1] = part_[kParts - 1] + rest;
    if (++pending_ == kMostPending) flush(sum);
  }
  LOGLOSS_INLINE void flush(SumState* sum) {
    LOGLOSS_UNROLL for (int i = 0; i < kParts; ++i) {
      add_exactly(sum, part_[i] - start(i));
      part_[i] = start(i);
    }
    pending_ = 0;
  }

 private:
  static constexpr int kMostPending = 256;
  static constexpr int kParts = sizeof(T) == 4 ? 2 : 3;
  static LOGLOSS_INLINE constexpr double start(int i) {
    return i == 0 ? 0x1.8p17 : i == 1 && kParts == 3 ? 0x1.8p-27 : 0.0;
  }
  double part_[3] = {start(0), start(1), start(2)};
  int pending_ = 0;
};

// An array that is repeated along the elements: element j is value[j / inner % count]; null for ones.
template <class T>
struct RepeatedArray {
  const T* value;
  std::int64_t count;
  std::int64_t inner;
  LOGLOSS_INLINE Vec<double> operator()(std::int64_t j) const {
    return Vec<double>(value ? static_cast<double>(value[j / inner % count]) : 1.0);
  }
};

// The first input outside [0, 1], or else the first target, of binary_cross_entropy, whose losses and gradients are NaN
// there: its position, plus kMisfitOfTarget for a target (all ones: none), and its value.
struct MisfitReport {
  std::uint64_t first;
  double value;
};
inline constexpr std::uint64_t kMisfitOfTarget = std::uint64_t{1} << 63;

template <class S>
LOGLOSS_KERNEL(1, 1)
name_misfit_kernel(const S* input, const S* target, MisfitReport* report) {
  if (report->first == ~std::uint64_t{0}) return;
  const S* const of = report->first & kMisfitOfTarget ? target : input;
  report->value = static_cast<double>(load_one(of + (report->first & ~kMisfitOfTarget)));
}

// Arguments of all element-wise losses; n elements.
template <class S>
struct ElementArgs {
  using T = compute_t<S>;
  std::int64_t n;
  const S* input;
  const S* target;
  RepeatedArray<T> weight, pos_weight;
  T* loss;          // or null
  SumState* total;  // or null
  S* grad;          // or null
  double grad_scale;
  const double* grad_factor;  // or null
  const T* grad_output;       // or null: one for each element
  std::uint64_t* misfit;      // MisfitReport.first, for the losses that ask; null: nothing is looked for

  LOGLOSS_INLINE bool wants_loss() const { return loss || total; }
  LOGLOSS_INLINE Vec<double> scale(std::int64_t j) const {
    const double factor = grad_factor ? grad_scale * *grad_factor : grad_scale;
    return Vec<double>(grad_output ? factor * static_cast<double>(grad_output[j]) : factor);
  }
};

// What one element gives.
template <class T>
struct ElementResult {
  Vec<T> loss, grad;
};

template <class S>
struct BceWithLogits {
  using Storage = S;
  using T = compute_t<S>;
  using Wide = Vec<double>;
  ElementArgs<S> args;

  LOGLOSS_INLINE ElementResult<T> operator()(std::int64_t j, Vec<T> x, Vec<T> y) const {
    const Logistic<T> logistic(x);
    const auto positive = Vec<T>(T(0)) < x;
    if (!args.weight.value && !args.pos_weight.value) {
      // A coefficient of 0 counts for nothing, beside an infinite logit too.
      const Vec<T> z = select(positive, Vec<T>(T(1)) - y, y);
      ElementResult<T> result{plain_loss(logistic, z), Vec<T>(T(0))};
      if (!args.grad) return result;
      const VecPair<T> q = logistic.sigmoid_of_minus();
      const Vec<T> difference = select(positive, z - q.high, q.high - z);
      const Vec<T> rest = select(positive, Vec<T>(T(0)) - q.low, q.low);
      result.grad = narrow<T>((widen(difference) + widen(rest)) * args.scale(j));
      return result;
    }
    const Wide wide_y = widen(y), w = args.weight(j);
    const auto wide_positive = Wide(0.0) < widen(x);
    const Wide negative_part = Wide(1.0) - wide_y, positive_part = args.pos_weight(j) * wide_y;
    const BinaryCoefficients<Wide> k{w * select(wide_positive, negative_part, positive_part),
                                     w * (negative_part + positive_part)};
    const Wide magnitude = clear(k.z == Wide(0.0), widen(logistic.magnitude()));
    ElementResult<T> result{narrow<T>(bce_with_logits_loss(k, magnitude, widen(logistic.log1p()))), Vec<T>(T(0))};
    if (!args.grad) return result;
    const Wide gradient = bce_with_logits_gradient(k, widen(logistic.sigmoid_of_minus())) * args.scale(j);
    result.grad = narrow<T>(select(wide_positive, gradient, Wide(0.0) - gradient));
    return result;
  }
};

template <class S>
struct Bce {
  using Storage = S;
  using T = compute_t<S>;
  using Wide = Vec<double>;
  ElementArgs<S> args;

  LOGLOSS_INLINE ElementResult<T> operator()(std::int64_t j, Vec<T> p, Vec<T> y) const {
    if (args.misfit && (mark_outside(y, mark_outside(p, Vec<T>(T(0)))) == Vec<T>(T(1))).reg[0]) {
      const bool of_input = (mark_outside(p, Vec<T>(T(0))) == Vec<T>(T(1))).reg[0];
      min_atomically(args.misfit, static_cast<std::uint64_t>(j) | (of_input ? 0 : kMisfitOfTarget));
      return {Vec<T>(kNaN<T>), Vec<T>(kNaN<T>)};
    }
    const VecPair<T> minus_loss = bce_of_probability(p, y);
    ElementResult<T> result{args.weight.value ? narrow<T>((Wide(0.0) - widen(minus_loss)) * args.weight(j))
                                              : (Vec<T>(T(0)) - minus_loss.high) - minus_loss.low,
                            Vec<T>(T(0))};
    if (!args.grad) return result;
    const Wide wide_p = widen(p);
    const Wide variance = max(Wide(kSmallestVariance), wide_p * (Wide(1.0) - wide_p));
    result.grad = narrow<T>((wide_p - widen(y)) / variance * (args.weight(j) * args.scale(j)));
    return result;
  }
};

template <class S>
struct KlDiv {
  using Storage = S;
  using T = compute_t<S>;
  ElementArgs<S> args;
  bool log_target;

  LOGLOSS_INLINE ElementResult<T> operator()(std::int64_t j, Vec<T> x, Vec<T> t) const {
    ElementResult<T> result{Vec<T>(T(0)), Vec<T>(T(0))};
    if (args.wants_loss()) result.loss = log_target ? kl_div_log_term(x, t) : kl_div_term(x, t);
    if (!args.grad) return result;
    const Vec<double> p = widen(log_target ? exp(t) : t);
    result.grad = narrow<T>((Vec<double>(0.0) - p) * args.scale(j));
    return result;
  }
};

// All threads of a launch, with one long row of elements.
struct Grid {
  LOGLOSS_INLINE std::int64_t thread() const { return block() * LOGLOSS_LEVEL::threads() + LOGLOSS_LEVEL::thread(); }
  LOGLOSS_INLINE std::int64_t threads() const { return blocks() * LOGLOSS_LEVEL::threads(); }
  LOGLOSS_INLINE Range part_of(std::int64_t n) const { return {0, n}; }
};

// sigmoid or log_sigmoid, and the gradient of either.
template <class S>
struct Sigmoid {
  using Storage = S;
  using T = compute_t<S>;
  static constexpr int kInputs = 1;
  std::int64_t n;
  const S* input[kInputs];
  S* output;
  bool logarithm;

  LOGLOSS_INLINE Vec<T> operator()(const Vec<T>* x) const {
    const Logistic<T> logistic(*x);
    const auto positive = Vec<T>(T(0)) < *x;
    const VecPair<T> p = logarithm ? logistic.log1p() : logistic.sigmoid_of_minus();
    if (logarithm) return (clear(positive, *x) - p.high) - p.low;
    return select(positive, (Vec<T>(T(1)) - p.high) - p.low, p.high + p.low);
  }
};
template <class S>
struct SigmoidBackward {
  using Storage = S;
  using T = compute_t<S>;
  static constexpr int kInputs = 2;
  std::int64_t n;
  const S* input[kInputs];  // logits; grad_output
  S* output;
  bool logarithm;

  LOGLOSS_INLINE Vec<T> operator()(const Vec<T>* x) const {
    const Vec<double> q = widen(Logistic<T>(x[0]).sigmoid_of_minus()), p = Vec<double>(1.0) - q;
    const Vec<double> derivative = logarithm ? select(Vec<double>(0.0) < widen(x[0]), q, p) : q * p;
    return narrow<T>(derivative * widen(x[1]));
  }
};

template <class Op>
LOGLOSS_KERNEL(256, 4)
map_kernel(Op op) {
  using T = compute_t<typename Op::Storage>;
  const OutputRow<typename Op::Storage> out[1] = {{op.output, 1}};
  transform(Grid{}, op.n, op.input, out, [&](std::int64_t, const Vec<T>* x, Vec<T>* y) { *y = op(x); });
}

// Every thread takes packets a grid apart; the elements before the first and after the last whole packet, and all of
// arrays that are out of phase with each other, go one by one.
template <class Op>
LOGLOSS_KERNEL(256, 4)
elements_kernel(Op op) {
  using S = typename Op::Storage;
  using T = compute_t<S>;
  LOGLOSS_BLOCK_MEMORY(memory);
  const ElementArgs<S>& args = op.args;
  SumState* const sum = args.total ? reinterpret_cast<SumState*>(memory) : nullptr;
  if (sum) {
    clear_sum(sum);
    sync_block();
  }
  ThreadSum<T> own;
  const auto put = [&](std::int64_t j, const ElementResult<T>& result) {
    if (args.loss) args.loss[j] = result.loss.reg[0];
    if (sum) own.add(sum, result.loss.reg[0]);
  };
  const std::int64_t first = block() * threads() + thread(), step = blocks() * threads();
  const bool in_phase =
      phase_of(args.target) == phase_of(args.input) && (!args.grad || phase_of(args.grad) == phase_of(args.input));
  const PacketCut cut(args.input, args.n, in_phase);
  LOGLOSS_ROLLED for (std::int64_t p = first; p < cut.packets; p += step) {
    const std::int64_t j = cut.head + p * kPerPacket<S>;
    const Packet x = load_packet(args.input + j), y = load_packet(args.target + j);
    Packet grad;
    LOGLOSS_UNROLL for (int i = 0; i < kPerPacket<S>; ++i) {
      const ElementResult<T> result = op(j + i, Vec<T>(element_of<S>(x, i)), Vec<T>(element_of<S>(y, i)));
      put(j + i, result);
      set_element<S>(&grad, i, result.grad.reg[0]);
    }
    if (args.grad) store_packet(args.grad + j, grad);
  }
  LOGLOSS_ROLLED for (std::int64_t i = first; i < cut.outside; i += step) {
    const std::int64_t j = cut.template position<S>(i);
    const ElementResult<T> result = op(j, Vec<T>(load_one(args.input + j)), Vec<T>(load_one(args.target + j)));
    put(j, result);
    if (args.grad) store_one(args.grad + j, result.grad.reg[0]);
  }
  if (!sum) return;
  own.flush(sum);
  sync_block();
  merge_sum(args.total, *sum);
}

}  // namespace logloss::LOGLOSS_LEVEL
