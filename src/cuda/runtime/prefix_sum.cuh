// Parts of phased kernels (launch.cuh): inclusive prefix sums of sequences of integers, and items
// grouped by key. Integer sums are the same in any order.
#pragma once

#include "launch.cuh"

namespace treefilter::cuda {

// values[sequence][i] becomes the sum of values[sequence][0 … i]. A block sums a tile of kTile values;
// then it sums the sums of the tiles before its own, by all of its threads, and adds up its tile.
struct PrefixSum {
  static constexpr int64_t kTile = 2048;

  int32_t* values;
  int64_t sequences, length;
  int32_t* sums;
  int64_t stride = length;  // from a sequence to the next

  static TREEFILTER_HD int64_t tiles(int64_t length) { return (length + kTile - 1) / kTile; }
  // The length of the workspace.
  static int64_t sums_size(int64_t sequences, int64_t length) { return sequences * tiles(length); }

  TREEFILTER_PHASED template <class Group>
  TREEFILTER_HD void operator()(Group& group) const;
};

// The tile that a block works on.
struct Tile {
  int64_t number, begin, end;
  int32_t* values;  // of its sequence
  TREEFILTER_HD Tile(const PrefixSum& p, int64_t index)
      : number(index % PrefixSum::tiles(p.length)),
        begin(number * PrefixSum::kTile),
        end(begin + PrefixSum::kTile < p.length ? begin + PrefixSum::kTile : p.length),
        values(p.values + index / PrefixSum::tiles(p.length) * p.stride) {}
};

struct SumTiles {
  PrefixSum p;
  TREEFILTER_HD void operator()(const Block& block) const {
    const Tile tile(p, block.index);
    int32_t* const scratch = reinterpret_cast<int32_t*>(block.shared);
    PerThread<int32_t> sum;
    block.run([&](int t) {
      sum[t] = 0;
      for (int64_t k = tile.begin + t; k < tile.end; k += block.threads) sum[t] += tile.values[k];
    });
    sum_of_threads(block, sum, scratch);
    block.each([&](int t) {
      if (t == 0) p.sums[block.index] = scratch[0];
    });
  }
};

struct AddUpTiles {
  PrefixSum p;
  TREEFILTER_HD void operator()(const Block& block) const {
    const Tile tile(p, block.index);
    const int32_t* const sums = p.sums + block.index - tile.number;
    int32_t* const scratch = reinterpret_cast<int32_t*>(block.shared);
    const int64_t own = PrefixSum::kTile / block.threads;  // consecutive values of a thread
    const auto end_of = [&](int64_t begin) { return begin + own < tile.end ? begin + own : tile.end; };
    PerThread<int32_t> sum, before;
    block.run([&](int t) {
      sum[t] = 0;
      for (int64_t k = t; k < tile.number; k += block.threads) sum[t] += sums[k];
    });
    sum_of_threads(block, sum, scratch);
    block.each([&](int t) {
      before[t] = scratch[0];
      sum[t] = 0;
      const int64_t begin = tile.begin + t * own, end = end_of(begin);
      for (int64_t k = begin; k < end; ++k) sum[t] += tile.values[k];
    });
    exclusive_scan(block, sum, 0, scratch, [](int32_t a, int32_t b) { return a + b; });
    block.each([&](int t) {
      const int64_t begin = tile.begin + t * own, end = end_of(begin);
      int32_t value = before[t] + sum[t];
      for (int64_t k = begin; k < end; ++k) tile.values[k] = value += tile.values[k];
    });
  }
};

TREEFILTER_PHASED template <class Group>
TREEFILTER_HD void PrefixSum::operator()(Group& group) const {
  group.each_block(sequences * tiles(length), SumTiles{*this});
  group.each_block(sequences * tiles(length), AddUpTiles{*this});
}

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
  int32_t* sums;                       // of PrefixSum, for sequences of keys + 1 values
  int64_t begin_stride, items_stride;  // from one sequence to the next
  int64_t image = 0;                   // where each image has a kernel of its own
  // Where not null, of each sequence (begin_stride apart) whether a list has at least long_length items.
  int32_t* has_long = nullptr;
  int32_t long_length = 0;

  // How many merges make runs of `count` items.
  static TREEFILTER_HD int levels(int64_t count) {
    int levels = 0;
    while ((int64_t{kRun} << levels) < count) ++levels;
    return levels;
  }

  TREEFILTER_PHASED template <class Group>
  TREEFILTER_HD void operator()(Group& group) const;
  // What follows when `flags` and the counts in `begin` are cleared.
  TREEFILTER_PHASED template <class Group>
  TREEFILTER_HD void fill(Group& group) const;
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
    const int64_t first = i / g.keys * g.begin_stride;
    const int32_t* bounds = g.begin + first + i % g.keys;
    g.next[i] = bounds[0];
    const int32_t count = bounds[1] - bounds[0];
    if (g.has_long != nullptr && count >= g.long_length) set_flag(g.has_long + first);
    const int levels = Grouping::levels(count);
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
      dependent_step();
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
  group.each(kLevels, SetZero<int32_t>{flags}, sequences * (keys + 1), ClearCounts{*this});
  fill(group);
}

TREEFILTER_PHASED template <class Group>
TREEFILTER_HD void Grouping::fill(Group& group) const {
  group.each(sequences * length, CountItems{*this});
  PrefixSum{begin, sequences, keys + 1, sums, begin_stride}(group);
  group.each(sequences * keys, StartLists{*this});
  group.each(sequences * length, FillLists{*this});
  group.each(sequences * length, OrderRuns{*this});
  const int most = levels(length);
  for (int level = 1; level <= most && group.more(flags + image * kLevels + level - 1); ++level) {
    group.each(sequences * length, MergeRuns{*this, level});
  }
}

}  // namespace treefilter::cuda
