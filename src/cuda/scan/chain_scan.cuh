// What follows a way through a tree, on CUDA, round by round of the plan (plan.h).
//
// A round is one run of slots, a chain after the other. In a chain what a slot has follows from what the
// slot before it has (Step): either it goes on from there, or it starts anew. Links compose, so that a
// round is a scan, whatever the lengths of the chains in it. What hangs from a slot beside its chain is
// complete when the earlier round is over.
//
// A task is a sequence of stages over the rows of a batch: it has
//   nodes(), trees(), row(index)     a row: its `slots`, and what its stages are made from
//   rows_per_tree                    rows in succession that have the same tree
//   Value, Widest                    a row's values; the largest Piece of its passes
//   stages(team)                     team.vertices<Stage>(): Stage(row)(v) for every vertex v
//                                    team.pass<Pass>(): every round of Pass(row)
// and a pass has
//   Piece, kUp, kGathers  Step<…> or what is joined like it; leaf to root, or root to leaf
//   gather(s)             (if kGathers) first of all in a round: takes in what hangs from the slot
//   link(s)               a Piece, from the slot below it (kUp) or above it in its chain
//   put(s, link, value)   the result
// which touch nothing that others of the round touch.
//
// Cost of a round of n slots: two visits of a slot. A row of moderate size has a block, in which the
// round is cut into as many stretches as there are threads: slots / 1024 steps and 5 barriers, however
// deep the tree. Large rows are shared by the whole device (chain_scan_large.cuh). The order in which
// sums are taken depends on the plan's rounds and on which of the two it is. What hangs from one slot is
// gathered by one thread: a star's centre takes its time.
#pragma once

#include "../../tree.h"
#include "../runtime/launch.cuh"

namespace treefilter::cuda {

// What a slot adds to what the slot before it in its chain has, or has by itself (not open).
template <class V>
struct Step {
  V value;
  int32_t open;

  static TREEFILTER_HD Step nothing() { return {V::nothing(), 1}; }
  static TREEFILTER_HD Step join(const Step& earlier, const Step& later) {
    if (!later.open) return later;
    return {V::join(earlier.value, later.value), earlier.open};
  }
};

// One tree, in slots.
struct Slots {
  PlanView plan;

  TREEFILTER_HD int32_t nodes() const { return static_cast<int32_t>(plan.nodes); }
  // Vertices of a cycle have none.
  TREEFILTER_HD int32_t count() const { return plan.rounds()[PlanView::kRounds - 1]; }
  TREEFILTER_HD int32_t vertex(int32_t s) const { return plan.order()[s]; }
  TREEFILTER_HD bool is_top(int32_t s) const { return plan.up()[s] < 0; }
  TREEFILTER_HD bool is_bottom(int32_t s) const { return s == 0 || plan.up()[s - 1] < 0; }
  TREEFILTER_HD bool is_root(int32_t s) const { return plan.up()[s] == ~s; }
  TREEFILTER_HD int32_t parent(int32_t s) const {  // s at a root
    const int32_t up = plan.up()[s];
    return up < 0 ? ~up : up;
  }
};

// The walk through slots first … last - 1 with what enters: kReduce finds what they make of it, else
// they get their values.
template <bool kReduce, class Pass>
TREEFILTER_HD void walk(const Pass& pass, int64_t first, int64_t last, typename Pass::Piece& sum) {
  TREEFILTER_ONE_BY_ONE
  for (int64_t i = first; i < last; ++i) {
    const int32_t s = static_cast<int32_t>(Pass::kUp ? i : first + last - 1 - i);
    const auto link = pass.link(s);
    sum = Pass::Piece::join(sum, link);
    if (!kReduce) pass.put(s, link, sum.value);
  }
}

// ---- a block for each row ----

template <class Task>
class BlockStages {
 public:
  TREEFILTER_HD BlockStages(const Task& task, const Block& block) : task_(task), block_(block) {}

  template <class Stage>
  TREEFILTER_HD void vertices() const {
    const Stage stage(task_.row(block_.index));
    BlockTeam(block_).each(task_.nodes(), [&](int64_t v) { stage(static_cast<int32_t>(v)); });
  }

  template <class Pass>
  TREEFILTER_HD void pass() const {
    const Pass pass(task_.row(block_.index));
    const int32_t* rounds = pass.slots.plan.rounds();
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
    using Piece = typename Pass::Piece;
    const int64_t each = (end - begin + block_.threads - 1) / block_.threads;
    // The first thread has the first slots of the way up, the last of the way down.
    const auto cut = [&](int t, int64_t& first, int64_t& last) {
      const int64_t near = t * each < end - begin ? t * each : end - begin;
      const int64_t far = near + each < end - begin ? near + each : end - begin;
      first = Pass::kUp ? begin + near : end - far;
      last = Pass::kUp ? begin + far : end - near;
    };
    PerThread<Piece> piece;
    if constexpr (Pass::kGathers) {
      BlockTeam(block_).each(end - begin,
                             [&](int64_t i) { pass.gather(static_cast<int32_t>(begin + i)); });
    }
    block_.each([&](int t) {
      Piece sum = Piece::nothing();
      int64_t first, last;
      cut(t, first, last);
      walk<true>(pass, first, last, sum);
      piece[t] = sum;
    });
    exclusive_scan(block_, piece, Piece::nothing(), reinterpret_cast<Piece*>(block_.shared),
                   &Piece::join);
    block_.each([&](int t) {
      Piece sum = piece[t];
      int64_t first, last;
      cut(t, first, last);
      walk<false>(pass, first, last, sum);
    });
  }

  const Task& task_;
  const Block& block_;
};

template <class Task>
struct BlockRows {
  Task task;

  TREEFILTER_HD void operator()(const Block& block) const {
    const BlockStages<Task> stages(task, block);
    task.stages(stages);
  }
};

}  // namespace treefilter::cuda
