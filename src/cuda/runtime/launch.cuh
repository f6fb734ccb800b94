// How device code is written, so that the same source also runs, and is tested, on machines without a
// GPU.
//
// There are three forms of kernels, each with a launcher below:
//   flat     A struct with operator()(int64_t i), called for every i < count: at the same time, in any
//            order.
//   phased   A struct with
//              TREEFILTER_PHASED template <class Group> TREEFILTER_HD void operator()(Group&) const
//            made of phases: group.each(count, phase) calls a flat struct for every i < count, then
//            waits for all threads of the *grid group* (group.cuh). Phases that do not depend on each
//            other share a barrier: group.each(count, phase, other_count, other_phase). And
//            group.each_block(blocks, body) runs code of a block, with kPhasedShared bytes of shared
//            memory. A grid group is one of these sets of threads:
//              GridGroup    all threads of one cooperative kernel, with barriers across the whole grid
//              ImageCluster the threads of a cluster of blocks, which works on one image of many
//              LaunchGroup  a kernel launch for each phase, where a cooperative kernel is not possible
//                           (cooperative.h)
//              BlockGroup   the threads of one block, which works on one image of many
//   block    A struct with operator()(Block&): the code of one block (block.cuh). It is made of
//            block.each([&](int t) {…}), which runs for every thread and ends with a barrier, of
//            PerThread values, which stay in registers from one each() to the next, of block.shared
//            memory, and of scans over the threads.
//
// A translation unit that nvcc compiles launches kernels. Any other compiler makes an emulation
// (emulation.h): loops over the threads in an order of choice, which must not change a bit of the
// result. Therefore threads of one phase communicate through atomics.cuh only, scans combine in the
// order of the device, and sums of floats have a fixed order.
//
// A loop of phases whose end only the device knows goes on while group.more(flag). A LaunchGroup cannot
// read the flag and runs the loop to its bound, so a phase must do nothing when no work is left. In the
// same way group.read(value, most) is a number that only the device knows, or the most that it can be.
#pragma once

#include <cstdint>

#include "call.h"
#include "cooperative.h"
#include "group.cuh"

#ifdef __CUDACC__
#include "device_api.cuh"
#endif

namespace treefilter::cuda {

// More shared memory a block gets only after allow_shared_memory.
constexpr int64_t kSharedByDefault = 48 * 1024;
// The shared memory of a block of a phased kernel, at most kSharedByDefault.
template <class Kernel>
constexpr int64_t kPhasedShared = kScratchBytes;
constexpr int kPhasedThreads = 256;

#ifdef __CUDACC__

constexpr int kFlatThreads = 256;
// Blocks of a flat or phased kernel on one multiprocessor. This bounds the registers of a thread.
// Without the bound ptxas chooses a limit by itself and spills.
constexpr int kBlocksPerProcessor = 4;

template <class Phase>
__global__ void __launch_bounds__(kFlatThreads, kBlocksPerProcessor)
    flat_kernel(int64_t count, const Phase phase) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kFlatThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kFlatThreads + threadIdx.x; i < count; i += step) {
    phase(i);
  }
}

template <class Phase>
void launch_flat(const Cuda& cuda, const char* name, int64_t count, const Phase& phase) {
  if (count <= 0) return;
  load_kernel<flat_kernel<Phase>>(name);
  const int64_t blocks = (count + kFlatThreads - 1) / kFlatThreads;
  flat_kernel<<<static_cast<unsigned>(blocks < (1 << 24) ? blocks : (1 << 24)), kFlatThreads, 0,
                stream_of(cuda)>>>(count, phase);
  check_cuda(cudaGetLastError(), name);
}

// The threads of a block kernel that one multiprocessor must hold: more for kernels of which several
// blocks are to share it. This bounds the registers of a thread.
template <class Body>
constexpr int kBlockThreads = 1;

template <int Threads, class Body>
__global__ void __launch_bounds__(Threads, (kBlockThreads<Body> + Threads - 1) / Threads)
    block_kernel(int64_t blocks, const Body body) {
  extern __shared__ __align__(16) char shared[];
  for (int64_t index = blockIdx.x; index < blocks; index += gridDim.x) {
    body(Block{index, Threads, shared});
  }
}

template <int Threads, class Body>
void launch_blocks(const Cuda& cuda, const char* name, int64_t blocks, int64_t shared_bytes,
                   const Body& body) {
  static_assert(Threads % kWarp == 0 && Threads <= 1024);
  if (blocks <= 0) return;
  load_kernel<block_kernel<Threads, Body>>(name);
  if (shared_bytes > kSharedByDefault) allow_shared_memory(block_kernel<Threads, Body>, name);
  block_kernel<Threads><<<static_cast<unsigned>(blocks < (1 << 24) ? blocks : (1 << 24)), Threads,
                          static_cast<size_t>(shared_bytes), stream_of(cuda)>>>(blocks, body);
  check_cuda(cudaGetLastError(), name);
}

// Fewer for kernels whose threads need more registers.
template <class Kernel>
constexpr int kPhasedBlocks = kBlocksPerProcessor;

template <class Kernel>
__global__ void __launch_bounds__(kPhasedThreads, kPhasedBlocks<Kernel>)
    phased_kernel(const Kernel kernel) {
  GridGroup group;
  kernel(group);
}

// One launch for each phase.
class LaunchGroup : public Phased<LaunchGroup> {
 public:
  LaunchGroup(const Cuda& cuda, const char* name, int64_t shared_bytes)
      : cuda_(cuda), name_(name), shared_bytes_(shared_bytes) {}

  template <class Phase>
  void run(int64_t count, const Phase& phase) const {
    launch_flat(cuda_, name_, count, phase);
  }
  template <class Body>
  void run_blocks(int64_t blocks, const Body& body) const {
    launch_blocks<kPhasedThreads>(cuda_, name_, blocks, shared_bytes_, body);
  }
  void wait() const {}
  static constexpr int64_t image_blocks() { return 0; }
  bool more(const int32_t*) const { return true; }
  int64_t read(const int32_t*, int64_t most) const { return most; }

 private:
  const Cuda& cuda_;
  const char* name_;
  int64_t shared_bytes_;
};

// The blocks of a phased kernel that can be on the device at the same time; 0 if it must be run by a
// launch for each phase.
template <class Kernel>
int64_t cooperative_blocks(const char* name) {
  if (phases_by_environment() == Phases::kLaunches) return 0;
  if (attribute(cudaDevAttrCooperativeLaunch) == 0) return 0;
  int per_processor = 0;
  check_cuda(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_processor, phased_kernel<Kernel>,
                                                           kPhasedThreads, kPhasedShared<Kernel>),
             name);
  return int64_t{per_processor} * attribute(cudaDevAttrMultiProcessorCount);
}

// `widest`: the largest count among the phases that matter for speed.
template <class Kernel>
void launch_phased(const Cuda& cuda, const char* name, int64_t widest, const Kernel& kernel) {
  static_assert(kPhasedShared<Kernel> <= kSharedByDefault);
  load_kernel<phased_kernel<Kernel>>(name);
  const int64_t most = cooperative_blocks<Kernel>(name);
  const int64_t wanted = widest > 0 ? (widest + kPhasedThreads - 1) / kPhasedThreads : 1;
  Kernel copy = kernel;
  void* arguments[] = {&copy};
  const bool launched = launch_what_fits(wanted < most ? wanted : most, [&](int64_t blocks) {
    const cudaError_t error = cudaLaunchCooperativeKernel(
        phased_kernel<Kernel>, dim3(static_cast<unsigned>(blocks)), dim3(kPhasedThreads), arguments,
        kPhasedShared<Kernel>, stream_of(cuda));
    if (error != cudaErrorCooperativeLaunchTooLarge) {
      check_cuda(error, name);
      return true;
    }
    cudaGetLastError();  // clears the error
    return false;
  });
  if (launched) return;
  LaunchGroup group(cuda, name, kPhasedShared<Kernel>);
  kernel(group);
}

#endif

}  // namespace treefilter::cuda

#ifndef __CUDACC__
#include "launch_emulated.cuh"
#endif
