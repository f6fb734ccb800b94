// Threads that wait for work, for the emulation (emulation.h): a phase has hardly any work, so that
// threads of its own would be most of its time.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace treefilter::emulation {

class Team {
 public:
  static constexpr int64_t kThreads = 3;

  Team() {
    for (int64_t t = 0; t < kThreads; ++t) threads_.emplace_back([this, t] { serve(t); });
  }
  ~Team() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ended_ = true;
    }
    start_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  // Calls work(t) on each thread t at the same time, and waits for all of them. Callers take turns.
  void run(const std::function<void(int64_t)>& work) {
    const std::lock_guard<std::mutex> turn(turn_);
    std::unique_lock<std::mutex> lock(mutex_);
    work_ = &work, left_ = kThreads, ++calls_;
    start_.notify_all();
    done_.wait(lock, [&] { return left_ == 0; });
  }

 private:
  void serve(int64_t t) {
    std::unique_lock<std::mutex> lock(mutex_);
    for (int64_t seen = 0;; seen = calls_) {
      start_.wait(lock, [&] { return calls_ != seen || ended_; });
      if (ended_) return;
      const auto* const work = work_;
      lock.unlock();
      (*work)(t);
      lock.lock();
      if (--left_ == 0) done_.notify_one();
    }
  }

  std::mutex turn_, mutex_;
  std::condition_variable start_, done_;
  const std::function<void(int64_t)>* work_ = nullptr;
  int64_t left_ = 0, calls_ = 0;
  bool ended_ = false;
  std::vector<std::thread> threads_;  // the last member: they use the others
};

// The one of this process.
inline Team& team() {
  static Team team;
  return team;
}

}  // namespace treefilter::emulation
