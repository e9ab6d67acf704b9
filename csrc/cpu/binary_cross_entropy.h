// SPDX-License-Identifier: BSD-3-Clause
// binary_cross_entropy of probabilities and of logits: losses and gradients, element by element.
#pragma once

#include "common/binary_cross_entropy.h"
#include "cpu/elements.h"
#include "cpu/logistic.h"

namespace logloss::LOGLOSS_LEVEL {

// In float64; the lanes that are not there get `rest`.
template <class S, class Lanes>
LOGLOSS_INLINE Vec<double> load_widened(const S* p, Lanes lanes, compute_t<S> rest) {
  return widen(load(p, lanes, rest));
}
LOGLOSS_INLINE Vec<double> load_widened(const float* p, AllLanes, float) { return load_wide(p); }

// The values of an array that may be absent: then they are all 1.
template <class T>
struct OptionalWeight {
  const T* weight;
  template <class Lanes>
  LOGLOSS_INLINE Vec<double> operator()(std::int64_t j, Lanes lanes) const {
    return weight ? load_widened(weight + j, lanes, T(1)) : Vec<double>(1.0);
  }
};

// The losses without weights stay in T: z |x| + l is rounded twice, l itself is a pair.
template <class T>
LOGLOSS_INLINE Vec<T> plain_loss(const Logistic<T>& logistic, Vec<T> z) {
  const VecPair<T> l = logistic.log1p();
  return fma(z, clear(z == Vec<T>(T(0)), logistic.magnitude()), l.high) + l.low;
}

template <class S>
LOGLOSS_NOINLINE void plain_bce_with_logits(const ElementBatch& batch) {
  using T = compute_t<S>;
  const S* input = static_cast<const S*>(batch.input);
  const S* target = static_cast<const S*>(batch.target);
  const Results<S> grad(batch.grad, batch);
  LossSink<T> sink(batch);
  const GradientScale<T> scale(batch);
  const auto body = [&]<class Form>(Form, std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
    constexpr int kVectors = Form::kVectors;
    Vec<T> x[kVectors], y[kVectors], z[kVectors];
    Logistic<T> logistic[kVectors];
    repeat<kVectors>([&](int i) LOGLOSS_INLINE_LAMBDA {
      x[i] = load(input + j + i * kLanes, lanes, T(0));
      logistic[i] = logistic_of<Form>(x[i]);
    });
    VecPair<T> l[kVectors];
    repeat<kVectors>([&](int i) LOGLOSS_INLINE_LAMBDA { l[i] = logistic[i].log1p(); });
    repeat<kVectors>([&](int i) LOGLOSS_INLINE_LAMBDA {
      y[i] = load(target + j + i * kLanes, lanes, T(0));
      z[i] = select(Vec<T>(T(0)) < x[i], Vec<T>(T(1)) - y[i], y[i]);
      // A coefficient of 0 counts for nothing, beside an infinite logit too.
      const Vec<T> magnitude = logistic[i].magnitude();
      const Vec<T> factor = Form::kOrdinary ? magnitude : clear(z[i] == Vec<T>(T(0)), magnitude);
      sink.put(j + i * kLanes, lanes, fma(z[i], factor, l[i].high) + l[i].low);
    });
    if (!grad) return;
    repeat<kVectors>([&](int i) LOGLOSS_INLINE_LAMBDA {
      const VecPair<T> q = logistic[i].sigmoid_of_minus();
      const auto positive = Vec<T>(T(0)) < x[i];
      const Vec<T> difference = select(positive, z[i] - q.high, q.high - z[i]);
      const Vec<T> rest = select(positive, Vec<T>(T(0)) - q.low, q.low);
      const std::int64_t k = j + i * kLanes;
      grad.put(k, lanes, narrow<T>((widen(difference) + widen(rest)) * scale(k, lanes)));
    });
  };
  for_each_vector_group(
      batch.n,
      [&](std::int64_t j) LOGLOSS_INLINE_LAMBDA {
        ask_ahead(input + j);
        ask_ahead(target + j);
        if (!ordinary_logits<T>(input + j)) return false;
        body(OrdinaryGroup{}, j, AllLanes{});
        return true;
      },
      [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA { body(AnyVector{}, j, lanes); });
  sink.finish();
}

// In float64, rounded once; `kWeight` tells whether there is a weight beside pos_weight. What float64 adds to the plain
// losses are 10 conversions and 16 operations on half-filled registers for 16 floats: 75 cycles instead of 43.
template <class S, bool kWeight>
LOGLOSS_NOINLINE void weighted_bce_with_logits(const ElementBatch& batch) {
  using T = compute_t<S>;
  using Wide = Vec<double>;
  const OptionalWeight<T> weight{static_cast<const T*>(batch.weight)};
  const OptionalWeight<T> pos_weight{static_cast<const T*>(batch.pos_weight)};
  const S* input = static_cast<const S*>(batch.input);
  const S* target = static_cast<const S*>(batch.target);
  const Results<S> grad(batch.grad, batch);
  LossSink<T> sink(batch);
  const GradientScale<T> scale(batch);
  const auto body = [&]<class Form>(Form, std::int64_t first, auto lanes) LOGLOSS_INLINE_LAMBDA {
    constexpr int kVectors = Form::kVectors;
    Vec<T> x[kVectors];
    Logistic<T> logistic[kVectors];
    repeat<kVectors>([&](int i) LOGLOSS_INLINE_LAMBDA {
      x[i] = load(input + first + i * kLanes, lanes, T(0));
      logistic[i] = logistic_of<Form>(x[i]);
    });
    VecPair<T> l[kVectors];
    repeat<kVectors>([&](int i) LOGLOSS_INLINE_LAMBDA { l[i] = logistic[i].log1p(); });
    repeat<kVectors>([&](int i) LOGLOSS_INLINE_LAMBDA {
      const std::int64_t j = first + i * kLanes;
      const Wide y = load_widened(target + j, lanes, T(0)), wide_x = load_widened(input + j, lanes, T(0));
      const auto positive = Wide(0.0) < wide_x;
      const Wide negative_part = Wide(1.0) - y, positive_part = pos_weight(j, lanes) * y;
      BinaryCoefficients<Wide> k{select(positive, negative_part, positive_part), negative_part + positive_part};
      if constexpr (kWeight) {
        const Wide w = weight(j, lanes);
        k = {w * k.z, w * k.c};
      }
      // A coefficient of 0 counts for nothing, beside an infinite logit too.
      Wide magnitude = and_bits(wide_x, kAllButSign<double>);
      if constexpr (!Form::kOrdinary) magnitude = clear(k.z == Wide(0.0), magnitude);
      sink.put(j, lanes, narrow<T>(bce_with_logits_loss(k, magnitude, widen(l[i]))));
      if (!grad) return;
      const Wide gradient = bce_with_logits_gradient(k, widen(logistic[i].sigmoid_of_minus())) * scale(j, lanes);
      grad.put(j, lanes, narrow<T>(select(positive, gradient, Wide(0.0) - gradient)));
    });
  };
  for_each_vector_group(
      batch.n,
      [&](std::int64_t j) LOGLOSS_INLINE_LAMBDA {
        ask_ahead(input + j);
        ask_ahead(target + j);
        if (!ordinary_logits<T>(input + j)) return false;
        body(OrdinaryGroup{}, j, AllLanes{});
        return true;
      },
      [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA { body(AnyVector{}, j, lanes); });
  sink.finish();
}

template <class S>
void binary_cross_entropy_with_logits(const ElementBatch& batch) {
  if (batch.weight) return weighted_bce_with_logits<S, true>(batch);
  batch.pos_weight ? weighted_bce_with_logits<S, false>(batch) : plain_bce_with_logits<S>(batch);
}

// max(log, -100)
template <class T>
LOGLOSS_INLINE VecPair<T> clamped(VecPair<T> log) {
  const Vec<T> lowest{T(kSmallestLog)};
  const auto below = log.high + log.low < lowest;
  return {select(below, lowest, log.high), clear(below, log.low)};
}
// `log`, or -100 in the lanes of the mask.
template <class T>
LOGLOSS_INLINE VecPair<T> clamped_where(Mask<T> zero, VecPair<T> log) {
  return {select(zero, Vec<T>(T(kSmallestLog)), log.high), clear(zero, log.low)};
}

// y log p + (1 - y) log(1 - p) from the two logarithms, before the last rounding.
template <class T>
LOGLOSS_INLINE VecPair<T> mixed_logs(Vec<T> y, VecPair<T> log_p, VecPair<T> log_1mp) {
  const Vec<T> one(T(1));
  const Vec<T> z = one - y;
  const Vec<T> z_low = (one - z) - y;
  const VecPair<T> product = two_product(z, log_1mp.high);
  const Vec<T> low = fma(z_low, log_1mp.high, fma(z, log_1mp.low, product.low));
  return {fma(y, log_p.high, product.high), fma(y, log_p.low, low)};
}

// y log p + (1 - y) log(1 - p) for p and y in [0, 1]: neither part is positive.
template <class T>
LOGLOSS_INLINE VecPair<T> bce_of_probability(Vec<T> p, Vec<T> y) {
  // 2^-149 is below e^-100, and where 1 - p is 0 its logarithm is not computed.
  const VecPair<T> log_p = clamped(log_pair(max(Vec<T>(T(0x1p-149)), p)));
  return mixed_logs(y, log_p, clamped_where(p == Vec<T>(T(1)), log_assemble(log1m_argument(p))));
}

// 1 - p, as a rounded value and what was lost; the probability of y, which is 0 or 1.
template <class T>
LOGLOSS_INLINE VecPair<T> probability_of(Vec<T> y, Vec<T> p) {
  const Vec<T> one(T(1));
  const auto yes = Vec<T>(T(0)) < y;
  const Vec<T> rest = one - p;
  return {select(yes, p, rest), clear(yes, (one - rest) - p)};
}

// `marks`, and 1 in the lanes where p is not in [0, 1].
template <class T>
LOGLOSS_INLINE Vec<T> mark_outside(Vec<T> p, Vec<T> marks) {
  const Vec<T> excess = max(Vec<T>(T(0)) - p, p - Vec<T>(T(1)));
  return select(excess < Vec<T>(FloatFormat<T>::kSmallest), marks, Vec<T>(T(1)));
}

// The smallest probability that is ordinary, beside 0: its logarithm is above -100.
template <class T>
inline constexpr T kOrdinaryProbability = T(sizeof(T) == 4 ? 0x1p-126 : 0x1p-144);

// y log p + (1 - y) log(1 - p) of a group of ordinary probabilities.
struct OrdinaryProbabilities {
  template <class T>
  static LOGLOSS_INLINE void logs(const Vec<T> (&p)[kGroup], const Vec<T> (&y)[kGroup], VecPair<T>* minus) {
    LogArgument<T> argument[2][kGroup];
    VecPair<T> log_p[kGroup], log_1mp[kGroup];
    repeat<kGroup>([&](int i) LOGLOSS_INLINE_LAMBDA { argument[0][i] = log_argument(p[i]); });
    repeat<kGroup>([&](int i) LOGLOSS_INLINE_LAMBDA {
      log_p[i] = clamped_where(p[i] == Vec<T>(T(0)), log_assemble(argument[0][i]));
    });
    repeat<kGroup>([&](int i) LOGLOSS_INLINE_LAMBDA { argument[1][i] = log1m_argument(p[i]); });
    repeat<kGroup>([&](int i) LOGLOSS_INLINE_LAMBDA {
      log_1mp[i] = clamped_where(p[i] == Vec<T>(T(1)), log_assemble(argument[1][i]));
    });
    repeat<kGroup>([&](int i) LOGLOSS_INLINE_LAMBDA { minus[i] = mixed_logs(y[i], log_p[i], log_1mp[i]); });
  }
};

// The same where each y is 0 or 1: one logarithm is needed.
struct CertainTargets {
  template <class T>
  static LOGLOSS_INLINE void logs(const Vec<T> (&p)[kGroup], const Vec<T> (&y)[kGroup], VecPair<T>* minus) {
    LogArgument<T> argument[kGroup];
    Vec<T> of_target[kGroup];
    repeat<kGroup>([&](int i) LOGLOSS_INLINE_LAMBDA {
      const VecPair<T> probability = probability_of(y[i], p[i]);
      of_target[i] = probability.high;
      argument[i] = log_argument(probability.high, probability.low);
    });
    repeat<kGroup>([&](int i) LOGLOSS_INLINE_LAMBDA {
      minus[i] = clamped_where(of_target[i] == Vec<T>(T(0)), log_assemble(argument[i]));
    });
  }
};

template <class S>
class BinaryCrossEntropy {
 public:
  using T = compute_t<S>;
  using Wide = Vec<double>;

  LOGLOSS_INLINE explicit BinaryCrossEntropy(const ElementBatch& batch)
      : x_(static_cast<const S*>(batch.input)),
        target_(static_cast<const S*>(batch.target)),
        weight_{static_cast<const T*>(batch.weight)},
        grad_(batch.grad, batch),
        sink_(batch),
        scale_(batch),
        compute_(batch.output || grad_) {}

  LOGLOSS_INLINE bool group(std::int64_t j) {
    const S* x = x_ + j;
    const S* target = target_ + j;
    ask_ahead(x);
    ask_ahead(target);
    const auto p = [&](int i) LOGLOSS_INLINE_LAMBDA { return load(x + i * kLanes); };
    const auto y = [&](int i) LOGLOSS_INLINE_LAMBDA { return load(target + i * kLanes); };
    constexpr PatternRange<T> kInside(kOrdinaryProbability<T>, T(1)), kTarget(T(0), T(1)), kZero(T(0), T(0));
    const Vec<T> zero(T(0)), one(T(1));
    if (!kInside.holds(p) &&
        !kInside.holds([&](int i) LOGLOSS_INLINE_LAMBDA { return select(p(i) == zero, one, p(i)); })) {
      return false;
    }
    if (kZero.holds([&](int i) LOGLOSS_INLINE_LAMBDA { return min_bits(y(i), one - y(i)); })) {
      step<CertainTargets>(j);
    } else if (kTarget.holds(y)) {
      step<OrdinaryProbabilities>(j);
    } else {
      return false;
    }
    return true;
  }

  template <class Lanes>
  LOGLOSS_INLINE void any_vector(std::int64_t j, Lanes lanes) {
    const Vec<T> p = load(x_ + j, lanes, T(0)), y = load(target_ + j, lanes, T(0));
    outside_ = mark_outside(y, mark_outside(p, outside_));
    if (!compute_) return;
    put(j, lanes, bce_of_probability(p, y));
    if (grad_) put_gradient(j, lanes, p, y);
  }

  // Whether all elements lay in the domain.
  LOGLOSS_INLINE bool finish() const {
    sink_.finish();
    return !any(outside_ == Vec<T>(T(1)));
  }

 private:
  template <class Logs>
  LOGLOSS_INLINE void step(std::int64_t first) {
    if (!compute_) return;
    Vec<T> p[kGroup], y[kGroup];
    VecPair<T> minus[kGroup];
    repeat<kGroup>([&](int i) LOGLOSS_INLINE_LAMBDA {
      p[i] = load(x_ + first + i * kLanes);
      y[i] = load(target_ + first + i * kLanes);
    });
    Logs::logs(p, y, minus);
    repeat<kGroup>([&](int i) LOGLOSS_INLINE_LAMBDA { put(first + i * kLanes, AllLanes{}, minus[i]); });
    if (!grad_) return;
    repeat<kGroup>([&](int i) LOGLOSS_INLINE_LAMBDA { put_gradient(first + i * kLanes, AllLanes{}, p[i], y[i]); });
  }

  template <class Lanes>
  LOGLOSS_INLINE void put(std::int64_t j, Lanes lanes, VecPair<T> minus_loss) const {
    sink_.put(j, lanes,
              weight_.weight ? narrow<T>((Wide(0.0) - widen(minus_loss)) * weight_(j, lanes))
                             : (Vec<T>(T(0)) - minus_loss.high) - minus_loss.low);
  }
  template <class Lanes>
  LOGLOSS_INLINE void put_gradient(std::int64_t j, Lanes lanes, Vec<T> p, Vec<T> y) {
    const Wide wide_p = widen(p);
    const Wide variance = max(Wide(kSmallestVariance), wide_p * (Wide(1.0) - wide_p));
    grad_.put(j, lanes, narrow<T>((wide_p - widen(y)) / variance * (weight_(j, lanes) * scale_(j, lanes))));
  }

  const S* x_;
  const S* target_;
  OptionalWeight<T> weight_;
  Results<S> grad_;
  LossSink<T> sink_;
  GradientScale<T> scale_;
  bool compute_;
  Vec<T> outside_{T(0)};
};

template <class S>
void binary_cross_entropy(const ElementBatch& batch) {
  BinaryCrossEntropy<S> kernel(batch);
  for_each_vector_group(
      batch.n, [&](std::int64_t j) LOGLOSS_INLINE_LAMBDA { return kernel.group(j); },
      [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA { kernel.any_vector(j, lanes); });
  if (!kernel.finish()) *batch.in_domain = false;
}

}  // namespace logloss::LOGLOSS_LEVEL
