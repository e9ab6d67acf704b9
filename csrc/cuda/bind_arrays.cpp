// SPDX-License-Identifier: BSD-3-Clause
// Memory of devices for Python: owned, lent through DLPack, and borrowed.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "cuda/bind.h"
#include "cuda/dlpack.h"
#include "cuda/runtime.h"

namespace logloss::LOGLOSS_LEVEL {
namespace {

// Default streams, by the handles that CUDA gives them.
constexpr Address kLegacyStream = 1, kPerThreadStream = 2;

// Bytes on a device, allocated and freed in the order of a stream. Those that have borrowed them on other streams are
// waited for on the device before they are freed. Destroyed with the GIL.
class Memory {
 public:
  // `owner` keeps the stream alive.
  Memory(std::int64_t bytes, int device, Address stream, py::object owner)
      : bytes_(bytes), device_(device), stream_(stream), owner_(std::move(owner)) {
    const CurrentDevice current(device);
    if (bytes > 0) data_ = machine::allocate(bytes, stream_of(stream_));
  }
  ~Memory() {
    if (!data_) return;
    try {
      const CurrentDevice current(device_);
      for (const Address borrower : borrowers_) order_if_alive(borrower);
      machine::release(data_, stream_of(stream_));
    } catch (const std::runtime_error&) {  // a driver that has shut down has freed everything
    }
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  Address address() const { return reinterpret_cast<Address>(data_); }
  std::int64_t bytes() const { return bytes_; }
  int device() const { return device_; }
  Address stream() const { return stream_; }

  // Lets the stream of a borrower wait for this one's.
  void lend(Address borrower) {
    if (borrower == stream_) return;
    const CurrentDevice current(device_);
    machine::order(stream_of(stream_), stream_of(borrower));
    // Whoever frees this cannot name the default stream of another thread; the legacy one waits for it.
    if (borrower == kPerThreadStream) borrower = kLegacyStream;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (std::find(borrowers_.begin(), borrowers_.end(), borrower) == borrowers_.end()) borrowers_.push_back(borrower);
  }

 private:
  void order_if_alive(Address borrower) {
    try {
      machine::order(stream_of(borrower), stream_of(stream_));
    } catch (const std::runtime_error&) {  // a stream that has ended has nothing to be waited for
    }
  }

  void* data_ = nullptr;
  std::int64_t bytes_;
  int device_;
  Address stream_;
  py::object owner_;
  std::mutex mutex_;  // without a GIL several threads may lend
  std::vector<Address> borrowers_;
};

// ---------------------------------------------------------------------------------------------------------- lending

// What a lent tensor points to.
template <class Managed>
struct Lent {
  Managed managed{};
  std::vector<std::int64_t> shape, strides;
  std::shared_ptr<Memory> memory;

  // May be called without the GIL, by another thread, and after Python has ended.
  static void end(Managed* managed) {
    if (!Py_IsInitialized()) return;
    const py::gil_scoped_acquire gil;
    delete static_cast<Lent*>(managed->context);
  }
};

template <class Managed>
void end_unless_used(PyObject* capsule) {
  if (!PyCapsule_IsValid(capsule, Managed::kName)) return;
  auto* const managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule, Managed::kName));
  managed->deleter(managed);
}

template <class Managed>
py::object lent(std::shared_ptr<Memory> memory, const std::vector<std::int64_t>& shape, int code, int bits,
                bool copied) {
  auto lent = std::make_unique<Lent<Managed>>();
  lent->shape = shape;
  lent->strides.resize(shape.size());
  std::int64_t stride = 1;
  for (std::size_t i = shape.size(); i-- > 0; stride *= shape[i]) lent->strides[i] = stride;
  dlpack::Tensor& tensor = lent->managed.tensor;
  tensor.data = at<>(memory->address());
  tensor.device = {dlpack::kCuda, memory->device()};
  tensor.ndim = static_cast<std::int32_t>(shape.size());
  tensor.dtype = {static_cast<std::uint8_t>(code), static_cast<std::uint8_t>(bits), 1};
  tensor.shape = lent->shape.data();
  tensor.strides = lent->strides.data();
  if constexpr (std::is_same_v<Managed, dlpack::VersionedTensor>) {
    lent->managed.version = dlpack::kVersion;
    lent->managed.flags = copied ? std::uint64_t{dlpack::kIsCopied} : 0;
  }
  lent->memory = std::move(memory);
  lent->managed.context = lent.get();
  lent->managed.deleter = &Lent<Managed>::end;
  PyObject* const capsule = PyCapsule_New(&lent->managed, Managed::kName, &end_unless_used<Managed>);
  if (!capsule) throw py::error_already_set();
  lent.release();
  return py::reinterpret_steal<py::object>(capsule);
}

// --------------------------------------------------------------------------------------------------------- borrowing

// A tensor taken out of its capsule; its deleter is called when this ends.
class Borrowed {
 public:
  explicit Borrowed(const py::object& capsule) {
    if (!take<dlpack::VersionedTensor>(capsule) && !take<dlpack::ManagedTensor>(capsule)) {
      throw py::type_error("expected a DLPack capsule that has not been used");
    }
  }

  const dlpack::Tensor& tensor() const { return *tensor_; }
  bool read_only() const { return read_only_; }
  Address address() const { return reinterpret_cast<Address>(tensor_->data) + tensor_->byte_offset; }
  py::tuple shape() const { return sizes(tensor_->shape); }
  py::object strides() const {
    return tensor_->strides ? static_cast<py::object>(sizes(tensor_->strides)) : py::none();
  }

 private:
  template <class Managed>
  bool take(const py::object& capsule) {
    if (!PyCapsule_IsValid(capsule.ptr(), Managed::kName)) return false;
    auto* const managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule.ptr(), Managed::kName));
    if (PyCapsule_SetName(capsule.ptr(), Managed::kUsedName) != 0) throw py::error_already_set();
    owner_ = std::shared_ptr<void>(managed, [](void* ended) {
      auto* const tensor = static_cast<Managed*>(ended);
      if (tensor->deleter) tensor->deleter(tensor);
    });
    tensor_ = &managed->tensor;
    if constexpr (std::is_same_v<Managed, dlpack::VersionedTensor>) {
      if (managed->version.major != dlpack::kVersion.major) {
        throw py::buffer_error("expected DLPack version 1, got " + std::to_string(managed->version.major));
      }
      read_only_ = managed->flags & dlpack::kReadOnly;
    }
    return true;
  }
  py::tuple sizes(const std::int64_t* values) const {
    py::tuple sizes(static_cast<std::size_t>(tensor_->ndim));
    for (std::int32_t i = 0; i < tensor_->ndim; ++i) sizes[static_cast<std::size_t>(i)] = values[i];
    return sizes;
  }

  std::shared_ptr<void> owner_;
  const dlpack::Tensor* tensor_ = nullptr;
  bool read_only_ = false;
};

void bind_memory(py::module_& module) {
  py::class_<Memory, std::shared_ptr<Memory>>(module, "Memory")
      .def(py::init<std::int64_t, int, Address, py::object>(), arg("bytes"), arg("device"), arg("stream"),
           arg("owner") = py::none())
      .def_property_readonly("address", &Memory::address)
      .def_property_readonly("bytes", &Memory::bytes)
      .def_property_readonly("device", &Memory::device)
      .def_property_readonly("stream", &Memory::stream)
      .def("lend", &Memory::lend, arg("stream"))
      .def(
          "to_dlpack",
          [](std::shared_ptr<Memory> memory, const std::vector<std::int64_t>& shape, int code, int bits, bool versioned,
             bool copied) {
            return versioned ? lent<dlpack::VersionedTensor>(std::move(memory), shape, code, bits, copied)
                             : lent<dlpack::ManagedTensor>(std::move(memory), shape, code, bits, copied);
          },
          arg("shape"), arg("code"), arg("bits"), py::kw_only(), arg("versioned"), arg("copied"));
}

void bind_borrowed(py::module_& module) {
  py::class_<Borrowed>(module, "Borrowed")
      .def(py::init<const py::object&>(), arg("capsule"))
      .def_property_readonly("address", &Borrowed::address)
      .def_property_readonly("shape", &Borrowed::shape)
      .def_property_readonly("strides", &Borrowed::strides)
      .def_property_readonly("dtype",
                             [](const Borrowed& borrowed) {
                               const dlpack::DataType& dtype = borrowed.tensor().dtype;
                               return py::make_tuple(dtype.code, dtype.bits, dtype.lanes);
                             })
      .def_property_readonly("device",
                             [](const Borrowed& borrowed) {
                               return py::make_tuple(borrowed.tensor().device.type, borrowed.tensor().device.id);
                             })
      .def_property_readonly("read_only", &Borrowed::read_only);
}

// Axes that are `repeated`, or those that are not, of a contiguous array; as (size, repeated), neighbours alike as one.
RepeatedAxes axes_of(const std::vector<std::pair<std::int64_t, bool>>& shape, bool repeated) {
  RepeatedAxes axes;
  std::int64_t stride = 1;
  for (const auto& axis : shape) stride *= axis.first;
  for (const auto& [size, is_repeated] : shape) {
    stride /= size;
    if (is_repeated != repeated) continue;
    if (axes.count == kMostRepeatedAxes) throw py::value_error("an array that is repeated along too many axes");
    axes.size[axes.count] = size;
    axes.stride[axes.count++] = stride;
  }
  return axes;
}

void bind_repetition(py::module_& module) {
  module.def(
      "repeat",
      [](int dtype, std::int64_t n, Address source, std::int64_t copies, std::int64_t inner, Address output,
         Address stream, int device) {
        const RepeatCall call{dtype_of(dtype), n, at<>(source), copies, inner, at<>(output)};
        run_on(stream, device, {call.source, call.output}, [&] { repeat(call, stream_of(stream)); });
      },
      arg("dtype"), arg("n"), arg("source"), arg("copies"), arg("inner"), arg("output"), py::kw_only(),
      stream_or_default(), device_or_asked());
  module.def(
      "sum_copies",
      [](int dtype, const std::vector<std::pair<std::int64_t, bool>>& shape, Address values, Address sums,
         Address stream, int device) {
        const SumCopiesCall call{dtype_of(dtype), at<>(values), axes_of(shape, true), axes_of(shape, false),
                                 at<double>(sums)};
        if (call.copies.count == 0) throw py::value_error("internal: nothing is repeated");
        run_on(stream, device, {call.values, call.sums}, [&] { sum_copies(call, stream_of(stream)); });
      },
      arg("dtype"), arg("shape"), arg("values"), arg("sums"), py::kw_only(), stream_or_default(), device_or_asked());
}

void bind_copies(py::module_& module) {
  module.def(
      "fetch",
      [](Address to, Address from, std::int64_t bytes, Address stream, int device) {
        run_on(stream, device, {at<>(from)}, [&] { machine::fetch(at<>(to), at<>(from), bytes, stream_of(stream)); });
      },
      arg("to"), arg("source"), arg("bytes"), arg("stream"), device_or_asked());
  module.def(
      "copy",
      [](Address to, Address from, std::int64_t bytes, Address stream, int device) {
        run_on(stream, device, {at<>(from), at<>(to)},
               [&] { machine::copy(at<>(to), at<>(from), bytes, stream_of(stream)); });
      },
      arg("to"), arg("source"), arg("bytes"), arg("stream"), device_or_asked());
  module.def(
      "convert",
      [](int from, int to, std::int64_t n, const py::tuple& source, Address output, Address stream, int device) {
        if (from < 0 || from > 11) throw py::value_error("internal: dtype " + std::to_string(from));
        const ConvertCall call{from, dtype_of(to), n, repeated_of(source), at<>(output)};
        run_on(stream, device, {call.source.value, call.output}, [&] { convert(call, stream_of(stream)); });
      },
      arg("from_type"), arg("dtype"), arg("n"), arg("source"), arg("output"), py::kw_only(), arg("stream"),
      device_or_asked());
  module.def(
      "fill",
      [](int dtype, std::int64_t n, double value, Address output, Address stream, int device) {
        const DType type = dtype_of(dtype);
        run_on(stream, device, {at<>(output)}, [&] { fill(type, n, value, at<>(output), stream_of(stream)); });
      },
      arg("dtype"), arg("n"), arg("value"), arg("output"), py::kw_only(), arg("stream"), device_or_asked());
}

}  // namespace

void bind_arrays(py::module_& module) {
  bind_memory(module);
  bind_borrowed(module);
  bind_copies(module);
  bind_repetition(module);
  module.def(
      "order",
      [](Address before, Address after, int device) {
        const CurrentDevice current(device);
        machine::order(stream_of(before), stream_of(after));
      },
      arg("before"), arg("after"), arg("device"));
  module.def("device_of", [](Address array) { return machine::device_of(at<>(array)); }, arg("array"));
  module.def("current_device", &machine::current_device);
  module.def("device_count", &machine::device_count);
  module.def("device_name", &device_name, arg("device"));
}

}  // namespace logloss::LOGLOSS_LEVEL
