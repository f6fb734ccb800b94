// The stream and the memory of device code that is called from Python.
#pragma once

#include <pybind11/pybind11.h>

#include <utility>
#include <vector>

#include "../cuda/runtime/call.h"
#include "device_guard.h"

#ifdef TREEFILTER_EMULATE
#include "../cuda/runtime/emulation.h"
#endif

namespace treefilter {

namespace py = pybind11;

#ifdef TREEFILTER_CUDA

// Workspaces from torch's caching allocator. Constructed and destroyed with the GIL. The destructor
// releases all blocks although kernels that use them may still run: torch reuses them only for later
// work on the same stream.
class TorchMemory final : public DeviceMemory {
 public:
  explicit TorchMemory(py::object device) : device_(std::move(device)) {}

  void* take(size_t bytes) override {
    const py::gil_scoped_acquire acquire;
    const py::module_ torch = py::module_::import("torch");
    py::object block =
        torch.attr("empty")(bytes, py::arg("dtype") = torch.attr("uint8"), py::arg("device") = device_);
    const auto address = block.attr("data_ptr")().cast<uintptr_t>();
    blocks_.push_back(std::move(block));
    return reinterpret_cast<void*>(address);
  }

 private:
  py::object device_;
  std::vector<py::object> blocks_;
};

// A CUDA device and torch's current stream on it.
class OnDevice {
 public:
  explicit OnDevice(const py::object& device)
      : index_(device.attr("index").cast<int>()),
        stream_(py::module_::import("torch")
                    .attr("cuda")
                    .attr("current_stream")(device)
                    .attr("cuda_stream")
                    .cast<uintptr_t>()),
        memory_(device) {}

  template <class Work>
  void run(const Work& work) const {
    const CurrentDevice current(index_);
    work(Cuda{reinterpret_cast<void*>(stream_), &memory_});
  }

 private:
  int index_;
  uintptr_t stream_;
  mutable TorchMemory memory_;
};

#endif

#ifdef TREEFILTER_EMULATE

// Workspaces of the emulation, filled with garbage, on the CPU.
class EmulatedMemory final : public DeviceMemory {
 public:
  void* take(size_t bytes) override {
    blocks_.emplace_back(bytes);
    emulation::taken += static_cast<int64_t>(bytes);
    return blocks_.back().data();
  }

 private:
  std::vector<emulation::Garbage> blocks_;
};

#endif

}  // namespace treefilter
