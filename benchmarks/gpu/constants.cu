// What a GPU's parts cost: the constants that times of graph algorithms are made of. Prints them as
// JSON.
//
//   nvcc -std=c++17 -O3 -arch=native constants.cu -o constants && ./constants
//
// Latencies are those of a chain: a thread that follows pointers, a kernel that waits for the one before
// it, a barrier after a barrier. Each is measured some times; the median and the quartiles are printed,
// in nanoseconds, for what runs inside a kernel in clock cycles as well. Bandwidths count what is read
// and what is written. Exits with 1 and a message if anything fails.
// One file of more than 300 lines, so that one command compiles it on any machine.
#include <cooperative_groups.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr int kRepeats = 15;

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "constants: %s failed: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}
#define CHECK(call) check((call), #call)

// ---- kernels ----

__global__ void nothing() {}

struct Clocks {
  long long cycles;
  unsigned long long nanoseconds;
};

__device__ unsigned long long global_nanoseconds() {
  unsigned long long now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  return now;
}

__global__ void block_barriers(int count, Clocks* out) {
  __syncthreads();
  const unsigned long long start = global_nanoseconds();
  const long long first = clock64();
  for (int i = 0; i < count; ++i) __syncthreads();
  const long long last = clock64();
  if (threadIdx.x == 0) *out = {last - first, global_nanoseconds() - start};
}

__global__ void grid_barriers(int count, Clocks* out) {
  const auto grid = cooperative_groups::this_grid();
  grid.sync();
  const unsigned long long start = global_nanoseconds();
  const long long first = clock64();
  for (int i = 0; i < count; ++i) grid.sync();
  const long long last = clock64();
  if (grid.thread_rank() == 0) *out = {last - first, global_nanoseconds() - start};
}

enum class Through { kL1, kL2 };

// next[i] is the index that follows i. What is found at last is stored, so that the loads are needed.
template <Through through>
__global__ void chase(const uint32_t* next, int warm_up, int count, uint32_t* last_index, Clocks* out) {
  uint32_t i = 0;
  const auto step = [&](int times) {
#pragma unroll 1
    for (int k = 0; k < times; ++k) i = through == Through::kL1 ? __ldca(next + i) : __ldcg(next + i);
  };
  step(warm_up);
  if (i == 0xffffffffu) return;  // never: the clocks are read after the warm-up has arrived
  const unsigned long long start = global_nanoseconds();
  const long long first = clock64();
  step(count);
  if (i == 0xffffffffu) return;
  const long long last = clock64();
  *out = {last - first, global_nanoseconds() - start};
  *last_index = i;
}

constexpr int kSharedWords = 4096;

__global__ void chase_shared(const uint32_t* next, int count, uint32_t* last_index, Clocks* out) {
  __shared__ uint32_t words[kSharedWords];
  for (int k = static_cast<int>(threadIdx.x); k < kSharedWords; k += static_cast<int>(blockDim.x)) {
    words[k] = next[k];
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  uint32_t i = words[0];
  const unsigned long long start = global_nanoseconds();
  const long long first = clock64();
#pragma unroll 1
  for (int k = 0; k < count; ++k) i = words[i];
  if (i == 0xffffffffu) return;
  const long long last = clock64();
  *out = {last - first, global_nanoseconds() - start};
  *last_index = i;
}

__global__ void copy(const float4* __restrict__ from, float4* __restrict__ to, size_t count) {
  const size_t step = static_cast<size_t>(gridDim.x) * blockDim.x;
  for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
    to[i] = from[i];
  }
}

// ---- measuring ----

struct Stats {
  double lower = 0, median = 0, upper = 0;
};

Stats quartiles(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  const auto at = [&](double q) {
    return samples[static_cast<size_t>(q * static_cast<double>(samples.size() - 1) + 0.5)];
  };
  return {at(0.25), at(0.5), at(0.75)};
}

class Report {
 public:
  void nanoseconds(const std::string& name, const std::vector<double>& ns,
                   const std::vector<double>& cycles) {
    const Stats s = quartiles(ns);
    add(name, "ns", s, cycles.empty() ? 0 : quartiles(cycles).median);
  }
  void bandwidth(const std::string& name, const std::vector<double>& bytes_per_second) {
    add(name, "B/s", quartiles(bytes_per_second), 0);
  }
  void print(const cudaDeviceProp& device, int driver, int runtime) const {
    std::printf("{\"device\": {\"name\": \"%s\", \"compute capability\": \"%d.%d\",\n", device.name,
                device.major, device.minor);
    std::printf("  \"multiprocessors\": %d, \"L2 bytes\": %d, \"memory bytes\": %zu,\n",
                device.multiProcessorCount, device.l2CacheSize, device.totalGlobalMem);
    std::printf("  \"shared bytes a block\": %zu, \"CUDA driver\": %d, \"CUDA runtime\": %d},\n",
                device.sharedMemPerBlockOptin, driver, runtime);
    std::printf(" \"constants\": [\n%s\n]}\n", lines_.c_str());
  }

 private:
  void add(const std::string& name, const char* unit, const Stats& s, double cycles) {
    char line[512];
    std::snprintf(line, sizeof line,
                  "  {\"name\": \"%s\", \"unit\": \"%s\", \"lower\": %.4g, \"median\": %.4g, "
                  "\"upper\": %.4g, \"cycles\": %.4g}",
                  name.c_str(), unit, s.lower, s.median, s.upper, cycles);
    lines_ += (lines_.empty() ? "" : ",\n") + std::string(line);
  }
  std::string lines_;
};

class Timer {
 public:
  Timer() {
    CHECK(cudaEventCreate(&start_));
    CHECK(cudaEventCreate(&end_));
  }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() {
    cudaEventDestroy(start_);
    cudaEventDestroy(end_);
  }

  // Nanoseconds of what `work` puts on the stream, once for each sample, after two that do not count.
  std::vector<double> samples(cudaStream_t stream, const std::function<void()>& work) {
    std::vector<double> ns;
    for (int i = -2; i < kRepeats; ++i) {
      CHECK(cudaEventRecord(start_, stream));
      work();
      CHECK(cudaGetLastError());
      CHECK(cudaEventRecord(end_, stream));
      CHECK(cudaEventSynchronize(end_));
      float ms = 0;
      CHECK(cudaEventElapsedTime(&ms, start_, end_));
      if (i >= 0) ns.push_back(ms * 1e6);
    }
    return ns;
  }

 private:
  cudaEvent_t start_, end_;
};

std::vector<double> over(std::vector<double> samples, double divisor) {
  for (double& sample : samples) sample /= divisor;
  return samples;
}

// Runs a kernel that measures itself.
template <class Launch>
void in_kernel(Report& report, const std::string& name, int count, const Launch& launch) {
  Clocks* out = nullptr;
  CHECK(cudaMalloc(&out, sizeof *out));
  std::vector<double> ns, cycles;
  for (int i = -2; i < kRepeats; ++i) {
    CHECK(cudaMemset(out, 0, sizeof *out));
    launch(out);
    CHECK(cudaGetLastError());
    Clocks found;
    CHECK(cudaMemcpy(&found, out, sizeof found, cudaMemcpyDeviceToHost));
    if (found.cycles == 0) check(cudaErrorUnknown, name.c_str());
    if (i < 0) continue;
    cycles.push_back(static_cast<double>(found.cycles) / count);
    ns.push_back(static_cast<double>(found.nanoseconds) / count);
  }
  CHECK(cudaFree(out));
  report.nanoseconds(name, ns, cycles);
}

// One cycle through all cells of `stride` words, in random order.
std::vector<uint32_t> cycle(size_t bytes, size_t stride) {
  const size_t cells = bytes / (stride * sizeof(uint32_t));
  std::vector<uint32_t> order(cells), next(cells * stride, 0);
  std::iota(order.begin(), order.end(), 0u);
  std::shuffle(order.begin() + 1, order.end(), std::mt19937(1));
  for (size_t i = 0; i < cells; ++i) {
    const size_t following = order[(i + 1) % cells];
    next[order[i] * stride] = static_cast<uint32_t>(following * stride);
  }
  return next;
}

uint32_t* on_device(const std::vector<uint32_t>& values) {
  uint32_t* pointer = nullptr;
  CHECK(cudaMalloc(&pointer, values.size() * sizeof(uint32_t)));
  CHECK(cudaMemcpy(pointer, values.data(), values.size() * sizeof(uint32_t), cudaMemcpyHostToDevice));
  return pointer;
}

// ---- the constants ----

void launches(Report& report, Timer& timer, cudaStream_t stream) {
  constexpr int kCount = 1000;
  const auto launch_all = [&] {
    for (int i = 0; i < kCount; ++i) nothing<<<1, 32, 0, stream>>>();
  };
  report.nanoseconds("kernel launch, one after the other",
                     over(timer.samples(stream, launch_all), kCount), {});

  std::vector<double> host;
  for (int i = 0; i < kRepeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    for (int k = 0; k < 100; ++k) nothing<<<1, 32, 0, stream>>>();
    const auto end = std::chrono::steady_clock::now();
    CHECK(cudaStreamSynchronize(stream));
    host.push_back(std::chrono::duration<double, std::nano>(end - start).count() / 100);
  }
  report.nanoseconds("kernel launch, on the host", host, {});

  cudaGraph_t graph;
  cudaGraphExec_t ready;
  CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  launch_all();
  CHECK(cudaStreamEndCapture(stream, &graph));
  CHECK(cudaGraphInstantiate(&ready, graph, 0));
  const auto replay = [&] { CHECK(cudaGraphLaunch(ready, stream)); };
  report.nanoseconds("graph node", over(timer.samples(stream, replay), kCount), {});
  CHECK(cudaGraphExecDestroy(ready));
  CHECK(cudaGraphDestroy(graph));
}

void barriers(Report& report, const cudaDeviceProp& device) {
  constexpr int kBlock = 10000, kGrid = 1000;
  for (const int threads : {128, 256, 512, 1024}) {
    in_kernel(report, "block barrier, " + std::to_string(threads) + " threads", kBlock,
              [&](Clocks* out) { block_barriers<<<1, static_cast<unsigned>(threads)>>>(kBlock, out); });
  }
  if (!device.cooperativeLaunch) return;
  constexpr int kThreads = 256;
  int most = 0;
  CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&most, grid_barriers, kThreads, 0));
  for (const int blocks : {1, most}) {
    in_kernel(report, "grid barrier, " + std::to_string(blocks) + " blocks of 256 a multiprocessor",
              kGrid, [&](Clocks* out) {
                int count = kGrid;
                void* arguments[] = {&count, &out};
                CHECK(cudaLaunchCooperativeKernel(
                    reinterpret_cast<void*>(grid_barriers),
                    dim3(static_cast<unsigned>(blocks * device.multiProcessorCount)), dim3(kThreads),
                    arguments, 0, nullptr));
              });
  }
}

void latencies(Report& report, size_t dram_bytes) {
  uint32_t* last = nullptr;
  CHECK(cudaMalloc(&last, sizeof *last));
  constexpr int kSteps = 20000;

  uint32_t* next = on_device(cycle(kSharedWords * sizeof(uint32_t), 1));
  in_kernel(report, "latency of shared memory", kSteps,
            [&](Clocks* out) { chase_shared<<<1, 32>>>(next, kSteps, last, out); });
  CHECK(cudaFree(next));

  constexpr size_t kL1 = 32u << 10, kLine = 32;  // words of 128 bytes
  next = on_device(cycle(kL1, kLine));
  in_kernel(report, "latency of L1, 32 KiB", kSteps, [&](Clocks* out) {
    chase<Through::kL1><<<1, 1>>>(next, static_cast<int>(kL1 / 128), kSteps, last, out);
  });
  CHECK(cudaFree(next));

  // Every step is a hit after a whole round: beyond L1, which these loads pass by anyway.
  for (const size_t mebibytes : {size_t{1}, size_t{8}}) {
    const size_t bytes = mebibytes << 20;
    next = on_device(cycle(bytes, kLine));
    in_kernel(report, "latency of L2, " + std::to_string(mebibytes) + " MiB", kSteps, [&](Clocks* out) {
      chase<Through::kL2><<<1, 1>>>(next, static_cast<int>(bytes / 128), kSteps, last, out);
    });
    CHECK(cudaFree(next));
  }

  // Every step is a miss: the cycle is longer than all steps, and far larger than L2, of which a write
  // to it leaves nothing of what was read before.
  const std::vector<uint32_t> far = cycle(dram_bytes, 64);
  next = on_device(far);
  void* flush = nullptr;
  CHECK(cudaMalloc(&flush, dram_bytes));
  in_kernel(report, "latency of DRAM, " + std::to_string(dram_bytes >> 20) + " MiB", kSteps,
            [&](Clocks* out) {
              CHECK(cudaMemset(flush, 0, dram_bytes));
              chase<Through::kL2><<<1, 1>>>(next, 0, kSteps, last, out);
            });
  CHECK(cudaFree(flush));
  CHECK(cudaFree(next));
  CHECK(cudaFree(last));
}

void bandwidths(Report& report, Timer& timer, cudaStream_t stream, const cudaDeviceProp& device,
                size_t bytes) {
  void *from = nullptr, *to = nullptr;
  CHECK(cudaMalloc(&from, bytes));
  CHECK(cudaMalloc(&to, bytes));
  CHECK(cudaMemset(from, 1, bytes));
  CHECK(cudaMemset(to, 2, bytes));
  const unsigned blocks = static_cast<unsigned>(device.multiProcessorCount) * 16;
  const auto measure = [&](const std::string& name, size_t size, int times, bool own) {
    const auto work = [&] {
      for (int i = 0; i < times; ++i) {
        if (own) {
          copy<<<blocks, 512, 0, stream>>>(static_cast<const float4*>(from), static_cast<float4*>(to),
                                           size / sizeof(float4));
        } else {
          CHECK(cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToDevice, stream));
        }
      }
    };
    std::vector<double> rates = timer.samples(stream, work);
    for (double& rate : rates) rate = 2e9 * static_cast<double>(size) * times / rate;
    report.bandwidth(name, rates);
  };
  measure("copy bandwidth, cudaMemcpy", bytes, 4, false);
  measure("copy bandwidth, kernel", bytes, 4, true);
  measure("copy bandwidth in L2, kernel, 8 MiB", size_t{8} << 20, 200, true);
  CHECK(cudaFree(from));
  CHECK(cudaFree(to));
}

}  // namespace

int main() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0) {
    std::fprintf(stderr, "constants: no CUDA device: %s\n", cudaGetErrorString(error));
    return 1;
  }
  CHECK(cudaSetDevice(0));
  cudaDeviceProp device;
  CHECK(cudaGetDeviceProperties(&device, 0));
  int driver = 0, runtime = 0;
  CHECK(cudaDriverGetVersion(&driver));
  CHECK(cudaRuntimeGetVersion(&runtime));
  size_t free_bytes = 0, all_bytes = 0;
  CHECK(cudaMemGetInfo(&free_bytes, &all_bytes));
  // A quarter of what is free, a gibibyte at most, in whole mebibytes.
  const size_t large = std::min(size_t{1} << 30, free_bytes / 4) >> 20 << 20;
  if (large < size_t{16} << 20) {
    std::fprintf(stderr, "constants: only %zu MiB of the GPU's memory are free\n", free_bytes >> 20);
    return 1;
  }
  cudaStream_t stream;
  CHECK(cudaStreamCreate(&stream));
  {
    Report report;
    Timer timer;
    bandwidths(report, timer, stream, device, large);  // first: it wakes the clocks up
    launches(report, timer, stream);
    barriers(report, device);
    latencies(report, large);
    CHECK(cudaDeviceSynchronize());
    report.print(device, driver, runtime);
  }
  CHECK(cudaStreamDestroy(stream));
  return 0;
}
