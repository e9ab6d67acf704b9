// SPDX-License-Identifier: BSD-3-Clause
// KL(softmax(target) || softmax(input)) of pairs of rows, and its gradients. Each row is read from memory once: the
// second sweep finds it in cache.
#pragma once

#include "common/args.h"
#include "common/kl_div.h"
#include "cpu/log_softmax.h"

namespace logloss::LOGLOSS_LEVEL {

using WideTerms = DivergenceTerms<Vec<double>>;
LOGLOSS_INLINE WideTerms operator+(const WideTerms& a, const WideTerms& b) {
  return {a.divergence + b.divergence, a.linear + b.linear};
}

// One vector of classes; everything is times RowSoftmax::kOne.
struct ClassPair {
  Vec<double> p, q;
  WideTerms terms;
  Vec<double> gradient;  // q - p

  template <class T>
  LOGLOSS_INLINE ClassPair(const RowSoftmax<T>& target, Vec<T> t, const RowSoftmax<T>& input, Vec<T> x) {
    const Vec<double> zero(0.0);
    p = target.probability(t);
    q = input.probability(x);
    const Vec<double> d = clear(p == zero, target.log_ratio(t, input, x));
    const Vec<double> linear = p * d;
    const Vec<double> difference = q - p;
    // e^-d - 1 + d by its series, to the last digit of small d.
    const Vec<double> series = p * (d * d) * polynomial<ExpConstants<double>>(zero - d);
    const Vec<double> bound(kSeriesBound);
    const auto select_near = [&](Vec<double> near, Vec<double> far)
                                 LOGLOSS_INLINE_LAMBDA { return select(max(d, zero - d) < bound, near, far); };
    terms = {select_near(select(p == zero, q, series), difference + linear), linear};
    gradient = select_near(select(p == zero, q, series - linear), difference);
  }

 private:
  static constexpr double kSeriesBound = 0.34;  // within ln 2 / 2, for which the coefficients are made
};

template <class S>
class DivergenceKernel {
  using T = compute_t<S>;

 public:
  explicit DivergenceKernel(const DivergenceBatch& batch)
      : batch_(batch), input_(softmaxes(batch, batch.input)), target_(softmaxes(batch, batch.target)) {}

  void run() {
    T* loss = static_cast<T*>(batch_.loss);
    for (int row = 0; row < batch_.rows; ++row) {
      const double divergence = loss || batch_.target_grad ? divergence_of_row(row) : 0.0;
      if (loss) loss[row] = static_cast<T>(divergence);
      const double scale = grad_scale_of(batch_, row);
      if (batch_.target_grad) {
        write_gradients(row, divergence, scale);
      } else if (batch_.input_grad) {
        write_input_gradient(row, scale);
      }
    }
  }

 private:
  static constexpr double kOne = RowSoftmax<T>::kOne;

  static SoftmaxOfRows<T> softmaxes(const DivergenceBatch& batch, const void* const* rows) {
    return SoftmaxOfRows<T>(stats_of_rows(BatchRows<S>(rows, batch.rows, batch.classes, 1)));
  }

  // The classes of one row; lanes beyond its end are classes of probability 0 on both sides.
  class Row {
   public:
    Row(const DivergenceKernel& kernel, int row)
        : x_(static_cast<const S*>(kernel.batch_.input[row])),
          t_(static_cast<const S*>(kernel.batch_.target[row])),
          input_(kernel.input_[row]),
          target_(kernel.target_[row]) {}
    template <class Lanes>
    LOGLOSS_INLINE ClassPair operator()(std::int64_t j, Lanes lanes) const {
      return ClassPair(target_, load(t_ + j, lanes, -kInfinity<T>), input_, load(x_ + j, lanes, -kInfinity<T>));
    }

   private:
    const S* x_;
    const S* t_;
    RowSoftmax<T> input_, target_;
  };

  LOGLOSS_NOINLINE double divergence_of_row(int row) const {
    const Row classes(*this, row);
    LaneSum<double> divergence, linear;
    for_each_tile<WideTerms>(
        batch_.classes, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA { return classes(j, lanes).terms; },
        [&](const WideTerms& tile) LOGLOSS_INLINE_LAMBDA {
          divergence.add(tile.divergence);
          linear.add(tile.linear);
        });
    const DivergenceTerms<double> sum{total(divergence) / kOne, total(linear) / kOne};
    // A class that only the target has makes the divergence infinite.
    return sum.divergence == kInfinity<double> ? sum.divergence : kl_div_of_sums(sum);
  }
  static double total(const LaneSum<double>& sum) {
    const TwoPartSum parts = sum.total();
    return parts.high + parts.low;
  }

  LOGLOSS_NOINLINE void write_input_gradient(int row, double scale) const {
    const Row classes(*this, row);
    S* grad = static_cast<S*>(batch_.input_grad[row]);
    for_each_vector(batch_.classes, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
      store(grad + j, lanes, narrow<T>(classes(j, lanes).gradient * Vec<double>(scale) * Vec<double>(1.0 / kOne)));
    });
  }

  // Both are formed before either is written: they may replace their logits.
  LOGLOSS_NOINLINE void write_gradients(int row, double divergence, double scale) const {
    const Row classes(*this, row);
    S* input_grad = batch_.input_grad ? static_cast<S*>(batch_.input_grad[row]) : nullptr;
    S* target_grad = static_cast<S*>(batch_.target_grad[row]);
    // A class without probability counts for nothing, beside an infinite divergence too.
    const Vec<double> wide_scale(scale), one(1.0 / kOne), wide_divergence(divergence);
    const Vec<double> nothing(divergence == divergence ? 0.0 : divergence);
    for_each_vector(batch_.classes, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
      const ClassPair pair = classes(j, lanes);
      const Vec<double> of_target =
          select(pair.p == Vec<double>(0.0), nothing, kl_div_target_gradient(pair.terms, pair.p, wide_divergence));
      if (input_grad) store(input_grad + j, lanes, narrow<T>(pair.gradient * wide_scale * one));
      store(target_grad + j, lanes, narrow<T>(of_target * wide_scale * one));
    });
  }

  const DivergenceBatch& batch_;
  SoftmaxOfRows<T> input_, target_;
};

template <class S>
void kl_div_with_logits(const DivergenceBatch& batch) {
  DivergenceKernel<S>(batch).run();
}

}  // namespace logloss::LOGLOSS_LEVEL
