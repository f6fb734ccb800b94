// Parts of phased kernels (launch.cuh): inclusive prefix sums of sequences of integers, and items
// grouped by key. Integer sums are the same in any order.
#pragma once

#include "launch.cuh"

namespace treefilter::cuda {

// values[sequence][i] becomes the sum of values[sequence][0 … i]. Each thread sums a segment of kSegment
// values; the segments' sums are summed in the same way, and the sums of those (one of 65,536 values)
// serially.
struct PrefixSum {
  static constexpr int64_t kSegment = 256;

  int32_t* values;
  int64_t sequences, length;
  int32_t *sums, *sums_of_sums;
  int64_t stride = length;  // from a sequence to the next

  static TREEFILTER_HD int64_t segments(int64_t length) { return (length + kSegment - 1) / kSegment; }
  // Lengths of the two workspaces.
  static int64_t sums_size(int64_t sequences, int64_t length) { return sequences * segments(length); }
  static int64_t sums_of_sums_size(int64_t sequences, int64_t length) {
    return sequences * segments(segments(length));
  }

  // to[sequence][segment] = the sum of that segment of `from`.
  struct Reduce {
    const int32_t* from;
    int32_t* to;
    int64_t length, stride;
    TREEFILTER_HD void operator()(int64_t i) const {
      const int64_t count = segments(length), begin = i % count * kSegment;
      const int64_t end = begin + kSegment < length ? begin + kSegment : length;
      const int32_t* const own = from + i / count * stride;
      int32_t sum = 0;
      for (int64_t k = begin; k < end; ++k) sum += own[k];
      to[i] = sum;
    }
  };
  // The inclusive sums of a sequence, serially.
  struct Serial {
    int32_t* values;
    int64_t length;
    TREEFILTER_HD void operator()(int64_t sequence) const {
      int32_t sum = 0;
      for (int64_t k = 0; k < length; ++k) sum = values[sequence * length + k] += sum;
    }
  };
  // The inclusive sums of a segment, behind those of the segments before it.
  struct Spread {
    int32_t* values;
    const int32_t* before;
    int64_t length, stride;
    TREEFILTER_HD void operator()(int64_t i) const {
      const int64_t count = segments(length), begin = i % count * kSegment;
      const int64_t end = begin + kSegment < length ? begin + kSegment : length;
      int32_t* const own = values + i / count * stride;
      int32_t sum = begin == 0 ? 0 : before[i - 1];
      for (int64_t k = begin; k < end; ++k) sum = own[k] += sum;
    }
  };

  TREEFILTER_PHASED template <class Group>
  TREEFILTER_HD void operator()(Group& group) const {
    const int64_t count = segments(length), upper = segments(count);
    group.each(sequences * count, Reduce{values, sums, length, stride});
    group.each(sequences * upper, Reduce{sums, sums_of_sums, count, count});
    group.each(sequences, Serial{sums_of_sums, upper});
    group.each(sequences * upper, Spread{sums, sums_of_sums, count, count});
    group.each(sequences * count, Spread{values, sums, length, stride});
  }
};

// Lists of items by key, ascending: the list of key k in a sequence of items is
// items[sequence][begin[sequence][k] … begin[sequence][k + 1] - 1]. An item without a key (-1) is in no
// list. A sequence has `length` items and `keys` keys, so that `begin` has keys + 1 values for each;
// key[sequence][i] is the key of item i.
//
// Items take positions in a list in the order in which their threads arrive. Then they are sorted. First
// each run of kRun items: every item counts those before it. Then pairs of runs are merged, until a run
// is a whole list: every item searches for its position in the other run. So no thread does more than
// others, however long a list is. Items move between `items` and `other`, so often that they end in
// `items`.
struct Grouping {
  static constexpr int32_t kRun = 32;
  static constexpr int kLevels = 27;  // merges, at most

  int64_t sequences, keys, length;
  const int32_t* key;
  int32_t *begin, *items;
  int32_t *next, *other, *position;    // workspaces: sequences x keys, the others sequences x length
  int32_t* flags;                      // [image, kLevels] whether any list needs this merge
  int32_t *sums, *sums_of_sums;        // of PrefixSum, for sequences of keys + 1 values
  int64_t begin_stride, items_stride;  // from one sequence to the next
  int64_t image = 0;                   // where each image has a kernel of its own

  // How many merges make runs of `count` items.
  static TREEFILTER_HD int levels(int64_t count) {
    int levels = 0;
    while ((int64_t{kRun} << levels) < count) ++levels;
    return levels;
  }

  TREEFILTER_PHASED template <class Group>
  TREEFILTER_HD void operator()(Group& group) const;
};

// An item's list, as positions in its sequence.
struct ListOf {
  int64_t sequence;
  int32_t item, begin, end;
  int levels;

  TREEFILTER_HD ListOf(const Grouping& g, int64_t i)
      : sequence(i / g.length), item(static_cast<int32_t>(i % g.length)) {
    const int32_t* bounds = g.begin + sequence * g.begin_stride + g.key[i];
    begin = bounds[0], end = bounds[1];
    levels = Grouping::levels(end - begin);
  }
  // Where the list is after a level of merging. Level 0 sorts the runs; -1 is before that.
  TREEFILTER_HD int32_t* after(const Grouping& g, int level) const {
    return ((levels - level) & 1) == 0 ? g.items + sequence * g.items_stride
                                       : g.other + sequence * g.length;
  }
};

struct ClearCounts {
  Grouping g;
  TREEFILTER_HD void operator()(int64_t i) const {
    g.begin[i / (g.keys + 1) * g.begin_stride + i % (g.keys + 1)] = 0;
  }
};

struct CountItems {
  Grouping g;
  TREEFILTER_HD void operator()(int64_t i) const {
    if (g.key[i] >= 0) atomic_add(g.begin + i / g.length * g.begin_stride + g.key[i] + 1, 1);
  }
};

struct StartLists {
  Grouping g;
  TREEFILTER_HD void operator()(int64_t i) const {
    const int32_t* bounds = g.begin + i / g.keys * g.begin_stride + i % g.keys;
    g.next[i] = bounds[0];
    const int levels = Grouping::levels(bounds[1] - bounds[0]);
    for (int l = 0; l < levels; ++l) set_flag(g.flags + g.image * Grouping::kLevels + l);
  }
};

struct FillLists {
  Grouping g;
  TREEFILTER_HD void operator()(int64_t i) const {
    if (g.key[i] < 0) return;
    const ListOf list(g, i);
    const int32_t position = atomic_add(g.next + list.sequence * g.keys + g.key[i], 1);
    list.after(g, -1)[position] = list.item;
    g.position[i] = position;
  }
};

struct OrderRuns {
  Grouping g;
  TREEFILTER_HD void operator()(int64_t i) const {
    if (g.key[i] < 0) return;
    const ListOf list(g, i);
    const int32_t first = list.begin + (g.position[i] - list.begin) / Grouping::kRun * Grouping::kRun;
    const int32_t last = list.end - first < Grouping::kRun ? list.end : first + Grouping::kRun;
    const int32_t* const from = list.after(g, -1);
    int32_t position = first;
    for (int32_t k = first; k < last; ++k) position += from[k] < list.item;
    list.after(g, 0)[position] = list.item;
    g.position[i] = position;
  }
};

struct MergeRuns {
  Grouping g;
  int level;
  TREEFILTER_HD void operator()(int64_t i) const {
    if (g.key[i] < 0) return;
    const ListOf list(g, i);
    if (list.levels < level) return;
    const int64_t run = int64_t{Grouping::kRun} << (level - 1), at = g.position[i] - list.begin;
    const int64_t pair = at / (2 * run) * (2 * run), count = list.end - list.begin;
    // The other run of the pair, and the first item in it that is not before this one.
    const int64_t other = at - pair < run ? pair + run : pair;
    int64_t low = other < count ? other : count, high = other + run < count ? other + run : count;
    const int64_t before = low;
    const int32_t* const from = list.after(g, level - 1) + list.begin;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (from[middle] < list.item) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    const int64_t position = list.begin + pair + (at - pair) % run + (low - before);
    list.after(g, level)[position] = list.item;
    g.position[i] = static_cast<int32_t>(position);
  }
};

TREEFILTER_PHASED template <class Group>
TREEFILTER_HD void Grouping::operator()(Group& group) const {
  group.each(kLevels, SetZero<int32_t>{flags});
  group.each(sequences * (keys + 1), ClearCounts{*this});
  group.each(sequences * length, CountItems{*this});
  PrefixSum{begin, sequences, keys + 1, sums, sums_of_sums, begin_stride}(group);
  group.each(sequences * keys, StartLists{*this});
  group.each(sequences * length, FillLists{*this});
  group.each(sequences * length, OrderRuns{*this});
  const int most = levels(length);
  for (int level = 1; level <= most && group.more(flags + image * kLevels + level - 1); ++level) {
    group.each(sequences * length, MergeRuns{*this, level});
  }
}

}  // namespace treefilter::cuda
