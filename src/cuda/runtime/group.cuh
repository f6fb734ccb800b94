// Grid groups: the sets of threads that run the phases of a phased kernel (launch.cuh), and the marks of
// such code.
#pragma once

#include <cstdint>

#include "atomics.cuh"
#include "block.cuh"

#ifdef __CUDACC__
#include <cooperative_groups.h>

// In front of `template <class Group>`: some grid groups live on the host, some on the device.
#define TREEFILTER_PHASED _Pragma("nv_exec_check_disable")
#else
#define TREEFILTER_PHASED
#endif

// In front of a loop over slots: TREEFILTER_ONE_BY_ONE. There are many threads, so unrolling costs
// registers and gains nothing. In front of a loop whose variable selects registers: TREEFILTER_UNROLL.
#ifdef __CUDA_ARCH__
#define TREEFILTER_ONE_BY_ONE _Pragma("unroll 1")
#define TREEFILTER_UNROLL _Pragma("unroll")
#else
#define TREEFILTER_ONE_BY_ONE
#define TREEFILTER_UNROLL
#endif

namespace treefilter::cuda {

// The phase that sets an array to 0.
template <class T>
struct SetZero {
  T* values;
  TREEFILTER_HD void operator()(int64_t i) const { values[i] = 0; }
};

// The scratch memory of exclusive_scan, for integers.
constexpr int64_t kScratchBytes = kWarp * sizeof(int32_t);

// What grid groups have in common. Own has run(count, phase) and run_blocks(blocks, body), wait(),
// more() and read() (launch.cuh), and image_blocks(): how many blocks work on one image of a batch, so
// that each_block of so many runs one body on each; 0 where all work on all images.
template <class Own>
class Phased {
 public:
  TREEFILTER_PHASED template <class... Phases>
  TREEFILTER_HD void each(Phases... phases) const {
    run_all(phases...);
    own().wait();
  }
  TREEFILTER_PHASED template <class Body>
  TREEFILTER_HD void each_block(int64_t blocks, const Body& body) const {
    own().run_blocks(blocks, body);
    own().wait();
  }

 private:
  TREEFILTER_PHASED template <class Phase, class... Rest>
  TREEFILTER_HD void run_all(int64_t count, const Phase& phase, Rest... rest) const {
    own().run(count, phase);
    if constexpr (sizeof...(rest) > 0) run_all(rest...);
  }
  TREEFILTER_HD const Own& own() const { return static_cast<const Own&>(*this); }
};

#ifdef __CUDACC__
// All threads of a cooperative kernel.
class GridGroup : public Phased<GridGroup> {
 public:
  template <class Phase>
  __device__ void run(int64_t count, const Phase& phase) const {
    const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
      phase(i);
    }
  }
  template <class Body>
  __device__ void run_blocks(int64_t blocks, const Body& body) const {
    extern __shared__ __align__(16) char shared[];
    for (int64_t index = blockIdx.x; index < blocks; index += gridDim.x) {
      body(Block{index, static_cast<int>(blockDim.x), shared});
    }
  }
  __device__ void wait() const { cooperative_groups::this_grid().sync(); }
  static TREEFILTER_HD constexpr int64_t image_blocks() { return 0; }
  __device__ bool more(const int32_t* flag) const { return load_relaxed(flag) != 0; }
  __device__ int64_t read(const int32_t* value, int64_t) const { return load_relaxed(value); }
};
#endif

// The threads of one block.
class BlockGroup : public Phased<BlockGroup> {
 public:
  TREEFILTER_HD explicit BlockGroup(const Block& block) : block_(block) {}

  template <class Phase>
  TREEFILTER_HD void run(int64_t count, const Phase& phase) const {
    block_.run([&](int t) {
      for (int64_t i = t; i < count; i += block_.threads) phase(i);
    });
  }
  template <class Body>
  TREEFILTER_HD void run_blocks(int64_t blocks, const Body& body) const {
    for (int64_t index = 0; index < blocks; ++index) body(Block{index, block_.threads, block_.shared});
  }
  TREEFILTER_HD void wait() const { block_.wait(); }
  TREEFILTER_HD bool more(const int32_t* flag) const {
    const bool more = load_relaxed(flag) != 0;
#ifdef __CUDA_ARCH__
    __syncthreads();  // no thread may write the flag before all have read it
#endif
    return more;
  }

 private:
  const Block& block_;
};

}  // namespace treefilter::cuda
