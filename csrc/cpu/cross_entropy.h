// SPDX-License-Identifier: BSD-3-Clause
// cross_entropy of a batch of rows: the loss from one sweep over each row, the gradient from a second one in cache.
#pragma once

#include "common/args.h"
#include "common/cross_entropy.h"
#include "cpu/held_classes.h"
#include "cpu/log_softmax.h"

namespace logloss::LOGLOSS_LEVEL {

template <class S>
class CrossEntropyKernel {
  using T = compute_t<S>;

 public:
  explicit CrossEntropyKernel(const CrossEntropyBatch& batch)
      : batch_(batch),
        rows_(batch.input, batch.rows, batch.classes, batch.class_stride),
        probs_(batch.probs, batch.rows, batch.classes, 1),
        sweeps_(rows_, batch.second_sweep),
        weight_(static_cast<const T*>(batch.weight)),
        target_(batch.target, batch.rows, batch.classes),
        stats_(batch.rows, typename BatchStats<T>::Unset{}) {}

  void run() {
    if constexpr (kWrittenInTurn<S>) {
      if (batch_.second_sweep.in_turn) return run_in_turn();
    }
    for_each_group(batch_.rows, [&](int first) { sweep(first); });
    prepare();
    for_each_group(batch_.rows, [&](int first) { set_log_rest(first); });
    write_values();
    if (batch_.grad) write_grad();
  }

 private:
  // Of long plain rows with gradients.
  void run_in_turn() {
    for_each_group(batch_.rows, [&](int first) { stats_.clear_group(first); });
    prepare();
    SoftmaxScale<T> scale;
    PerRow<T> target_grad;
    const RowWriter<S> writer(rows_, batch_.second_sweep, batch_.grad);
    write_rows_in_turn(
        batch_.rows,
        [&](int row) {
          if (!target_.ignored(row)) stats_.set(row, sweeps_.row_stats(row, NoRowTerm{}));
        },
        [&](int row, const auto& write) {
          if (target_.ignored(row)) return false;
          stats_.set(row, sweeps_.row_stats_beside(row, write));
          return true;
        },
        [&](int row) {
          set_log_rest(row / kLanes * kLanes);
          set_scale(row / kLanes * kLanes, &scale, &target_grad);
          if (target_.ignored(row)) writer.write_zeros(row);
          return writer.softmax_in_turn(row, scale, target_.ignored(row));
        });
    write_grad_at_targets(target_grad);
    write_values();
  }

  void write_values() {
    if (batch_.loss) write_loss();
    if (batch_.hit) write_hit();
  }

  void set_log_rest(int first) { log_rest_.set_group(first, stats_.rounded_log_rest(first)); }

  double uniform() const { return batch_.target ? batch_.smoothing / static_cast<double>(batch_.classes) : 1.0; }
  bool smoothed() const { return batch_.smoothing != 0.0; }
  // Nothing is asked of a row but its softmax and its target.
  bool plain() const { return batch_.target && !smoothed(); }
  // f(the coefficients of the linear sums of a row)
  template <class F>
  auto with_term(int row, F f) const {
    if (batch_.target) {
      if (!smoothed()) return f(NoRowTerm{});
      return weight_ ? f(StoredTerm<T>{weight_}) : f(UnitTerm{});
    }
    const S* probs = probs_.row(row);
    if (!smoothed() && !weight_) return f(StoredTerm<S>{probs});
    return f(ProbabilityTerm<S>{probs, weight_, 1.0 - batch_.smoothing,
                                batch_.smoothing / static_cast<double>(batch_.classes)});
  }

  // The same of the 16 rows from `first` on, of few classes.
  template <class F>
  auto with_column_term(int first, F f) const {
    if (batch_.target) return f(SharedColumnTerm<T>{weight_});
    Vec<T> probs[kTurnedRow];
    turn_rows(RowGroup<S>(probs_, first), batch_.classes, probs);
    if (!smoothed() && !weight_) return f(StoredColumnTerm<T>{probs});
    return f(ProbabilityColumnTerm<T>{probs, weight_, 1.0 - batch_.smoothing,
                                      batch_.smoothing / static_cast<double>(batch_.classes)});
  }

  // Many rows at once where that is faster, whether they count or not; otherwise an ignored row is not read.
  void sweep(int first) {
    if (plain() && (rows_.side_by_side() || batch_.classes <= kShortRow<T>)) {
      return set_group(rows_, &sweeps_, first, &stats_);
    }
    const auto in_lanes = [&](auto term) { return set_lanes(rows_, sweeps_, first, term, &stats_); };
    if (rows_.few_classes(first) && with_column_term(first, in_lanes)) return;
    stats_.clear_group(first);
    for (int row = first; row < batch_.rows && row < first + kLanes; ++row) {
      if (target_.ignored(row)) continue;
      stats_.set(row, with_term(row, [&](auto term) { return sweeps_.row_stats(row, term); }));
    }
  }

  // An ignored row stands as a row without weight, and so does one whose target are probabilities.
  void prepare() {
    for_each_group(batch_.rows, [&](int first) {
      target_logit_.set_group(first, Vec<T>(T(0)));
      class_weight_.set_group(first, Vec<T>(batch_.target ? T(1) : T(0)));
    });
    if (!batch_.target) return;
    for (int row = 0; row < batch_.rows; ++row) {
      const std::int64_t t = target_[row];
      if (t != kIgnored) target_logit_[row] = rows_.element(row, t);
    }
    for (int row = 0; weight_ && row < batch_.rows; ++row) {
      if (!target_.ignored(row)) class_weight_[row] = weight_[target_[row]];
    }
    for (int row = 0; target_.any_ignored() && row < batch_.rows; ++row) {
      if (!target_.ignored(row)) continue;
      class_weight_[row] = T(0);
      stats_.set(row, RowStats{});
    }
  }
  Vec<double> target_logit(int first) const { return widen(target_logit_.group(first)); }
  Vec<double> class_weight(int first) const { return widen(class_weight_.group(first)); }

  CrossEntropyRow<Vec<double>> group(int first) const {
    const Vec<double> weight = Vec<double>(1.0 - batch_.smoothing) * class_weight(first);
    // A class without weight counts for nothing, at -inf too.
    const Vec<double> below = clear(weight == Vec<double>(0.0), stats_.max.group(first) - target_logit(first));
    return {below,
            log_rest_.group(first),
            weight,
            Vec<double>(uniform()),
            stats_.linear.group(first),
            stats_.mass.group(first)};
  }

  void write_loss() {
    T* loss = static_cast<T*>(batch_.loss);
    for_each_group(batch_.rows, [&](int first) {
      const int left = batch_.rows - first < kLanes ? batch_.rows - first : kLanes;
      store(loss + first, left, narrow<T>(cross_entropy_loss(group(first))));
    });
    for (int row = 0; target_.any_ignored() && row < batch_.rows; ++row) {
      if (target_.ignored(row)) loss[row] = T(0);
    }
  }

  void write_hit() {
    for (int row = 0; row < batch_.rows; ++row) {
      const bool at_maximum = static_cast<double>(target_logit_[row]) == stats_.max[row];
      bool hit = !target_.ignored(row) && at_maximum && stats_.rest[row] == stats_.rest[row];
      if (hit && stats_.ties[row] > 1.0) hit = first_of_maximum(row) == target_[row];
      batch_.hit[row] = hit;
    }
  }

  std::int64_t first_of_maximum(int row) const {
    const T max = static_cast<T>(stats_.max[row]);
    if (!rows_.side_by_side()) return first_index_of(rows_.row(row), batch_.classes, max);
    S copy[kMostClassesSideBySide];
    rows_.copy(row, copy);
    return first_index_of(copy, batch_.classes, max);
  }

  void write_grad() {
    SoftmaxScale<T> scale;
    PerRow<T> target_grad;
    for_each_group(batch_.rows, [&](int first) { set_scale(first, &scale, &target_grad); });
    const RowWriter<S> writer(rows_, batch_.second_sweep, batch_.grad, batch_.grad_stride);
    const auto write_row = [&](int row) { write_grad(writer, scale, row); };
    if (plain()) {
      for_each_row_or_group(rows_, write_row, [&](int first) { write_grad_group(writer, scale, target_grad, first); });
    } else {
      for_each_group(batch_.rows, [&](int first) {
        if (rows_.few_classes(first)) return write_linear_grad_group(writer, scale, first);
        for (int row = first; row < batch_.rows && row < first + kLanes; ++row) write_row(row);
      });
    }
    if (batch_.target && !rows_.side_by_side()) write_grad_at_targets(target_grad);
  }

  void set_scale(int first, SoftmaxScale<T>* scale, PerRow<T>* target_grad) const {
    const CrossEntropyRow<Vec<double>> row = group(first);
    const Vec<double> factor = grad_scale_of_group(batch_, first);
    const VecPair<double> sum = stats_.sum(first);
    scale->set_group(stats_, first, factor * cross_entropy_mass(row), sum);
    if (batch_.target) target_grad->set_group(first, narrow<T>(factor * grad_at_target(first, row, sum.high)));
  }

  // Of rows side by side whole columns, targets included: a line that was written past the caches would have to be read
  // again.
  LOGLOSS_NOINLINE void write_grad_group(const RowWriter<S>& writer, const SoftmaxScale<T>& scale,
                                         const PerRow<T>& target_grad, int first) const {
    if (!rows_.side_by_side()) return writer.write_softmax_group(first, scale);
    PerLane<T> target{};
    for (int i = 0; i < kLanes && first + i < batch_.rows; ++i) target.lane[i] = static_cast<T>(target_[first + i]);
    const Vec<T> at = target.all(), grad = target_grad.group(first);
    const auto ignored = at == Vec<T>(T(kIgnored));
    writer.write_softmax_group(first, scale, [&](std::int64_t c, Vec<T> softmax) LOGLOSS_INLINE_LAMBDA {
      return clear(ignored, select(at == Vec<T>(static_cast<T>(c)), grad, softmax));
    });
  }

  // Of contiguous rows; and zeros where a group was written with ignored rows in it.
  void write_grad_at_targets(const PerRow<T>& target_grad) {
    for (int row = 0; row < batch_.rows; ++row) {
      S* grad = static_cast<S*>(batch_.grad[row]);
      const std::int64_t t = target_[row];
      if (t == kIgnored && written_in_lanes(row / kLanes * kLanes)) {
        for (std::int64_t c = 0; c < batch_.classes; ++c) grad[c] = S{};
      } else if (batch_.second_sweep.begin <= t && t < batch_.second_sweep.end) {
        store_one(grad + t, target_grad[row]);
      }
    }
  }

  bool written_in_lanes(int first) const { return plain() ? rows_.in_lanes(first) : rows_.few_classes(first); }

  void write_grad(const RowWriter<S>& writer, const SoftmaxScale<T>& scale, int row) const {
    if (target_.ignored(row)) return writer.write_zeros(row);
    with_term(row, [&](auto term) {
      if constexpr (decltype(term)::kPresent) {
        write_linear_grad(writer, scale, row, term, linear_factor(row));
      } else {
        writer.write_softmax(row, scale);
      }
    });
  }

  Vec<double> grad_at_target(int first, const CrossEntropyRow<Vec<double>>& row, Vec<double> sum) const {
    const Vec<double> x_t = target_logit(first);
    const Vec<double> rest = stats_.finite_rest(first);
    const Vec<double> exp_t = stats_.scaled_exp(first, x_t);
    const Vec<double> others = select(x_t == stats_.max.group(first), rest, sum - exp_t);
    const Vec<double> weight_t = class_weight(first);
    // The form whose terms are small: at a likely target 1 - softmax, at an unlikely one softmax itself.
    const auto likely = others < exp_t;
    const Vec<double> share = select(likely, others, exp_t) / sum;
    return select(likely, cross_entropy_likely_target_gradient(row, weight_t, share),
                  cross_entropy_target_gradient(row, weight_t, share));
  }

  T linear_factor(int row) const { return static_cast<T>(-grad_scale_of(batch_, row) * uniform()); }

  // grad_c = scaled_softmax(x_c) + factor v_c
  template <class Term>
  void write_linear_grad(const RowWriter<S>& writer, const SoftmaxScale<T>& scale, int row, Term term, T factor) const {
    writer.write_softmax(row, scale,
                         [&](const auto& softmax, Vec<T> e, std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
                           return softmax.from_exponential(e, Vec<T>(factor) * term.template rounded<T>(j, lanes));
                         });
  }
  LOGLOSS_NOINLINE void write_linear_grad_group(const RowWriter<S>& writer, const SoftmaxScale<T>& scale,
                                                int first) const {
    PerLane<T> factor{};
    for (int i = 0; i < kLanes && first + i < batch_.rows; ++i) factor.lane[i] = linear_factor(first + i);
    with_column_term(first, [&](auto term) {
      writer.with_softmax_of_group(first, scale, [&](const auto& softmax, auto exponential_of) LOGLOSS_INLINE_LAMBDA {
        writer.write_group(first, [&](std::int64_t c, Vec<T> x) LOGLOSS_INLINE_LAMBDA {
          return softmax.from_exponential(exponential_of(c, x), factor.all() * term.rounded(c));
        });
      });
    });
  }

  const CrossEntropyBatch& batch_;
  const BatchRows<S> rows_, probs_;
  RowSweeps<S, true> sweeps_;
  const T* weight_;
  const HeldClasses target_;
  BatchStats<T> stats_;
  PerRow<T> target_logit_, class_weight_;
  PerRow<double> log_rest_;
};

template <class S>
void cross_entropy(const CrossEntropyBatch& batch) {
  CrossEntropyKernel<S>(batch).run();
}

}  // namespace logloss::LOGLOSS_LEVEL
