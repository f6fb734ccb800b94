// How the phases of a phased kernel (launch.cuh) are run: by one cooperative kernel with barriers across
// the grid, by a kernel with a cluster of blocks for each image (per_image.cuh), or by a launch for each
// phase. The results are the same bits.
//
// The first two are one node each while a stream is captured into a graph. The environment variable
// TREEFILTER_PHASES, read once, chooses: `clusters` (the default: clusters where they are faster by
// counts), `kernel` (no clusters), or `launches`, for tools and devices that do not support cooperative
// kernels.
//
// Plain C++, so that the emulation's tests include it.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace treefilter::cuda {

enum class Phases { kClusters, kKernel, kLaunches };

// given: the value of TREEFILTER_PHASES, or null.
inline Phases phases_by_name(const char* given) {
  const std::string name = given == nullptr ? "clusters" : given;
  if (name == "clusters") return Phases::kClusters;
  if (name == "kernel") return Phases::kKernel;
  if (name == "launches") return Phases::kLaunches;
  throw std::invalid_argument("TREEFILTER_PHASES: expected clusters, kernel or launches, got " + name);
}

inline Phases phases_by_environment() {
  static const Phases phases = phases_by_name(std::getenv("TREEFILTER_PHASES"));
  return phases;
}

// Calls launch(blocks) with half as many blocks each time, until it returns true. It returns false where
// the device cannot hold so many blocks at the same time. A sanitizer's instrumentation takes registers
// and local memory of which the query for the number of blocks does not know. Returns whether any launch
// succeeded.
template <class Launch>
bool launch_what_fits(int64_t blocks, const Launch& launch) {
  for (; blocks > 0; blocks /= 2) {
    if (launch(blocks)) return true;
  }
  return false;
}

}  // namespace treefilter::cuda
