// SPDX-License-Identifier: BSD-3-Clause
// Launches: on a stream, without waiting for anything.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/losses.h"
#include "cuda/operations.h"

namespace logloss::LOGLOSS_LEVEL {

struct DeviceLimits {
  std::int64_t block_memory;     // bytes that a block may have
  std::int64_t row_memory;       // of which rows and what belongs to them should take no more
  std::int64_t multiprocessors;  // of the device
};

// Two blocks of this size fit on a multiprocessor of compute capability 8.0 and later.
inline constexpr std::int64_t kMostRowMemory = 110 * 1024;
static_assert(kMostRowMemory / 2 <= kChunk);

#ifdef __CUDACC__

inline void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
}
inline DeviceLimits device_limits() {
  int device = 0, memory = 0, multiprocessors = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&memory, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "cudaDeviceGetAttribute");
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device), "cudaDeviceGetAttribute");
  return {memory, kMostRowMemory, multiprocessors};
}
inline void set_bytes(void* to, int value, std::int64_t bytes, Stream stream) {
  check(cudaMemsetAsync(to, value, static_cast<std::size_t>(bytes), static_cast<cudaStream_t>(stream.handle)),
        "cudaMemsetAsync");
}
// Device memory for a few launches on a stream.
class Scratch {
 public:
  Scratch(std::int64_t bytes, Stream stream) : stream_(static_cast<cudaStream_t>(stream.handle)) {
    check(cudaMallocAsync(&bytes_, static_cast<std::size_t>(bytes), stream_), "cudaMallocAsync");
  }
  ~Scratch() { (void)cudaFreeAsync(bytes_, stream_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  unsigned char* bytes() const { return static_cast<unsigned char*>(bytes_); }

 private:
  cudaStream_t stream_;
  void* bytes_ = nullptr;
};
template <class Kernel, class... Args>
void launch(Kernel kernel, std::int64_t blocks, int threads, std::int64_t memory, Stream stream, Args... args) {
  constexpr std::int64_t kWithoutAsking = 48 * 1024;
  if (memory > kWithoutAsking) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(memory)),
          "cudaFuncSetAttribute");
  }
  kernel<<<static_cast<unsigned>(blocks), static_cast<unsigned>(threads), static_cast<std::size_t>(memory),
           static_cast<cudaStream_t>(stream.handle)>>>(args...);
  check(cudaGetLastError(), "launch");
}

#else

inline void set_bytes(void* to, int value, std::int64_t bytes, Stream) {
  std::memset(to, value, static_cast<std::size_t>(bytes));
}
// NaN to whoever reads before it is written.
class Scratch {
 public:
  Scratch(std::int64_t bytes, Stream) : bytes_(static_cast<std::size_t>(bytes), 0xff) {}
  unsigned char* bytes() const { return bytes_.data(); }

 private:
  mutable std::vector<unsigned char> bytes_;
};
inline DeviceLimits device_limits() {
  const emulation::Settings& settings = emulation::settings();
  return {static_cast<std::int64_t>(settings.memory_limit), static_cast<std::int64_t>(settings.row_memory), 2};
}
template <class... Parameters, class... Args>
void launch(void (*kernel)(Parameters...), std::int64_t blocks, int threads, std::int64_t memory, Stream,
            Args... args) {
  emulation::run(blocks, threads, static_cast<std::size_t>(memory), [&] { kernel(args...); });
}

#endif

// f(value of the type that `dtype` names)
template <class F>
void with_type(DType dtype, F f) {
  switch (dtype) {
    case DType::float16:
      return f(Half{});
    case DType::bfloat16:
      return f(BFloat16{});
    case DType::float32:
      return f(float{});
    case DType::float64:
      return f(double{});
  }
}

// Rows up to this length are the work of one team, which then needs no barriers.
inline constexpr std::int64_t kLongestTeamRow = kBlock;
// What a team is handed at a time, so that it works on several short rows side by side at the end of their sweeps.
inline constexpr std::int64_t kTeamBytes = 8 * 1024;
// Teams that keep the multiprocessors busy: fewer rows are spread thinner.
inline constexpr std::int64_t kBusyTeams = 16;
inline constexpr std::int64_t kMostBlocks = 1 << 30;

template <class Op>
void launch_by_team(const Op& op, const DeviceLimits& limits, Stream stream) {
  using S = typename Op::Storage;
  const std::int64_t row_bytes = op.shape.classes * static_cast<std::int64_t>(sizeof(S)) * Op::kInputs;
  const std::int64_t fair = op.shape.rows / (limits.multiprocessors * kBusyTeams);
  const std::int64_t rows = std::clamp<std::int64_t>(std::min(kTeamBytes / row_bytes, fair), 1, kLanes);
  const std::int64_t slice = staged_bytes<S>(rows * op.shape.classes);
  int teams = 8;
  while (teams > 2 && kSumBytes + teams * Op::kInputs * slice > limits.block_memory) teams /= 2;
  const std::int64_t blocks = (op.shape.rows + teams * rows - 1) / (teams * rows);
  launch(rows_by_team<Op>, std::min(blocks, kMostBlocks), teams * kLanes, kSumBytes + teams * Op::kInputs * slice,
         stream, op, TeamPlan{static_cast<int>(rows), static_cast<int>(slice)});
}

// Whether the rows of an operation may be the work of several blocks.
template <class Op>
concept kMayBeSplit = requires(const Op& op) { op.long_rows(); };

template <class Op>
void launch_by_part(const Op& op, Stream stream) {
  const LongRowsCall call = op.long_rows();
  const std::int64_t row_bytes = static_cast<std::int64_t>(sizeof(LongRow)) * call.rows;
  const Scratch scratch(row_bytes + static_cast<std::int64_t>(sizeof(RowStats)) * call.rows * call.chunks(), stream);
  LongRow* const rows = reinterpret_cast<LongRow*>(scratch.bytes());
  sweep_long_rows(call, reinterpret_cast<RowStats*>(scratch.bytes() + row_bytes), rows, stream);
  const std::int64_t parts = op.writes_rows() ? (call.classes + kPart - 1) / kPart : 1;
  constexpr std::int64_t kMemory = kSumBytes + static_cast<std::int64_t>(sizeof(BlockNotes));
  launch(rows_by_part<Op>, std::min(call.rows * parts, kMostBlocks), 256, kMemory, stream, op,
         static_cast<const LongRow*>(rows), parts);
}

template <class Op>
void launch_by_block(const Op& op, const DeviceLimits& limits, Stream stream) {
  using S = typename Op::Storage;
  constexpr std::int64_t kFixed = kSumBytes + static_cast<std::int64_t>(sizeof(BlockNotes));
  // An even number of teams: whole warps.
  const std::int64_t needed = (op.shape.classes + kBlock - 1) / kBlock;
  const std::int64_t teams = std::min<std::int64_t>((needed + 1) / 2 * 2, kMaxTeams);
  const std::int64_t slice = staged_bytes<S>(op.shape.classes);
  const std::int64_t memory = kFixed + teams * kTileBytes + Op::kInputs * slice;
  if (memory <= std::min(limits.block_memory, limits.row_memory)) {
    return launch(rows_by_block<Op, true>, std::min(op.shape.rows, kMostBlocks), static_cast<int>(teams) * kLanes,
                  memory, stream, op, static_cast<int>(slice));
  }
  if (op.shape.inner != 1) {
    throw std::invalid_argument("a class axis of " + std::to_string(op.shape.classes) +
                                " classes must be the last one on this device");
  }
  if constexpr (kMayBeSplit<Op>) {
    launch_by_part(op, stream);
  } else {
    constexpr std::int64_t kOfTeam = kTileBytes + Streaming::kBlocksOfTeam * staged_bytes<S>(kBlock);
    int streaming = kStreamingTeams;
    while (streaming > 2 && kFixed + streaming * kOfTeam > limits.block_memory) streaming /= 2;
    launch(rows_by_block<Op, false>, std::min(op.shape.rows, kMostBlocks), streaming * kLanes,
           kFixed + streaming * kOfTeam, stream, op, 0);
  }
}

// For kernels whose threads are all alike: n of them at most, each taking more elements where there are more. The grid
// fills the device a few times over, so that a block's own costs (its sum) are shared by many elements.
inline std::int64_t blocks_of_alike(std::int64_t n, int threads) {
  const std::int64_t most = device_limits().multiprocessors * 32;
  return std::clamp<std::int64_t>((n + threads - 1) / threads, 1, most);
}

template <class T>
RowLosses<T> losses_of(const LossOutputs& outputs) {
  return {static_cast<T*>(outputs.loss), outputs.grad_scale, outputs.grad_factor, outputs.grad_rows};
}
inline RowShape rows_of(const ArrayShape& shape) { return {shape.rows, shape.classes, shape.inner}; }

// Runs an operation over rows.
template <class Op>
void launch_rows(const Op& op, Stream stream) {
  if (op.shape.rows == 0) return;
  if (op.shape.rows >= std::int64_t{1} << 31) throw std::invalid_argument("more than 2**31 - 1 rows");
  const DeviceLimits limits = device_limits();
  if (op.shape.classes <= kLongestTeamRow) {
    launch_by_team(op, limits, stream);
  } else {
    launch_by_block(op, limits, stream);
  }
}

}  // namespace logloss::LOGLOSS_LEVEL
