// The passes of channels.cuh by a block for each channel set: a segment for each thread.
#pragma once

#include "channels.cuh"

namespace treefilter::cuda {

// All that a block does with a channel set; kAhead slots are read at once, and kBunchAhead light
// children of hubs.
template <class Task, int kAhead, int kBunchAhead = 4>
struct BlockPasses {
  using Set = ChannelSet<Task>;
  using Map = typename Set::Map;
  // The scan's part of the shared memory, at its beginning.
  static constexpr int64_t kScratch = kWarp * static_cast<int64_t>(sizeof(Map));

  const Task& task;
  const Set& set;
  // Of scan/bunches.cuh: those of all sets, [set][partial], or, if they are null, this set's.
  typename Set::Gathered *partials, *own_partials;

  TREEFILTER_HD void operator()(const Block& block) const {
    const int32_t nodes = static_cast<int32_t>(task.nodes()), slots = set.plan.slots();
    const int32_t* rounds = set.plan.rounds();
    block.each([&](int t) {
      TREEFILTER_ONE_BY_ONE
      for (int32_t v = slots < nodes ? t : nodes; v < nodes; v += block.threads) task.fill(set, v);
      each_slot<Start, kAhead>(task, set, t, slots, block.threads);
    });
    if (task.up()) {
      for (int k = 0; k + 1 < PlanView::kRounds && rounds[k] < slots; ++k) {
        up(block, rounds[k], rounds[k + 1]);
      }
    }
    if constexpr (Task::kTurns) {
      block.each([&](int t) { each_slot<Turn, kAhead>(task, set, t, slots, block.threads); });
    }
    if (task.down()) {
      for (int k = PlanView::kRounds - 1; k-- > 0;) {
        if (rounds[k] < rounds[k + 1]) down(block, rounds[k], rounds[k + 1]);
      }
    }
    block.each([&](int t) { each_slot<End, kAhead>(task, set, t, slots, block.threads); });
  }

 private:
  // Slots for each thread. The number is odd, so that threads of a warp use different banks of the
  // shared memory.
  static TREEFILTER_HD int32_t length(const Block& block, int32_t count) {
    return (count + block.threads - 1) / block.threads | 1;
  }

  static TREEFILTER_HD void scan(const Block& block, PerThread<Map>& map) {
    exclusive_scan(block, map, Map::identity(), reinterpret_cast<Map*>(block.shared),
                   [](const Map& earlier, const Map& later) { return Map::compose(earlier, later); });
  }

  TREEFILTER_HD Hubs<Set, kBunchAhead> hubs(const Block& block) const {
    return {set,
            partials == nullptr ? own_partials : partials + block.index * partials_of(set.plan.nodes)};
  }

  TREEFILTER_HD void up(const Block& block, int32_t begin, int32_t end) const {
    const int32_t each = length(block, end - begin);
    PerThread<Map> map;
    if (begin > 0) {  // the vertices of the first round have no light children
      if (set.plan.has_hubs()) gather_hubs(block, hubs(block), begin, end);
      block.each([&](int t) { set.template add_light_children<kAhead>(begin + t, end, block.threads); });
    }
    block.each([&](int t) {
      map[t] = Map::identity();
      const int32_t first = begin + t * each, last = first + each < end ? first + each : end;
      set.template up<true, kAhead>(first, last, map[t]);
    });
    scan(block, map);
    block.each([&](int t) {
      const int32_t first = begin + t * each, last = first + each < end ? first + each : end;
      set.template up<false, kAhead>(first, last, map[t]);
    });
  }

  // The first thread has the last slots.
  TREEFILTER_HD void down(const Block& block, int32_t begin, int32_t end) const {
    const int32_t each = length(block, end - begin);
    PerThread<Map> map;
    block.each([&](int t) {
      map[t] = Map::identity();
      const int32_t last = end - t * each, first = last - each > begin ? last - each : begin;
      set.template down<true, kAhead>(first, last, map[t]);
    });
    scan(block, map);
    block.each([&](int t) {
      const int32_t last = end - t * each, first = last - each > begin ? last - each : begin;
      set.template down<false, kAhead>(first, last, map[t]);
    });
  }
};

template <class Task, bool kShared>
struct ChannelBlock {
  using T = typename Task::Value;
  // As many slots as registers allow: 1024 threads have 64 each.
  static constexpr int kWords = sizeof(T) * Task::kLanes / 4;
  static constexpr int kAhead = !kShared ? (kWords == 1 ? 2 : 1) : kWords > 2 ? 2 : kWords > 1 ? 3 : 4;
  using Passes = BlockPasses<Task, kAhead, kShared ? 4 : 1>;
  using Gathered = typename ChannelSet<Task>::Gathered;
  static constexpr int64_t kScratch = Passes::kScratch;
  static_assert(kScratch % sizeof(T) == 0);

  Task task;
  T* workspace;        // [set][lane][slot], unless kShared
  Gathered* partials;  // [set][partial]; null: behind the values in the shared memory

  TREEFILTER_HD void operator()(const Block& block) const {
    const int64_t nodes = task.nodes(), size = Task::kLanes * nodes;
    T* const values =
        kShared ? reinterpret_cast<T*>(block.shared + kScratch) : workspace + block.index * size;
    const ChannelSet<Task> set = task.channels(block.index, values);
    Passes{task, set, partials, reinterpret_cast<Gathered*>(values + size)}(block);
  }
};

#ifdef __CUDACC__
// Channels that share a multiprocessor with others: 64 registers.
template <class Task>
constexpr bool kShares = sizeof(typename Task::Value) == 4;

template <class Task>
constexpr int kBlockThreads<ChannelBlock<Task, true>> = kShares<Task> ? 1024 : 1;
#endif

}  // namespace treefilter::cuda
