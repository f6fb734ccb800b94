// The rows of large images: the same walk as channels.cuh, as a program of the whole device
// (scan/segments.cuh).
//
// run_rows below chooses between the three ways by the size of a row's values alone.
#pragma once

#include "../scan/segments.cuh"
#include "channels.cuh"

namespace treefilter::cuda {

template <class Task>
struct Large {
  using T = typename Task::Value;
  using Piece = typename Row<Task>::Piece;
  static constexpr int kLanes = Task::kLanes;

  Task task;
  int64_t rows;
  T* values;         // [row][lane][slot]
  T* entering;       // [row][stretch][lane]
  Piece* stretches;  // [row][stretch]
  Piece* groups;     // [row][group]
  int32_t* busy;     // [round] whether any tree has it

  TREEFILTER_HD Row<Task> row(int64_t index) const {
    return task.row(index, values + index * kLanes * task.nodes());
  }

  TREEFILTER_PROGRAM template <class Team>
  TREEFILTER_HD void operator()(Team& team) const;
};

template <class T, int kLanes>
TREEFILTER_HD void enter(Stretch<T, kLanes> stretch, T (&value)[kLanes]) {
  stretch.add(value);
  for (int l = 0; l < kLanes; ++l) value[l] = stretch.value[l];
}

template <class Task>
struct LoadSlots {
  Large<Task> x;
  TREEFILTER_HD void operator()(int64_t i) const {
    const Split at(i, x.task.nodes());
    const Row<Task> row = x.row(at.quotient);
    const int32_t s = static_cast<int32_t>(at.rest);
    if (row.slots() < x.task.nodes()) x.task.fill(row, s);
    if (s < row.slots()) x.task.load(row, s);
  }
};

template <class Task>
struct StoreSlots {
  Large<Task> x;
  TREEFILTER_HD void operator()(int64_t i) const {
    const Split at(i, x.task.nodes());
    const Row<Task> row = x.row(at.quotient);
    const int32_t s = static_cast<int32_t>(at.rest);
    if (s < row.slots()) x.task.store(row, s);
  }
};

// Of stretches: what they do to the value that enters (kReduce), or the walk with that value.
template <class Task, bool kUp, bool kReduce>
struct WalkStretches {
  Large<Task> x;
  int k;
  TREEFILTER_HD void operator()(int64_t i) const {
    const Split at(i, stretches_of(x.task.nodes()));
    const Row<Task> row = x.row(at.quotient);
    const RoundOf round(row.plan, k);
    if (!round.has_stretch(at.rest)) return;
    const auto [first, last] = SlotsOf(round, at.rest);
    auto in = Large<Task>::Piece::nothing();
    if (kReduce && kUp) {
      TREEFILTER_ONE_BY_ONE
      for (int32_t s = first; s < last; ++s) row.add_lights(s);
    }
    if (!kReduce) {
      for (int l = 0; l < Task::kLanes; ++l) in.value[l] = x.entering[i * Task::kLanes + l];
    }
    if (kUp) {
      row.template up<kReduce>(first, last, in);
    } else {
      row.template down<kReduce>(x.task, first, last, in);
    }
    if (kReduce) x.stretches[i] = in;
  }
};

template <class Task, bool kUp>
struct ReduceGroups {
  Large<Task> x;
  int k;
  TREEFILTER_HD void operator()(int64_t i) const {
    const Split at(i, groups_of(x.task.nodes()));
    const int64_t row = at.quotient, group = at.rest;
    const RoundOf round(x.row(row).plan, k);
    if (!round.has_group(group)) return;
    const GroupOf<kUp> of(round, row * stretches_of(x.task.nodes()), group);
    auto all = Large<Task>::Piece::nothing();
    TREEFILTER_ONE_BY_ONE
    for (int64_t s = of.first; s != of.end; s += of.step) {
      all = Large<Task>::Piece::join(all, x.stretches[s]);
    }
    x.groups[i] = all;
  }
};

template <class Task, bool kUp>
struct EnterStretches {
  Large<Task> x;
  int k;
  TREEFILTER_HD void operator()(int64_t i) const {
    const Split at(i, groups_of(x.task.nodes()));
    const int64_t row = at.quotient, group = at.rest;
    const RoundOf round(x.row(row).plan, k);
    if (!round.has_group(group)) return;
    // The groups before, from the last one that is closed on.
    const int64_t step = kUp ? 1 : -1;
    const int64_t start = i - group + (kUp ? round.first_group : round.last_group - 1);
    int64_t from = i;
    while (from != start) {
      from -= step;
      if (x.groups[from].share() == 0) break;
    }
    typename Task::Value value[Task::kLanes] = {};
    TREEFILTER_ONE_BY_ONE
    for (; from != i; from += step) enter(x.groups[from], value);
    const GroupOf<kUp> of(round, row * stretches_of(x.task.nodes()), group);
    TREEFILTER_ONE_BY_ONE
    for (int64_t s = of.first; s != of.end; s += of.step) {
      for (int l = 0; l < Task::kLanes; ++l) x.entering[s * Task::kLanes + l] = value[l];
      enter(x.stretches[s], value);
    }
  }
};

TREEFILTER_PROGRAM template <class Task>
template <class Team>
TREEFILTER_HD void Large<Task>::operator()(Team& team) const {
  const int64_t nodes = task.nodes();
  const int64_t of_stretches = rows * stretches_of(nodes), of_groups = rows * groups_of(nodes);
  const int most = most_rounds(nodes);
  team.each(most, FindRounds{task.families.tree, busy});
  team.each(rows * nodes, LoadSlots<Task>{*this});
  TREEFILTER_ONE_BY_ONE
  for (int k = 0; k < most && task.up() && team.more(busy + k); ++k) {
    team.each(of_stretches, WalkStretches<Task, true, true>{*this, k});
    team.each(of_groups, ReduceGroups<Task, true>{*this, k});
    team.each(of_groups, EnterStretches<Task, true>{*this, k});
    team.each(of_stretches, WalkStretches<Task, true, false>{*this, k});
  }
  TREEFILTER_ONE_BY_ONE
  for (int k = task.down() ? most : 0; k-- > 0;) {
    if (!team.more(busy + k)) continue;
    team.each(of_stretches, WalkStretches<Task, false, true>{*this, k});
    team.each(of_groups, ReduceGroups<Task, false>{*this, k});
    team.each(of_groups, EnterStretches<Task, false>{*this, k});
    team.each(of_stretches, WalkStretches<Task, false, false>{*this, k});
  }
  team.each(rows * nodes, StoreSlots<Task>{*this});
}

// ---- the choice ----

// Images of at most this many vertices get small blocks, of which several share a processor.
constexpr int64_t kSmallImage = 4096;

template <class Task>
int64_t shared_bytes(int64_t nodes) {
  return RowBlock<Task, true>::kScratch +
         nodes * Task::kLanes * static_cast<int64_t>(sizeof(typename Task::Value));
}

template <class Task>
void run_rows(const Cuda& cuda, const char* name, int64_t rows, const Task& task) {
  using T = typename Task::Value;
  constexpr int kLanes = Task::kLanes;
  const int64_t nodes = task.nodes(), bytes = shared_bytes<Task>(nodes), limit = shared_limit();
  if (rows <= 0) return;
  if (bytes <= limit && nodes <= kSmallImage) {
    return launch_blocks<128>(cuda, name, rows, bytes, RowBlock<Task, true>{task, nullptr});
  }
  if (bytes <= limit) {
    return launch_blocks<512>(cuda, name, rows, bytes, RowBlock<Task, true>{task, nullptr});
  }
  if constexpr (!Task::kSharedOnly) {
    using Piece = typename Row<Task>::Piece;
    if (bytes <= kBeyondShared * limit && shared_bytes<Task>(0) <= limit) {
      const auto [values] = cuda.arrays<T>(rows * kLanes * nodes);
      return launch_blocks<1024>(cuda, name, rows, shared_bytes<Task>(0),
                                 RowBlock<Task, false>{task, values});
    }
    const int64_t stretches = stretches_of(nodes), groups = groups_of(nodes);
    const auto [values, entering, pieces, group_pieces, busy] =
        cuda.arrays<T, T, Piece, Piece, int32_t>(rows * kLanes * nodes, rows * kLanes * stretches,
                                                 rows * stretches, rows * groups, PlanView::kRounds);
    run_program(cuda, name, rows * stretches,
                Large<Task>{task, rows, values, entering, pieces, group_pieces, busy});
  }
}

#ifdef __CUDACC__
// A stretch of several lanes in double, and what enters it, are more than a quarter of the registers.
template <class Task>
constexpr int kProgramsAtOnce<Large<Task>> = 2;
#endif

}  // namespace treefilter::cuda
