// Programs over a batch of graphs, small or large.
#pragma once

#include "launch.cuh"

namespace treefilter::cuda {

// A block that plays the part of one image in a program over all images of a batch: of a phase of
// count threads an image, those of this image. So the program's pointers stay where all blocks find
// them, and take no registers.
class ImageTeam {
 public:
  TREEFILTER_HD explicit ImageTeam(const Block& block) : team_(block), image_(block.index) {}

  template <class Phase>
  TREEFILTER_HD void each(int64_t count, const Phase& phase) const {
    const int64_t first = image_ * count;
    team_.each(count, [&](int64_t i) { phase(first + i); });
  }
  TREEFILTER_HD bool more(const int32_t* flag) const { return team_.more(flag); }

 private:
  BlockTeam team_;
  int64_t image_;
};

// program.of_image(b): the program with a batch of 1 and flags of its own.
template <class Program>
struct ImageProgram {
  Program program;

  TREEFILTER_HD void operator()(const Block& block) const {
    const ImageTeam team(block);
    program.of_image(block.index)(team);
  }
};

// The same for a program whose images are unlike each other: program_of(b) is that of image b.
template <class Programs>
struct PerImage {
  Programs program_of;

  TREEFILTER_HD void operator()(const Block& block) const {
    BlockTeam team(block);
    program_of(block.index)(team);
  }
};

// Images with phases of no more threads have a block each: its barriers are shorter than the device's.
// Larger ones are all solved by the whole device. The result is the same. (An emulation's tests change
// it.)
#ifdef __CUDACC__
constexpr int64_t largest_for_a_block = 4096;
#else
inline int64_t largest_for_a_block = 4096;
#endif

constexpr int kImageThreads = 512;  // more would have too few registers each

// size: of an image's phases.
template <class Program>
void run_batch(const Cuda& cuda, const char* name, int64_t batch, int64_t size, const Program& program) {
  if (size <= largest_for_a_block) {
    launch_blocks<kImageThreads>(cuda, name, batch, 0, ImageProgram<Program>{program});
  } else {
    run_program(cuda, name, batch * size, program);
  }
}

}  // namespace treefilter::cuda
