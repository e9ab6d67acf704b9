// SPDX-License-Identifier: BSD-3-Clause
// The structs of DLPack 1 (https://dmlc.github.io/dlpack/latest/c_api.html), by which array libraries of one process
// lend each other memory: as tensors with a version, and as those before version 1.
#pragma once

#include <cstddef>
#include <cstdint>

namespace logloss::dlpack {

enum DeviceType : std::int32_t { kCuda = 2, kCudaManaged = 13 };
enum TypeCode : std::uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kBfloat = 4, kBool = 6 };
enum Flags : std::uint64_t { kReadOnly = 1, kIsCopied = 2 };

struct Version {
  std::uint32_t major;
  std::uint32_t minor;
};
struct Device {
  std::int32_t type;
  std::int32_t id;
};
struct DataType {
  std::uint8_t code;
  std::uint8_t bits;
  std::uint16_t lanes;
};
struct Tensor {
  void* data;
  Device device;
  std::int32_t ndim;
  DataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null for a contiguous tensor
  std::uint64_t byte_offset;
};
struct ManagedTensor {
  Tensor tensor;
  void* context;
  void (*deleter)(ManagedTensor*);

  static constexpr const char* kName = "dltensor";
  static constexpr const char* kUsedName = "used_dltensor";
};
struct VersionedTensor {
  Version version;
  void* context;
  void (*deleter)(VersionedTensor*);
  std::uint64_t flags;
  Tensor tensor;

  static constexpr const char* kName = "dltensor_versioned";
  static constexpr const char* kUsedName = "used_dltensor_versioned";
};
inline constexpr Version kVersion{1, 0};

static_assert(sizeof(void*) == 8);
static_assert(sizeof(DataType) == 4 && sizeof(Device) == 8 && sizeof(Tensor) == 48);
static_assert(offsetof(Tensor, ndim) == 16 && offsetof(Tensor, shape) == 24 && offsetof(Tensor, byte_offset) == 40);
static_assert(sizeof(ManagedTensor) == 64 && offsetof(ManagedTensor, deleter) == 56);
static_assert(sizeof(VersionedTensor) == 80 && offsetof(VersionedTensor, flags) == 24);
static_assert(offsetof(VersionedTensor, deleter) == 16 && offsetof(VersionedTensor, tensor) == 32);

}  // namespace logloss::dlpack
