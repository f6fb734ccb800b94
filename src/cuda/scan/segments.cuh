// A scan over the slots of a round by the whole device: for large channels, where one block for each
// would leave most of the device idle. The filter (filter/channels_large.cuh) and the distances
// (chain_scan_large.cuh) use it.
//
// A *segment* is kSegment slots, cut where a round begins or ends; one thread scans it. A *bundle* is
// kSegment consecutive segments. What slots, segments and bundles do to the value that enters them is a
// Map, and maps compose. For each round and direction there are four phases over all channels at once:
//   1. reduce every segment to its map;
//   2. reduce every bundle to the composition of its segments' maps;
//   3. compose the bundles before each bundle, and so find what enters each segment;
//   4. scan every segment again, from what enters it, and write the values.
// A phase visits only the segments or bundles that the round has in some tree.
// Phase 3 looks back only as far as to the nearest bundle that lets nothing through, because a chain
// starts in it: mostly the next one. On a chain as long as the image it reads one map for every 4096
// slots before.
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
    if (first_slot == last_slot) last_segment = first_segment, last_bundle = first_bundle;
  }

  TREEFILTER_HD int32_t segments() const { return last_segment - first_segment; }
  TREEFILTER_HD int32_t bundles() const { return last_bundle - first_bundle; }

 private:
  // The number of parts of kSegment that contain the first `count` items; count may be INT32_MAX.
  static TREEFILTER_HD int32_t after(int32_t count) {
    return count / kSegment + (count % kSegment != 0);
  }
};

// The round's slots in a segment, first … last - 1.
struct SlotsOf {
  int32_t first, last;

  TREEFILTER_HD SlotsOf(const RoundOf& round, int64_t segment) {
    const int32_t begin = static_cast<int32_t>(segment) * kSegment;
    first = begin > round.first_slot ? begin : round.first_slot;
    last = round.last_slot - begin > kSegment ? begin + kSegment : round.last_slot;
  }
};

// The round's segments in a bundle, in the order of the scan: first, first + step, … up to before end.
template <bool kUp>
struct SegmentsOf {
  static constexpr int64_t step = kUp ? 1 : -1;
  int64_t first, end;  // of [channel][segment]

  TREEFILTER_HD SegmentsOf(const RoundOf& round, int64_t channel_begin, int64_t bundle) {
    const int32_t begin = static_cast<int32_t>(bundle) * kSegment, after = begin + kSegment;
    const int64_t low = channel_begin + (begin > round.first_segment ? begin : round.first_segment);
    const int64_t high = channel_begin + (after < round.last_segment ? after : round.last_segment);
    first = kUp ? low : high - 1, end = kUp ? high : low - 1;
  }
};

// For each round, the most segments, bundles, and small bunches of light children (those only where
// there are hubs) that it has in any tree: a phase of the round takes that many of each channel, from
// the round's first one on.
constexpr int64_t kWidths = 3 * PlanView::kRounds;
struct FindWidths {
  TreeView trees;
  int32_t* widths;  // [segments, bundles, bunches][round]

  TREEFILTER_HD void operator()(int64_t k) const {
    int32_t segments = 0, bundles = 0, bunches = 0;
    TREEFILTER_ONE_BY_ONE
    for (int64_t tree = 0; tree < trees.batch; ++tree) {
      const PlanView plan = trees.plan_of(tree);
      const RoundOf round(plan, static_cast<int>(k));
      segments = round.segments() > segments ? round.segments() : segments;
      bundles = round.bundles() > bundles ? round.bundles() : bundles;
      if (!plan.has_hubs()) continue;
      const SmallBunches small(plan, round.first_slot, round.last_slot);
      bunches = small.count > bunches ? small.count : bunches;
    }
    widths[k] = segments, widths[PlanView::kRounds + k] = bundles;
    widths[2 * PlanView::kRounds + k] = bunches;
  }
};

// ---- the four phases ----

// A scan says what is scanned:
//   kUp                         leaf to root, or root to leaf
//   kGathers                    whether slots gather their light children
//   Map                         identity(), compose(earlier, later), is_open(): whether anything that
//                               enters gets through
//   nodes(), channels           sizes
//   plan(channel)               the channel's plan
//   hubs(channel)               Hubs of a scan that gathers
//   segments, bundles           arrays of maps, [channel][segment] and [channel][bundle]
//   enter(i, map)               notes what enters segment i: what `map` makes of the identity
//   Segments<kReduce>{scan, k, width}  phases 1 and 4 in round k, for each of [channel][width]

// Calls visit(bundle, segments, first) for part i of [channel][width], if round k has that many bundles.
// bundle: of [channel][bundle]. segments: SegmentsOf it. first: the bundle with which the channel's scan
// of the round begins.
template <class Scan, class Visit>
TREEFILTER_HD void visit_bundle(const Scan& scan, int k, int64_t width, int64_t i, const Visit& visit) {
  const int64_t nodes = scan.nodes();
  const Split at(i, width);
  const RoundOf round(scan.plan(at.quotient), k);
  if (at.rest >= round.bundles()) return;
  const int64_t bundle = round.first_bundle + at.rest, channel = at.quotient * bundles_of(nodes);
  const SegmentsOf<Scan::kUp> segments(round, at.quotient * segments_of(nodes), bundle);
  visit(channel + bundle, segments, channel + (Scan::kUp ? round.first_bundle : round.last_bundle - 1));
}

template <class Scan>
struct ReduceBundles {
  Scan scan;
  int k;
  int64_t width;

  TREEFILTER_HD void operator()(int64_t i) const {
    visit_bundle(scan, k, width, i, [&](int64_t bundle, const SegmentsOf<Scan::kUp>& of, int64_t) {
      auto all = Scan::Map::identity();
      TREEFILTER_ONE_BY_ONE
      for (int64_t s = of.first; s != of.end; s += of.step) {
        all = Scan::Map::compose(all, scan.segments[s]);
      }
      scan.bundles[bundle] = all;
    });
  }
};

template <class Scan>
struct EnterSegments {
  Scan scan;
  int k;
  int64_t width;

  TREEFILTER_HD void operator()(int64_t i) const {
    visit_bundle(scan, k, width, i, [&](int64_t bundle, const SegmentsOf<Scan::kUp>& of, int64_t start) {
      int64_t from = bundle;
      while (from != start) {
        dependent_step();
        from -= of.step;
        if (!scan.bundles[from].is_open()) break;
      }
      auto sum = Scan::Map::identity();
      TREEFILTER_ONE_BY_ONE
      for (; from != bundle; from += of.step) sum = Scan::Map::compose(sum, scan.bundles[from]);
      TREEFILTER_ONE_BY_ONE
      for (int64_t s = of.first; s != of.end; s += of.step) {
        scan.enter(s, sum);
        sum = Scan::Map::compose(sum, scan.segments[s]);
      }
    });
  }
};

// All rounds of a scan, in its direction. widths: of FindWidths.
TREEFILTER_PHASED template <class Scan, class Group>
TREEFILTER_HD void scan_rounds(Group& group, const Scan& scan, const int32_t* widths) {
  const int64_t nodes = scan.nodes(), channels = scan.channels;
  const int most = most_rounds(nodes);
  TREEFILTER_ONE_BY_ONE
  for (int i = 0; i < most; ++i) {
    const int k = Scan::kUp ? i : most - 1 - i;
    const int64_t segments = group.read(widths + k, segments_of(nodes));
    if (segments == 0) continue;
    const int64_t bundles = group.read(widths + PlanView::kRounds + k, bundles_of(nodes));
    if constexpr (Scan::kGathers) {
      const int32_t* const bunches = widths + 2 * PlanView::kRounds + k;
      gather_hubs(group, scan, k, group.read(bunches, small_bunches_of(nodes)));
    }
    group.each(channels * segments, typename Scan::template Segments<true>{scan, k, segments});
    group.each(channels * bundles, ReduceBundles<Scan>{scan, k, bundles});
    group.each(channels * bundles, EnterSegments<Scan>{scan, k, bundles});
    group.each(channels * segments, typename Scan::template Segments<false>{scan, k, segments});
  }
}

}  // namespace treefilter::cuda
