// The rows of large images: the scans of chain_scan.cuh as a program of the whole device (segments.cuh).
//
// run_stages below chooses between the two ways by the size of a row's values alone.
#pragma once

#include "../runtime/divisor.cuh"
#include "chain_scan.cuh"
#include "segments.cuh"

namespace treefilter::cuda {

// Where what flows in a pass is kept meanwhile.
template <class Piece>
struct Pieces {
  TreeView trees;
  int64_t rows_per_tree;
  Piece *stretches, *entering;  // [row][stretch]
  Piece* groups;                // [row][group]

  TREEFILTER_HD RoundOf round(int64_t row, int k) const {
    return {trees.plan_of(row / rows_per_tree), k};
  }
};

template <class Task>
struct LargeRows {
  using Widest = typename Task::Widest;

  Task task;
  int64_t rows;
  Widest *stretches, *entering, *groups;  // of any pass's Piece
  int32_t* busy;                          // [round] whether any tree has it

  template <class Piece>
  TREEFILTER_HD Pieces<Piece> pieces() const {
    static_assert(sizeof(Piece) <= sizeof(Widest) && alignof(Piece) <= alignof(Widest));
    return {task.trees(), task.rows_per_tree, reinterpret_cast<Piece*>(stretches),
            reinterpret_cast<Piece*>(entering), reinterpret_cast<Piece*>(groups)};
  }

  TREEFILTER_PROGRAM template <class Team>
  TREEFILTER_HD void operator()(Team& team) const;
};

template <class Task, class Stage>
struct LargeVertices {
  Task task;

  TREEFILTER_HD void operator()(int64_t i) const {
    const Split at(i, task.nodes());
    Stage(task.row(at.quotient))(static_cast<int32_t>(at.rest));
  }
};

template <class Task, class Pass, bool kReduce>
struct WalkLinks {
  using Piece = typename Pass::Piece;

  Task task;
  Piece* pieces;  // [row][stretch]: what it makes of anything (kReduce), or what enters it
  int k;

  TREEFILTER_HD void operator()(int64_t i) const {
    const Split at(i, stretches_of(task.nodes()));
    const Pass pass(task.row(at.quotient));
    const RoundOf round(pass.slots.plan, k);
    if (!round.has_stretch(at.rest)) return;
    const SlotsOf slots(round, at.rest);
    if constexpr (kReduce && Pass::kGathers) {
      TREEFILTER_ONE_BY_ONE
      for (int32_t s = slots.first; s < slots.last; ++s) pass.gather(s);
    }
    Piece sum = kReduce ? Piece::nothing() : pieces[i];
    walk<kReduce>(pass, slots.first, slots.last, sum);
    if (kReduce) pieces[i] = sum;
  }
};

template <class Piece, bool kUp>
struct JoinGroups {
  Pieces<Piece> x;
  int k;

  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t nodes = x.trees.nodes;
    const Split at(i, groups_of(nodes));
    const RoundOf round = x.round(at.quotient, k);
    if (!round.has_group(at.rest)) return;
    const GroupOf<kUp> of(round, at.quotient * stretches_of(nodes), at.rest);
    Piece all = Piece::nothing();
    TREEFILTER_ONE_BY_ONE
    for (int64_t s = of.first; s != of.end; s += of.step) all = Piece::join(all, x.stretches[s]);
    x.groups[i] = all;
  }
};

template <class Piece, bool kUp>
struct EnterPieces {
  Pieces<Piece> x;
  int k;

  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t nodes = x.trees.nodes;
    const Split at(i, groups_of(nodes));
    const RoundOf round = x.round(at.quotient, k);
    if (!round.has_group(at.rest)) return;
    const GroupOf<kUp> of(round, at.quotient * stretches_of(nodes), at.rest);
    // The groups before, from the last one that is closed on.
    const int64_t start = i - at.rest + (kUp ? round.first_group : round.last_group - 1);
    int64_t from = i;
    while (from != start) {
      from -= of.step;
      if (!x.groups[from].open) break;
    }
    Piece sum = Piece::nothing();
    TREEFILTER_ONE_BY_ONE
    for (; from != i; from += of.step) sum = Piece::join(sum, x.groups[from]);
    TREEFILTER_ONE_BY_ONE
    for (int64_t s = of.first; s != of.end; s += of.step) {
      x.entering[s] = sum;
      sum = Piece::join(sum, x.stretches[s]);
    }
  }
};

template <class Task, class Team>
class LargeStages {
 public:
  TREEFILTER_HD LargeStages(const LargeRows<Task>& x, Team& team)
      : x_(x), team_(team), most_(most_rounds(x.task.nodes())) {}

  TREEFILTER_PROGRAM template <class Stage>
  TREEFILTER_HD void vertices() const {
    team_.each(x_.rows * x_.task.nodes(), LargeVertices<Task, Stage>{x_.task});
  }

  TREEFILTER_PROGRAM template <class Pass>
  TREEFILTER_HD void pass() const {
    TREEFILTER_ONE_BY_ONE
    for (int i = 0; i < most_; ++i) {
      const int k = Pass::kUp ? i : most_ - 1 - i;
      if (team_.more(x_.busy + k)) round<Pass>(k);
    }
  }

 private:
  TREEFILTER_PROGRAM template <class Pass>
  TREEFILTER_HD void round(int k) const {
    using Piece = typename Pass::Piece;
    const Pieces<Piece> pieces = x_.template pieces<Piece>();
    const int64_t nodes = x_.task.nodes();
    const int64_t stretches = x_.rows * stretches_of(nodes), groups = x_.rows * groups_of(nodes);
    team_.each(stretches, WalkLinks<Task, Pass, true>{x_.task, pieces.stretches, k});
    team_.each(groups, JoinGroups<Piece, Pass::kUp>{pieces, k});
    team_.each(groups, EnterPieces<Piece, Pass::kUp>{pieces, k});
    team_.each(stretches, WalkLinks<Task, Pass, false>{x_.task, pieces.entering, k});
  }

  const LargeRows<Task>& x_;
  Team& team_;
  const int most_;
};

TREEFILTER_PROGRAM template <class Task>
template <class Team>
TREEFILTER_HD void LargeRows<Task>::operator()(Team& team) const {
  const LargeStages<Task, Team> stages(*this, team);
  team.each(most_rounds(task.nodes()), FindRounds{task.trees(), busy});
  task.stages(stages);
}

// ---- the choice ----

template <class Task>
void run_stages(const Cuda& cuda, const char* name, int64_t rows, const Task& task) {
  using T = typename Task::Value;
  using Widest = typename Task::Widest;
  const int64_t nodes = task.nodes();
  if (rows <= 0) return;
  if (nodes * static_cast<int64_t>(sizeof(T)) <= kBeyondShared * shared_limit()) {
    constexpr int kThreads = sizeof(T) == 4 ? 1024 : 512;  // doubles take more registers
    constexpr int64_t kScratch = kWarp * static_cast<int64_t>(sizeof(Widest));
    return launch_blocks<kThreads>(cuda, name, rows, kScratch, BlockRows<Task>{task});
  }
  const int64_t stretches = rows * stretches_of(nodes);
  const auto [of_stretches, entering, groups, busy] = cuda.arrays<Widest, Widest, Widest, int32_t>(
      stretches, stretches, rows * groups_of(nodes), PlanView::kRounds);
  run_program(cuda, name, stretches, LargeRows<Task>{task, rows, of_stretches, entering, groups, busy});
}

#ifdef __CUDACC__
// What enters, what a slot adds and where a row's arrays are, are more than a quarter of the registers.
template <class Task>
constexpr int kProgramsAtOnce<LargeRows<Task>> = 3;
#endif

}  // namespace treefilter::cuda
