// The passes of channels.cuh over large channels: the whole device scans all channels
// (scan/segments.cuh).
//
// run_channels below chooses between the three ways by the size of a channel set's values alone.
#pragma once

#include "../scan/bundle_scan.cuh"
#include "channels_block.cuh"

namespace treefilter::cuda {

template <class Task>
struct LargeChannels {
  using T = typename Task::Value;
  using Map = typename ChannelSet<Task>::Map;
  static constexpr int kLanes = Task::kLanes;
  // Slots that a thread reads at once outside of scans (double: with divisions).
  static constexpr int kAhead = sizeof(T) == 4 ? 4 / kLanes : 1;

  Task task;
  int64_t sets;
  T* values;                                      // [set][lane][slot]
  Map* segments;                                  // [set][segment]
  Map* bundles;                                   // [set][bundle]
  typename ChannelSet<Task>::Gathered* partials;  // [set][partial] of scan/bunches.cuh
  int32_t* widths;                                // of FindWidths

  TREEFILTER_HD ChannelSet<Task> set(int64_t index) const {
    return task.channels(index, values + index * kLanes * task.nodes());
  }

  // The threads for the slots of a set: of a warp's kAhead · 32 slots, a thread has every 32nd.
  TREEFILTER_HD int64_t threads() const {
    return (task.nodes() + kAhead * kWarp - 1) / (kAhead * kWarp) * kWarp;
  }

  TREEFILTER_PHASED template <class Group>
  TREEFILTER_HD void operator()(Group& group) const;
};

// A part of the work, for each of [set][thread].
template <class Part, class Task>
struct EachSlot {
  LargeChannels<Task> x;
  TREEFILTER_HD void operator()(int64_t i) const {
    constexpr int32_t kAhead = LargeChannels<Task>::kAhead, kOfWarp = kAhead * kWarp;
    const Split at(i, x.threads());
    const ChannelSet<Task> set = x.set(at.quotient);
    // All may be beyond the last slot.
    const int32_t thread = static_cast<int32_t>(at.rest), begin = thread / kWarp * kOfWarp;
    const int32_t first = begin + thread % kWarp, slots = set.plan.slots();
    const int32_t end = slots - begin < kOfWarp ? slots : begin + kOfWarp;
    if constexpr (std::is_same_v<Part, Start>) {
      const int32_t nodes = static_cast<int32_t>(x.task.nodes());
      if (slots < nodes) {
        for (int32_t v = first; v < nodes && v - begin < kOfWarp; v += kWarp) x.task.fill(set, v);
      }
    }
    each_slot<Part, kAhead>(x.task, set, first, end, kWarp);
  }
};

// ---- the passes as scans of bundle_scan.cuh ----

// A step of a scan, to own from linked. starts: whether it begins a chain with what it is linked to.
template <bool kReduce, class Step, class T, int kLanes>
TREEFILTER_HD void advance(const Step& step, bool starts, const T (&own)[kLanes],
                           const T (&linked)[kLanes], AffineMap<T, kLanes>& map) {
  const bool closed = step.closed();
  for (int l = 0; l < kLanes; ++l) map.offset[l] = closed ? own[l] : step(own[l], linked[l]);
  if (kReduce) map.set_multiplier(closed || starts ? 0.0 : step(0.0, map.multiplier()));
}

template <class Task>
struct ChannelUp {
  using T = typename Task::Value;
  using Map = typename ChannelSet<Task>::Map;
  static constexpr int kLanes = Task::kLanes, kAhead = sizeof(T) == 4 ? 4 : 2;
  struct Slot {
    typename Task::Steps::Up step;  // to this slot
    T own[kLanes];                  // becomes the slot's value
  };

  ChannelSet<Task> set;

  TREEFILTER_HD const PlanView& plan() const { return set.plan; }
  // The vertices of the first round have no light children.
  static TREEFILTER_HD bool gathers(int k) { return k > 0; }
  TREEFILTER_HD void gather(int32_t first, int32_t end, int32_t step) const {
    set.template add_light_children<kAhead>(first, end, step);
  }
  TREEFILTER_HD Slot read(int32_t s) const {
    const int32_t below = s > 0 ? s - 1 : 0, link = set.plan.up()[below];
    const auto weight = set.steps.read_up(below);
    Slot slot;
    for (int l = 0; l < kLanes; ++l) slot.own[l] = set.at(l, s);
    slot.step = s > 0 && link >= 0 ? set.steps.up(weight) : typename Task::Steps::Up{};
    return slot;
  }
  TREEFILTER_HD void reduce(const Slot& slot, Map& map) const {
    advance<true>(slot.step, false, slot.own, map.offset, map);
  }
  TREEFILTER_HD void scan(const Slot& slot, Map& map, Slot& noted) const {
    advance<false>(slot.step, false, slot.own, map.offset, map);
    for (int l = 0; l < kLanes; ++l) noted.own[l] = map.offset[l];
  }
  TREEFILTER_HD void write(int32_t s, const Slot& slot) const {
    for (int l = 0; l < kLanes; ++l) set.at(l, s) = slot.own[l];
  }
};

template <class Task>
struct ChannelDown {
  using T = typename Task::Value;
  using Map = typename ChannelSet<Task>::Map;
  static constexpr int kLanes = Task::kLanes, kAhead = sizeof(T) == 4 ? 4 : 2;
  struct Slot {
    typename Task::Steps::Down step;
    T own[kLanes], linked[kLanes];  // the latter is read at the top of a chain, else found
    int32_t top;
  };

  ChannelSet<Task> set;

  TREEFILTER_HD const PlanView& plan() const { return set.plan; }
  static TREEFILTER_HD bool gathers(int) { return false; }
  TREEFILTER_HD void gather(int32_t, int32_t, int32_t) const {}
  TREEFILTER_HD Slot read(int32_t s) const {
    const int32_t link = set.plan.up()[s];
    const auto weights = set.steps.read_down(s);
    Slot slot;
    for (int l = 0; l < kLanes; ++l) {
      slot.own[l] = set.at(l, s), slot.linked[l] = link < 0 ? set.at(l, ~link) : T(0);
    }
    slot.step = set.steps.down(weights), slot.top = link < 0;
    return slot;
  }
  TREEFILTER_HD void reduce(const Slot& slot, Map& map) const {
    T linked[kLanes];
    for (int l = 0; l < kLanes; ++l) linked[l] = slot.top ? slot.linked[l] : map.offset[l];
    advance<true>(slot.step, slot.top != 0, slot.own, linked, map);
  }
  TREEFILTER_HD void scan(const Slot& slot, Map& map, Slot& noted) const {
    T linked[kLanes];
    for (int l = 0; l < kLanes; ++l) {
      noted.linked[l] = linked[l] = slot.top ? slot.linked[l] : map.offset[l];
    }
    advance<false>(slot.step, slot.top != 0, slot.own, linked, map);
  }
  TREEFILTER_HD void write(int32_t s, const Slot& slot) const {
    Map map;
    advance<false>(slot.step, slot.top != 0, slot.own, slot.linked, map);
    for (int l = 0; l < kLanes; ++l) set.at(l, s) = map.offset[l];
    Task::visit(set, s, slot.own, slot.linked);
  }
};

template <class Task, bool kUpwards>
struct LargeChannelsPass {
  using Map = typename LargeChannels<Task>::Map;
  using Channel = std::conditional_t<kUpwards, ChannelUp<Task>, ChannelDown<Task>>;
  static constexpr bool kUp = kUpwards, kGathers = kUpwards;

  LargeChannels<Task> x;
  int64_t channels;
  Map *segments, *bundles;

  TREEFILTER_HD int64_t nodes() const { return x.task.nodes(); }
  TREEFILTER_HD Channel channel(int64_t index) const { return {x.set(index)}; }
  TREEFILTER_HD Hubs<ChannelSet<Task>, 4> hubs(int64_t index) const {
    return {x.set(index), x.partials + index * partials_of(nodes())};
  }
};

template <class Task>
constexpr int64_t kPhasedShared<LargeChannels<Task>> =
    std::max(kBundleShared<typename ChannelUp<Task>::Slot, typename ChannelUp<Task>::Map>,
             kBundleShared<typename ChannelDown<Task>::Slot, typename ChannelDown<Task>::Map>);

TREEFILTER_PHASED template <class Task>
template <class Group>
TREEFILTER_HD void LargeChannels<Task>::operator()(Group& group) const {
  group.each(most_rounds(task.nodes()), FindWidths{task.families.tree, widths});
  group.each(sets * threads(), EachSlot<Start, Task>{*this});
  if (task.up()) {
    scan_rounds(group, LargeChannelsPass<Task, true>{*this, sets, segments, bundles}, widths);
  }
  if constexpr (Task::kTurns) group.each(sets * threads(), EachSlot<Turn, Task>{*this});
  if (task.down()) {
    scan_rounds(group, LargeChannelsPass<Task, false>{*this, sets, segments, bundles}, widths);
  }
  group.each(sets * threads(), EachSlot<End, Task>{*this});
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
void launch_shared(const Cuda& cuda, const char* name, int64_t sets, const Task& task,
                   int64_t more_shared) {
  using Block = ChannelBlock<Task, true>;
  const int64_t nodes = task.nodes();
  const auto [partials, bytes] =
      make_partials<typename Block::Gathered>(cuda, sets, nodes, shared_bytes<Task>(nodes));
  launch_blocks<kThreads>(cuda, name, sets, bytes + more_shared, Block{task, nullptr, partials});
}

// more_shared: bytes that a block of a small image has besides, behind values and partials.
template <class Task>
void run_channels(const Cuda& cuda, const char* name, int64_t sets, const Task& task,
                  int64_t more_shared = 0) {
  using T = typename Task::Value;
  constexpr int kLanes = Task::kLanes;
  const int64_t nodes = task.nodes(), bytes = shared_bytes<Task>(nodes), limit = shared_limit();
  if (sets <= 0) return;
  if (bytes <= limit && nodes <= kSmallImage) {
    return launch_shared<128>(cuda, name, sets, task, more_shared);
  }
  if (bytes <= limit) return launch_shared<512>(cuda, name, sets, task, 0);
  if constexpr (!Task::kSharedOnly) {
    using Map = typename ChannelSet<Task>::Map;
    using Gathered = typename ChannelSet<Task>::Gathered;
    if (bytes <= kBeyondShared * limit && shared_bytes<Task>(0) <= limit) {
      const auto [values, partials] =
          cuda.arrays<T, Gathered>(sets * kLanes * nodes, sets * partials_of(nodes));
      return launch_blocks<1024>(cuda, name, sets, shared_bytes<Task>(0),
                                 ChannelBlock<Task, false>{task, values, partials});
    }
    const auto [values, segments, bundles, partials, widths] =
        cuda.arrays<T, Map, Map, Gathered, int32_t>(sets * kLanes * nodes, sets * segments_of(nodes),
                                                    sets * bundles_of(nodes), sets * partials_of(nodes),
                                                    kWidths);
    launch_phased(cuda, name, sets * bundles_of(nodes) * kPhasedThreads,
                  LargeChannels<Task>{task, sets, values, segments, bundles, partials, widths});
  }
}

#ifdef __CUDACC__
// Half of the registers: fewer threads, each with several reads on the way.
template <class Task>
constexpr int kPhasedBlocks<LargeChannels<Task>> = 2;
#endif

}  // namespace treefilter::cuda
