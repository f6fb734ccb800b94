// Selects a CUDA device, without the toolkit's headers.
#pragma once

namespace treefilter {

// Makes a CUDA device the current one of this thread until the destructor (cuda/runtime/device.cu).
class CurrentDevice {
 public:
  explicit CurrentDevice(int index);
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;
  ~CurrentDevice();

 private:
  int previous_;
  bool changed_ = false;
};

}  // namespace treefilter
