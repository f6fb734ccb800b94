// One parallel loop for the CPU back end.
//
// OpenMP, because torch runs it too: one runtime, one pool of threads. The number of threads comes from
// the caller (torch.get_num_threads()) at every call: it follows torch.set_num_threads. In a process
// that was forked from one with a pool of threads an OpenMP region of several would wait for ever for
// threads that were not forked along; there everything runs on one. The threads race for the items, so
// results must not depend on which thread takes which item; none of ours do.
//
// `cost` is roughly the number of values that an item visits. A thread more costs microseconds, on busy
// cores a time slice, so small work stays on one.
//
// TREEFILTER_STD_THREADS replaces OpenMP by std::thread for ThreadSanitizer, which does not see into
// libgomp's synchronisation.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>

#ifdef TREEFILTER_STD_THREADS
#include <thread>
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

// Calls make_worker() once in each thread (a place for its buffers) and the worker it returns with each
// of 0 … count-1. The first exception stops the loop and is thrown again in the calling thread.
template <class MakeWorker>
void parallel_for(int64_t count, int64_t cost, int threads, const MakeWorker& make_worker) {
  constexpr int64_t kWorthAThread = 1 << 15;
  const int64_t worth = std::max<int64_t>(1, count * cost / kWorthAThread);
  threads = in_forked_process ? 1 : static_cast<int>(std::min({int64_t{threads}, count, worth}));
  if (threads <= 1) {
    if (count == 0) return;
    auto worker = make_worker();
    for (int64_t i = 0; i < count; ++i) worker(i);
    return;
  }
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
  std::exception_ptr error;
  const auto run = [&] {
    try {
      auto worker = make_worker();
      while (!failed) {
        const int64_t i = next++;
        if (i >= count) break;
        worker(i);
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

}  // namespace treefilter
