// The parallel loop of the CPU back end.
//
// It uses OpenMP, as torch does: one runtime, one pool of threads. The caller passes the number of
// threads (torch.get_num_threads()) with every call, so it follows torch.set_num_threads. A forked
// process has only the thread that forked; a parallel region would wait forever for the others of the
// pool, so there everything runs on one thread. Threads take items dynamically: results must not depend
// on which thread takes which item.
//
// `cost` is roughly the number of values that one item visits. Starting a thread takes microseconds, on
// busy cores a time slice, so small work stays on one thread.
//
// All loops here check for interrupts (Cpu::check) about every kVisitsPerCheck visits, between items.
// The calling thread does so too while it waits for the others.
//
// TREEFILTER_STD_THREADS replaces OpenMP by std::thread for ThreadSanitizer, which does not know the
// synchronisation of libgomp.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <thread>

#include "../../core.h"

#ifdef TREEFILTER_STD_THREADS
#include <vector>
#elif __has_include(<pthread.h>)
#include <pthread.h>
#endif

namespace treefilter {

#if !defined(TREEFILTER_STD_THREADS) && __has_include(<pthread.h>)
inline std::atomic<bool> in_forked_process{false};
inline const int watching_forks = pthread_atfork(nullptr, nullptr, [] { in_forked_process = true; });
#else
constexpr bool in_forked_process = false;
#endif

constexpr int64_t kVisitsPerCheck = 1 << 16;

// Counts the visits of one thread, to check for interrupts.
class Checks {
 public:
  Checks(const Cpu& cpu, int64_t cost)
      : cpu_(cpu), items_(kVisitsPerCheck / std::max<int64_t>(1, cost)) {}

  void after_item() {
    if (++done_ <= items_) return;
    cpu_.check();
    done_ = 0;
  }

 private:
  const Cpu& cpu_;
  int64_t items_, done_ = 0;
};

// Waits until finished(), and checks for interrupts meanwhile. A short wait costs no more than that at
// the end of a parallel region.
template <class Finished>
void wait_until(const Cpu& cpu, const Finished& finished) {
  using namespace std::chrono;
  const auto start = steady_clock::now();
  while (!finished()) {
    if (steady_clock::now() - start < milliseconds(1)) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(microseconds(50));
      cpu.check();
    }
  }
}

// Calls make_worker() once in each thread, and the worker that it returns, which may own buffers, for
// the items 0 … count - 1. The first exception stops the loop and is thrown again in the calling thread.
template <class MakeWorker>
void parallel_for(int64_t count, int64_t cost, const Cpu& cpu, const MakeWorker& make_worker) {
  constexpr int64_t kCostPerThread = 1 << 15;
  const int64_t worth = std::max<int64_t>(1, count * cost / kCostPerThread);
  const int threads =
      in_forked_process ? 1 : static_cast<int>(std::min({int64_t{cpu.threads}, count, worth}));
  if (threads <= 1) {
    if (count == 0) return;
    auto worker = make_worker();
    Checks checks(cpu, cost);
    for (int64_t i = 0; i < count; ++i) {
      worker(i);
      checks.after_item();
    }
    return;
  }
  std::atomic<int64_t> next{0}, done{0};
  std::atomic<bool> failed{false};
  std::exception_ptr error;
  const auto caller = std::this_thread::get_id();
  const auto run = [&] {
    try {
      auto worker = make_worker();
      Checks checks(cpu, cost);
      while (!failed) {
        const int64_t i = next++;
        if (i >= count) break;
        worker(i);
        ++done;
        checks.after_item();
      }
      // Only the calling thread can find an interrupt: it must not sleep until the others are ready.
      if (cpu.interrupts != nullptr && std::this_thread::get_id() == caller) {
        wait_until(cpu, [&] { return failed || done == count; });
      }
    } catch (...) {
      if (!failed.exchange(true)) error = std::current_exception();
    }
  };
#if defined(TREEFILTER_STD_THREADS)
  std::vector<std::thread> pool;
  for (int t = 1; t < threads; ++t) pool.emplace_back(run);
  run();
  for (std::thread& thread : pool) thread.join();
#elif defined(_OPENMP)
#pragma omp parallel num_threads(threads)
  run();
#else
  run();
#endif
  if (error) std::rethrow_exception(error);
}

// Calls visit(i) for i = begin … end - 1 in ascending order, or in descending order.
template <class Visit>
inline __attribute__((always_inline)) void for_ascending(const Cpu& cpu, int64_t begin, int64_t end,
                                                         const Visit& visit) {
  for (int64_t i = begin; i < end;) {
    const int64_t next_check = std::min(i + kVisitsPerCheck, end);
    for (; i < next_check; ++i) visit(i);
    cpu.check();
  }
}
template <class Visit>
inline __attribute__((always_inline)) void for_descending(const Cpu& cpu, int64_t begin, int64_t end,
                                                          const Visit& visit) {
  for (int64_t i = end; i > begin;) {
    const int64_t next_check = std::max(i - kVisitsPerCheck, begin);
    while (i > next_check) visit(--i);
    cpu.check();
  }
}

}  // namespace treefilter
