// The passes of channels.cuh over large channels: the whole device scans all channels
// (scan/segments.cuh).
//
// run_channels below chooses between the three ways by the size of a channel set's values alone.
#pragma once

#include "../scan/segments.cuh"
#include "channels_block.cuh"

namespace treefilter::cuda {

template <class Task>
struct LargeChannels {
  using T = typename Task::Value;
  using Map = typename ChannelSet<Task>::Map;
  static constexpr int kLanes = Task::kLanes;
  // Slots that a thread reads at once in a scan, and outside of scans (double: with divisions).
  static constexpr int kAhead = sizeof(T) == 4 ? 4 : 2, kSlots = sizeof(T) == 4 ? 4 / kLanes : 1;

  Task task;
  int64_t sets;
  T* values;                                      // [set][lane][slot]
  T* entering;                                    // [set][segment][lane]
  Map* segments;                                  // [set][segment]
  Map* bundles;                                   // [set][bundle]
  typename ChannelSet<Task>::Gathered* partials;  // [set][partial] of scan/bunches.cuh
  int32_t* widths;                                // of FindWidths

  TREEFILTER_HD ChannelSet<Task> set(int64_t index) const {
    return task.channels(index, values + index * kLanes * task.nodes());
  }

  TREEFILTER_HD int64_t parts() const { return (task.nodes() + kSlots - 1) / kSlots; }

  TREEFILTER_PHASED template <class Group>
  TREEFILTER_HD void operator()(Group& group) const;
};

// A part of the work for kSlots slots, of [set][part of the slots].
template <class Part, class Task>
struct EachSlot {
  LargeChannels<Task> x;
  TREEFILTER_HD void operator()(int64_t i) const {
    constexpr int kSlots = LargeChannels<Task>::kSlots;
    const Split at(i, x.parts());
    const ChannelSet<Task> set = x.set(at.quotient);
    // Both may be beyond the last slot.
    const int32_t first = static_cast<int32_t>(at.rest) * kSlots, slots = set.plan.slots();
    const int32_t end = slots - first < kSlots ? slots : first + kSlots;
    if constexpr (std::is_same_v<Part, Start>) {
      const int64_t nodes = x.task.nodes();
      if (slots < nodes) {
        for (int32_t v = first; v < nodes && v - first < kSlots; ++v) x.task.fill(set, v);
      }
    }
    each_slot<Part, kSlots>(x.task, set, first, end, 1);
  }
};

template <class Scan, bool kReduce>
struct ScanChannels;

// The pass up or down as a scan of segments.cuh.
template <class Task, bool kUpwards>
struct LargeChannelsPass {
  using Map = typename LargeChannels<Task>::Map;
  using TaskType = Task;
  static constexpr bool kUp = kUpwards, kGathers = kUpwards;
  template <bool kReduce>
  using Segments = ScanChannels<LargeChannelsPass, kReduce>;

  LargeChannels<Task> x;
  int64_t channels;
  Map *segments, *bundles;

  TREEFILTER_HD int64_t nodes() const { return x.task.nodes(); }
  TREEFILTER_HD PlanView plan(int64_t index) const { return x.set(index).plan; }
  TREEFILTER_HD Hubs<ChannelSet<Task>, 4> hubs(int64_t index) const {
    return {x.set(index), x.partials + index * partials_of(nodes())};
  }
  TREEFILTER_HD void enter(int64_t i, const Map& map) const {
    for (int l = 0; l < Task::kLanes; ++l) x.entering[i * Task::kLanes + l] = map.offset[l];
  }
};

template <class Scan, bool kReduce>
struct ScanChannels {
  Scan scan;
  int k;
  int64_t width;

  TREEFILTER_HD void operator()(int64_t i) const {
    using Task = typename Scan::TaskType;
    const LargeChannels<Task>& x = scan.x;
    const Split at(i, width);
    const ChannelSet<Task> set = x.set(at.quotient);
    const RoundOf round(set.plan, k);
    if (at.rest >= round.segments()) return;
    const auto [first, last] = SlotsOf(round, round.first_segment + at.rest);
    const int64_t segment = at.quotient * segments_of(x.task.nodes()) + round.first_segment + at.rest;
    auto in = Scan::Map::identity();
    constexpr int kAhead = LargeChannels<Task>::kAhead;
    if (kReduce && Scan::kUp && round.first_slot > 0) {
      set.template add_light_children<kAhead>(first, last, 1);
    }
    if (!kReduce) {
      for (int l = 0; l < Task::kLanes; ++l) in.offset[l] = x.entering[segment * Task::kLanes + l];
    }
    if (Scan::kUp) {
      set.template up<kReduce, kAhead>(first, last, in);
    } else {
      set.template down<kReduce, kAhead>(x.task, first, last, in);
    }
    if (kReduce) x.segments[segment] = in;
  }
};

TREEFILTER_PHASED template <class Task>
template <class Group>
TREEFILTER_HD void LargeChannels<Task>::operator()(Group& group) const {
  group.each(most_rounds(task.nodes()), FindWidths{task.families.tree, widths});
  group.each(sets * parts(), EachSlot<Start, Task>{*this});
  if (task.up()) {
    scan_rounds(group, LargeChannelsPass<Task, true>{*this, sets, segments, bundles}, widths);
  }
  if constexpr (Task::kTurns) group.each(sets * parts(), EachSlot<Turn, Task>{*this});
  if (task.down()) {
    scan_rounds(group, LargeChannelsPass<Task, false>{*this, sets, segments, bundles}, widths);
  }
  group.each(sets * parts(), EachSlot<End, Task>{*this});
}

// ---- the choice ----

// Images of at most this many vertices get small blocks, of which several share a multiprocessor.
constexpr int64_t kSmallImage = 4096;

template <class Task>
int64_t shared_bytes(int64_t nodes) {
  return ChannelBlock<Task, true>::kScratch +
         nodes * Task::kLanes * static_cast<int64_t>(sizeof(typename Task::Value));
}

// Memory for the partials of scan/bunches.cuh, [set][partial], when the other values of a set take
// `bytes` of shared memory: null, which is behind them, if there is room. And the bytes of both.
template <class Gathered>
std::pair<Gathered*, int64_t> make_partials(const Cuda& cuda, int64_t sets, int64_t nodes,
                                            int64_t bytes) {
  const int64_t count = partials_of(nodes);
  const int64_t together = bytes + count * static_cast<int64_t>(sizeof(Gathered));
  if (together <= shared_limit()) return {nullptr, together};
  const auto [partials] = cuda.arrays<Gathered>(sets * count);
  return {partials, bytes};
}

template <int kThreads, class Task>
void launch_shared(const Cuda& cuda, const char* name, int64_t sets, const Task& task) {
  using Block = ChannelBlock<Task, true>;
  const int64_t nodes = task.nodes();
  const auto [partials, bytes] =
      make_partials<typename Block::Gathered>(cuda, sets, nodes, shared_bytes<Task>(nodes));
  launch_blocks<kThreads>(cuda, name, sets, bytes, Block{task, nullptr, partials});
}

template <class Task>
void run_channels(const Cuda& cuda, const char* name, int64_t sets, const Task& task) {
  using T = typename Task::Value;
  constexpr int kLanes = Task::kLanes;
  const int64_t nodes = task.nodes(), bytes = shared_bytes<Task>(nodes), limit = shared_limit();
  if (sets <= 0) return;
  if (bytes <= limit && nodes <= kSmallImage) return launch_shared<128>(cuda, name, sets, task);
  if (bytes <= limit) return launch_shared<512>(cuda, name, sets, task);
  if constexpr (!Task::kSharedOnly) {
    using Map = typename ChannelSet<Task>::Map;
    using Gathered = typename ChannelSet<Task>::Gathered;
    if (bytes <= kBeyondShared * limit && shared_bytes<Task>(0) <= limit) {
      const auto [values, partials] =
          cuda.arrays<T, Gathered>(sets * kLanes * nodes, sets * partials_of(nodes));
      return launch_blocks<1024>(cuda, name, sets, shared_bytes<Task>(0),
                                 ChannelBlock<Task, false>{task, values, partials});
    }
    const int64_t segments = sets * segments_of(nodes);
    const auto [values, entering, maps, bundles, partials, widths] =
        cuda.arrays<T, T, Map, Map, Gathered, int32_t>(sets * kLanes * nodes, kLanes * segments,
                                                       segments, sets * bundles_of(nodes),
                                                       sets * partials_of(nodes), kWidths);
    launch_phased(cuda, name, segments,
                  LargeChannels<Task>{task, sets, values, entering, maps, bundles, partials, widths});
  }
}

#ifdef __CUDACC__
// Half of the registers: fewer threads, each with several reads on the way.
template <class Task>
constexpr int kPhasedBlocks<LargeChannels<Task>> = 2;
#endif

}  // namespace treefilter::cuda
