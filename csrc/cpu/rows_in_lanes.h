// SPDX-License-Identifier: BSD-3-Clause
// The statistics of the rows of a batch: of short rows, and of rows that lie side by side, 16 at once, of others one by
// one.
#pragma once

#include "cpu/column_sweep.h"
#include "cpu/turn.h"

namespace logloss::LOGLOSS_LEVEL {

// Up to this length rows are turned into columns, one row in each lane,
inline constexpr std::int64_t kTurnedRow = kFewClasses;
// and up to this one results are turned back. 65536 rows on AVX-512, in columns against row by row: softmax of 3, 10,
// 24 and 31 classes takes 0.56, 0.80, 0.71 and 0.90 of the time, log_softmax 0.83, 0.90, 1.02 and 1.07.
inline constexpr std::int64_t kTurnedResult = kLanes + 12;
// Rows up to this length go 16 at a time. Measured at 65536 rows on AVX-512: above it the exponentials of a row alone
// fill the time that its horizontal sums take.
template <class T>
inline constexpr std::int64_t kShortRow = sizeof(T) == sizeof(float) ? kTile : kTurnedRow;

static_assert(kRowsSideBySide == kLanes && kTurnedRow <= 2 * kLanes && kMostClassesSideBySide <= kTile);

// The rows of a batch.
template <class S>
class BatchRows {
  using T = compute_t<S>;

 public:
  BatchRows(const void* const* rows, int count, std::int64_t classes, std::int64_t class_stride)
      : rows_(rows), count_(count), classes_(classes), class_stride_(class_stride) {}

  int count() const { return count_; }
  std::int64_t classes() const { return classes_; }
  bool side_by_side() const { return class_stride_ != 1; }
  // Whether the results of the 16 rows from `first` on are made as columns: where rows are short, and not alone.
  bool turned(int first) const { return !side_by_side() && classes_ <= kTurnedResult && count_ - first > 1; }
  // Whether the 16 rows from `first` on are contiguous and short enough to be turned into columns for reading.
  bool few_classes(int first) const { return !side_by_side() && classes_ <= kTurnedRow && count_ - first > 1; }
  // Whether they are worked on as columns, turned or as they lie.
  bool in_lanes(int first) const { return side_by_side() || turned(first); }
  const S* row(int i) const { return static_cast<const S*>(rows_[i]); }
  T element(int i, std::int64_t c) const { return load_one(at(i, c)); }
  // Class c of the rows of a group, where they lie side by side; lanes beyond the last row hold anything.
  LOGLOSS_INLINE Vec<T> column(int first, std::int64_t c) const { return load(at(first, c)); }
  // Asks for the same of `ahead` rows later.
  LOGLOSS_INLINE void ask_for_column(int first, std::int64_t c, int ahead) const {
    prefetch_into_l1(at(first, c) + ahead);
  }

  void copy(int i, S* row_copy) const {
    for (std::int64_t c = 0; c < classes_; ++c) row_copy[c] = row(i)[c * class_stride_];
  }

 private:
  LOGLOSS_INLINE const S* at(int i, std::int64_t c) const { return row(i) + c * class_stride_; }

  const void* const* rows_;
  int count_;
  std::int64_t classes_;
  std::int64_t class_stride_;
};

// group(first) for groups of rows in lanes, one(row) for all other rows.
template <class S, class One, class Group>
LOGLOSS_INLINE void for_each_row_or_group(const BatchRows<S>& rows, One one, Group group) {
  for (int first = 0; first < rows.count(); first += kLanes) {
    if (rows.in_lanes(first)) {
      group(first);
    } else {
      for (int row = first; row < rows.count() && row < first + kLanes; ++row) one(row);
    }
  }
}

// While 16 rows are at work what 64 rows later is read and written is asked for: a batch later, if the rows are equally
// spaced. (On Zen 5, one thread, to the time without, or with the next 16 rows only: log_softmax of 1000000 x 10 0.51,
// softmax of 200000 x 30 0.82, cross_entropy of 200000 x 60 0.93, log_softmax of 8 x 21 x 256 x 256, axis 1, 0.76.)
inline constexpr int kRowsAhead = 4 * kLanes;

// The addresses of 16 rows; rows beyond the last are the first once more.
template <class S>
struct RowGroup {
  const S* row[kLanes];
  std::int64_t step;  // from each row to the next, if all rows are equally spaced

  RowGroup(const BatchRows<S>& rows, int first) {
    for (int i = 0; i < kLanes; ++i) row[i] = rows.row(first + i < rows.count() ? first + i : first);
    step = row[1] - row[0];
  }
};

// 16 rows of at most kTurnedRow classes, turned into columns. Sixteen rows at once are more streams than the hardware
// follows: later ones are asked for, into L2 (65536 x 128 on Zen 4: 9.5 ms without, 6.2 into L1, 4.5 so).
template <class S>
LOGLOSS_INLINE void turn_rows(const RowGroup<S>& rows, std::int64_t classes, Vec<compute_t<S>>* column) {
  const int streams = rows.step == classes ? 1 : kLanes;
  for (int i = 0; i < streams; ++i) {
    const S* later = rows.row[i] + rows.step * kRowsAhead;
    for (std::int64_t j = 0; j < classes * (kLanes / streams); j += kLanes) prefetch_into_l2(later + j);
  }
  load_columns(rows.row, classes, column);
}

// The way back, into the rows of `output` from `first` on.
template <class S>
LOGLOSS_INLINE void turn_back(void* const* output, int first, int rows, std::int64_t classes,
                              const Vec<compute_t<S>>* column) {
  S beyond_the_last[kTurnedRow];
  S* row[kLanes];
  for (int i = 0; i < kLanes; ++i) row[i] = first + i < rows ? static_cast<S*>(output[first + i]) : beyond_the_last;
  if (row[1] - row[0] == classes) {
    const S* later = row[0] + classes * kRowsAhead;
    for (std::int64_t j = 0; j < classes * kLanes; j += kLanes) prefetch_for_writing(later + j);
  }
  store_columns(row, classes, column);
}

// The maximum of each row of at most a tile.
template <bool kWholeTile, class S>
LOGLOSS_INLINE Vec<float> max_of_rows(const RowGroup<S>& rows, std::int64_t classes) {
  Vec<compute_t<S>> part[kLanes], column[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    if constexpr (kWholeTile) {
      part[i] = max_of_tile(rows.row[i]);
    } else {
      Vec<float> largest(-kInfinity<float>);
      for_each_vector(classes, [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
        largest = max(largest, load(rows.row[i] + j, lanes, -kInfinity<float>));
      });
      part[i] = largest;
    }
  }
  transpose(part, column);
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) column[i] = max(column[i], column[i + half]);
  }
  return column[0];
}

// The statistics of 16 rows of at most a tile, each in its own registers; the maxima are taken first, so that no row
// waits for its own. keep(i): as ChunkSweep takes it, of row i. False as take_maxima.
template <bool kWholeTile, class S, class Keep>
LOGLOSS_NOINLINE bool sweep_tiles(const RowGroup<S>& rows, std::int64_t classes, Keep keep, LaneStats<float>* stats) {
  stats->max = max_of_rows<kWholeTile>(rows, classes);
  if (!plain_maxima(stats->max)) return false;
  stats->exponent = exponents_of(stats->max);
  PerLane<float> max, exponent, ties;
  PerLane<double> rest;
  max.set(stats->max);
  exponent.set(stats->exponent);
  for (int i = 0; i < kLanes; ++i) {
    const S* x = rows.row[i];
    const ScaledExp<float> exp{Vec<float>(exponent.lane[i])};
    const Vec<float> excluded(max.lane[i]);
    const S* const later = x + rows.step * kRowsAhead;
    const auto keep_row = keep(i);
    int equal = 0;
    const auto term = [&](std::int64_t j, auto lanes, Vec<float> value, Vec<float> e) LOGLOSS_INLINE_LAMBDA {
      const auto is_max = value == excluded;
      equal += count(is_max);
      keep_row(j, lanes, e);
      return OneTerm<float>{clear(is_max, e)};
    };
    OneTerm<float> slot[8];
    if constexpr (kWholeTile) {
      constexpr int kCount = kVectorsTogether<float>;
      LOGLOSS_UNROLL for (int first = 0; first < 8; first += kCount) {
        Vec<float> value[kCount];
        ScaledExp<float>::Parts parts[kCount];
        LOGLOSS_UNROLL for (int s = 0; s < kCount; ++s) {
          prefetch_into_l2(later + (first + s) * kLanes);
          value[s] = load(x + (first + s) * kLanes);
        }
        exp.parts(value, parts);
        LOGLOSS_UNROLL for (int s = 0; s < kCount; ++s) {
          slot[first + s] = term((first + s) * kLanes, AllLanes{}, value[s], exp.value(parts[s]));
        }
      }
    } else {
      fill_tile(
          0, classes,
          [&](std::int64_t j, auto lanes) LOGLOSS_INLINE_LAMBDA {
            prefetch_into_l2(later + j);
            const Vec<float> value = load(x + j, lanes, -kInfinity<float>);
            return term(j, lanes, value, exp(value));
          },
          slot);
    }
    const auto sum_of = [&](int s) LOGLOSS_INLINE_LAMBDA { return NonNegativeSum<float>(slot[s].value); };
    rest.lane[i] = tree_of<8>(0, sum_of).total();
    ties.lane[i] = static_cast<float>(equal);
  }
  stats->ties = ties.all();
  stats->rest = rest.all();
  return true;
}

// What the sweeps of a batch kept for a second one: the exponentials of a row, or of the columns of 16 rows in lanes,
// and what they are relative to; where classes are few the columns themselves, which need not be turned again, and may
// be far apart in memory. (65536 x 128 on AVX2, one thread: softmax takes 11.9 ms with every exponential computed
// twice, 9.0 so, the gradient of cross_entropy 13.8 and 10.0.)
template <class S>
class KeptRows {
  using T = compute_t<S>;

 public:
  KeptRows(const BatchRows<S>& rows, const SecondSweep& second)
      : exponent_(static_cast<T*>(second.kept)),
        kept_(exponent_ ? exponent_ + kMaxRows : nullptr),
        in_turn_(second.in_turn),
        rows_(rows) {}
  // Null for rows that are swept as columns.
  T* operator[](int row) const {
    return kept_ && !rows_.side_by_side() && rows_.classes() > kTurnedRow ? place_of(row) : nullptr;
  }
  // The exponentials of 16 rows in lanes, column by column; null for other rows.
  T* exponentials(int first) const { return kept_ && rows_.in_lanes(first) ? place_of(first) : nullptr; }
  // Their columns, after all exponentials; null where classes are not few.
  Vec<T>* columns(int first) const {
    if (!kept_ || !rows_.in_lanes(first) || rows_.classes() > kTurnedRow) return nullptr;
    const int whole_groups = (rows_.count() + kLanes - 1) / kLanes * kLanes;
    return reinterpret_cast<Vec<T>*>(place_of(whole_groups + first));
  }
  // The reference of each row's exponentials, the exponent of RowStats or less; NaN where none were kept.
  T* exponent(int row) const { return exponent_ + row; }
  LOGLOSS_INLINE void set_exponents(int first, Vec<T> exponents) const {
    if (kept_) store(exponent(first), exponents);
  }

 private:
  T* place_of(int row) const { return kept_ + (in_turn_ ? row % 2 : row) * rows_.classes(); }

  T* const exponent_;
  T* const kept_;
  const bool in_turn_;
  const BatchRows<S>& rows_;
};

// The statistics of 16 rows, and what `kept` has room for. Linear sums are made of few classes only.
template <bool kKeeps, class S, class Term>
LOGLOSS_NOINLINE bool sweep_group(const BatchRows<S>& rows, int first, const KeptRows<S>& kept, Term linear,
                                  LaneStats<compute_t<S>>* stats) {
  using T = compute_t<S>;
  const std::int64_t classes = rows.classes();
  Vec<T> own[kTurnedRow];
  Vec<T>* const column = kept.columns(first) ? kept.columns(first) : own;
  const auto keeping = [&](auto sweep) LOGLOSS_INLINE_LAMBDA {
    if constexpr (kKeeps) {
      if (kept.exponentials(first)) return sweep(KeptExponentials<T>{kept.exponentials(first)});
    }
    return sweep(NothingKept{});
  };
  if (classes <= kTurnedRow) {
    if (rows.side_by_side()) {
      for (std::int64_t c = 0; c < classes; ++c) {
        rows.ask_for_column(first, c, kRowsAhead);
        column[c] = rows.column(first, c);
      }
    } else {
      turn_rows(RowGroup<S>(rows, first), classes, column);
    }
    const auto sweep = [&](auto keep) { return sweep_few_columns(column, classes, keep, stats); };
    if (!keeping(sweep)) return false;
    if constexpr (Term::kPresent) set_linear_sums(column, classes, linear, stats);
    return true;
  }
  if (rows.side_by_side()) {
    const auto column_of = [&](std::int64_t c) LOGLOSS_INLINE_LAMBDA { return rows.column(first, c); };
    return keeping([&](auto keep) LOGLOSS_INLINE_LAMBDA { return sweep_columns(classes, column_of, keep, stats); });
  }
  if constexpr (sizeof(T) == sizeof(float)) {
    const RowGroup<S> group(rows, first);
    const auto sweep = [&](auto keep) LOGLOSS_INLINE_LAMBDA {
      return classes == kTile ? sweep_tiles<true>(group, classes, keep, stats)
                              : sweep_tiles<false>(group, classes, keep, stats);
    };
    if constexpr (kKeeps) {
      if (kept[first]) {
        float beyond_the_last[kTile];
        return sweep([&](int i) LOGLOSS_INLINE_LAMBDA {
          return KeptExponentials<float>{first + i < rows.count() ? kept[first + i] : beyond_the_last};
        });
      }
    }
    return sweep([](int) LOGLOSS_INLINE_LAMBDA { return NothingKept{}; });
  }
  return false;
}

// The sweeps over the rows of a batch, one row after the other; kKeeps: for a second sweep that computes exponentials.
template <class S, bool kKeeps>
class RowSweeps {
  using T = compute_t<S>;

 public:
  RowSweeps(const BatchRows<S>& rows, const SecondSweep& second)
      : rows_(rows), kept_(rows, second), known_(second.stats), prefetch_(second.prefetch) {}

  const KeptRows<S>& kept() const { return kept_; }

  // The statistic of row i.
  template <class Term>
  RowStats row_stats(int i, Term term) {
    if (known_) return known_[i];
    if (rows_.side_by_side()) {
      S row[kMostClassesSideBySide];
      rows_.copy(i, row);
      BlockMaxima<S> own;
      return LOGLOSS_LEVEL::row_stats(row, rows_.classes(), term, NothingKept{}, &own, static_cast<const S*>(nullptr));
    }
    const S* following = i + 1 < rows_.count() ? rows_.row(i + 1) : nullptr;
    const auto sweep = [&](auto keep) {
      return LOGLOSS_LEVEL::row_stats(rows_.row(i), rows_.classes(), term, keep, &maxima_, following);
    };
    if constexpr (kKeeps) {
      if (kept_[i]) return sweep(keep_row(i));
    }
    return sweep(NothingKept{prefetch_});
  }
  // The same where rows are written in turn: `write` as KeptBeside takes it.
  template <class Write>
  RowStats row_stats_beside(int i, Write write) {
    const S* following = i + 1 < rows_.count() ? rows_.row(i + 1) : nullptr;
    const auto sweep = [&](auto keep) {
      const KeptBeside<decltype(keep), Write> beside{keep, write};
      return LOGLOSS_LEVEL::row_stats(rows_.row(i), rows_.classes(), NoRowTerm{}, beside, &maxima_, following);
    };
    if constexpr (kKeeps) {
      return sweep(keep_row(i));
    } else {
      return sweep(NothingKept{prefetch_});
    }
  }

 private:
  KeptRow<T> keep_row(int i) const { return {{kept_[i]}, kept_.exponent(i), prefetch_}; }

  const BatchRows<S>& rows_;
  const KeptRows<S> kept_;
  const RowStats* const known_;
  const Prefetch prefetch_;
  BlockMaxima<S> maxima_;
};

// The statistics of the 16 rows from `first` on, if they can be made lane by lane.
template <class S, bool kKeeps, class Term>
LOGLOSS_INLINE bool set_lanes(const BatchRows<S>& rows, const RowSweeps<S, kKeeps>& sweeps, int first, Term linear,
                              BatchStats<compute_t<S>>* stats) {
  using T = compute_t<S>;
  const int end = first + kLanes < rows.count() ? first + kLanes : rows.count();
  LaneStats<T> lanes;
  if (!sweep_group<kKeeps>(rows, first, sweeps.kept(), linear, &lanes)) {
    if constexpr (kKeeps) sweeps.kept().set_exponents(first, Vec<T>(T(__builtin_nan(""))));
    return false;
  }
  if constexpr (kKeeps) sweeps.kept().set_exponents(first, lanes.exponent);
  stats->set_group(first, widen(lanes.max), widen(lanes.exponent), {lanes.rest, lanes.rest_low}, widen(lanes.ties));
  if constexpr (Term::kPresent) stats->set_linear_sums(first, lanes.linear, lanes.mass);
  if (!any(Vec<T>(T(1)) < lanes.ties)) return true;
  for (int row = first; row < end; ++row) {
    const double others = stats->ties[row] - 1.0;
    if (others > 0.0) {
      stats->rest[row] += sum_of_maxima<T>(&stats->max[row], &others, 1, 0.0, stats->exponent[row]);
    }
  }
  return true;
}

// The statistics of the 16 rows from `first` on.
template <class S, bool kKeeps>
LOGLOSS_INLINE void set_group(const BatchRows<S>& rows, RowSweeps<S, kKeeps>* sweeps, int first,
                              BatchStats<compute_t<S>>* stats) {
  const int end = first + kLanes < rows.count() ? first + kLanes : rows.count();
  const bool many_at_once = rows.side_by_side() || (rows.classes() <= kShortRow<compute_t<S>> && end - first > 1);
  if (many_at_once && set_lanes(rows, *sweeps, first, NoColumnTerm{}, stats)) return;
  stats->clear_group(first);
  for (int row = first; row < end; ++row) stats->set(row, sweeps->row_stats(row, NoRowTerm{}));
}

// The statistics of all rows.
template <bool kKeeps = false, class S>
inline BatchStats<compute_t<S>> stats_of_rows(const BatchRows<S>& rows, const SecondSweep& second = {}) {
  BatchStats<compute_t<S>> stats(rows.count(), typename BatchStats<compute_t<S>>::Unset{});
  RowSweeps<S, kKeeps> sweeps(rows, second);
  for_each_group(rows.count(), [&](int first) { set_group(rows, &sweeps, first, &stats); });
  return stats;
}

}  // namespace logloss::LOGLOSS_LEVEL
