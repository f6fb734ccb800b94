// Included before kernels.cu by a host compiler: the threads of a block are real threads, and blocks
// run one after another. The caller calls block(…) once; then each thread calls thread(…) and a kernel.
#include <pthread.h>

#define __global__
#define __shared__ static

struct Index {
  unsigned x, y;
};
static thread_local Index threadIdx;
static Index blockIdx, blockDim, gridDim;
static pthread_barrier_t block_barrier;
static int votes;

extern "C" void block(unsigned x, unsigned y, unsigned blocks_x, unsigned blocks_y, unsigned threads) {
  blockIdx = {x, y};
  gridDim = {blocks_x, blocks_y};
  blockDim = {threads, 1};
  votes = 0;
  pthread_barrier_init(&block_barrier, nullptr, threads);
}

extern "C" void thread(unsigned x) {
  threadIdx = {x, 0};
}

static inline void __syncthreads() {
  pthread_barrier_wait(&block_barrier);
}

static inline int __syncthreads_or(int vote) {
  __atomic_fetch_or(&votes, vote != 0, __ATOMIC_SEQ_CST);
  __syncthreads();
  const int result = votes;
  __syncthreads();
  votes = 0;  // by every thread, before the next barrier
  __syncthreads();
  return result;
}

static inline int atomicAdd(int* address, int value) {
  return __atomic_fetch_add(address, value, __ATOMIC_SEQ_CST);
}

static inline void __threadfence_block() {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
