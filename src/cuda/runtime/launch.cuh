// How device code is written, so that the same source also runs, and is tested, where there is no GPU.
//
// Three forms, each with a launcher below:
//   flat     a struct with operator()(int64_t i): called for every i < count, in any order, at once.
//   program  a struct with `TREEFILTER_PROGRAM template <class Team> TREEFILTER_HD void
//            operator()(Team&) const`: a sequence of flat phases,
//            team.each(count, phase), with a barrier after each. As one cooperative kernel
//            (GridTeam), as a launch per phase where that is not possible or the stream is being
//            captured (LaunchTeam), or by a single block (BlockTeam), for one image of many.
//   block    a struct with operator()(Block&): code of one block, made of block.each([&](int t) {…}),
//            a piece for every thread with a barrier after it, of PerThread values that live in
//            registers between the pieces, of block.shared memory, and of scans over the threads.
//
// A translation unit that nvcc compiles launches kernels. Any other compiler makes an emulation: plain
// loops over the threads in an order that is chosen (forward, reverse, shuffled, or at once on real
// threads), which must not change a bit; scans combine in the same order as the device does. So what
// runs inside a phase may race only through atomics.cuh, and sums of floats have a fixed order.
//
// Loops of a program that end by what the device finds out go on while team.more(flag): a LaunchTeam
// cannot know and always goes on, to the loop's bound. So a phase must do nothing where nothing is left.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "atomics.cuh"
#include "block.cuh"
#include "call.h"

#ifdef __CUDACC__
#include <cooperative_groups.h>
#include <cuda_runtime.h>
// Before the `template <class Team>` of a program: of the teams some are the host's, some the device's.
#define TREEFILTER_PROGRAM _Pragma("nv_exec_check_disable")
#else
#define TREEFILTER_PROGRAM
#endif

// In front of a loop over slots: threads are many, and registers few.
#ifdef __CUDA_ARCH__
#define TREEFILTER_ONE_BY_ONE _Pragma("unroll 1")
#else
#define TREEFILTER_ONE_BY_ONE
#endif

namespace treefilter::cuda {

// The phase that empties an array.
template <class T>
struct SetZero {
  T* values;
  TREEFILTER_HD void operator()(int64_t i) const { values[i] = 0; }
};

// ---- teams ----

#ifdef __CUDACC__
// All threads of a cooperative kernel.
class GridTeam {
 public:
  template <class Phase>
  __device__ void each(int64_t count, const Phase& phase) const {
    const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
      phase(i);
    }
    cooperative_groups::this_grid().sync();
  }
  __device__ bool more(const int32_t* flag) const { return load_relaxed(flag) != 0; }
};
#endif

// The threads of one block.
class BlockTeam {
 public:
  TREEFILTER_HD explicit BlockTeam(const Block& block) : block_(block) {}

  template <class Phase>
  TREEFILTER_HD void each(int64_t count, const Phase& phase) const {
    block_.each([&](int t) {
      for (int64_t i = t; i < count; i += block_.threads) phase(i);
    });
  }
  TREEFILTER_HD bool more(const int32_t* flag) const {
    const bool more = load_relaxed(flag) != 0;
#ifdef __CUDA_ARCH__
    __syncthreads();  // nobody may write the flag before all have read it
#endif
    return more;
  }

 private:
  const Block& block_;
};

#ifdef __CUDACC__

// ---- launchers on the device ----

inline void check_cuda(cudaError_t error, const char* name) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // not to be found by whoever calls next
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

// Bytes of shared memory that a block can have.
inline int64_t shared_limit() {
  return attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
}

constexpr int kFlatThreads = 256, kProgramThreads = 256;
// On a multiprocessor, as far as registers go. Not told so, ptxas rather spills some than have fewer.
constexpr int kBlocksAtOnce = 4;

template <class Phase>
__global__ void __launch_bounds__(kFlatThreads, kBlocksAtOnce)
    flat_kernel(int64_t count, const Phase phase) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kFlatThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kFlatThreads + threadIdx.x; i < count; i += step) {
    phase(i);
  }
}

template <class Phase>
void launch_flat(const Cuda& cuda, const char* name, int64_t count, const Phase& phase) {
  if (count <= 0) return;
  const int64_t blocks = (count + kFlatThreads - 1) / kFlatThreads;
  flat_kernel<<<static_cast<unsigned>(blocks < (1 << 24) ? blocks : (1 << 24)), kFlatThreads, 0,
                stream_of(cuda)>>>(count, phase);
  check_cuda(cudaGetLastError(), name);
}

template <int Threads, class Body>
__global__ void __launch_bounds__(Threads, 1) block_kernel(int64_t blocks, const Body body) {
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
  if (shared_bytes > 48 * 1024) {
    // The most there is: with what this launch needs, another thread's larger one would fail.
    check_cuda(
        cudaFuncSetAttribute(block_kernel<Threads, Body>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(shared_limit())),
        name);
  }
  block_kernel<Threads><<<static_cast<unsigned>(blocks < (1 << 24) ? blocks : (1 << 24)), Threads,
                          static_cast<size_t>(shared_bytes), stream_of(cuda)>>>(blocks, body);
  check_cuda(cudaGetLastError(), name);
}

// For programs that need more registers a thread than so many blocks leave.
template <class Program>
constexpr int kProgramsAtOnce = kBlocksAtOnce;

template <class Program>
__global__ void __launch_bounds__(kProgramThreads, kProgramsAtOnce<Program>)
    program_kernel(const Program program) {
  GridTeam team;
  program(team);
}

// A launch for each phase.
class LaunchTeam {
 public:
  LaunchTeam(const Cuda& cuda, const char* name) : cuda_(cuda), name_(name) {}

  template <class Phase>
  void each(int64_t count, const Phase& phase) const {
    launch_flat(cuda_, name_, count, phase);
  }
  bool more(const int32_t*) const { return true; }

 private:
  const Cuda& cuda_;
  const char* name_;
};

// `widest`: the largest count of the phases that matter for speed.
template <class Program>
void run_program(const Cuda& cuda, const char* name, int64_t widest, const Program& program) {
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  check_cuda(cudaStreamIsCapturing(stream_of(cuda), &capture), name);
  int per_processor = 0;
  if (capture == cudaStreamCaptureStatusNone && attribute(cudaDevAttrCooperativeLaunch) != 0) {
    check_cuda(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_processor, program_kernel<Program>,
                                                             kProgramThreads, 0),
               name);
  }
  if (per_processor == 0) {
    LaunchTeam team(cuda, name);
    program(team);
    return;
  }
  const int64_t most = static_cast<int64_t>(per_processor) * attribute(cudaDevAttrMultiProcessorCount);
  const int64_t wanted = (widest + kProgramThreads - 1) / kProgramThreads;
  const int64_t blocks = wanted < 1 ? 1 : wanted < most ? wanted : most;
  Program copy = program;
  void* arguments[] = {&copy};
  check_cuda(cudaLaunchCooperativeKernel(program_kernel<Program>, dim3(static_cast<unsigned>(blocks)),
                                         dim3(kProgramThreads), arguments, 0, stream_of(cuda)),
             name);
}

#else

// ---- the same as an emulation ----

inline int64_t shared_limit() {
  return emulation::shared_limit;
}

template <class Phase>
void launch_flat(const Cuda&, const char*, int64_t count, const Phase& phase) {
  emulation::for_each(count, phase);
}

template <int Threads, class Body>
void launch_blocks(const Cuda&, const char* name, int64_t blocks, int64_t shared_bytes,
                   const Body& body) {
  static_assert(Threads % kWarp == 0 && Threads <= 1024);
  if (shared_bytes > emulation::shared_limit) {
    throw std::runtime_error(std::string("treefilter: CUDA kernel ") + name +
                             ": too much shared memory");
  }
  emulation::for_each_block(blocks, [&](int64_t index) {
    emulation::Garbage shared(static_cast<size_t>(shared_bytes));
    body(Block{index, Threads, shared.data()});
  });
}

class EmulatedTeam {
 public:
  template <class Phase>
  void each(int64_t count, const Phase& phase) const {
    emulation::for_each(count, phase);
  }
  bool more(const int32_t* flag) const { return emulation::blind || load_relaxed(flag) != 0; }
};

template <class Program>
void run_program(const Cuda&, const char*, int64_t, const Program& program) {
  EmulatedTeam team;
  program(team);
}

#endif

}  // namespace treefilter::cuda
