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

cudaStream_t handle_of(Stream stream) { return static_cast<cudaStream_t>(stream.handle); }

class Event {
 public:
  Event() { check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming)); }
  ~Event() { (void)cudaEventDestroy(event_); }  // once it has happened
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  operator cudaEvent_t() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace

namespace machine {

int device_count() {
  int count = 0;
  check(cudaGetDeviceCount(&count));
  return count;
}
int current_device() {
  int device = 0;
  check(cudaGetDevice(&device));
  return device;
}
void make_current(int device) { check(cudaSetDevice(device)); }
int device_of(const void* array) {
  cudaPointerAttributes attributes{};
  check(cudaPointerGetAttributes(&attributes, array));
  const bool reachable = attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged;
  return reachable ? attributes.device : -1;
}

void* allocate(std::int64_t bytes, Stream stream) {
  void* memory = nullptr;
  check(cudaMallocAsync(&memory, static_cast<std::size_t>(bytes), handle_of(stream)));
  return memory;
}
void release(void* memory, Stream stream) noexcept { (void)cudaFreeAsync(memory, handle_of(stream)); }
void copy(void* to, const void* from, std::int64_t bytes, Stream stream) {
  check(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), cudaMemcpyDeviceToDevice, handle_of(stream)));
}
void fetch(void* to, const void* from, std::int64_t bytes, Stream stream) {
  check(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), cudaMemcpyDeviceToHost, handle_of(stream)));
  check(cudaStreamSynchronize(handle_of(stream)));
}
void order(Stream before, Stream after) {
  const Event event;
  check(cudaEventRecord(event, handle_of(before)));
  check(cudaStreamWaitEvent(handle_of(after), event));
}

}  // namespace machine

std::string device_name(int device) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, device));
  return std::string(properties.name) + " (compute capability " + std::to_string(properties.major) + "." +
         std::to_string(properties.minor) + ")";
}

#else

std::string device_name(int) { return "emulated on the CPU"; }

#endif

CurrentDevice::CurrentDevice(int device) {
  const int current = machine::current_device();
  if (device < 0 || device == current) return;
  machine::make_current(device);
  previous_ = current;
}
CurrentDevice::~CurrentDevice() {
  try {
    if (previous_ >= 0) machine::make_current(previous_);
  } catch (const std::runtime_error&) {  // it was current before
  }
}

int device_of_all(std::initializer_list<const void*> arrays) {
  int device = -1;
  for (const void* array : arrays) {
    if (!array) continue;
    const int here = machine::device_of(array);
    if (here < 0) throw std::invalid_argument("an array that is not in the memory of a CUDA device");
    if (device >= 0 && here != device) {
      throw std::invalid_argument("arrays on CUDA devices " + std::to_string(device) + " and " + std::to_string(here));
    }
    device = here;
  }
  return device;
}

}  // namespace logloss::LOGLOSS_LEVEL
