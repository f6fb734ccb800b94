// A scan over the slots of a round by the whole device: for large channels, where one block for each
// would leave most of the device idle. The filter (filter/channels_large.cuh) and the distances
// (chain_scan_large.cuh) use it.
//
// A *segment* is kSegment slots, cut where a round begins or ends; one thread scans it. A *bundle* is
// kSegment consecutive segments; one block works on it. What slots, segments and bundles do to the value
// that enters them is a Map, and maps compose. For each round and direction there are two phases over
// all channels at once (bundle_scan.cuh):
//   1. reduce every segment to its map, and every bundle to that of its segments;
//   2. find what enters each segment; scan it again from there, and write the values.
// A phase visits only the bundles that the round has in some tree.
// What enters is composed of the maps before it, back to the nearest one that lets nothing through,
// because a chain starts in it: mostly the next one. On a chain as long as the image it is one map for
// every 4096 slots before, and one for every segment before in the bundle.
//
// A channel is here one value for each vertex of one tree: a channel of the filter (or a few that share
// coefficients), or the distances from one source.
#pragma once

#include "../../tree.h"
#include "../runtime/divisor.cuh"
#include "bunches.cuh"

namespace treefilter::cuda {

constexpr int32_t kSegment = 64;

// A channel that is up to this many times larger than the shared memory is still scanned by one block.
// The choice depends on the size of the image alone, since it changes the order of additions.
constexpr int64_t kBeyondShared = 4;

inline TREEFILTER_HD int64_t segments_of(int64_t nodes) {
  return (nodes + kSegment - 1) / kSegment;
}
inline TREEFILTER_HD int64_t bundles_of(int64_t nodes) {
  return segments_of(segments_of(nodes));
}

// The most rounds that a tree can have: below the first vertex of each chain of round k, at least two
// chains of round k - 1 end.
inline TREEFILTER_HD int most_rounds(int64_t nodes) {
  int rounds = 2;
  while (nodes > 1 && rounds + 1 < PlanView::kRounds) nodes /= 2, ++rounds;
  return rounds;
}

// A round of one plan: its slots, and the segments and bundles that contain any, each as first … last
// - 1. (Within a channel, numbers are int32: they take half the registers.)
struct RoundOf {
  int32_t first_slot, last_slot, first_segment, last_segment, first_bundle, last_bundle;

  TREEFILTER_HD RoundOf(const PlanView& plan, int k) {
    first_slot = plan.rounds()[k], last_slot = plan.rounds()[k + 1];
    first_segment = first_slot / kSegment, last_segment = after(last_slot);
    first_bundle = first_segment / kSegment, last_bundle = after(last_segment);
    if (first_slot == last_slot) last_bundle = first_bundle;
  }

  TREEFILTER_HD int32_t bundles() const { return last_bundle - first_bundle; }

 private:
  // The number of parts of kSegment that contain the first `count` items; count may be INT32_MAX.
  static TREEFILTER_HD int32_t after(int32_t count) {
    return count / kSegment + (count % kSegment != 0);
  }
};

// The part of a round in a bundle. Segments are counted from the bundle's first one.
struct BundleOf {
  int32_t index;
  int32_t first_segment, last_segment;  // those that have slots of the round: first … last - 1
  int32_t first_slot, last_slot;        // the round's

  TREEFILTER_HD BundleOf(const RoundOf& round, int32_t index)
      : index(index),
        first_segment(inside(round.first_segment)),
        last_segment(inside(round.last_segment)),
        first_slot(round.first_slot),
        last_slot(round.last_slot) {}

  TREEFILTER_HD bool has(int segment) const {
    return segment >= first_segment && segment < last_segment;
  }
  // The first slot of a segment, of which the round may have only others.
  TREEFILTER_HD int32_t slot(int32_t segment) const { return (index * kSegment + segment) * kSegment; }
  // The nearest slot of the round.
  TREEFILTER_HD int32_t clamped(int32_t s) const {
    return s < first_slot ? first_slot : s < last_slot ? s : last_slot - 1;
  }

 private:
  TREEFILTER_HD int32_t inside(int32_t segment) const {
    const int32_t local = segment - index * kSegment;
    return local < 0 ? 0 : local > kSegment ? kSegment : local;
  }
};

// For each round, the most bundles, and the most small bunches of light children (bunches.cuh; only
// where there are hubs), that it has in any tree: a phase of the round takes that many of each channel,
// from the round's first one on.
constexpr int64_t kWidths = 2 * PlanView::kRounds;
struct FindWidths {
  TreeView trees;
  int32_t* widths;  // [bundles, bunches][round]

  TREEFILTER_HD void operator()(int64_t k) const {
    int32_t bundles = 0, bunches = 0;
    TREEFILTER_ONE_BY_ONE
    for (int64_t tree = 0; tree < trees.batch; ++tree) {
      const PlanView plan = trees.plan_of(tree);
      const RoundOf round(plan, static_cast<int>(k));
      bundles = round.bundles() > bundles ? round.bundles() : bundles;
      if (!plan.has_hubs()) continue;
      const SmallBunches small(plan, round.first_slot, round.last_slot);
      bunches = small.count > bunches ? small.count : bunches;
    }
    widths[k] = bundles, widths[PlanView::kRounds + k] = bunches;
  }
};

}  // namespace treefilter::cuda
