// SPDX-License-Identifier: BSD-3-Clause
#include "cuda/runtime.h"

#include <stdexcept>

#include "cuda/device.h"

namespace logloss::LOGLOSS_LEVEL {

#ifdef __CUDACC__

namespace {

void check(cudaError_t status) {
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();  // not the next call's
  throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(status));
}

}  // namespace

DeviceOfArrays::DeviceOfArrays(std::initializer_list<const void*> arrays) {
  int device = -1;
  for (const void* array : arrays) {
    if (!array) continue;
    cudaPointerAttributes attributes{};
    check(cudaPointerGetAttributes(&attributes, array));
    if (attributes.type != cudaMemoryTypeDevice && attributes.type != cudaMemoryTypeManaged) {
      throw std::invalid_argument("an array that is not in the memory of a CUDA device");
    }
    if (device >= 0 && attributes.device != device) {
      throw std::invalid_argument("arrays on CUDA devices " + std::to_string(device) + " and " +
                                  std::to_string(attributes.device));
    }
    device = attributes.device;
  }
  int current = 0;
  check(cudaGetDevice(&current));
  if (device < 0 || device == current) return;
  check(cudaSetDevice(device));
  previous_ = current;
}

DeviceOfArrays::~DeviceOfArrays() {
  if (previous_ >= 0) (void)cudaSetDevice(previous_);
}

int device_count() {
  int count = 0;
  check(cudaGetDeviceCount(&count));
  return count;
}

std::string device_name(int device) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, device));
  return std::string(properties.name) + " (compute capability " + std::to_string(properties.major) + "." +
         std::to_string(properties.minor) + ")";
}

#else

DeviceOfArrays::DeviceOfArrays(std::initializer_list<const void*>) {}
DeviceOfArrays::~DeviceOfArrays() = default;
int device_count() { return 1; }
std::string device_name(int) { return "emulated on the CPU"; }

#endif

}  // namespace logloss::LOGLOSS_LEVEL
