// Phased kernels over a batch of graphs: a block for each image, or the whole device for all of them.
#pragma once

#include "launch.cuh"

namespace treefilter::cuda {

// The threads of a block, working on one image in a kernel that is written for all images of a batch: of
// a phase of `count` threads an image it runs those of this image. So the kernel's pointers are the same
// for all blocks, which saves registers.
class ImageGroup {
 public:
  TREEFILTER_HD explicit ImageGroup(const Block& block) : group_(block), image_(block.index) {}

  template <class Phase>
  TREEFILTER_HD void each(int64_t count, const Phase& phase) const {
    const int64_t first = image_ * count;
    group_.each(count, [&](int64_t i) { phase(first + i); });
  }
  TREEFILTER_HD bool more(const int32_t* flag) const { return group_.more(flag); }

 private:
  BlockGroup group_;
  int64_t image_;
};

// kernel.of_image(b) is the kernel with a batch of 1 and flags of its own.
template <class Kernel>
struct ImageKernel {
  Kernel kernel;

  TREEFILTER_HD void operator()(const Block& block) const {
    const ImageGroup group(block);
    kernel.of_image(block.index)(group);
  }
};

// For a kernel whose images differ in more: kernel_of(b) is that of image b.
template <class Kernels>
struct PerImage {
  Kernels kernel_of;

  TREEFILTER_HD void operator()(const Block& block) const {
    BlockGroup group(block);
    kernel_of(block.index)(group);
  }
};

// An image whose phases have no more threads than this gets a block: barriers of a block are shorter
// than those of the device. Larger images are all solved by the whole device. The result is the same.
// (The emulation's tests change the limit.)
#ifdef __CUDACC__
constexpr int64_t largest_for_a_block = 4096;
#else
inline int64_t largest_for_a_block = 4096;
#endif

constexpr int kImageThreads = 512;  // with more, a thread would have too few registers

// size: the threads of an image's phases.
template <class Kernel>
void run_batch(const Cuda& cuda, const char* name, int64_t batch, int64_t size, const Kernel& kernel) {
  if (size <= largest_for_a_block) {
    launch_blocks<kImageThreads>(cuda, name, batch, 0, ImageKernel<Kernel>{kernel});
  } else {
    launch_phased(cuda, name, batch * size, kernel);
  }
}

}  // namespace treefilter::cuda
