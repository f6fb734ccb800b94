// How the device shares the rows of large images, where one block a row would leave most of it idle.
//
// A stretch is kStretch slots, cut where a round of the plan begins or ends; kStretch stretches in a row
// make a group. Per round and direction four phases over all rows at once:
//   1. what each stretch makes of whatever enters it;
//   2. the same for each group;
//   3. from the groups before, what enters each stretch;
//   4. the stretches are walked once more, with that.
// Looking back over groups ends at the first that nothing passes through, which is mostly the next one;
// on a chain as long as the image it is one step a group, 1/4096 of the slots.
//
// What flows, and so phases 1 to 4, belong to filter/channels_large.cuh and to chain_scan.cuh; here is
// what they have in common: where stretches, groups and rounds begin.
#pragma once

#include "../../tree.h"
#include "../runtime/launch.cuh"

namespace treefilter::cuda {

constexpr int64_t kStretch = 64;

// A row whose values are up to so many times larger than the shared memory is still one block's. The
// choice depends on the size of the image alone: it changes the order of additions.
constexpr int64_t kBeyondShared = 4;

inline TREEFILTER_HD int64_t stretches_of(int64_t nodes) {
  return (nodes + kStretch - 1) / kStretch;
}
inline TREEFILTER_HD int64_t groups_of(int64_t nodes) {
  return stretches_of(stretches_of(nodes));
}

// A chain of a round ends where two or more of the round before did.
inline TREEFILTER_HD int most_rounds(int64_t nodes) {
  int rounds = 2;
  while (nodes > 1 && rounds + 1 < PlanView::kRounds) nodes /= 2, ++rounds;
  return rounds;
}

// Of a row's round: its slots, stretches and groups that have any, all as first … last - 1.
struct RoundOf {
  int64_t first_slot, last_slot, first_stretch, last_stretch, first_group, last_group;

  TREEFILTER_HD RoundOf(const PlanView& plan, int k) {
    first_slot = plan.rounds()[k], last_slot = plan.rounds()[k + 1];
    first_stretch = first_slot / kStretch, last_stretch = (last_slot + kStretch - 1) / kStretch;
    first_group = first_stretch / kStretch, last_group = (last_stretch + kStretch - 1) / kStretch;
    if (first_slot == last_slot) last_stretch = first_stretch, last_group = first_group;
  }

  TREEFILTER_HD bool has_stretch(int64_t i) const { return i >= first_stretch && i < last_stretch; }
  TREEFILTER_HD bool has_group(int64_t i) const { return i >= first_group && i < last_group; }
};

// The round's slots in a stretch, first … last - 1.
struct SlotsOf {
  int32_t first, last;

  TREEFILTER_HD SlotsOf(const RoundOf& round, int64_t stretch) {
    const int64_t begin = stretch * kStretch, end = begin + kStretch;
    first = static_cast<int32_t>(begin > round.first_slot ? begin : round.first_slot);
    last = static_cast<int32_t>(end < round.last_slot ? end : round.last_slot);
  }
};

// The round's stretches of a group in the order of the walk, first to last and their step.
template <bool kUp>
struct GroupOf {
  static constexpr int64_t step = kUp ? 1 : -1;
  int64_t first, end;  // [row][stretch]

  TREEFILTER_HD GroupOf(const RoundOf& round, int64_t row_begin, int64_t group) {
    const int64_t begin = group * kStretch, after = begin + kStretch;
    const int64_t low = row_begin + (begin > round.first_stretch ? begin : round.first_stretch);
    const int64_t high = row_begin + (after < round.last_stretch ? after : round.last_stretch);
    first = kUp ? low : high - 1, end = kUp ? high : low - 1;
  }
};

// busy[k]: whether any tree has round k.
struct FindRounds {
  TreeView trees;
  int32_t* busy;

  TREEFILTER_HD void operator()(int64_t k) const {
    int32_t any = 0;
    TREEFILTER_ONE_BY_ONE
    for (int64_t tree = 0; tree < trees.batch; ++tree) {
      const int32_t* rounds = trees.plan_of(tree).rounds();
      any |= rounds[k] < rounds[k + 1];
    }
    busy[k] = any;
  }
};

}  // namespace treefilter::cuda
