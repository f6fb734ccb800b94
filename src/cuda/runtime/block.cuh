// The code of one block (launch.cuh): code for every thread, values that a thread keeps between
// barriers, and scans over the threads.
#pragma once

#include <type_traits>

#include "../../core.h"

#ifndef __CUDACC__
#include "emulation.h"
#endif

namespace treefilter::cuda {

constexpr int kWarp = 32;

// A value of each thread of the block, kept from one each() to the next.
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
  int64_t index;  // of the block in the launch
  int threads;    // a multiple of 32
  char* shared;   // as many bytes as the launch requested

  // Calls code(t) for every thread t.
  template <class Code>
  TREEFILTER_HD void run(const Code& code) const {
#ifdef __CUDA_ARCH__
    code(static_cast<int>(threadIdx.x));
#elif defined(__CUDACC__)
    (void)code;
#else
    emulation::for_each(threads, [&](int64_t t) { code(static_cast<int>(t)); });
#endif
  }
  // Waits for all threads.
  TREEFILTER_HD void wait() const {
#ifdef __CUDA_ARCH__
    __syncthreads();
#elif !defined(__CUDACC__)
    ++emulation::barriers;
#endif
  }
  template <class Code>
  TREEFILTER_HD void each(const Code& code) const {
    run(code);
    wait();
  }
};

// A step of a loop of which each needs what the one before it has loaded. The emulation counts them.
// (Not those along pointers that threads shorten for each other: one thread after the other, as in the
// emulation, they are many; at the same time, as on a device, about the logarithm.)
TREEFILTER_HD inline void dependent_step() {
#ifndef __CUDACC__
  ++emulation::steps.memory;
#endif
}
// The same, from shared memory.
TREEFILTER_HD inline void shared_step() {
#ifndef __CUDACC__
  ++emulation::steps.shared;
#endif
}

#ifdef __CUDACC__
// The value of the thread `delta` lanes below. It is moved word by word; padding moves along, unread.
template <class T>
__device__ T shuffle_up(const T& value, int delta) {
  static_assert(sizeof(T) % 4 == 0 && std::is_trivially_copyable<T>::value);
  uint32_t words[sizeof(T) / 4];
  std::memcpy(words, &value, sizeof words);
  for (uint32_t& word : words) word = __shfl_up_sync(0xffffffffu, word, delta);
  T result;
  std::memcpy(&result, words, sizeof words);
  return result;
}
#endif

// An exclusive scan: value[t] becomes value[0] ∘ … ∘ value[t - 1], and the identity for t = 0, where
// earlier ∘ later is combine(earlier, later), which is associative but need not commute. The method is
// that of Kogge and Stone (1973), within each warp and then over the warps' totals, so that the order of
// combination depends on the number of threads alone. scratch: 32 values in shared memory, free again
// afterwards.
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
  emulation::barriers += 3;
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
#else
  (void)block, (void)value, (void)identity, (void)scratch, (void)combine;
#endif
}

// scratch[0] becomes the sum of the threads' values, for integers.
template <class T>
TREEFILTER_HD void sum_of_threads(const Block& block, PerThread<T>& value, T* scratch) {
  PerThread<T> before;
  block.run([&](int t) { before[t] = value[t]; });
  exclusive_scan(block, before, T{}, scratch, [](T a, T b) { return a + b; });
  block.each([&](int t) {
    if (t == block.threads - 1) scratch[0] = before[t] + value[t];
  });
}

}  // namespace treefilter::cuda
