// What the launchers (launch.cuh) need of CUDA's own interface: errors, the stream of a call, properties
// of the device, and kernels that are loaded before they are launched.
#pragma once

#include <cuda_runtime.h>

#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "call.h"

namespace treefilter::cuda {

inline void check_cuda(cudaError_t error, const char* name) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // clears the error, which the next caller would find
  throw std::runtime_error(std::string("treefilter: CUDA kernel ") + name + ": " +
                           cudaGetErrorString(error));
}

inline cudaStream_t stream_of(const Cuda& cuda) {
  return static_cast<cudaStream_t>(cuda.stream);
}

inline int attribute(cudaDeviceAttr which) {
  int device = 0, value = 0;
  check_cuda(cudaGetDevice(&device), "device");
  check_cuda(cudaDeviceGetAttribute(&value, which, device), "device attribute");
  return value;
}

// The bytes of shared memory that a block can have.
inline int64_t shared_limit() {
  return attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
}

// Lets a kernel have more than 48 KiB. The limit, not what a launch needs: a larger launch from another
// thread must not fail.
template <class Kernel>
void allow_shared_memory(Kernel* kernel, const char* name) {
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(shared_limit())),
             name);
}

// While it lives, this thread may make calls that are forbidden while a stream is captured.
class AllowedInCapture {
 public:
  AllowedInCapture() { exchange(); }
  ~AllowedInCapture() { exchange(); }
  AllowedInCapture(const AllowedInCapture&) = delete;
  AllowedInCapture& operator=(const AllowedInCapture&) = delete;

 private:
  void exchange() { cudaThreadExchangeStreamCaptureMode(&mode_); }

  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

// Loads a kernel onto the current device. By default CUDA loads a kernel when it is first launched. A
// launch that is captured must not do that: loading may wait for the device, which a capture forbids.
template <auto kKernel>
void load_kernel(const char* name) {
  static std::atomic<uint64_t> loaded{0};  // a bit for each device
  int device = 0;
  check_cuda(cudaGetDevice(&device), name);
  const uint64_t bit = device < 64 ? uint64_t{1} << device : 0;
  if ((loaded.load(std::memory_order_relaxed) & bit) != 0) return;
  const AllowedInCapture allowed;
  cudaFuncAttributes attributes;
  check_cuda(cudaFuncGetAttributes(&attributes, kKernel), name);
  loaded.fetch_or(bit, std::memory_order_relaxed);
}

}  // namespace treefilter::cuda
