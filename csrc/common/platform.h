// SPDX-License-Identifier: BSD-3-Clause
// The macros that every file may use.
//
// LOGLOSS_LEVEL names the namespace of everything that is compiled more than once: the ISA units set it to their level,
// CUDA to `cuda`, everybody else gets `baseline`. Two copies of one function never share a name, so the linker can
// never hand an AVX-512 copy to a machine without AVX-512.
#pragma once

#ifndef LOGLOSS_LEVEL
#ifdef __CUDACC__
#define LOGLOSS_LEVEL cuda
#define LOGLOSS_LEVEL_CUDA
#else
#define LOGLOSS_LEVEL baseline
#endif
#endif

// LOGLOSS_HD: for host and device. LOGLOSS_INLINE: for functions whose arguments are vector registers, which a call
// would spill. LOGLOSS_NOINLINE: for long functions that several kernels share; one copy of each keeps the library
// small.
#ifdef __CUDACC__
#define LOGLOSS_HD __host__ __device__ inline
#define LOGLOSS_INLINE __host__ __device__ __forceinline__
#define LOGLOSS_NOINLINE __host__ __device__ __noinline__
#else
#define LOGLOSS_HD inline
#define LOGLOSS_INLINE __attribute__((always_inline)) inline
#define LOGLOSS_NOINLINE __attribute__((noinline))
#endif
#define LOGLOSS_INLINE_LAMBDA __attribute__((always_inline))
// Before a loop of eight turns whose bodies are to overlap: where a vector is one register, else they would spill.
#if defined(__CUDA_ARCH__) || (defined(LOGLOSS_LEVEL_AVX512) && defined(__clang__))
#define LOGLOSS_UNROLL _Pragma("unroll")
#elif defined(LOGLOSS_LEVEL_AVX512)
#define LOGLOSS_UNROLL _Pragma("GCC unroll 8")
#else
#define LOGLOSS_UNROLL
#endif
