// The launchers of launch.cuh, which includes this, as loops over threads (emulation.h).
#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>

#include "launch.cuh"

namespace treefilter::cuda {

inline int64_t shared_limit() {
  return emulation::shared_limit;
}

template <class Phase>
void launch_flat(const Cuda&, const char* name, int64_t count, const Phase& phase) {
  if (count <= 0) return;
  emulation::start_counting();
  emulation::for_each(count, phase);
  emulation::count_launch(name, {1, 0, 0, 0, emulation::all_steps});
}

template <int Threads, class Body>
void launch_blocks(const Cuda&, const char* name, int64_t blocks, int64_t shared_bytes,
                   const Body& body) {
  static_assert(Threads % kWarp == 0 && Threads <= 1024);
  if (shared_bytes > emulation::shared_limit) {
    throw std::runtime_error(std::string("treefilter: CUDA kernel ") + name +
                             ": too much shared memory");
  }
  if (blocks <= 0) return;
  int64_t most = 0;
  emulation::Steps steps;
  emulation::for_each_block(blocks, [&](int64_t index) {
    emulation::Garbage shared(static_cast<size_t>(shared_bytes));
    emulation::start_counting();
    body(Block{index, Threads, shared.data()});
    most = std::max(most, emulation::barriers);
    steps = emulation::most_of(steps, emulation::all_steps);
  });
  emulation::count_launch(name, {1, 0, 0, most, steps});
}

// The threads of a grid, or of a cluster of `blocks` blocks that works on the image `image`.
class EmulatedGroup : public Phased<EmulatedGroup> {
 public:
  EmulatedGroup(int threads, int64_t shared_bytes, int64_t blocks = INT64_MAX, int64_t image = 0)
      : threads_(threads), shared_bytes_(shared_bytes), blocks_(blocks), image_(image) {}

  template <class Phase>
  void run(int64_t count, const Phase& phase) const {
    const int64_t first = image_ * count;
    const int64_t all = blocks_ > count / threads_ ? count : blocks_ * threads_;
    emulation::for_each(all, [&](int64_t t) {
      for (int64_t i = t; i < count; i += all) phase(first + i);
    });
  }
  template <class Body>
  void run_blocks(int64_t blocks, const Body& body) const {
    const int64_t others = emulation::barriers;
    const emulation::Steps before = emulation::all_steps;
    int64_t most = 0;
    emulation::Steps steps;
    emulation::for_each_block(blocks, [&](int64_t index) {
      emulation::Garbage shared(static_cast<size_t>(shared_bytes_));
      emulation::barriers = 0, emulation::all_steps = {};
      body(Block{image_ * blocks + index, threads_, shared.data()});
      most = std::max(most, emulation::barriers);
      steps = emulation::most_of(steps, emulation::all_steps);
    });
    emulation::barriers = others + most;
    emulation::all_steps = before + steps;
  }
  void wait() const { ++emulation::group_barriers; }
  int64_t image_blocks() const { return blocks_ == INT64_MAX ? 0 : blocks_; }
  bool more(const int32_t* flag) const { return emulation::blind || load_relaxed(flag) != 0; }
  int64_t read(const int32_t* value, int64_t most) const {
    return emulation::blind ? most : load_relaxed(value);
  }

 private:
  int threads_;
  int64_t shared_bytes_, blocks_, image_;
};

template <class Kernel>
void launch_phased(const Cuda&, const char* name, int64_t, const Kernel& kernel) {
  static_assert(kPhasedShared<Kernel> <= kSharedByDefault);
  EmulatedGroup group(kPhasedThreads, kPhasedShared<Kernel>);
  emulation::start_counting();
  kernel(group);
  emulation::count_launch(name,
                          {1, emulation::group_barriers, 0, emulation::barriers, emulation::all_steps});
}

}  // namespace treefilter::cuda
