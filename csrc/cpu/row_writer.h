// SPDX-License-Identifier: BSD-3-Clause
// The second sweep over a batch, which writes a result of the size of the input: y = f(x) for every element of a row,
// or of 16 rows that lie side by side.
#pragma once

#include "cpu/rows_in_lanes.h"

namespace logloss::LOGLOSS_LEVEL {

// What may be written in turn: memory does not wait for 16-bit results.
template <class S>
inline constexpr bool kWrittenInTurn = sizeof(S) == sizeof(compute_t<S>);

// A row that is written past the caches while the next one is swept: y[j] = f(j, lanes). What is not a whole vector of
// a line is written before and after.
template <class S, class F>
class RowInTurn {
 public:
  // n = 0: there is nothing to write.
  RowInTurn(S* y, std::int64_t n, const F& f) : y_(y), n_(n), first_(lanes_before_lines(y, n)), f_(f) {}

  void begin() const {
    if (first_.n > 0) store(y_, first_, f_(0, first_));
  }
  // For j = 0, kLanes, ... up to n.
  LOGLOSS_INLINE void operator()(std::int64_t j) const {
    const std::int64_t i = first_.n + j;
    if (i + kLanes <= n_) stream(y_ + i, f_(i, AllLanes{}));
  }
  void end() const {
    const std::int64_t i = n_ - (n_ - first_.n) % kLanes;
    const FirstLanes last{static_cast<int>(n_ - i)};
    if (last.n > 0) store(y_ + i, last, f_(i, last));
  }
  // The whole row, beside none.
  void write() const { write_vectors(y_, n_, true, f_); }

 private:
  S* y_;
  std::int64_t n_;
  FirstLanes first_;
  F f_;
};

// Sweeps and writes `rows` > 0 rows, each written while the next one is swept. sweep(row): of the first row;
// sweep_beside(row, write) of the others: false if there was nothing to sweep, and `write` was not called;
// in_turn(row): the RowInTurn of a row that has been swept.
//
// The exponentials keep the ports busy, the stores the memory; operations.cpp says where that pays.
template <class Sweep, class SweepBeside, class InTurn>
LOGLOSS_INLINE void write_rows_in_turn(int rows, Sweep sweep, SweepBeside sweep_beside, InTurn in_turn) {
  sweep(0);
  auto before = in_turn(0);
  for (int row = 1; row < rows; ++row) {
    before.begin();
    if (sweep_beside(row, before)) {
      before.end();
    } else {
      before.write();
    }
    before = in_turn(row);
  }
  before.write();
}

template <class S>
class RowWriter {
  using T = compute_t<S>;

  struct SoftmaxOfKept {
    const T* e;
    typename SoftmaxScale<T>::Factors softmax;
    template <class Lanes>
    LOGLOSS_INLINE Vec<T> operator()(std::int64_t j, Lanes) const {
      return softmax.from_exponential(load(e + j));
    }
  };

 public:
  // output_stride: from class to class, where rows lie side by side.
  RowWriter(const BatchRows<S>& rows, const SecondSweep& second, void* const* output, std::int64_t output_stride = 1)
      : rows_(rows), kept_(rows, second), second_(second), output_(output), output_stride_(output_stride) {}
  RowWriter(const RowWriter&) = delete;
  RowWriter& operator=(const RowWriter&) = delete;

  // f(j, lanes, x)
  template <class F>
  LOGLOSS_INLINE void write(int row, F f) const {
    const S* x = rows_.row(row) + second_.begin;
    write_vectors(output(row) + second_.begin, columns(), second_.past_caches,
                  [&](std::int64_t j, auto lanes)
                      LOGLOSS_INLINE_LAMBDA { return f(second_.begin + j, lanes, load(x + j, lanes, T(0))); });
  }
  // f(softmax, exponential_of) once: exponential_of(j, lanes, x) is that of the vector x of classes from j on, as
  // softmax (of `scale`) takes it.
  template <class F>
  LOGLOSS_INLINE void with_softmax(int row, const SoftmaxScale<T>& scale, F f) const {
    if (const T* e = kept_that_serve(row, scale)) {
      f(typename SoftmaxScale<T>::Factors(scale, row, *kept_.exponent(row)),
        [&](std::int64_t j, auto lanes, Vec<T>) LOGLOSS_INLINE_LAMBDA { return load(e + j, lanes, T(0)); });
    } else {
      const typename SoftmaxScale<T>::Row softmax(scale, row);
      f(softmax, [&](std::int64_t, auto, Vec<T> x) LOGLOSS_INLINE_LAMBDA { return softmax.exponential(x); });
    }
  }
  // f(softmax, exponential, j, lanes)
  template <class F>
  LOGLOSS_INLINE void write_softmax(int row, const SoftmaxScale<T>& scale, F f) const {
    with_softmax(row, scale, [&](const auto& softmax, auto exponential_of) LOGLOSS_INLINE_LAMBDA {
      write(row, [&](std::int64_t j, auto lanes, Vec<T> x)
                     LOGLOSS_INLINE_LAMBDA { return f(softmax, exponential_of(j, lanes, x), j, lanes); });
    });
  }
  // The same row, to be written in turn; if what was kept does not serve, it is written now.
  RowInTurn<S, SoftmaxOfKept> softmax_in_turn(int row, const SoftmaxScale<T>& scale, bool written = false) const {
    if (!written && !kept_that_serve(row, scale)) {
      write_softmax(row, scale);
      written = true;
    }
    return in_turn(row, SoftmaxOfKept{kept_[row], {scale, row, *kept_.exponent(row)}}, written);
  }
  // f(j, lanes)
  template <class F>
  RowInTurn<S, F> in_turn(int row, const F& f, bool written = false) const {
    return {output(row), written ? 0 : rows_.classes(), f};
  }
  // softmax itself, times the factor of `scale`.
  LOGLOSS_NOINLINE void write_softmax(int row, const SoftmaxScale<T>& scale) const {
    write_softmax(row, scale, [](const auto& softmax, Vec<T> e, std::int64_t, auto) LOGLOSS_INLINE_LAMBDA {
      return softmax.from_exponential(e);
    });
  }
  void write_zeros(int row) const {
    LOGLOSS_LEVEL::write_zeros(output(row) + second_.begin, columns(), second_.past_caches);
  }

  // f(c, x) for the columns of a group of rows in lanes.
  template <class F>
  LOGLOSS_INLINE void write_group(int first, F f) const {
    if (!rows_.side_by_side()) {
      write_columns(first, [&](const Vec<T>* column, Vec<T>* result) LOGLOSS_INLINE_LAMBDA {
        for (std::int64_t c = 0; c < rows_.classes(); ++c) result[c] = f(c, column[c]);
      });
    } else if (const Vec<T>* column = kept_.columns(first)) {
      for (std::int64_t c = 0; c < rows_.classes(); ++c) write_column(first, c, f(c, column[c]));
    } else {
      for (std::int64_t c = 0; c < rows_.classes(); ++c) write_column(first, c, f(c, rows_.column(first, c)));
    }
  }
  // with_softmax for a group of rows in lanes: exponential_of(c, x) for the vector x of class c.
  template <class F>
  LOGLOSS_INLINE void with_softmax_of_group(int first, const SoftmaxScale<T>& scale, F f) const {
    const auto softmax = SoftmaxScale<T>::Row::of_group(scale, first);
    const T* e = kept_.exponentials(first);
    if (e && scale.takes_kept_of_group(first, load(kept_.exponent(first)))) {
      f(softmax, [&](std::int64_t c, Vec<T>) LOGLOSS_INLINE_LAMBDA { return load(e + c * kLanes); });
    } else {
      f(softmax, [&](std::int64_t, Vec<T> x) LOGLOSS_INLINE_LAMBDA { return softmax.exponential(x); });
    }
  }
  // finish(c, softmax of column c)
  template <class Finish>
  LOGLOSS_INLINE void write_softmax_group(int first, const SoftmaxScale<T>& scale, Finish finish) const {
    with_softmax_of_group(first, scale, [&](const auto& softmax, auto exponential_of) LOGLOSS_INLINE_LAMBDA {
      write_group(first, [&](std::int64_t c, Vec<T> x) LOGLOSS_INLINE_LAMBDA {
        return finish(c, softmax.from_exponential(exponential_of(c, x)));
      });
    });
  }
  LOGLOSS_INLINE void write_softmax_group(int first, const SoftmaxScale<T>& scale) const {
    write_softmax_group(first, scale, [](std::int64_t, Vec<T> softmax) LOGLOSS_INLINE_LAMBDA { return softmax; });
  }
  // make(column, result): the results of 16 rows of at most kTurnedRow classes from their elements.
  template <class Make>
  LOGLOSS_INLINE void write_columns(int first, Make make) const {
    Vec<T> own[kTurnedRow], result[kTurnedRow];
    const Vec<T>* column = kept_.columns(first);
    if (!column) {
      turn_rows(RowGroup<S>(rows_, first), rows_.classes(), own);
      column = own;
    }
    make(column, result);
    turn_back<S>(output_, first, rows_.count(), rows_.classes(), result);
  }

 private:
  LOGLOSS_INLINE void write_column(int first, std::int64_t c, Vec<T> value) const {
    S* y = output(first) + c * output_stride_;
    if (second_.past_caches) {
      stream(y, value);
    } else {
      prefetch_for_writing(y + kRowsAhead);
      store(y, value);
    }
  }
  // The exponentials that were kept of a row; null if there are none for this scale.
  const T* kept_that_serve(int row, const SoftmaxScale<T>& scale) const {
    return kept_[row] && scale.takes_kept(row, *kept_.exponent(row)) ? kept_[row] : nullptr;
  }
  S* output(int row) const { return static_cast<S*>(output_[row]); }
  std::int64_t columns() const {
    return (second_.end < rows_.classes() ? second_.end : rows_.classes()) - second_.begin;
  }

  const BatchRows<S>& rows_;
  const KeptRows<S> kept_;
  const SecondSweep second_;
  void* const* const output_;
  const std::int64_t output_stride_;
};

}  // namespace logloss::LOGLOSS_LEVEL
