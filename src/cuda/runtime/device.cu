// The current CUDA device of the calling thread, for the bindings, which a plain C++ compiler compiles.
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
