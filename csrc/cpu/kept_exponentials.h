// SPDX-License-Identifier: BSD-3-Clause
// What a second sweep over rows takes over from the first: every exponential, scaled as it was added.
#pragma once

#include "common/args.h"
#include "cpu/row.h"

namespace logloss::LOGLOSS_LEVEL {

// Nothing: of sweeps whose results are not of the input's size.
struct NothingKept {
  static constexpr int kMostTogether = kRegistersTogether;
  static constexpr int kRoom = 0;
  Prefetch prefetch;
  template <class T, class Lanes>
  LOGLOSS_INLINE void operator()(std::int64_t, Lanes, Vec<T>) const {}
  template <class T>
  LOGLOSS_INLINE T begin_chunk(std::int64_t, T K) const {
    return K;
  }
  LOGLOSS_INLINE void give_up() const {}
};

// Those of a row or of columns, in whole vectors: there is room for one beyond the end.
template <class T>
struct KeptExponentials {
  T* e;
  template <class Lanes>
  LOGLOSS_INLINE void operator()(std::int64_t j, Lanes, Vec<T> value) const {
    store(e + j, value);
  }
};

// Those of one row that is swept in blocks, all relative to the reference of its first block: what follows may be
// larger by 2^kRoom.
template <class T>
struct KeptRow : KeptExponentials<T> {
  static constexpr int kMostTogether = kRegistersTogether;
  static constexpr int kRoom = 32;
  T* exponent;  // the reference; NaN: there is none that serves all blocks
  Prefetch prefetch;
  // Returns the reference of the chunk that begins `offset` elements into the row; that of its first block alone is K.
  LOGLOSS_INLINE T begin_chunk(std::int64_t offset, T K) const {
    if (offset == 0) *exponent = K;
    return *exponent == *exponent ? *exponent : K;
  }
  LOGLOSS_INLINE void give_up() const { *exponent = T(__builtin_nan("")); }
};

// The same, while another row is written: write(j) for every vector of the row that is swept.
template <class Keep, class Write>
struct KeptBeside : Keep {
  // What is read and written would come in bursts (log_softmax of 2048 x 32000 on Zen 5: 8 together 1.06 of the time).
  static constexpr int kMostTogether = 2;
  Write write;
  template <class T, class Lanes>
  LOGLOSS_INLINE void operator()(std::int64_t j, Lanes lanes, Vec<T> e) const {
    Keep::operator()(j, lanes, e);
    write(j);
  }
};

}  // namespace logloss::LOGLOSS_LEVEL
