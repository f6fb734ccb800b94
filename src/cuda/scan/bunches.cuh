// The light children of hubs (plan.h), gathered by many threads. The filter and the distances use it.
//
// One thread gathers all light children of a slot. A hub has too many for that: the centre of a star of
// a million has a million. So the array of light children is cut into aligned *bunches*: small ones of
// kBunch children, large ones of kBunch small ones. Before the slots of a round gather,
//   1. a thread combines the children of each small bunch that lies inside of the list of one slot;
//   2. a thread combines the small bunches of each large bunch of which the same is true;
//   3. a thread for each hub gathers in ascending order: single children up to the next small bunch,
//      small bunches up to the next large one, large bunches, then small ones, then single children.
// All other slots gather as before. So a thread reads at most 4 kBunch values and one for every
// kBunch² children, and what is combined in which order depends on the plan alone. Trees without hubs,
// as those of all grids are, skip the three steps.
//
// What is gathered is said by a pass of one channel (ChannelSet; Pass of chain_scan.cuh):
//   plan                  the channel's
//   Gathered              what some light children give together: identity(), combine(earlier, later)
//   light_child(i)        what light_children()[i] gives
//   own(s), take(s, all)  what slot s has itself; what it has from then on
#pragma once

#include "../../plan.h"
#include "../runtime/divisor.cuh"
#include "read_ahead.cuh"

namespace treefilter::cuda {

constexpr int32_t kBunch = 64;
// The list of every hub contains a whole small bunch.
static_assert(PlanView::kHub >= 2 * kBunch - 1);

// A channel's *partials* are what its bunches give: the small ones, then the large ones. (There are
// fewer light children than vertices.)
inline TREEFILTER_HD int64_t small_bunches_of(int64_t nodes) {
  return nodes > PlanView::kHub ? nodes / kBunch : 0;
}
inline TREEFILTER_HD int64_t partials_of(int64_t nodes) {
  return small_bunches_of(nodes) + small_bunches_of(nodes) / kBunch;
}

// The bunches of kSize light children that contain only those of some slots: first … first + count - 1.
template <int32_t kSize>
struct BunchesOf {
  int32_t first, count;

  // For slots first_slot … last_slot - 1.
  TREEFILTER_HD BunchesOf(const PlanView& plan, int32_t first_slot, int32_t last_slot) {
    const int32_t begin = plan.light_begin()[first_slot], end = plan.light_begin()[last_slot];
    first = begin / kSize + (begin % kSize != 0);
    count = end / kSize > first ? end / kSize - first : 0;
  }
};
using SmallBunches = BunchesOf<kBunch>;
using LargeBunches = BunchesOf<kBunch * kBunch>;

// The three steps for one bunch of a channel. Bunches with children of several slots are left out. A
// thread requests kAhead values at once.
template <class Pass, int kAhead>
struct Hubs {
  using Gathered = typename Pass::Gathered;

  Pass pass;
  Gathered* partials;  // of the channel

  TREEFILTER_HD void combine_children(int32_t bunch) const {
    if (slot_of<kBunch>(bunch) < 0) return;
    Gathered all = Gathered::identity();
    add_children(all, bunch * kBunch, bunch * kBunch + kBunch);
    partials[bunch] = all;
  }
  TREEFILTER_HD void combine_bunches(int32_t bunch) const {
    if (slot_of<kBunch * kBunch>(bunch) < 0) return;
    Gathered all = Gathered::identity();
    add_partials(all, bunch * kBunch, bunch * kBunch + kBunch);
    large_partials()[bunch] = all;
  }
  // Gathers a hub if this is the first small bunch inside of its list.
  TREEFILTER_HD void gather(int32_t bunch) const {
    const int32_t s = slot_of<kBunch>(bunch);
    if (s < 0 || !pass.plan.is_hub(s)) return;
    const int32_t begin = pass.plan.light_begin()[s], end = pass.plan.light_begin()[s + 1];
    if (begin <= (bunch - 1) * kBunch) return;
    const int32_t last = end / kBunch;  // of the small bunches
    const LargeBunches large(pass.plan, s, s + 1);
    const int32_t before = large.count > 0 ? large.first * kBunch : last;
    const int32_t after = large.count > 0 ? (large.first + large.count) * kBunch : last;
    Gathered all = pass.own(s);
    add_children(all, begin, bunch * kBunch);
    add_partials(all, bunch, before);
    const int32_t offset = static_cast<int32_t>(large_partials() - partials);
    add_partials(all, offset + large.first, offset + large.first + large.count);
    add_partials(all, after, last);
    add_children(all, last * kBunch, end);
    pass.take(s, all);
  }

 private:
  TREEFILTER_HD Gathered* large_partials() const { return partials + small_bunches_of(pass.plan.nodes); }

  // The slot whose list contains all of a bunch of kSize, or -1.
  template <int32_t kSize>
  TREEFILTER_HD int32_t slot_of(int32_t bunch) const {
    const int32_t* const children = pass.plan.light_children() + int64_t{bunch} * kSize;
    const int32_t s = pass.plan.parent(children[0]);
    return pass.plan.parent(children[kSize - 1]) == s ? s : -1;
  }
  TREEFILTER_HD void add_children(Gathered& all, int32_t first, int32_t end) const {
    add(all, first, end, [&](int32_t i) { return pass.light_child(i); });
  }
  TREEFILTER_HD void add_partials(Gathered& all, int32_t first, int32_t end) const {
    add(all, first, end, [&](int32_t i) { return partials[i]; });
  }
  template <class Read>
  TREEFILTER_HD void add(Gathered& all, int32_t first, int32_t end, const Read& read) const {
    read_ahead<kAhead>(first, end, 1, read, [&](int32_t, const Gathered& one) {
      dependent_step();
      all = Gathered::combine(all, one);
    });
  }
};

// ---- by a block, of its channel ----

// For the slots first … last - 1 of a round of a tree with hubs. Without a barrier at the end: other
// slots may gather beside the hubs.
template <class Hubs>
TREEFILTER_HD void gather_hubs(const Block& block, const Hubs& hubs, int32_t first, int32_t last) {
  const PlanView& plan = hubs.pass.plan;
  const SmallBunches small(plan, first, last);
  const LargeBunches large(plan, first, last);
  const BlockGroup group(block);
  const auto bunch = [](const auto& of, int64_t i) { return of.first + static_cast<int32_t>(i); };
  if (small.count == 0) return;
  group.each(small.count, [&](int64_t i) { hubs.combine_children(bunch(small, i)); });
  if (large.count > 0) {
    group.each(large.count, [&](int64_t i) { hubs.combine_bunches(bunch(large, i)); });
  }
  group.run(small.count, [&](int64_t i) { hubs.gather(bunch(small, i)); });
}

// ---- by the whole device, of all channels ----

// A step in round k, for each of [channel][width]. A scan (bundle_scan.cuh) has
// hubs(channel).
template <class Scan, int kStep>
struct HubsStep {
  Scan scan;
  int k;
  int64_t width;

  TREEFILTER_HD void operator()(int64_t i) const {
    const Split at(i, width);
    const auto hubs = scan.hubs(at.quotient);
    const PlanView& plan = hubs.pass.plan;
    if (!plan.has_hubs()) return;
    const BunchesOf<kStep == 2 ? kBunch * kBunch : kBunch> bunches(plan, plan.rounds()[k],
                                                                   plan.rounds()[k + 1]);
    if (at.rest >= bunches.count) return;
    const int32_t bunch = bunches.first + static_cast<int32_t>(at.rest);
    if constexpr (kStep == 1) hubs.combine_children(bunch);
    if constexpr (kStep == 2) hubs.combine_bunches(bunch);
    if constexpr (kStep == 3) hubs.gather(bunch);
  }
};

// `width`: the most small bunches that the round has in a tree with hubs.
TREEFILTER_PHASED template <class Scan, class Group>
TREEFILTER_HD void gather_hubs(Group& group, const Scan& scan, int k, int64_t width) {
  if (width == 0) return;
  const int64_t channels = scan.channels, large = width / kBunch;
  group.each(channels * width, HubsStep<Scan, 1>{scan, k, width});
  if (large > 0) group.each(channels * large, HubsStep<Scan, 2>{scan, k, large});
  group.each(channels * width, HubsStep<Scan, 3>{scan, k, width});
}

}  // namespace treefilter::cuda
