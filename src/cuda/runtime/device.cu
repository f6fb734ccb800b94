// The current device of the calling thread, for bindings.cpp, which no CUDA compiler sees.
#include "../../python/device_guard.h"
#include "launch.cuh"

namespace treefilter {
using namespace cuda;

CurrentDevice::CurrentDevice(int index) : previous_(0) {
  check_cuda(cudaGetDevice(&previous_), "device");
  if (previous_ != index) check_cuda(cudaSetDevice(index), "device");
  changed_ = previous_ != index;
}

CurrentDevice::~CurrentDevice() {
  if (changed_) cudaSetDevice(previous_);
}

}  // namespace treefilter
