// One parallel loop for the CPU back end.
//
// OpenMP, because torch runs it too: one runtime, one pool of threads. The number of threads comes from
// the caller (torch.get_num_threads()) at every call: it follows torch.set_num_threads, and it is 1 in a
// DataLoader's worker, where a forked OpenMP region would hang. The threads race for the items, so
// results must not depend on which thread takes which item; none of ours do.
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
#endif

namespace treefilter {

// Calls make_worker() once in each thread (a place for its buffers) and the worker it returns with each
// of 0 … count-1. The first exception stops the loop and is thrown again in the calling thread.
template <class MakeWorker>
void parallel_for(int64_t count, int threads, const MakeWorker& make_worker) {
  threads = static_cast<int>(std::min<int64_t>(threads, count));
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
