// The phases of a scan over large channels (segments.cuh): how a block works on a bundle.
//
// Threads that read their segments from memory would be kSegment slots apart, and each of their reads
// would be a line of its own. So neighbouring threads read neighbouring slots into the shared memory,
// kChunk slots of each segment at a time. There one thread for each segment scans them, and neighbouring
// threads write neighbouring slots again.
#pragma once

#include "read_ahead.cuh"
#include "segments.cuh"

namespace treefilter::cuda {

// A scan says what is scanned:
//   kUp                         leaf to root, or root to leaf
//   Map                         identity(), compose(earlier, later), is_open(): whether anything that
//                               enters gets through
//   kGathers, hubs(i)           whether it gathers light children; then Hubs (bunches.cuh) of channel i
//   nodes(), channels           sizes
//   segments, bundles           arrays of maps, [channel][segment] and [channel][bundle]
//   channel(i)                  one channel, of type Channel, with
//     plan()                      its plan
//     gathers(k)                  whether round k begins with
//     gather(first, end, step)    which takes in the light children of slots first, first + step, … up
//                                 to before end, but not those of hubs
//     Slot, read(s)               what the scan needs of slot s, in the shared memory
//     kAhead                      for how many slots a thread requests that at once
//     reduce(slot, map)           appends what the slot does to the map of those before it
//     scan(slot, map, noted)      makes of what enters the slot what leaves it, and stores in `noted`,
//                                 which equals `slot`, what else
//     write(s, noted)             needs

// Slots of each segment that are in the shared memory at the same time.
template <class Slot>
constexpr int32_t kChunk = sizeof(Slot) <= 40 ? 16 : 8;
// Of a segment's slots there, and a gap with which neighbouring segments are in different banks.
template <class Slot>
constexpr int64_t kRowBytes = kChunk<Slot> * static_cast<int64_t>(sizeof(Slot)) + alignof(Slot);
// The shared memory of BundleScan: rows, the segments' maps, and what enters the bundle.
template <class Slot, class Map>
constexpr int64_t kBundleShared =
    kSegment * kRowBytes<Slot> + (kSegment + 1) * static_cast<int64_t>(sizeof(Map));

// The composition of `first` and of maps[from] … up to before maps[to], in steps of 1 or -1. kShared:
// whether they are in shared memory.
template <bool kShared, class Map>
TREEFILTER_HD Map composed(const Map& first, const Map* maps, int32_t from, int32_t to, int32_t step) {
  int32_t i = to;
  bool open = true;
  TREEFILTER_ONE_BY_ONE
  while (open && i != from) {
    kShared ? shared_step() : dependent_step();
    i -= step, open = maps[i].is_open();
  }
  Map all = open ? first : maps[i];
  if (!open) i += step;
  TREEFILTER_ONE_BY_ONE
  for (; i != to; i += step) all = Map::compose(all, maps[i]);
  return all;
}

// Phase 1 (kReduce) or 2 of round k: a block for each of [channel][width].
template <class Scan, bool kReduce>
struct BundleScan {
  using Map = typename Scan::Map;
  using Channel = typename Scan::Channel;
  using Slot = typename Channel::Slot;
  static constexpr int32_t kStep = Scan::kUp ? 1 : -1;
  static constexpr int32_t kOf = kChunk<Slot>;
  static_assert(alignof(Map) <= alignof(Slot) || kSegment * kRowBytes<Slot> % alignof(Map) == 0);

  Scan scan;
  int k;
  int64_t width;

  TREEFILTER_HD void operator()(const Block& block) const {
    const Split at(block.index, width);
    const Channel channel = scan.channel(at.quotient);
    const RoundOf round(channel.plan(), k);
    if (at.rest >= round.bundles()) return;
    const BundleOf bundle(round, round.first_bundle + static_cast<int32_t>(at.rest));
    Map* const maps =
        scan.segments + at.quotient * segments_of(scan.nodes()) + int64_t{bundle.index} * kSegment;
    Map* const bundles = scan.bundles + at.quotient * bundles_of(scan.nodes());
    Map* const shared = reinterpret_cast<Map*>(block.shared + kSegment * kRowBytes<Slot>);
    PerThread<Map> map;
    if constexpr (kReduce) {
      gather(block, channel, bundle);
      block.run([&](int t) { map[t] = Map::identity(); });
      each_chunk(block, channel, bundle, map);
      block.each([&](int t) {
        if (bundle.has(t)) maps[t] = shared[t] = map[t];
      });
      block.run([&](int t) {
        if (t == 0) bundles[bundle.index] = before(bundle, shared, end(bundle), Map::identity());
      });
    } else {
      const int32_t start = Scan::kUp ? round.first_bundle : round.last_bundle - 1;
      block.each([&](int t) {
        if (bundle.has(t)) shared[t] = maps[t];
        if (t == kSegment)
          shared[t] = composed<false>(Map::identity(), bundles, start, bundle.index, kStep);
      });
      block.run([&](int t) {
        if (bundle.has(t)) map[t] = before(bundle, shared, t, shared[kSegment]);
      });
      each_chunk(block, channel, bundle, map);
    }
  }

 private:
  // The segment behind the last one of the scan.
  static TREEFILTER_HD int32_t end(const BundleOf& bundle) {
    return Scan::kUp ? bundle.last_segment : bundle.first_segment - 1;
  }
  // What leaves the segments before `segment`, if `entering` enters the bundle.
  static TREEFILTER_HD Map before(const BundleOf& bundle, const Map* maps, int32_t segment,
                                  const Map& entering) {
    const int32_t from = Scan::kUp ? bundle.first_segment : bundle.last_segment - 1;
    return composed<true>(entering, maps, from, segment, kStep);
  }

  TREEFILTER_HD void gather(const Block& block, const Channel& channel, const BundleOf& bundle) const {
    if (!Channel::gathers(k)) return;
    const int32_t first = bundle.clamped(bundle.slot(bundle.first_segment));
    const int32_t last = bundle.clamped(bundle.slot(bundle.last_segment - 1) + kSegment - 1);
    block.each([&](int t) { channel.gather(first + t, last + 1, block.threads); });
  }

  // Scans all segments of the bundle, chunk after chunk. `map`: of each segment's thread.
  TREEFILTER_HD void each_chunk(const Block& block, const Channel& channel, const BundleOf& bundle,
                                PerThread<Map>& map) const {
    const int32_t first = bundle.first_segment * kOf, last = bundle.last_segment * kOf;
    const auto row = [&](int32_t segment) {
      return reinterpret_cast<Slot*>(block.shared + segment * kRowBytes<Slot>);
    };
    TREEFILTER_ONE_BY_ONE
    for (int32_t chunk = 0; chunk < kSegment; chunk += kOf) {
      const int32_t offset = Scan::kUp ? chunk : kSegment - kOf - chunk;
      const auto slot_of = [&](int32_t i) { return bundle.slot(i / kOf) + offset + i % kOf; };
      block.each([&](int t) {
        read_ahead<Channel::kAhead>(
            first + t, last, block.threads,
            [&](int32_t i) { return channel.read(bundle.clamped(slot_of(i))); },
            [&](int32_t i, const Slot& slot) { row(i / kOf)[i % kOf] = slot; });
      });
      block.each([&](int t) {
        if (bundle.has(t)) scan_row(channel, bundle, bundle.slot(t) + offset, row(t), map[t]);
      });
      if constexpr (!kReduce) {
        block.run([&](int t) {
          TREEFILTER_ONE_BY_ONE
          for (int32_t i = first + t; i < last; i += block.threads) {
            const int32_t s = slot_of(i);
            if (s == bundle.clamped(s)) channel.write(s, row(i / kOf)[i % kOf]);
          }
        });
      }
    }
  }

  // Scans a row, whose slots are s, s + 1, …, if they are of the round.
  TREEFILTER_HD void scan_row(const Channel& channel, const BundleOf& bundle, int32_t s, Slot* row,
                              Map& map) const {
    const int32_t first = bundle.first_slot > s ? bundle.first_slot - s : 0;
    const int32_t last = bundle.last_slot - s < kOf ? bundle.last_slot - s : kOf;
    if (first >= last) return;
    int32_t i = Scan::kUp ? first : last - 1;
    Slot slot = row[i];
    TREEFILTER_ONE_BY_ONE
    for (int32_t left = last - first; left > 0; --left) {
      const int32_t next = left > 1 ? i + kStep : i;
      const Slot following = row[next];  // read before it is needed
      if constexpr (kReduce) {
        channel.reduce(slot, map);
      } else {
        channel.scan(slot, map, row[i]);
      }
      slot = following, i = next;
    }
  }
};

// All rounds of a scan, in its direction. widths: of FindWidths.
TREEFILTER_PHASED template <class Scan, class Group>
TREEFILTER_HD void scan_rounds(Group& group, const Scan& scan, const int32_t* widths) {
  const int most = most_rounds(scan.nodes());
  TREEFILTER_ONE_BY_ONE
  for (int i = 0; i < most; ++i) {
    const int k = Scan::kUp ? i : most - 1 - i;
    const int64_t bundles = group.read(widths + k, bundles_of(scan.nodes()));
    if (bundles == 0) continue;
    if constexpr (Scan::kGathers) {
      const int32_t* const bunches = widths + PlanView::kRounds + k;
      gather_hubs(group, scan, k, group.read(bunches, small_bunches_of(scan.nodes())));
    }
    group.each_block(scan.channels * bundles, BundleScan<Scan, true>{scan, k, bundles});
    group.each_block(scan.channels * bundles, BundleScan<Scan, false>{scan, k, bundles});
  }
}

}  // namespace treefilter::cuda
