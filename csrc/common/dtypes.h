// SPDX-License-Identifier: BSD-3-Clause
// Storage types, and the type each of them is computed in.
#pragma once

#include <cstdint>

namespace logloss {

// IEEE binary16 and bfloat16 as stored: bits only, the arithmetic happens after widening to float.
struct Half {
  std::uint16_t bits;
};
struct BFloat16 {
  std::uint16_t bits;
};

// The order is the index into the kernel tables.
enum class DType : int { float16 = 0, bfloat16 = 1, float32 = 2, float64 = 3 };
inline constexpr int kDTypes = 4;

constexpr std::int64_t item_size(DType dtype) { return dtype == DType::float64 ? 8 : dtype == DType::float32 ? 4 : 2; }

template <class S>
struct Compute {
  using type = float;
};
template <>
struct Compute<double> {
  using type = double;
};
// The type in which values stored as S are computed: float, or double for double.
template <class S>
using compute_t = typename Compute<S>::type;

// The DType of compute_t, which is that of a per-sample loss too.
constexpr DType compute_dtype(DType input) { return input == DType::float64 ? DType::float64 : DType::float32; }
constexpr DType loss_dtype(DType input) { return compute_dtype(input); }

}  // namespace logloss
