// The passes of chain_scan.cuh over large channels: the whole device scans all channels (segments.cuh).
//
// run_task below chooses between the two ways by the size of a channel's values alone.
#pragma once

#include "chain_scan.cuh"
#include "segments.cuh"

namespace treefilter::cuda {

template <class Task>
struct LargeTask {
  using LargestMap = typename Task::LargestMap;

  Task task;
  int64_t channels;
  LargestMap *segments, *entering, *bundles;  // hold the maps of any pass
  LargestMap* partials;                       // [channel][partial] of bunches.cuh, if any pass gathers
  int32_t* widths;                            // of FindWidths

  TREEFILTER_PHASED template <class Group>
  TREEFILTER_HD void operator()(Group& group) const;
};

template <class Task, class F>
struct LargeVertices {
  Task task;

  TREEFILTER_HD void operator()(int64_t i) const {
    const Split at(i, task.nodes());
    F(task.channel(at.quotient))(static_cast<int32_t>(at.rest));
  }
};

template <class Scan, bool kReduce>
struct ScanSegments;

// A pass as a scan of segments.cuh.
template <class Task, class Pass>
struct LargePass {
  using Map = typename Pass::Map;
  static constexpr bool kUp = Pass::kUp, kGathers = Pass::kGathers;
  using PassType = Pass;
  template <bool kReduce>
  using Segments = ScanSegments<LargePass, kReduce>;

  Task task;
  int64_t channels;
  Map *segments, *entering, *bundles;
  typename Task::LargestMap* partials;

  TREEFILTER_HD int64_t nodes() const { return task.nodes(); }
  TREEFILTER_HD PlanView plan(int64_t channel) const {
    return task.trees().plan_of(channel / task.channels_per_tree);
  }
  TREEFILTER_HD auto hubs(int64_t channel) const {
    using Gathered = typename Pass::Gathered;
    static_assert(sizeof(Gathered) <= sizeof *partials &&
                  alignof(Gathered) <= alignof(decltype(*partials)));
    return Hubs<Pass, 4>{Pass(task.channel(channel)),
                         reinterpret_cast<Gathered*>(partials + channel * partials_of(nodes()))};
  }
  TREEFILTER_HD void enter(int64_t i, const Map& map) const { entering[i] = map; }
};

template <class Scan, bool kReduce>
struct ScanSegments {
  Scan scan;
  int k;
  int64_t width;

  TREEFILTER_HD void operator()(int64_t i) const {
    using Pass = typename Scan::PassType;
    const Split at(i, width);
    const Pass pass(scan.task.channel(at.quotient));
    const RoundOf round(pass.plan, k);
    if (at.rest >= round.segments()) return;
    const SlotsOf slots(round, round.first_segment + at.rest);
    const int64_t segment = at.quotient * segments_of(scan.nodes()) + round.first_segment + at.rest;
    if constexpr (kReduce && Pass::kGathers) {
      TREEFILTER_ONE_BY_ONE
      for (int32_t s = slots.first; s < slots.last; ++s) {
        if (!pass.plan.is_hub(s)) pass.gather(s);
      }
    }
    typename Pass::Map sum = kReduce ? Pass::Map::identity() : scan.entering[segment];
    scan_segment<kReduce>(pass, slots.first, slots.last, sum);
    if (kReduce) scan.segments[segment] = sum;
  }
};

template <class Task, class Group>
class LargeRunner {
 public:
  TREEFILTER_HD LargeRunner(const LargeTask<Task>& x, Group& group) : x_(x), group_(group) {}

  TREEFILTER_PHASED template <class F>
  TREEFILTER_HD void vertices() const {
    group_.each(x_.channels * x_.task.nodes(), LargeVertices<Task, F>{x_.task});
  }

  TREEFILTER_PHASED template <class Pass>
  TREEFILTER_HD void pass() const {
    using Map = typename Pass::Map;
    using LargestMap = typename Task::LargestMap;
    static_assert(sizeof(Map) <= sizeof(LargestMap) && alignof(Map) <= alignof(LargestMap));
    scan_rounds(group_,
                LargePass<Task, Pass>{x_.task, x_.channels, reinterpret_cast<Map*>(x_.segments),
                                      reinterpret_cast<Map*>(x_.entering),
                                      reinterpret_cast<Map*>(x_.bundles), x_.partials},
                x_.widths);
  }

 private:
  const LargeTask<Task>& x_;
  Group& group_;
};

TREEFILTER_PHASED template <class Task>
template <class Group>
TREEFILTER_HD void LargeTask<Task>::operator()(Group& group) const {
  const LargeRunner<Task, Group> runner(*this, group);
  group.each(most_rounds(task.nodes()), FindWidths{task.trees(), widths});
  task.run(runner);
}

// ---- the choice ----

template <class Task>
void run_task(const Cuda& cuda, const char* name, int64_t channels, const Task& task) {
  using T = typename Task::Value;
  using LargestMap = typename Task::LargestMap;
  const int64_t nodes = task.nodes();
  if (channels <= 0) return;
  if (nodes * static_cast<int64_t>(sizeof(T)) <= kBeyondShared * shared_limit()) {
    constexpr int kThreads = sizeof(T) == 4 ? 1024 : 512;  // doubles take more registers
    return launch_blocks<kThreads>(cuda, name, channels, BlockRunner<Task>::shared_bytes(nodes),
                                   BlockTask<Task>{task});
  }
  const int64_t count = channels * segments_of(nodes);
  const auto [segments, entering, bundles, partials, widths] =
      cuda.arrays<LargestMap, LargestMap, LargestMap, LargestMap, int32_t>(
          count, count, channels * bundles_of(nodes), Task::kGathers ? channels * partials_of(nodes) : 0,
          kWidths);
  launch_phased(cuda, name, count,
                LargeTask<Task>{task, channels, segments, entering, bundles, partials, widths});
}

#ifdef __CUDACC__
// What enters, what a slot adds, and where the arrays of a channel are, take more registers than a
// quarter; in double more than a third.
template <class Task>
constexpr int kPhasedBlocks<LargeTask<Task>> = sizeof(typename Task::Value) == 4 ? 3 : 2;
#endif

}  // namespace treefilter::cuda
