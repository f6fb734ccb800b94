// The passes of chain_scan.cuh over large channels: the whole device scans all channels (segments.cuh).
//
// run_task below chooses between the two ways by the size of a channel's values alone.
#pragma once

#include "bundle_scan.cuh"
#include "chain_scan.cuh"

namespace treefilter::cuda {

template <class Task>
struct LargeTask {
  using LargestMap = typename Task::LargestMap;

  Task task;
  int64_t channels;
  LargestMap *segments, *bundles;  // hold the maps of any pass
  LargestMap* partials;            // [channel][partial] of bunches.cuh, if any pass gathers
  int32_t* widths;                 // of FindWidths

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

template <class Task>
constexpr int64_t kPhasedShared<LargeTask<Task>> =
    kBundleShared<typename Task::LargestMap, typename Task::LargestMap>;

// A channel of a pass, for bundle_scan.cuh.
template <class Pass>
struct PassChannel {
  using Map = typename Pass::Map;
  static constexpr int kAhead = sizeof(Map) <= 16 ? 2 : 1;  // as many as registers allow
  struct Slot {
    Map step;  // its value becomes the result
  };

  Pass pass;

  TREEFILTER_HD const PlanView& plan() const { return pass.plan; }
  static TREEFILTER_HD bool gathers(int) { return Pass::kGathers; }
  TREEFILTER_HD void gather(int32_t first, int32_t end, int32_t step) const {
    if constexpr (Pass::kGathers) {
      TREEFILTER_ONE_BY_ONE
      for (int32_t s = first, left = end - first; left > 0; s = next(s, left, step)) {
        if (!pass.plan.is_hub(s)) pass.gather(s);
      }
    }
  }
  TREEFILTER_HD Slot read(int32_t s) const { return {pass.step(s)}; }
  TREEFILTER_HD void reduce(const Slot& slot, Map& map) const { map = Map::compose(map, slot.step); }
  TREEFILTER_HD void scan(const Slot& slot, Map& map, Slot& noted) const {
    map = Map::compose(map, slot.step);
    noted.step.value = map.value;
  }
  TREEFILTER_HD void write(int32_t s, const Slot& slot) const { pass.put(s, slot.step.value); }
};

// A pass as a scan of bundle_scan.cuh.
template <class Task, class Pass>
struct LargePass {
  using Map = typename Pass::Map;
  using Channel = PassChannel<Pass>;
  static constexpr bool kUp = Pass::kUp, kGathers = Pass::kGathers;

  Task task;
  int64_t channels;
  Map *segments, *bundles;
  typename Task::LargestMap* partials;

  TREEFILTER_HD int64_t nodes() const { return task.nodes(); }
  TREEFILTER_HD Channel channel(int64_t index) const { return {Pass(task.channel(index))}; }
  TREEFILTER_HD auto hubs(int64_t index) const {
    using Gathered = typename Pass::Gathered;
    static_assert(sizeof(Gathered) <= sizeof *partials &&
                  alignof(Gathered) <= alignof(decltype(*partials)));
    return Hubs<Pass, 4>{Pass(task.channel(index)),
                         reinterpret_cast<Gathered*>(partials + index * partials_of(nodes()))};
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
    static_assert(kBundleShared<typename PassChannel<Pass>::Slot, Map> <=
                  kPhasedShared<LargeTask<Task>>);
    scan_rounds(group_,
                LargePass<Task, Pass>{x_.task, x_.channels, reinterpret_cast<Map*>(x_.segments),
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
  const int64_t count = channels * bundles_of(nodes);
  const auto [segments, bundles, partials, widths] =
      cuda.arrays<LargestMap, LargestMap, LargestMap, int32_t>(
          channels * segments_of(nodes), count, Task::kGathers ? channels * partials_of(nodes) : 0,
          kWidths);
  launch_phased(cuda, name, count * kPhasedThreads,
                LargeTask<Task>{task, channels, segments, bundles, partials, widths});
}

#ifdef __CUDACC__
// Half of the registers: what enters, what a slot adds, and where the arrays of a channel are.
template <class Task>
constexpr int kPhasedBlocks<LargeTask<Task>> = 2;
#endif

}  // namespace treefilter::cuda
