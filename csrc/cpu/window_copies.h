// SPDX-License-Identifier: BSD-3-Clause
// Copies between the rows of an array and a window on them, where a kernel cannot work on the rows as they lie. What is
// `far` lies in the array, what is `near` in the window.
#pragma once

#include <cstdint>

#include "common/args.h"
#include "cpu/simd.h"

namespace logloss::LOGLOSS_LEVEL {

inline constexpr std::int64_t kLineBytes = kStreamAlignment;

LOGLOSS_INLINE bool at_line(const void* p) { return reinterpret_cast<std::uintptr_t>(p) % kLineBytes == 0; }

// A line from anywhere, past the caches.
LOGLOSS_INLINE void stream_line(char* to, const char* from) {
  stream(reinterpret_cast<float*>(to), load(reinterpret_cast<const float*>(from)));
}

LOGLOSS_INLINE std::uint16_t swap_bytes(std::uint16_t a) { return __builtin_bswap16(a); }
LOGLOSS_INLINE std::uint32_t swap_bytes(std::uint32_t a) { return __builtin_bswap32(a); }
LOGLOSS_INLINE std::uint64_t swap_bytes(std::uint64_t a) { return __builtin_bswap64(a); }

// 16 bytes of words, and the two halves of two of them taken in turns.
template <class Word>
struct Words;
template <>
struct Words<std::uint16_t> {
  typedef std::uint16_t Reg __attribute__((vector_size(16)));
  static LOGLOSS_INLINE Reg low(Reg a, Reg b) { return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
  static LOGLOSS_INLINE Reg high(Reg a, Reg b) { return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15); }
};
template <>
struct Words<std::uint32_t> {
  typedef std::uint32_t Reg __attribute__((vector_size(16)));
  static LOGLOSS_INLINE Reg low(Reg a, Reg b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
  static LOGLOSS_INLINE Reg high(Reg a, Reg b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }
};
template <>
struct Words<std::uint64_t> {
  typedef std::uint64_t Reg __attribute__((vector_size(16)));
  static LOGLOSS_INLINE Reg low(Reg a, Reg b) { return __builtin_shufflevector(a, b, 0, 2); }
  static LOGLOSS_INLINE Reg high(Reg a, Reg b) { return __builtin_shufflevector(a, b, 1, 3); }
};

// A square of words, as many as a register holds each way, read from lines `from_stride` bytes apart and written
// transposed. Each round deals the first half of the registers and the second one like a pack of cards.
template <class Word>
LOGLOSS_INLINE void transpose_square(const char* from, std::int64_t from_stride, char* to, std::int64_t to_stride) {
  using W = Words<Word>;
  constexpr int kSide = 16 / sizeof(Word);
  typename W::Reg line[kSide], dealt[kSide];
  LOGLOSS_UNROLL for (int i = 0; i < kSide; ++i) __builtin_memcpy(&line[i], from + i * from_stride, 16);
  for (int round = 1; round < kSide; round *= 2) {
    LOGLOSS_UNROLL for (int i = 0; i < kSide / 2; ++i) {
      dealt[2 * i] = W::low(line[i], line[i + kSide / 2]);
      dealt[2 * i + 1] = W::high(line[i], line[i + kSide / 2]);
    }
    LOGLOSS_UNROLL for (int i = 0; i < kSide; ++i) line[i] = dealt[i];
  }
  LOGLOSS_UNROLL for (int i = 0; i < kSide; ++i) __builtin_memcpy(to + i * to_stride, &line[i], 16);
}

// One way or the other between an array and a window of contiguous rows.
template <class Word, bool kIntoWindow>
class ContiguousRows {
  static constexpr std::int64_t kSize = sizeof(Word);
  static constexpr int kSide = 16 / kSize, kTile = kLineBytes / kSize;

 public:
  explicit ContiguousRows(const WindowCopy& copy)
      : copy_(copy), pitch_(copy.count > 1 ? window(1) - window(0) : copy.classes * kSize) {}

  // In runs of rows that are neighbours in memory, and between them the rows that are not.
  void run() const {
    if (copy_.swap) return copy_words(0, copy_.count, 0);
    for (int row = 0; row < copy_.count;) {
      int end = run_from(row);
      if (end - row >= kSide) {
        copy_neighbours(row, end);
      } else {
        for (int next = end; end < copy_.count && (next = run_from(end)) - end < kSide;) end = next;
        copy_words(row, end, 0);
      }
      row = end;
    }
  }

 private:
  char* window(int row) const { return static_cast<char*>(copy_.window[row]); }
  char* element(int row, std::int64_t c) const { return static_cast<char*>(copy_.rows[row]) + c * copy_.class_stride; }
  template <class Int>
  static LOGLOSS_INLINE Int min(Int a, Int b) {
    return a < b ? a : b;
  }
  int run_from(int row) const { return end_of_run(copy_.rows, row, copy_.count, kSize); }

  // Classes [first_class, classes) of rows [first, end). Classes outside, rows inside: where rows share a cache line,
  // the line is used while it is there.
  void copy_words(int first, int end, std::int64_t first_class) const {
    for (std::int64_t c = first_class; c < copy_.classes; ++c) {
      for (int row = first; row < end; ++row) {
        char* const far = element(row, c);
        char* const near = window(row) + c * kSize;
        Word word;
        __builtin_memcpy(&word, kIntoWindow ? far : near, kSize);
        if (copy_.swap) word = swap_bytes(word);
        __builtin_memcpy(kIntoWindow ? near : far, &word, kSize);
      }
    }
  }

  // Rows [first, end), which are neighbours in memory: in tiles of a cache line of rows and classes, so that each line
  // is used up, and no more rows of the window are at work than a TLB has room for.
  void copy_neighbours(int first, int end) const {
    const std::int64_t whole_classes = copy_.classes / kSide * kSide;
    const int rows = (end - first) / kSide * kSide;
    const bool past_caches =
        !kIntoWindow && copy_.past_caches && at_line(element(first, 0)) && copy_.class_stride % kLineBytes == 0;
    if (past_caches) {
      for (std::int64_t c = 0; c < whole_classes; c += kSide) write_past_caches(first, rows, c);
    } else {
      for (std::int64_t c = 0; c < whole_classes; c += kTile) copy_tiles(first, rows, c, min(c + kTile, whole_classes));
    }
    copy_words(first, first + rows, whole_classes);
    copy_words(first + rows, end, 0);
  }
  // Classes [c, end), and the next ones are asked for.
  void copy_tiles(int first, int rows, std::int64_t c, std::int64_t end) const {
    for (std::int64_t next = end; next < min(end + kTile, copy_.classes); ++next) {
      for (std::int64_t at = 0; at < rows * kSize; at += kLineBytes) {
        __builtin_prefetch(element(first, next) + at, !kIntoWindow, 2);
      }
    }
    for (int tile = 0; tile < rows; tile += kTile) {
      for (std::int64_t side = c; side < end; side += kSide) {
        for (int row = tile; row < min(tile + kTile, rows); row += kSide) {
          char* const far = element(first, side) + row * kSize;
          char* const near = window(first + row) + side * kSize;
          kIntoWindow ? transpose_square<Word>(far, copy_.class_stride, near, pitch_)
                      : transpose_square<Word>(near, pitch_, far, copy_.class_stride);
        }
      }
    }
  }
  // Classes [c, c + kSide), made whole lines first. (2 x 1000 x 64 x 64, float32, on Emerald Rapids, one thread: 2.6
  // ms, 7.3 by tiles.)
  void write_past_caches(int first, int rows, std::int64_t c) const {
    alignas(kLineBytes) char line[kSide][kMaxRows * kSize];
    for (int row = 0; row < rows; row += kSide) {
      transpose_square<Word>(window(first + row) + c * kSize, pitch_, &line[0][row * kSize], kMaxRows * kSize);
    }
    const std::int64_t bytes = rows * kSize, whole = bytes / kLineBytes * kLineBytes;
    for (int i = 0; i < kSide; ++i) {
      char* const far = element(first, c + i);
      for (std::int64_t at = 0; at < whole; at += kLineBytes) stream_line(far + at, line[i] + at);
      __builtin_memcpy(far + whole, line[i] + whole, static_cast<std::size_t>(bytes - whole));
    }
  }

  const WindowCopy& copy_;
  const std::int64_t pitch_;  // bytes from a row of the window to the next
};

// One way or the other between an array and a window of rows side by side, class by class, in runs of rows that are
// neighbours in memory. The runs are too far apart for the hardware to see the next one coming: it is asked for. (Where
// a class is a power of two from the next, their lines share few sets of a cache, and what is asked for long ahead is
// gone again.)
template <class Word, bool kIntoWindow>
class RowsSideBySide {
  static constexpr std::int64_t kSize = sizeof(Word), kGroup = kRowsSideBySide * kSize, kClassesAhead = 4;
  static constexpr int kRowsOfLines = kGroup < kLineBytes ? kLineBytes / kSize : kRowsSideBySide;

 public:
  explicit RowsSideBySide(const WindowCopy& copy) : copy_(copy) {}

  void run() const {
    for (int row = 0; row < copy_.count;) {
      const int end = end_of_run(copy_.rows, row, copy_.count, kSize);
      const bool past_caches = !kIntoWindow && copy_.past_caches && copy_.class_stride % kLineBytes == 0;
      for (std::int64_t c = 0; c < copy_.classes; ++c) {
        if (!past_caches && c + kClassesAhead < copy_.classes) ask_for(row, end, c + kClassesAhead);
        copy_class(row, end, c, past_caches);
      }
      row = end;
    }
  }

 private:
  char* window(int row, std::int64_t c) const { return static_cast<char*>(copy_.window[row]) + c * kGroup; }
  char* element(int row, std::int64_t c) const { return static_cast<char*>(copy_.rows[row]) + c * copy_.class_stride; }

  void ask_for(int first, int end, std::int64_t c) const {
    for (std::int64_t at = 0; at < (end - first) * kSize; at += kLineBytes) {
      __builtin_prefetch(element(first, c) + at, !kIntoWindow);
    }
  }

  void copy_class(int first, int end, std::int64_t c, bool past_caches) const {
    char* far = element(first, c);
    while (first < end) {
      int rows = kRowsSideBySide - first % kRowsSideBySide;
      rows = rows < end - first ? rows : end - first;
      char* const near = window(first, c);
      if (past_caches && at_line(far) && first % kRowsSideBySide == 0 && end - first >= kRowsOfLines) {
        write_lines(far, first, c);
        rows = kRowsOfLines;
      } else if (rows < kRowsSideBySide) {
        move(far, near, static_cast<std::size_t>(rows * kSize));
      } else {
        move(far, near, kGroup);
      }
      first += rows;
      far += rows * kSize;
    }
  }
  static LOGLOSS_INLINE void move(char* far, char* near, std::size_t bytes) {
    kIntoWindow ? __builtin_memcpy(near, far, bytes) : __builtin_memcpy(far, near, bytes);
  }
  // kRowsOfLines rows of whole groups, past the caches.
  void write_lines(char* far, int first, std::int64_t c) const {
    constexpr std::int64_t kBytes = kRowsOfLines * kSize;
    alignas(kLineBytes) char line[kBytes];
    for (std::int64_t at = 0; at < kBytes; at += kGroup) {
      __builtin_memcpy(line + at, window(first + static_cast<int>(at / kSize), c), kGroup);
    }
    for (std::int64_t at = 0; at < kBytes; at += kLineBytes) stream_line(far + at, line + at);
  }

  const WindowCopy& copy_;
};

template <class Word>
void copy_window_of(const WindowCopy& copy) {
  if (copy.side_by_side) {
    copy.into_window ? RowsSideBySide<Word, true>(copy).run() : RowsSideBySide<Word, false>(copy).run();
  } else {
    copy.into_window ? ContiguousRows<Word, true>(copy).run() : ContiguousRows<Word, false>(copy).run();
  }
}

inline void copy_window(const WindowCopy& copy) {
  switch (copy.item_size) {
    case 2:
      copy_window_of<std::uint16_t>(copy);
      break;
    case 4:
      copy_window_of<std::uint32_t>(copy);
      break;
    default:
      copy_window_of<std::uint64_t>(copy);
  }
}

}  // namespace logloss::LOGLOSS_LEVEL
