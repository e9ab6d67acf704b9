// SPDX-License-Identifier: BSD-3-Clause
// What the kernels ask of the machine: threads, barriers, shuffles, block memory, packets of 16 bytes, launches.
//
// The kernels know nothing else of CUDA, so that a second implementation of this header (emulation/) runs the same text
// on a CPU. Blocks have one dimension. Threads work in teams of 16, the lanes of Vec: two teams share a warp, and a
// shuffle takes part of one team only.
#pragma once

#include <cstdint>

#include "common/platform.h"

// Before a loop that shall stay one: unrolled it would be longer, and no faster.
#ifdef __CUDA_ARCH__
#define LOGLOSS_ROLLED _Pragma("unroll 1")
#else
#define LOGLOSS_ROLLED
#endif

#ifndef __CUDACC__
#include "cuda/emulation/device.h"
#else

#include <cuda_pipeline.h>
#include <cuda_runtime.h>

// A kernel for blocks of at most `threads`, of which `blocks` should fit on a multiprocessor.
#define LOGLOSS_KERNEL(threads, blocks) __global__ void __launch_bounds__(threads, blocks)
// The memory that the threads of a block share, as large as the launch says.
#define LOGLOSS_BLOCK_MEMORY(name) extern __shared__ __align__(16) unsigned char name[]

namespace logloss::LOGLOSS_LEVEL {

// The host pass compiles the same functions and never calls them.
#ifdef __CUDA_ARCH__
#define LOGLOSS_DEVICE_ONLY(...) __VA_ARGS__
#else
#define LOGLOSS_DEVICE_ONLY(...) __builtin_unreachable()
#endif

LOGLOSS_INLINE int thread() { LOGLOSS_DEVICE_ONLY(return static_cast<int>(threadIdx.x)); }
LOGLOSS_INLINE int threads() { LOGLOSS_DEVICE_ONLY(return static_cast<int>(blockDim.x)); }
LOGLOSS_INLINE std::int64_t block() { LOGLOSS_DEVICE_ONLY(return blockIdx.x); }
LOGLOSS_INLINE std::int64_t blocks() { LOGLOSS_DEVICE_ONLY(return gridDim.x); }

LOGLOSS_INLINE unsigned team_mask() { return 0xffffu << (thread() & 16); }
LOGLOSS_INLINE void sync_block() { LOGLOSS_DEVICE_ONLY(__syncthreads()); }
LOGLOSS_INLINE void sync_team() { LOGLOSS_DEVICE_ONLY(__syncwarp(team_mask())); }

// The value that another thread of the team holds.
template <class T>
LOGLOSS_INLINE T shuffle_xor(T value, int distance) {
  LOGLOSS_DEVICE_ONLY(return __shfl_xor_sync(team_mask(), value, distance, 16));
}
template <class T>
LOGLOSS_INLINE T shuffle_from(T value, int lane) {
  LOGLOSS_DEVICE_ONLY(return __shfl_sync(team_mask(), value, lane, 16));
}
// How many threads of the team have it true.
LOGLOSS_INLINE int count_in_team(bool value) { LOGLOSS_DEVICE_ONLY(return __popc(__ballot_sync(team_mask(), value))); }

static_assert(sizeof(unsigned long long) == sizeof(std::uint64_t));
LOGLOSS_INLINE void add_atomically(std::uint64_t* sum, std::uint64_t value) {
  LOGLOSS_DEVICE_ONLY(atomicAdd(reinterpret_cast<unsigned long long*>(sum), value));
}
LOGLOSS_INLINE void min_atomically(std::uint64_t* least, std::uint64_t value) {
  LOGLOSS_DEVICE_ONLY(atomicMin(reinterpret_cast<unsigned long long*>(least), value));
}

// 16 aligned bytes, moved by one instruction.
struct alignas(16) Packet {
  std::uint32_t word[4];
};
LOGLOSS_INLINE Packet load_packet(const void* from) {
  const uint4 value = *static_cast<const uint4*>(from);
  return {{value.x, value.y, value.z, value.w}};
}
// To global memory, for results that this launch does not read again. A plain store of four words would be split.
LOGLOSS_INLINE void store_packet(void* to, const Packet& packet) {
  LOGLOSS_DEVICE_ONLY(
      __stcs(static_cast<uint4*>(to), make_uint4(packet.word[0], packet.word[1], packet.word[2], packet.word[3])));
}
// From global to block memory, past the registers: as many under way as there are packets. They are there after
// finish_copies() of the thread that asked for them, and for other threads after a barrier that follows it.
LOGLOSS_INLINE void copy_packet(void* to, const void* from) {
  LOGLOSS_DEVICE_ONLY(__pipeline_memcpy_async(to, from, sizeof(Packet)));
}
LOGLOSS_INLINE void finish_copies() { LOGLOSS_DEVICE_ONLY(__pipeline_commit(); __pipeline_wait_prior(0)); }

}  // namespace logloss::LOGLOSS_LEVEL

#endif
