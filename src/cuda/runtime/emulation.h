// Device code on the CPU, for tests (launch.cuh): the threads of a phase run in an order of choice.
//
// The environment variable TREEFILTER_EMULATION chooses the order: forward (the default), reverse,
// shuffled, or threads (three real threads, for a race detector). With TREEFILTER_PHASES=launches
// (cooperative.h) every group.more() is true, as where each phase is a launch of its own. The results
// must be the same bits.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

#include "cooperative.h"
#include "team.h"

namespace treefilter::emulation {

enum class Schedule { kForward, kReverse, kShuffled, kThreads };

// Whether each phase is as if it were a launch of its own.
inline bool blind = cuda::phases_by_environment() == cuda::Phases::kLaunches;

inline Schedule schedule_of(const char* name) {
  const std::string asked = name == nullptr ? "forward" : name;
  if (asked == "forward") return Schedule::kForward;
  if (asked == "reverse") return Schedule::kReverse;
  if (asked == "shuffled") return Schedule::kShuffled;
  if (asked == "threads") return Schedule::kThreads;
  throw std::invalid_argument(
      "TREEFILTER_EMULATION: expected forward, reverse, shuffled or threads, got " + asked);
}

inline Schedule schedule = schedule_of(std::getenv("TREEFILTER_EMULATION"));

// Bytes; by default those of an H100. Tests of the kernels for large images make it small.
inline int64_t shared_limit = [] {
  const char* given = std::getenv("TREEFILTER_EMULATION_SHARED");
  return given == nullptr ? int64_t{232448} : static_cast<int64_t>(std::atoll(given));
}();

// An a for which i -> (a i + b) mod count is a permutation: a and count have no common divisor.
inline int64_t stride_for(int64_t count) {
  for (int64_t a = count * 3 / 8 | 1;; a += 2) {
    int64_t x = a, y = count;
    while (y != 0) {
      const int64_t rest = x % y;
      x = y;
      y = rest;
    }
    if (x == 1) return a;
  }
}

// The steps of loops of which each needs what the one before it has loaded (block.cuh), from memory or
// from shared memory.
struct Steps {
  int64_t memory = 0, shared = 0;

  Steps operator+(const Steps& other) const { return {memory + other.memory, shared + other.shared}; }
};
inline Steps most_of(const Steps& a, const Steps& b) {
  return {std::max(a.memory, b.memory), std::max(a.shared, b.shared)};
}
// Those of the thread that is emulated, and, of the launch or the block, the sum over its phases of the
// thread that has most.
inline thread_local Steps steps, all_steps;
// Of the launch: those of the thread that has most between two barriers.
inline thread_local Steps longest;

template <class Visit>
void in_order(int64_t count, const Visit& visit) {
  switch (schedule) {
    case Schedule::kForward:
      for (int64_t i = 0; i < count; ++i) visit(i);
      break;
    case Schedule::kReverse:
      for (int64_t i = count; i-- > 0;) visit(i);
      break;
    case Schedule::kShuffled: {
      const int64_t step = count > 0 ? stride_for(count) % count : 0;
      for (int64_t i = 0, at = count / 2; i < count; ++i, at = (at + step) % count) visit(at);
      break;
    }
    case Schedule::kThreads:
      team().run([&](int64_t t) {
        for (int64_t i = t; i < count; i += Team::kThreads) visit(i);
      });
      break;
  }
}

// The threads of a phase, or of a block up to its next barrier.
template <class Visit>
void for_each(int64_t count, const Visit& visit) {
  if (schedule == Schedule::kThreads) return in_order(count, visit);  // where nothing is counted
  Steps most;
  in_order(count, [&](int64_t i) {
    steps = {};
    visit(i);
    most = most_of(most, steps);
  });
  all_steps = all_steps + most;
  longest = most_of(longest, most);
}

// Blocks do not wait for each other. They run in any order, but one at a time, since each has threads.
template <class Visit>
void for_each_block(int64_t count, const Visit& visit) {
  if (schedule == Schedule::kThreads) {
    for (int64_t i = 0; i < count; ++i) visit(i);
  } else {
    in_order(count, visit);
  }
}

// What a GPU does one after the other in the launches of one name. An emulation's times mean nothing,
// but these counts are those of the device. Of blocks and clusters: of the one that has most.
struct Counts {
  int64_t launches = 0, grid_barriers = 0, cluster_barriers = 0, block_barriers = 0;
  Steps steps = {};
  int64_t workspace = 0;  // bytes
  Steps longest = {};     // of a thread between two barriers, in any of the launches

  void add(const Counts& other) {
    launches += other.launches;
    grid_barriers += other.grid_barriers;
    cluster_barriers += other.cluster_barriers;
    block_barriers += other.block_barriers;
    steps = steps + other.steps;
    workspace += other.workspace;
  }
};

inline std::mutex counting;
inline std::map<std::string, Counts> counts;
// Of the launch, or of the block, that this thread emulates.
inline thread_local int64_t barriers = 0, group_barriers = 0;
// Bytes taken for the next launch, whose name they are counted with.
inline thread_local int64_t taken = 0;

inline void start_counting() {
  steps = all_steps = {};
  barriers = group_barriers = 0;
}

inline void count_launch(const char* name, const Counts& launch) {
  const std::lock_guard<std::mutex> lock(counting);
  counts[name].add(launch);
  counts[name].workspace += std::exchange(taken, 0);
  counts[name].longest = most_of(counts[name].longest, std::exchange(longest, {}));
}

// The counts since the last call.
inline std::map<std::string, Counts> take_counts() {
  const std::lock_guard<std::mutex> lock(counting);
  return std::exchange(counts, {});
}

// Memory that is visibly not initialised: filled with bytes that are neither 0 nor -1, the usual initial
// values, and that make absurd numbers.
class Garbage {
 public:
  explicit Garbage(size_t bytes)
      : data_(static_cast<char*>(std::aligned_alloc(256, (bytes + 511) / 256 * 256))) {
    if (data_ == nullptr) throw std::bad_alloc();
    std::memset(data_, 0x5a, bytes);
  }
  Garbage(const Garbage&) = delete;
  Garbage& operator=(const Garbage&) = delete;
  Garbage(Garbage&& other) noexcept : data_(other.data_) { other.data_ = nullptr; }
  ~Garbage() { std::free(data_); }
  char* data() const { return data_; }

 private:
  char* data_;
};

}  // namespace treefilter::emulation
