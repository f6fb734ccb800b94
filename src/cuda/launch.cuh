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
// runs inside a phase may race only through the atomics below, and sums of floats have a fixed order.
//
// Loops of a program that end by what the device finds out go on while team.more(flag): a LaunchTeam
// cannot know and always goes on, to the loop's bound. So a phase must do nothing where nothing is left.
#pragma once

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

#include "../core.h"
#include "../cuda.h"

#ifdef __CUDACC__
#include <cooperative_groups.h>
#include <cuda_runtime.h>
// Before the `template <class Team>` of a program: of the teams some are the host's, some the device's.
#define TREEFILTER_PROGRAM _Pragma("nv_exec_check_disable")
#else
#include "emulation.h"
#define TREEFILTER_PROGRAM
#endif

namespace treefilter {

constexpr int kWarp = 32;

// ---- the only ways in which threads of one phase may meet; all relaxed, on global memory ----

#ifdef __CUDA_ARCH__
template <class T>
__device__ T atomic_add(T* to, T value) {
  return atomicAdd(to, value);
}
template <class T>
__device__ T atomic_xor(T* to, T value) {
  return atomicXor(to, value);
}
template <class T>
__device__ T atomic_or(T* to, T value) {
  return atomicOr(to, value);
}
template <class T>
__device__ T atomic_max(T* to, T value) {
  return atomicMax(to, value);
}
__device__ inline uint64_t atomic_min(uint64_t* to, uint64_t value) {
  return atomicMin(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(value));
}
__device__ inline int32_t atomic_min(int32_t* to, int32_t value) {
  return atomicMin(to, value);
}
template <class T>
__device__ T load_relaxed(const T* from) {
  return *const_cast<const volatile T*>(from);
}
template <class T>
__device__ void store_relaxed(T* to, T value) {
  *const_cast<volatile T*>(to) = value;
}
#else
template <class T>
TREEFILTER_HD T atomic_add(T* to, T value) {
  return __atomic_fetch_add(to, value, __ATOMIC_RELAXED);
}
template <class T>
TREEFILTER_HD T atomic_xor(T* to, T value) {
  return __atomic_fetch_xor(to, value, __ATOMIC_RELAXED);
}
template <class T>
TREEFILTER_HD T atomic_or(T* to, T value) {
  return __atomic_fetch_or(to, value, __ATOMIC_RELAXED);
}
template <class T>
TREEFILTER_HD T load_relaxed(const T* from) {
  return __atomic_load_n(from, __ATOMIC_RELAXED);
}
template <class T>
TREEFILTER_HD void store_relaxed(T* to, T value) {
  __atomic_store_n(to, value, __ATOMIC_RELAXED);
}
template <class T>
TREEFILTER_HD T atomic_min(T* to, T value) {
  T old = load_relaxed(to);
  while (value < old &&
         !__atomic_compare_exchange_n(to, &old, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}
template <class T>
TREEFILTER_HD T atomic_max(T* to, T value) {
  T old = load_relaxed(to);
  while (value > old &&
         !__atomic_compare_exchange_n(to, &old, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}
#endif

// ---- a block ----

// A value that each thread of the block keeps from one piece of code to the next.
template <class T>
class PerThread {
 public:
#ifdef __CUDA_ARCH__
  __device__ T& operator[](int) { return value_; }

 private:
  T value_;
#elif defined(__CUDACC__)
  __host__ __device__ T& operator[](int) { return value_; }

 private:
  T value_;
#else
  T& operator[](int t) { return values_[t]; }

 private:
  T values_[1024];
#endif
};

struct Block {
  int64_t index;  // of the block
  int threads;    // a multiple of 32
  char* shared;   // as many bytes as were asked for

  // Calls piece(t) for every thread t, then waits for all.
  template <class Piece>
  TREEFILTER_HD void each(const Piece& piece) const {
#ifdef __CUDA_ARCH__
    piece(static_cast<int>(threadIdx.x));
    __syncthreads();
#elif defined(__CUDACC__)
    (void)piece;
#else
    emulation::for_each(threads, [&](int64_t t) { piece(static_cast<int>(t)); });
#endif
  }
};

#ifdef __CUDACC__
// The value of the thread `delta` lanes below.
template <class T>
__device__ T shuffle_up(const T& value, int delta) {
  static_assert(sizeof(T) % 4 == 0);
  T result;
  const auto* from = reinterpret_cast<const uint32_t*>(&value);
  auto* to = reinterpret_cast<uint32_t*>(&result);
  for (size_t i = 0; i < sizeof(T) / 4; ++i) to[i] = __shfl_up_sync(0xffffffffu, from[i], delta);
  return result;
}
#endif

// value[t] becomes value[0] ∘ … ∘ value[t - 1], for t = 0 the identity; earlier ∘ later is
// combine(earlier, later), which need not commute. Kogge and Stone in each warp, then over the warps'
// totals: the order of combination depends on the number of threads alone. scratch: 32 values of shared
// memory, free again afterwards.
template <class T, class Combine>
TREEFILTER_HD void exclusive_scan(const Block& block, PerThread<T>& value, const T& identity, T* scratch,
                                  const Combine& combine) {
#ifdef __CUDA_ARCH__
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const auto scan = [&](T& v) {
    for (int delta = 1; delta < kWarp; delta *= 2) {
      const T before = shuffle_up(v, delta);
      if (lane >= delta) v = combine(before, v);
    }
  };
  T inside = value[0];
  scan(inside);
  if (lane == kWarp - 1) scratch[warp] = inside;
  __syncthreads();
  if (warp == 0) {
    T total = lane < block.threads / kWarp ? scratch[lane] : identity;
    scan(total);
    scratch[lane] = total;
  }
  __syncthreads();
  const T before = shuffle_up(inside, 1);
  const bool first = lane == 0;
  value[0] = warp == 0 ? (first ? identity : before)
                       : (first ? scratch[warp - 1] : combine(scratch[warp - 1], before));
  __syncthreads();
#elif !defined(__CUDACC__)
  const auto scan = [&](T* v) {
    for (int delta = 1; delta < kWarp; delta *= 2) {
      for (int lane = kWarp - 1; lane >= delta; --lane) v[lane] = combine(v[lane - delta], v[lane]);
    }
  };
  const int warps = block.threads / kWarp;
  for (int i = 0; i < kWarp; ++i) scratch[i] = identity;
  T inside[1024];
  for (int t = 0; t < block.threads; ++t) inside[t] = value[t];
  for (int w = 0; w < warps; ++w) {
    scan(inside + w * kWarp);
    scratch[w] = inside[w * kWarp + kWarp - 1];
  }
  scan(scratch);
  for (int t = 0; t < block.threads; ++t) {
    const int w = t / kWarp;
    const bool first = t % kWarp == 0;
    value[t] = w == 0 ? (first ? identity : inside[t - 1])
                      : (first ? scratch[w - 1] : combine(scratch[w - 1], inside[t - 1]));
  }
#endif
}

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

constexpr int kFlatThreads = 256, kProgramThreads = 256, kBlockProgramThreads = 1024;
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
    check_cuda(
        cudaFuncSetAttribute(block_kernel<Threads, Body>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(shared_bytes)),
        name);
  }
  block_kernel<Threads><<<static_cast<unsigned>(blocks < (1 << 24) ? blocks : (1 << 24)), Threads,
                          static_cast<size_t>(shared_bytes), stream_of(cuda)>>>(blocks, body);
  check_cuda(cudaGetLastError(), name);
}

template <class Program>
__global__ void __launch_bounds__(kProgramThreads, kBlocksAtOnce) program_kernel(const Program program) {
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

constexpr int kBlockProgramThreads = 1024;

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

// A program for every image, one block each: program_of(b) is that of image b. For images whose phases
// are too short for a barrier of the whole device.
template <class Programs>
struct PerImage {
  Programs program_of;

  TREEFILTER_HD void operator()(const Block& block) const {
    BlockTeam team(block);
    program_of(block.index)(team);
  }
};

template <class Programs>
void run_per_image(const Cuda& cuda, const char* name, int64_t images, const Programs& program_of) {
  launch_blocks<kBlockProgramThreads>(cuda, name, images, 0, PerImage<Programs>{program_of});
}

}  // namespace treefilter
