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
// slot gathers them in ascending order; those of a hub many threads (scan/bunches.cuh).
//
// Accuracy. A segment is computed with the CPU's steps, from its true entering value; only that value
// comes out of the scan. The multiplier is a product of factors that may all be close to 1. It is kept
// in double: a float would lose 1 - multiplier, by which a constant channel stays that constant. All
// sums are taken in an order that depends on the number of slots alone.
//
// The cost of a round of n slots is two visits to each value and coefficient, and about 7 barriers: a
// pass takes (slots / threads + rounds x some 500 cycles) steps, however deep the tree is.
//
// What a step needs from memory takes longer than the step. So a thread requests it for kAhead slots at
// once, into registers, and then makes their steps. A write or a branch between two reads would keep the
// compiler from requesting the second before the first has come. Therefore each task reads and writes in
// two functions, and a scan selects by conditions instead of leaving a loop.
#pragma once

#include "../scan/bunches.cuh"
#include "../scan/read_ahead.cuh"
#include "steps.cuh"

namespace treefilter::cuda {

// ---- a channel set ----

// A task says what is filtered: its types (Value, Steps, and Arrays, which is where a set's tensors and
// coefficients are), kLanes (the channels of a set), and
//   channels(i, values)              set i, whose values are kept in `values`
//   up(), down()                     which passes there are
//   visit(set, s, own, linked)       static; in the pass down, once for each slot: its value after the
//                                    pass up, and the result of its parent
//   fill(set, v)                     for every vertex v, before all else, if some have no slot (a cycle)
// and, for each Part of the work that is done slot by slot, the two functions
//   read(Part, set, s)               reads what slot s needs
//   write(Part, set, s, what)        makes its value of it, or its results
struct Start {};  // before all passes: what a slot starts with
struct Turn {};   // between the passes, where kTurns: what it starts the pass down with
struct End {};    // when all passes are over: what is to be stored

template <class Task>
struct ChannelSet;

// A part of the work for slots first, first + step, … up to before end.
template <class Part, int kAhead, class Task>
TREEFILTER_HD void each_slot(const Task& task, const ChannelSet<Task>& set, int32_t first, int32_t end,
                             int32_t step) {
  read_ahead<kAhead>(
      first, end, step, [&](int32_t s) { return task.read(Part{}, set, s); },
      [&](int32_t s, const auto& what) { task.write(Part{}, set, s, what); });
}

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

  // Adds the light children of slots first, first + step, … up to before end to their values, but not
  // those of hubs.
  template <int kAhead>
  TREEFILTER_HD void add_light_children(int32_t first, int32_t end, int32_t step) const {
    TREEFILTER_ONE_BY_ONE
    for (int32_t s = first, left = end - first; left > 0; s = next(s, left, kAhead * step)) {
      int32_t begin[kAhead], after[kAhead], child[kAhead];  // the latter: the first one, or -1
      T multiplier[kAhead];                                 // of the first child
      TREEFILTER_UNROLL
      for (int j = 0; j < kAhead; ++j) {
        const bool inside = j * step < left;
        const int32_t* bounds = plan.light_begin() + (inside ? s + j * step : s);
        begin[j] = bounds[0], after[j] = inside ? bounds[1] : begin[j];
      }
      TREEFILTER_UNROLL
      for (int j = 0; j < kAhead; ++j) {
        const bool here = begin[j] < after[j] && after[j] - begin[j] < PlanView::kHub;
        child[j] = here ? plan.light_children()[begin[j]] : -1;
      }
      TREEFILTER_UNROLL
      for (int j = 0; j < kAhead; ++j) {
        multiplier[j] = child[j] >= 0 ? steps.of_light_child(steps.read_up(child[j])) : T(0);
      }
      TREEFILTER_UNROLL
      for (int j = 0; j < kAhead; ++j) {
        if (child[j] >= 0) add_children(s + j * step, begin[j], after[j], child[j], multiplier[j]);
      }
    }
  }

  // Scans slots first … last - 1 upwards. kReduce: `in` starts as the identity and becomes their map.
  // Else its offset is the value that enters, and the slots get their values.
  template <bool kReduce, int kAhead>
  TREEFILTER_HD void up(int32_t first, int32_t last, Map& in) const {
    using Up = typename Task::Steps::Up;
    if (first >= last) return;  // an empty segment: its map is the identity
    const int32_t* links = plan.up();
    Up step = first > 0 && links[first - 1] >= 0 ? steps.up(steps.read_up(first - 1)) : Up{};
    TREEFILTER_ONE_BY_ONE
    for (int32_t s = first, left = last - first; left > 0; s = next(s, left, kAhead)) {
      int32_t link[kAhead];
      decltype(steps.read_up(s)) read[kAhead];
      T own[kAhead][kLanes];
      TREEFILTER_UNROLL
      for (int j = 0; j < kAhead; ++j) {
        const int32_t slot = j < left ? s + j : s;
        link[j] = links[slot], read[j] = steps.read_up(slot);
        for (int l = 0; l < kLanes; ++l) own[j][l] = at(l, slot);
      }
      TREEFILTER_UNROLL
      for (int j = 0; j < kAhead; ++j) {
        const bool inside = j < left, closed = step.closed();
        for (int l = 0; l < kLanes; ++l) {
          const T value = closed ? own[j][l] : step(own[j][l], in.offset[l]);
          in.offset[l] = inside ? value : in.offset[l];
          if (!kReduce && inside) at(l, s + j) = value;
        }
        if (kReduce) {
          const double multiplier = in.multiplier(), after = closed ? 0.0 : step(0.0, multiplier);
          in.set_multiplier(inside ? after : multiplier);
        }
        step = link[j] >= 0 ? steps.up(read[j]) : Up{};
      }
    }
  }

  // The same downwards: slots last - 1 … first.
  template <bool kReduce, int kAhead>
  TREEFILTER_HD void down(int32_t first, int32_t last, Map& in) const {
    TREEFILTER_ONE_BY_ONE
    for (int32_t s = last - 1; s >= first; s -= kAhead) {
      int32_t link[kAhead];
      decltype(steps.read_down(s)) weights[kAhead];
      T own[kAhead][kLanes], above[kAhead][kLanes];  // the latter: the parent's, at the top of a chain
      TREEFILTER_UNROLL
      for (int j = 0; j < kAhead; ++j) {
        const int32_t slot = s - j >= first ? s - j : s;
        link[j] = plan.up()[slot], weights[j] = steps.read_down(slot);
        for (int l = 0; l < kLanes; ++l) own[j][l] = at(l, slot);
      }
      TREEFILTER_UNROLL
      for (int j = 0; j < kAhead; ++j) {
        for (int l = 0; l < kLanes; ++l) above[j][l] = link[j] < 0 ? at(l, ~link[j]) : T(0);
      }
      TREEFILTER_UNROLL
      for (int j = 0; j < kAhead; ++j) {
        const auto step = steps.down(weights[j]);
        const bool inside = s - j >= first, closed = step.closed(), top = link[j] < 0;
        T linked[kLanes];
        for (int l = 0; l < kLanes; ++l) {
          linked[l] = top ? above[j][l] : in.offset[l];
          const T value = closed ? own[j][l] : step(own[j][l], linked[l]);
          in.offset[l] = inside ? value : in.offset[l];
          if (!kReduce && inside) at(l, s - j) = value;
        }
        if (kReduce) {
          const double multiplier = in.multiplier(), after = closed || top ? 0.0 : step(0.0, multiplier);
          in.set_multiplier(inside ? after : multiplier);
        }
        if (!kReduce && inside) Task::visit(*this, s - j, own[j], linked);
      }
    }
  }

  // ---- of hubs (scan/bunches.cuh) ----

  struct Gathered {
    T values[kLanes];

    static TREEFILTER_HD Gathered identity() { return {}; }
    static TREEFILTER_HD Gathered combine(const Gathered& earlier, const Gathered& later) {
      Gathered sum;
      for (int l = 0; l < kLanes; ++l) sum.values[l] = earlier.values[l] + later.values[l];
      return sum;
    }
  };
  TREEFILTER_HD Gathered light_child(int32_t i) const {
    const int32_t child = plan.light_children()[i];
    const T multiplier = steps.of_light_child(steps.read_up(child));
    Gathered one;
    for (int l = 0; l < kLanes; ++l) {
      const T value = at(l, child);
      one.values[l] = multiplier != 0 ? multiplier * value : T(0);
    }
    return one;
  }
  TREEFILTER_HD Gathered own(int32_t s) const {
    Gathered one;
    for (int l = 0; l < kLanes; ++l) one.values[l] = at(l, s);
    return one;
  }
  TREEFILTER_HD void take(int32_t s, const Gathered& sum) const {
    for (int l = 0; l < kLanes; ++l) at(l, s) = sum.values[l];
  }

 private:
  // Adds light_children()[first … last - 1] to slot s. `child` is the first one.
  TREEFILTER_HD void add_children(int32_t s, int32_t first, int32_t last, int32_t child,
                                  T multiplier) const {
    T sum[kLanes];
    for (int l = 0; l < kLanes; ++l) sum[l] = at(l, s);
    while (true) {
      dependent_step();
      if (multiplier != 0) {
        for (int l = 0; l < kLanes; ++l) sum[l] += multiplier * at(l, child);
      }
      if (++first == last) break;
      child = plan.light_children()[first], multiplier = steps.of_light_child(steps.read_up(child));
    }
    for (int l = 0; l < kLanes; ++l) at(l, s) = sum[l];
  }
};

}  // namespace treefilter::cuda
