// One row of a pass on CUDA: a channel of an image, or a few that share their coefficients, in the order
// of the plan (plan.h).
//
// A round of the plan is one run of slots, a chain after the other, and in a chain every value follows
// from the one before by a linear step: V' = own + a V or the mean's form of it. Steps compose, so a
// round is a scan: its slots are cut into stretches of equal length, and
//   1. what each stretch makes of a value v that enters it, share · v + value, is found alone;
//   2. a scan of these over the stretches gives what enters each of them;
//   3. each stretch is walked once more, with that.
// A chain's start is a step that ignores what enters (share 0), so chains need no treatment of their
// own, however many begin or end in a stretch. Side branches ("lights") are complete when their round is
// over, and are gathered by the slot that they hang from, in ascending order.
//
// Accuracy. A stretch is walked with the CPU's steps, from its true entering value; only that one comes
// out of the scan. Its share is a product of factors that may all be close to 1: it is kept in double,
// because a float would lose 1 - share, on which it depends that a constant stays the constant. All that
// is added is added in an order that depends on the number of slots alone.
//
// Cost of a round of n slots: two visits of each value and coefficient and ~7 barriers, so that a pass
// takes (slots / threads + rounds x some 500 cycles) steps, whatever the depth of the tree.
#pragma once

#include "steps.cuh"

namespace treefilter::cuda {

// ---- a row ----

// A task says what is filtered: its types, where a row's coefficients are, and
//   load(row, s)                    the value that a slot starts with
//   visit(row, s, p, own, linked)   on the way down, once a slot: its value after the way up, and the
//                                   result of its parent, which is in slot p (p = s at a root)
//   store(row, s)                   when the row is done
//   fill(row, v)                    for every vertex v, first of all, if some have no slot (a cycle)
template <class Task>
struct Row {
  using T = typename Task::Value;
  using Piece = Stretch<T, Task::kLanes>;
  static constexpr int kLanes = Task::kLanes;

  PlanView plan;
  typename Task::Steps steps;
  typename Task::Place place;
  T* values;  // [lane][slot]

  TREEFILTER_HD T& at(int l, int32_t s) const { return values[l * plan.nodes + s]; }
  TREEFILTER_HD int32_t slots() const { return plan.rounds()[PlanView::kRounds - 1]; }
  TREEFILTER_HD int32_t parent(int32_t s) const {
    const int32_t up = plan.up()[s];
    return up < 0 ? ~up : up;
  }

  // What hangs from a slot beside its chain.
  TREEFILTER_HD void add_lights(int32_t s) const {
    const int32_t first = plan.light_begin()[s], last = plan.light_begin()[s + 1];
    if (first == last) return;
    T sum[kLanes];
    for (int l = 0; l < kLanes; ++l) sum[l] = at(l, s);
    TREEFILTER_ONE_BY_ONE
    for (int32_t i = first; i < last; ++i) {
      const int32_t child = plan.light()[i];
      const T share = steps.light(child);
      if (share == 0) continue;
      for (int l = 0; l < kLanes; ++l) sum[l] += share * at(l, child);
    }
    for (int l = 0; l < kLanes; ++l) at(l, s) = sum[l];
  }

  // The way up through slots first … last - 1: for a reduction `in` starts as Piece::nothing(); else it
  // is what enters, and the slots get their values.
  template <bool kReduce>
  TREEFILTER_HD void up(int32_t first, int32_t last, Piece& in) const {
    using Up = typename Task::Steps::Up;
    if (first >= last) return;  // nor is there a link before it
    const int32_t* links = plan.up();
    Up step = first > 0 && links[first - 1] >= 0 ? steps.up(first - 1) : Up{};
    TREEFILTER_ONE_BY_ONE
    for (int32_t s = first; s < last; ++s) {
      const bool closed = step.closed();
      for (int l = 0; l < kLanes; ++l) {
        const T own = at(l, s);
        in.value[l] = closed ? own : step(own, in.value[l]);
        if (!kReduce) at(l, s) = in.value[l];
      }
      if (kReduce) in.set_share(closed ? 0.0 : step(0.0, in.share()));
      step = links[s] >= 0 ? steps.up(s) : Up{};
    }
  }

  // The way down through slots last - 1 … first, in the same way.
  template <bool kReduce>
  TREEFILTER_HD void down(const Task& task, int32_t first, int32_t last, Piece& in) const {
    TREEFILTER_ONE_BY_ONE
    for (int32_t s = last; s-- > first;) {
      const auto step = steps.down(s);
      const int32_t link = plan.up()[s], p = link < 0 ? ~link : link;
      const bool closed = step.closed();
      T own[kLanes], linked[kLanes];
      for (int l = 0; l < kLanes; ++l) {
        own[l] = at(l, s);
        linked[l] = link < 0 ? at(l, p) : in.value[l];
        in.value[l] = closed ? own[l] : step(own[l], linked[l]);
        if (!kReduce) at(l, s) = in.value[l];
      }
      if (kReduce) in.set_share(closed || link < 0 ? 0.0 : step(0.0, in.share()));
      if (!kReduce) task.visit(*this, s, p, own, linked);
    }
  }
};

// ---- a block for each row ----

template <class Task, bool kShared>
struct RowBlock {
  using T = typename Task::Value;
  using Piece = typename Row<Task>::Piece;
  // The scan's part of the shared memory, in front of the values.
  static constexpr int64_t kScratch = kWarp * static_cast<int64_t>(sizeof(Piece));
  static_assert(kScratch % sizeof(T) == 0);

  Task task;
  T* workspace;

  TREEFILTER_HD void operator()(const Block& block) const {
    T* const values = kShared ? reinterpret_cast<T*>(block.shared + kScratch)
                              : workspace + block.index * Task::kLanes * task.nodes();
    const Row<Task> row = task.row(block.index, values);
    const int32_t nodes = static_cast<int32_t>(task.nodes()), slots = row.slots();
    const int32_t* rounds = row.plan.rounds();
    block.each([&](int t) {
      TREEFILTER_ONE_BY_ONE
      for (int32_t i = t; i < nodes; i += block.threads) {
        if (slots < nodes) task.fill(row, i);
        if (i < slots) task.load(row, i);
      }
    });
    if (task.up()) {
      for (int k = 0; k + 1 < PlanView::kRounds && rounds[k] < slots; ++k) {
        up(block, row, rounds[k], rounds[k + 1]);
      }
    }
    if (task.down()) {
      for (int k = PlanView::kRounds - 1; k-- > 0;) {
        if (rounds[k] < rounds[k + 1]) down(block, row, rounds[k], rounds[k + 1]);
      }
    }
    block.each([&](int t) {
      TREEFILTER_ONE_BY_ONE
      for (int32_t s = t; s < slots; s += block.threads) task.store(row, s);
    });
  }

 private:
  // Slots for each thread. An odd number: threads of a warp use different banks of the shared memory.
  static TREEFILTER_HD int32_t length(const Block& block, int32_t count) {
    return (count + block.threads - 1) / block.threads | 1;
  }

  static TREEFILTER_HD void scan(const Block& block, PerThread<Piece>& piece) {
    exclusive_scan(block, piece, Piece::nothing(), reinterpret_cast<Piece*>(block.shared),
                   [](const Piece& earlier, const Piece& later) { return Piece::join(earlier, later); });
  }

  TREEFILTER_HD void up(const Block& block, const Row<Task>& row, int32_t begin, int32_t end) const {
    const int32_t each = length(block, end - begin);
    PerThread<Piece> piece;
    block.each([&](int t) {
      TREEFILTER_ONE_BY_ONE
      for (int32_t s = begin + t; s < end; s += block.threads) row.add_lights(s);
    });
    block.each([&](int t) {
      piece[t] = Piece::nothing();
      const int32_t first = begin + t * each, last = first + each < end ? first + each : end;
      row.template up<true>(first, last, piece[t]);
    });
    scan(block, piece);
    block.each([&](int t) {
      const int32_t first = begin + t * each, last = first + each < end ? first + each : end;
      row.template up<false>(first, last, piece[t]);
    });
  }

  // The first thread has the last slots.
  TREEFILTER_HD void down(const Block& block, const Row<Task>& row, int32_t begin, int32_t end) const {
    const int32_t each = length(block, end - begin);
    PerThread<Piece> piece;
    block.each([&](int t) {
      piece[t] = Piece::nothing();
      const int32_t last = end - t * each, first = last - each > begin ? last - each : begin;
      row.template down<true>(task, first, last, piece[t]);
    });
    scan(block, piece);
    block.each([&](int t) {
      const int32_t last = end - t * each, first = last - each > begin ? last - each : begin;
      row.template down<false>(task, first, last, piece[t]);
    });
  }
};

}  // namespace treefilter::cuda
