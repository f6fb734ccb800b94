// How the CUDA filter follows the chains of a plan (plan.h), leaf to root or root to leaf: a pass over
// one channel of an image, or over a few that share their coefficients.
//
// A round of the plan is a run of slots, chain after chain. In a chain every value follows from the one
// before it by an affine step: V' = own + a V, or the form of it that means have. Steps compose, so that
// a round is a scan. Its slots are cut into segments of equal length, and
//   1. every segment is reduced to its map, multiplier · v + offset, of a value v that enters it;
//   2. a scan of these maps gives what enters each segment;
//   3. every segment is scanned again, from what enters it.
// The start of a chain is a step that ignores what enters (multiplier 0), so that chains may begin and
// end anywhere in a segment. The light children of a slot are finished when their round is over; the
// slot gathers them in ascending order.
//
// Accuracy. A segment is computed with the CPU's steps, from its true entering value; only that value
// comes out of the scan. The multiplier is a product of factors that may all be close to 1. It is kept
// in double: a float would lose 1 - multiplier, by which a constant channel stays that constant. All
// sums are taken in an order that depends on the number of slots alone.
//
// The cost of a round of n slots is two visits to each value and coefficient, and about 7 barriers: a
// pass takes (slots / threads + rounds x some 500 cycles) steps, however deep the tree is.
#pragma once

#include "steps.cuh"

namespace treefilter::cuda {

// ---- a channel set ----

// A task says what is filtered: its types (Value, Steps, and Arrays, which is where a set's tensors and
// coefficients are), kLanes (the channels of a set), and
//   channels(i, values)              set i, whose values are kept in `values`
//   up(), down()                     which passes there are
//   load(set, s)                     the value that a slot starts with
//   visit(set, s, p, own, linked)    in the pass down, once for each slot: its value after the pass
//                                    up, and the result of its parent, which is in slot p (p = s at a
//                                    root)
//   store(set, s)                    when all passes are over
//   fill(set, v)                     for every vertex v, before all else, if some have no slot (a cycle)
template <class Task>
struct ChannelSet {
  using T = typename Task::Value;
  using Map = AffineMap<T, Task::kLanes>;
  static constexpr int kLanes = Task::kLanes;

  PlanView plan;
  typename Task::Steps steps;
  typename Task::Arrays arrays;
  T* values;  // [lane][slot]

  TREEFILTER_HD T& at(int l, int32_t s) const { return values[l * plan.nodes + s]; }

  TREEFILTER_HD void add_light_children(int32_t s) const {
    const int32_t first = plan.light_begin()[s], last = plan.light_begin()[s + 1];
    if (first == last) return;
    T sum[kLanes];
    for (int l = 0; l < kLanes; ++l) sum[l] = at(l, s);
    TREEFILTER_ONE_BY_ONE
    for (int32_t i = first; i < last; ++i) {
      const int32_t child = plan.light_children()[i];
      const T multiplier = steps.of_light_child(child);
      if (multiplier == 0) continue;
      for (int l = 0; l < kLanes; ++l) sum[l] += multiplier * at(l, child);
    }
    for (int l = 0; l < kLanes; ++l) at(l, s) = sum[l];
  }

  // Scans slots first … last - 1 upwards. kReduce: `in` starts as the identity and becomes their map.
  // Else its offset is the value that enters, and the slots get their values.
  template <bool kReduce>
  TREEFILTER_HD void up(int32_t first, int32_t last, Map& in) const {
    using Up = typename Task::Steps::Up;
    if (first >= last) return;  // an empty segment: its map is the identity
    const int32_t* links = plan.up();
    Up step = first > 0 && links[first - 1] >= 0 ? steps.up(first - 1) : Up{};
    TREEFILTER_ONE_BY_ONE
    for (int32_t s = first; s < last; ++s) {
      const bool closed = step.closed();
      for (int l = 0; l < kLanes; ++l) {
        const T own = at(l, s);
        in.offset[l] = closed ? own : step(own, in.offset[l]);
        if (!kReduce) at(l, s) = in.offset[l];
      }
      if (kReduce) in.set_multiplier(closed ? 0.0 : step(0.0, in.multiplier()));
      step = links[s] >= 0 ? steps.up(s) : Up{};
    }
  }

  // The same downwards: slots last - 1 … first.
  template <bool kReduce>
  TREEFILTER_HD void down(const Task& task, int32_t first, int32_t last, Map& in) const {
    TREEFILTER_ONE_BY_ONE
    for (int32_t s = last; s-- > first;) {
      const auto step = steps.down(s);
      const int32_t link = plan.up()[s], p = link < 0 ? ~link : link;
      const bool closed = step.closed();
      T own[kLanes], linked[kLanes];
      for (int l = 0; l < kLanes; ++l) {
        own[l] = at(l, s);
        linked[l] = link < 0 ? at(l, p) : in.offset[l];
        in.offset[l] = closed ? own[l] : step(own[l], linked[l]);
        if (!kReduce) at(l, s) = in.offset[l];
      }
      if (kReduce) in.set_multiplier(closed || link < 0 ? 0.0 : step(0.0, in.multiplier()));
      if (!kReduce) task.visit(*this, s, p, own, linked);
    }
  }
};

// ---- a block for each channel set ----

template <class Task, bool kShared>
struct ChannelBlock {
  using T = typename Task::Value;
  using Set = ChannelSet<Task>;
  using Map = typename Set::Map;
  // The scan's part of the shared memory, in front of the values.
  static constexpr int64_t kScratch = kWarp * static_cast<int64_t>(sizeof(Map));
  static_assert(kScratch % sizeof(T) == 0);

  Task task;
  T* workspace;

  TREEFILTER_HD void operator()(const Block& block) const {
    T* const values = kShared ? reinterpret_cast<T*>(block.shared + kScratch)
                              : workspace + block.index * Task::kLanes * task.nodes();
    const Set set = task.channels(block.index, values);
    const int32_t nodes = static_cast<int32_t>(task.nodes()), slots = set.plan.slots();
    const int32_t* rounds = set.plan.rounds();
    block.each([&](int t) {
      TREEFILTER_ONE_BY_ONE
      for (int32_t i = t; i < nodes; i += block.threads) {
        if (slots < nodes) task.fill(set, i);
        if (i < slots) task.load(set, i);
      }
    });
    if (task.up()) {
      for (int k = 0; k + 1 < PlanView::kRounds && rounds[k] < slots; ++k) {
        up(block, set, rounds[k], rounds[k + 1]);
      }
    }
    if (task.down()) {
      for (int k = PlanView::kRounds - 1; k-- > 0;) {
        if (rounds[k] < rounds[k + 1]) down(block, set, rounds[k], rounds[k + 1]);
      }
    }
    block.each([&](int t) {
      TREEFILTER_ONE_BY_ONE
      for (int32_t s = t; s < slots; s += block.threads) task.store(set, s);
    });
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

  TREEFILTER_HD void up(const Block& block, const Set& set, int32_t begin, int32_t end) const {
    const int32_t each = length(block, end - begin);
    PerThread<Map> map;
    block.each([&](int t) {
      TREEFILTER_ONE_BY_ONE
      for (int32_t s = begin + t; s < end; s += block.threads) set.add_light_children(s);
    });
    block.each([&](int t) {
      map[t] = Map::identity();
      const int32_t first = begin + t * each, last = first + each < end ? first + each : end;
      set.template up<true>(first, last, map[t]);
    });
    scan(block, map);
    block.each([&](int t) {
      const int32_t first = begin + t * each, last = first + each < end ? first + each : end;
      set.template up<false>(first, last, map[t]);
    });
  }

  // The first thread has the last slots.
  TREEFILTER_HD void down(const Block& block, const Set& set, int32_t begin, int32_t end) const {
    const int32_t each = length(block, end - begin);
    PerThread<Map> map;
    block.each([&](int t) {
      map[t] = Map::identity();
      const int32_t last = end - t * each, first = last - each > begin ? last - each : begin;
      set.template down<true>(task, first, last, map[t]);
    });
    scan(block, map);
    block.each([&](int t) {
      const int32_t last = end - t * each, first = last - each > begin ? last - each : begin;
      set.template down<false>(task, first, last, map[t]);
    });
  }
};

}  // namespace treefilter::cuda
