// Phased kernels over a batch of graphs: a block for each image, a cluster of blocks for each, or the
// whole device for all of them.
#pragma once

#include "launch.cuh"

namespace treefilter::cuda {

// The threads of a block, working on one image in a kernel that is written for all images of a batch: of
// a phase of `count` threads an image it runs those of this image. So the kernel's pointers are the same
// for all blocks, which saves registers.
class ImageGroup : public Phased<ImageGroup> {
 public:
  TREEFILTER_HD explicit ImageGroup(const Block& block) : block_(block), group_(block) {}

  template <class Phase>
  TREEFILTER_HD void run(int64_t count, const Phase& phase) const {
    const int64_t first = block_.index * count;
    group_.run(count, [&](int64_t i) { phase(first + i); });
  }
  template <class Body>
  TREEFILTER_HD void run_blocks(int64_t blocks, const Body& body) const {
    for (int64_t index = 0; index < blocks; ++index) {
      body(Block{block_.index * blocks + index, block_.threads, block_.shared});
    }
  }
  TREEFILTER_HD void wait() const { group_.wait(); }
  static TREEFILTER_HD constexpr int64_t image_blocks() { return 1; }
  TREEFILTER_HD bool more(const int32_t* flag) const { return group_.more(flag); }

 private:
  const Block& block_;
  BlockGroup group_;
};

// kernel.of_image(b) is the kernel with a batch of 1 and flags of its own; kernel.shared_bytes() what
// its blocks have in shared memory besides kScratchBytes.
template <class Kernel>
struct ImageKernel {
  Kernel kernel;

  TREEFILTER_HD void operator()(const Block& block) const {
    const ImageGroup group(block);
    kernel.of_image(block.index)(group);
  }
};

// ---- a cluster of blocks for each image ----

// As many as every device with clusters (sm_90 and later) can run.
constexpr int kClusterBlocks = 8, kClusterThreads = 1024;

#ifdef __CUDACC__
// The threads of a cluster. Its barriers are a fraction of the grid's, and the device holds all of its
// blocks at the same time by itself. On devices without clusters it is one block.
class ImageCluster : public Phased<ImageCluster> {
 public:
  template <class Phase>
  __device__ void run(int64_t count, const Phase& phase) const {
    const int64_t first = image() * count;
    for (int64_t i = rank() * kClusterThreads + threadIdx.x; i < count;
         i += blocks() * kClusterThreads) {
      phase(first + i);
    }
  }
  template <class Body>
  __device__ void run_blocks(int64_t count, const Body& body) const {
    extern __shared__ __align__(16) char shared[];
    for (int64_t index = rank(); index < count; index += blocks()) {
      body(Block{image() * count + index, kClusterThreads, shared});
    }
  }
  // What the cluster's blocks wrote before, wherever, all of them see afterwards.
  __device__ void wait() const {
#if __CUDA_ARCH__ >= 900
    cooperative_groups::this_cluster().sync();
#else
    __syncthreads();
#endif
  }
  __device__ bool more(const int32_t* flag) const {
    const bool more = load_relaxed(flag) != 0;
    if (blocks() == 1) __syncthreads();  // as in BlockGroup
    return more;
  }
  __device__ int64_t image() const { return blockIdx.x / blocks(); }
  __device__ int64_t image_blocks() const { return blocks(); }

 private:
  static __device__ int64_t rank() { return blockIdx.x % blocks(); }
  static __device__ unsigned blocks() {
#if __CUDA_ARCH__ >= 900
    return kClusterBlocks;
#else
    return 1;
#endif
  }
};

template <class Kernel>
__global__ void __launch_bounds__(kClusterThreads, 1) cluster_kernel(const Kernel kernel) {
  ImageCluster group;
  kernel.of_image(group.image())(group);
}

// Whether this build has code for clusters on this device, which can hold so many at the same time.
template <class Kernel>
bool holds_clusters(const char* name, cudaLaunchConfig_t* launch, int64_t images) {
  if (attribute(cudaDevAttrClusterLaunch) == 0) return false;
  cudaFuncAttributes attributes;
  check_cuda(cudaFuncGetAttributes(&attributes, cluster_kernel<Kernel>), name);
  if (launch->dynamicSmemBytes > kSharedByDefault) {
    allow_shared_memory(cluster_kernel<Kernel>, name);
  }
  int most = 0;
  if (attributes.ptxVersion < 90 ||
      cudaOccupancyMaxActiveClusters(&most, cluster_kernel<Kernel>, launch) != cudaSuccess) {
    cudaGetLastError();  // clears the error
    return false;
  }
  return images <= most;
}

// Whether it was launched.
template <class Kernel>
bool launch_clusters(const Cuda& cuda, const char* name, int64_t images, const Kernel& kernel) {
  load_kernel<cluster_kernel<Kernel>>(name);
  cudaLaunchAttribute cluster;
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {kClusterBlocks, 1, 1};
  cudaLaunchConfig_t launch{};
  launch.gridDim = dim3(static_cast<unsigned>(images * kClusterBlocks));
  launch.blockDim = dim3(kClusterThreads);
  launch.dynamicSmemBytes = static_cast<size_t>(kScratchBytes + kernel.shared_bytes());
  launch.stream = stream_of(cuda);
  launch.attrs = &cluster;
  launch.numAttrs = 1;
  if (!holds_clusters<Kernel>(name, &launch, images)) return false;
  check_cuda(cudaLaunchKernelEx(&launch, cluster_kernel<Kernel>, kernel), name);
  return true;
}
#else
// As many as an H200 holds at the same time.
inline int64_t most_clusters = 16;
inline int cluster_blocks = kClusterBlocks;  // 1: as on devices without clusters

template <class Kernel>
bool launch_clusters(const Cuda&, const char* name, int64_t images, const Kernel& kernel) {
  if (images > most_clusters) return false;
  emulation::Counts most{1, 0, 0, 0, {}};
  emulation::for_each_block(images, [&](int64_t image) {
    EmulatedGroup group(kClusterThreads, kScratchBytes + kernel.shared_bytes(), cluster_blocks, image);
    emulation::start_counting();
    kernel.of_image(image)(group);
    most.cluster_barriers = std::max(most.cluster_barriers, emulation::group_barriers);
    most.block_barriers = std::max(most.block_barriers, emulation::barriers);
    most.steps = emulation::most_of(most.steps, emulation::all_steps);
  });
  emulation::count_launch(name, most);
  return true;
}
#endif

// ---- which of them ----

// An image whose phases have no more threads than the first gets a block, up to the second a cluster:
// their barriers are shorter than those of the device. Larger images are all solved by the whole device.
// The result is the same. In a cluster a thread works on two vertices in each phase; with more of them
// that would cost what the barriers gain. (The emulation's tests change the limits.)
#ifdef __CUDACC__
constexpr int64_t largest_for_a_block = 4096,
                  largest_for_a_cluster = 2 * kClusterBlocks * kClusterThreads;
#else
inline int64_t largest_for_a_block = 4096;
inline int64_t largest_for_a_cluster = 2 * kClusterBlocks * kClusterThreads;
#endif

constexpr int kImageThreads = 512;  // with more, a thread would have too few registers

// size: the threads of an image's phases.
template <class Kernel>
void run_batch(const Cuda& cuda, const char* name, int64_t batch, int64_t size, const Kernel& kernel) {
  if (size <= largest_for_a_block) {
    launch_blocks<kImageThreads>(cuda, name, batch, kScratchBytes + kernel.shared_bytes(),
                                 ImageKernel<Kernel>{kernel});
    return;
  }
  const bool clusters = phases_by_environment() == Phases::kClusters && size <= largest_for_a_cluster;
  if (clusters && launch_clusters(cuda, name, batch, kernel)) return;
  launch_phased(cuda, name, batch * size, kernel);
}

}  // namespace treefilter::cuda
