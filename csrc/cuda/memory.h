// SPDX-License-Identifier: BSD-3-Clause
// Rows between global and block memory, 16 bytes at a time.
//
// A row of an odd number of classes starts anywhere in a packet: its phase. A copy in block memory keeps the phase of
// its row, so that whole packets of the one are whole packets of the other; what stands before the first and after the
// last whole packet goes element by element.
#pragma once

#include <cstdint>

#include "cpu/simd.h"
#include "cuda/device.h"

namespace logloss::LOGLOSS_LEVEL {

template <class S>
inline constexpr int kPerPacket = static_cast<int>(sizeof(Packet) / sizeof(S));

// Elements between the last boundary of a packet and p.
template <class S>
LOGLOSS_INLINE int phase_of(const S* p) {
  return static_cast<int>(reinterpret_cast<std::uintptr_t>(p) % sizeof(Packet) / sizeof(S));
}

// n elements from p on: `head` before the first whole packet, then `packets`, then the rest. `outside` are those of no
// packet; none is in a packet where what belongs together is out of phase.
struct PacketCut {
  template <class S>
  LOGLOSS_INLINE PacketCut(const S* p, std::int64_t n, bool in_phase = true) {
    const int before = (kPerPacket<S> - phase_of(p)) % kPerPacket<S>;
    head = !in_phase || n < before ? n : before;
    packets = (n - head) / kPerPacket<S>;
    outside = n - packets * kPerPacket<S>;
  }
  // The position of the i-th element outside.
  template <class S>
  LOGLOSS_INLINE std::int64_t position(std::int64_t i) const {
    return i < head ? i : i + packets * kPerPacket<S>;
  }
  std::int64_t head, packets, outside;
};

// The elements of a packet, widened; and back.
template <class S>
LOGLOSS_INLINE compute_t<S> element_of(const Packet& packet, int i) {
  if constexpr (sizeof(S) == 2) {
    return widen(S{static_cast<std::uint16_t>(packet.word[i / 2] >> (16 * (i % 2)))});
  } else {
    S value;
    __builtin_memcpy(&value, packet.word + i * (sizeof(S) / 4), sizeof(S));
    return value;
  }
}
template <class S>
LOGLOSS_INLINE void set_element(Packet* packet, int i, compute_t<S> value) {
  S stored;
  store_one(&stored, value);
  if constexpr (sizeof(S) == 2) {
    const std::uint32_t bits = stored.bits;
    packet->word[i / 2] = i % 2 ? packet->word[i / 2] | (bits << 16) : bits;
  } else {
    __builtin_memcpy(packet->word + i * (sizeof(S) / 4), &stored, sizeof(S));
  }
}

template <class S>
LOGLOSS_INLINE double wide(S value) {
  return static_cast<double>(load_one(&value));
}

// Bytes of block memory that a copy of n elements needs.
template <class S>
constexpr std::int64_t staged_bytes(std::int64_t n) {
  return (n * static_cast<std::int64_t>(sizeof(S)) + 2 * static_cast<std::int64_t>(sizeof(Packet)) - 1) /
         static_cast<std::int64_t>(sizeof(Packet)) * static_cast<std::int64_t>(sizeof(Packet));
}

// Copies n neighbouring elements to block memory, by the threads of `crew`, each of which then calls finish_copies()
// before they meet and read them. Returns where they stand.
template <class S, class Crew>
LOGLOSS_INLINE S* stage(const Crew& crew, const S* from, std::int64_t n, unsigned char* space) {
  S* const to = reinterpret_cast<S*>(space) + phase_of(from);
  const PacketCut cut(from, n);
  const S* const first = from + cut.head;
  S* const first_to = to + cut.head;
  const int packets = static_cast<int>(cut.packets);
  for (int p = crew.thread(); p < packets; p += crew.threads()) {
    copy_packet(first_to + p * kPerPacket<S>, first + p * kPerPacket<S>);
  }
  LOGLOSS_ROLLED for (int i = crew.thread(); i < static_cast<int>(cut.outside); i += crew.threads()) {
    const int j = static_cast<int>(cut.template position<S>(i));
    to[j] = from[j];
  }
  return to;
}
// The same of elements that are `stride` apart.
template <class S, class Crew>
LOGLOSS_INLINE S* stage_strided(const Crew& crew, const S* from, std::int64_t stride, std::int64_t n,
                                unsigned char* space) {
  S* const to = reinterpret_cast<S*>(space);
  LOGLOSS_ROLLED for (std::int64_t j = crew.thread(); j < n; j += crew.threads()) to[j] = from[j * stride];
  return to;
}

// A row that an operation writes, element j at data[j stride]; or null.
template <class S>
struct OutputRow {
  S* data;
  std::int64_t stride;
};

// f(j, x, y) for every element j of the crew's part of a row: it makes the outputs y of the inputs x, both widened. An
// output may be written over an input. Here for the elements that `cut`, of that part, leaves outside.
template <int kInputs, int kOutputs, class S, class Crew, class F>
LOGLOSS_INLINE void transform_outside(const Crew& crew, std::int64_t begin, const PacketCut& cut,
                                      const S* const (&in)[kInputs], const OutputRow<S> (&out)[kOutputs], F f) {
  using T = compute_t<S>;
  LOGLOSS_ROLLED for (std::int64_t i = crew.thread(); i < cut.outside; i += crew.threads()) {
    const std::int64_t j = begin + cut.template position<S>(i);
    Vec<T> x[kInputs], y[kOutputs];
    LOGLOSS_UNROLL for (int k = 0; k < kInputs; ++k) x[k] = Vec<T>(load_one(in[k] + j));
    f(j, x, y);
    LOGLOSS_UNROLL for (int k = 0; k < kOutputs; ++k) {
      if (out[k].data) store_one(out[k].data + j * out[k].stride, y[k].reg[0]);
    }
  }
}

// All of them one by one: for f whose arithmetic in float64 outweighs the stores, and would be written out for each
// element of a packet.
template <int kInputs, int kOutputs, class S, class Crew, class F>
LOGLOSS_INLINE void transform_one_by_one(const Crew& crew, std::int64_t row_length, const S* const (&in)[kInputs],
                                         const OutputRow<S> (&out)[kOutputs], F f) {
  const auto part = crew.part_of(row_length);
  transform_outside(crew, part.begin, PacketCut(in[0], part.end - part.begin, false), in, out, f);
}

// In packets, where inputs and outputs are in phase.
template <int kInputs, int kOutputs, class S, class Crew, class F>
LOGLOSS_INLINE void transform(const Crew& crew, std::int64_t row_length, const S* const (&in)[kInputs],
                              const OutputRow<S> (&out)[kOutputs], F f) {
  using T = compute_t<S>;
  const auto part = crew.part_of(row_length);
  bool in_phase = true;
  LOGLOSS_UNROLL for (int k = 0; k < kInputs; ++k) { in_phase = in_phase && phase_of(in[k]) == phase_of(in[0]); }
  LOGLOSS_UNROLL for (int k = 0; k < kOutputs; ++k) {
    in_phase = in_phase && (!out[k].data || (out[k].stride == 1 && phase_of(out[k].data) == phase_of(in[0])));
  }
  const PacketCut cut(in[0] + part.begin, part.end - part.begin, in_phase);
  LOGLOSS_ROLLED for (std::int64_t p = crew.thread(); p < cut.packets; p += crew.threads()) {
    const std::int64_t j = part.begin + cut.head + p * kPerPacket<S>;
    Packet from[kInputs], to[kOutputs];
    LOGLOSS_UNROLL for (int k = 0; k < kInputs; ++k) from[k] = load_packet(in[k] + j);
    LOGLOSS_UNROLL for (int i = 0; i < kPerPacket<S>; ++i) {
      Vec<T> x[kInputs], y[kOutputs];
      LOGLOSS_UNROLL for (int k = 0; k < kInputs; ++k) x[k] = Vec<T>(element_of<S>(from[k], i));
      f(j + i, x, y);
      LOGLOSS_UNROLL for (int k = 0; k < kOutputs; ++k) set_element<S>(&to[k], i, y[k].reg[0]);
    }
    LOGLOSS_UNROLL for (int k = 0; k < kOutputs; ++k) {
      if (out[k].data) store_packet(out[k].data + j, to[k]);
    }
  }
  transform_outside(crew, part.begin, cut, in, out, f);
}

}  // namespace logloss::LOGLOSS_LEVEL
