// Passes over a tree on CUDA, round by round of its plan (plan.h), for distances. The filter has passes
// of its own (filter/channels.cuh), because it scans several channels with common coefficients and keeps
// the CPU's steps within a segment. Both have the bundles and rounds of segments.cuh.
//
// A round is a run of slots, chain after chain. Within a chain, what a slot gets follows from what the
// slot before it in the chain has: a step. Where a chain starts, the step ignores what comes before it.
// Steps compose, so that a round is a scan, whatever the lengths of its chains. Light children are in
// earlier rounds (leaf to root) or later ones, so that a step finds them, or its parent, finished.
//
// A task is a sequence of passes over the channels of a batch; for each vertex a channel has one value.
// It provides
//   nodes(), trees(), channel(i)  sizes, plans, and one channel: its `plan`, and what passes are made of
//   channels_per_tree             so many consecutive channels have the same tree
//   kGathers                      whether any of its passes gathers
//   Value, LargestMap             the type of a channel's values; the largest Map of its passes
//   run(runner)                   runner.vertices<F>(): F(channel)(v) for every vertex v
//                                 runner.pass<Pass>(): Pass(channel), every round
// and a pass provides
//   kUp                   leaf to root, or root to leaf
//   kGathers, gather(s)   if kGathers, first in a round: takes in the light children of slot s, which
//                         is no hub; for hubs it provides what bunches.cuh says
//   Map, step(s)          what slot s makes of the value of the slot before it in its chain, which is
//                         the one below it (kUp) or above it
//   put(s, value)         takes the result
// None of these touches what others of the same round touch.
//
// The cost of a round of n slots is two visits to each slot. A channel of moderate size gets a block,
// which cuts the round into as many segments as it has threads: slots / 1024 steps and 5 barriers,
// however deep the tree is. Large channels are scanned by the whole device (chain_scan_large.cuh). The
// order of additions depends on the plan and on which of the two it is.
#pragma once

#include "../../tree.h"
#include "bunches.cuh"

namespace treefilter::cuda {

// The map of a slot or a segment: what enters is combined with `value` if open, else ignored. V is a
// monoid: V::identity(), V::combine(earlier, later).
template <class V>
struct ChainMap {
  V value;
  int32_t open;

  TREEFILTER_HD bool is_open() const { return open != 0; }
  static TREEFILTER_HD ChainMap identity() { return {V::identity(), 1}; }
  static TREEFILTER_HD ChainMap compose(const ChainMap& earlier, const ChainMap& later) {
    if (!later.open) return later;
    return {V::combine(earlier.value, later.value), earlier.open};
  }
};

// Scans slots first … last - 1. `sum` is what enters them and becomes what leaves them: as a map
// (kReduce), or as a value, while the slots get their values.
template <bool kReduce, class Pass>
TREEFILTER_HD void scan_segment(const Pass& pass, int64_t first, int64_t last, typename Pass::Map& sum) {
  TREEFILTER_ONE_BY_ONE
  for (int64_t i = first; i < last; ++i) {
    const int32_t s = static_cast<int32_t>(Pass::kUp ? i : first + last - 1 - i);
    sum = Pass::Map::compose(sum, pass.step(s));
    if (!kReduce) pass.put(s, sum.value);
  }
}

// ---- a block for each channel ----

template <class Task>
class BlockRunner {
 public:
  using LargestMap = typename Task::LargestMap;
  // The scan's part of the shared memory, at its beginning. Behind it are the partials of bunches.cuh.
  static constexpr int64_t kScratch = kWarp * static_cast<int64_t>(sizeof(LargestMap));
  static int64_t shared_bytes(int64_t nodes) {
    const int64_t partials = Task::kGathers ? partials_of(nodes) : 0;
    return kScratch + partials * static_cast<int64_t>(sizeof(LargestMap));
  }

  TREEFILTER_HD BlockRunner(const Task& task, const Block& block) : task_(task), block_(block) {}

  template <class F>
  TREEFILTER_HD void vertices() const {
    const F f(task_.channel(block_.index));
    BlockGroup(block_).each(task_.nodes(), [&](int64_t v) { f(static_cast<int32_t>(v)); });
  }

  template <class Pass>
  TREEFILTER_HD void pass() const {
    const Pass pass(task_.channel(block_.index));
    const int32_t* rounds = pass.plan.rounds();
    if (Pass::kUp) {
      for (int k = 0; k + 1 < PlanView::kRounds && rounds[k] < rounds[k + 1]; ++k) {
        scan_round(pass, rounds[k], rounds[k + 1]);
      }
    } else {
      for (int k = PlanView::kRounds - 1; k-- > 0;) {
        if (rounds[k] < rounds[k + 1]) scan_round(pass, rounds[k], rounds[k + 1]);
      }
    }
  }

 private:
  template <class Pass>
  TREEFILTER_HD void scan_round(const Pass& pass, int64_t begin, int64_t end) const {
    using Map = typename Pass::Map;
    const int64_t each = (end - begin + block_.threads - 1) / block_.threads;
    // The first thread has the first slots of a pass up, the last slots of a pass down.
    const auto cut = [&](int t, int64_t& first, int64_t& last) {
      const int64_t near = t * each < end - begin ? t * each : end - begin;
      const int64_t far = near + each < end - begin ? near + each : end - begin;
      first = Pass::kUp ? begin + near : end - far;
      last = Pass::kUp ? begin + far : end - near;
    };
    PerThread<Map> map;
    if constexpr (Pass::kGathers) {
      using Gathered = typename Pass::Gathered;
      static_assert(sizeof(Gathered) <= sizeof(LargestMap) && alignof(Gathered) <= alignof(LargestMap));
      const Hubs<Pass, 2> hubs{pass, reinterpret_cast<Gathered*>(block_.shared + kScratch)};
      if (pass.plan.has_hubs())
        gather_hubs(block_, hubs, static_cast<int32_t>(begin), static_cast<int32_t>(end));
      BlockGroup(block_).each(end - begin, [&](int64_t i) {
        const int32_t s = static_cast<int32_t>(begin + i);
        if (!pass.plan.is_hub(s)) pass.gather(s);
      });
    }
    block_.each([&](int t) {
      Map sum = Map::identity();
      int64_t first, last;
      cut(t, first, last);
      scan_segment<true>(pass, first, last, sum);
      map[t] = sum;
    });
    exclusive_scan(block_, map, Map::identity(), reinterpret_cast<Map*>(block_.shared), &Map::compose);
    block_.each([&](int t) {
      Map sum = map[t];
      int64_t first, last;
      cut(t, first, last);
      scan_segment<false>(pass, first, last, sum);
    });
  }

  const Task& task_;
  const Block& block_;
};

template <class Task>
struct BlockTask {
  Task task;

  TREEFILTER_HD void operator()(const Block& block) const {
    const BlockRunner<Task> runner(task, block);
    task.run(runner);
  }
};

}  // namespace treefilter::cuda
