// The memory of an emulated call: it holds garbage, as a device's does.
#pragma once

#include <cstddef>
#include <vector>

#include "../../src/cuda/runtime/emulation.h"

class Memory final : public treefilter::DeviceMemory {
 public:
  void* take(size_t bytes) override {
    blocks_.emplace_back(bytes);
    return blocks_.back().data();
  }

 private:
  std::vector<treefilter::emulation::Garbage> blocks_;
};
