// Inclusive prefix sums of rows of integers, and items grouped by key, as parts of programs
// (launch.cuh). Integers: any order of addition gives the same.
#pragma once

#include "launch.cuh"

namespace treefilter::cuda {

// values[row][i] becomes the sum of values[row][0 … i]. Pieces of kPiece values are summed by one thread
// each, those sums in the same way once more, and what is left (one in 65,536) one after the other.
struct PrefixSum {
  static constexpr int64_t kPiece = 256;

  int32_t* values;
  int64_t rows, length;
  int32_t *sums, *sums_of_sums;
  int64_t stride = length;  // from a row of values to the next

  static TREEFILTER_HD int64_t pieces(int64_t length) { return (length + kPiece - 1) / kPiece; }
  // Lengths of the two workspaces.
  static int64_t sums_size(int64_t rows, int64_t length) { return rows * pieces(length); }
  static int64_t sums_of_sums_size(int64_t rows, int64_t length) {
    return rows * pieces(pieces(length));
  }

  // to[row][piece] = the sum of that piece of from.
  struct Reduce {
    const int32_t* from;
    int32_t* to;
    int64_t length, stride;
    TREEFILTER_HD void operator()(int64_t i) const {
      const int64_t count = pieces(length), begin = i % count * kPiece;
      const int64_t end = begin + kPiece < length ? begin + kPiece : length;
      const int32_t* row = from + i / count * stride;
      int32_t sum = 0;
      for (int64_t k = begin; k < end; ++k) sum += row[k];
      to[i] = sum;
    }
  };
  // The sums of a row, one after the other, inclusive.
  struct Serial {
    int32_t* values;
    int64_t length;
    TREEFILTER_HD void operator()(int64_t row) const {
      int32_t sum = 0;
      for (int64_t k = 0; k < length; ++k) sum = values[row * length + k] += sum;
    }
  };
  // A piece of values, inclusive, behind the pieces before it.
  struct Spread {
    int32_t* values;
    const int32_t* before;
    int64_t length, stride;
    TREEFILTER_HD void operator()(int64_t i) const {
      const int64_t count = pieces(length), begin = i % count * kPiece;
      const int64_t end = begin + kPiece < length ? begin + kPiece : length;
      int32_t* row = values + i / count * stride;
      int32_t sum = begin == 0 ? 0 : before[i - 1];
      for (int64_t k = begin; k < end; ++k) sum = row[k] += sum;
    }
  };

  TREEFILTER_PROGRAM template <class Team>
  TREEFILTER_HD void operator()(Team& team) const {
    const int64_t count = pieces(length), upper = pieces(count);
    team.each(rows * count, Reduce{values, sums, length, stride});
    team.each(rows * upper, Reduce{sums, sums_of_sums, count, count});
    team.each(rows, Serial{sums_of_sums, upper});
    team.each(rows * upper, Spread{sums, sums_of_sums, count, count});
    team.each(rows * count, Spread{values, sums, length, stride});
  }
};

// Lists of items by key, ascending: list k of a row is items[row][begin[row][k] … begin[row][k + 1] -
// 1]. An item without a key (-1) is in no list. A row has `keys` keys (so `begin` has keys + 1 a row)
// and `length` items; key[row][i] is that of item i.
//
// Places in a list are given in the order of arrival. Then each run of kRun items is put in order, every
// item counting those before it; and two runs are merged into one, every item searching for its place in
// the other run, until a run is a list. No thread does more, however long a list is. An item moves
// between `items` and `other`, so often that it ends in `items`.
struct Grouping {
  static constexpr int32_t kRun = 32;
  static constexpr int kLevels = 27;  // merges, at most

  int64_t rows, keys, length;
  const int32_t* key;
  int32_t *begin, *items;
  int32_t *next, *other, *place;       // workspaces: rows x keys, the others rows x length
  int32_t* flags;                      // [image, kLevels] whether there is a list to be merged
  int32_t *sums, *sums_of_sums;        // of PrefixSum for rows of keys + 1
  int64_t begin_stride, items_stride;  // from a row to the next
  int64_t image = 0;                   // of a program for each image

  // Merges until runs are lists of so many items.
  static TREEFILTER_HD int levels(int64_t count) {
    int levels = 0;
    while ((int64_t{kRun} << levels) < count) ++levels;
    return levels;
  }

  TREEFILTER_PROGRAM template <class Team>
  TREEFILTER_HD void operator()(Team& team) const;
};

// An item's list, as places in its row.
struct ListOf {
  int64_t row;
  int32_t item, begin, end;
  int levels;

  TREEFILTER_HD ListOf(const Grouping& g, int64_t i)
      : row(i / g.length), item(static_cast<int32_t>(i % g.length)) {
    const int32_t* bounds = g.begin + row * g.begin_stride + g.key[i];
    begin = bounds[0], end = bounds[1];
    levels = Grouping::levels(end - begin);
  }
  // Where the list is after a level; level 0 puts runs in order.
  TREEFILTER_HD int32_t* after(const Grouping& g, int level) const {
    return ((levels - level) & 1) == 0 ? g.items + row * g.items_stride : g.other + row * g.length;
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
    for (int l = 0; l < levels; ++l) store_relaxed(g.flags + g.image * Grouping::kLevels + l, 1);
  }
};

struct FillLists {
  Grouping g;
  TREEFILTER_HD void operator()(int64_t i) const {
    if (g.key[i] < 0) return;
    const ListOf list(g, i);
    const int32_t place = atomic_add(g.next + list.row * g.keys + g.key[i], 1);
    list.after(g, -1)[place] = list.item;
    g.place[i] = place;
  }
};

struct OrderRuns {
  Grouping g;
  TREEFILTER_HD void operator()(int64_t i) const {
    if (g.key[i] < 0) return;
    const ListOf list(g, i);
    const int32_t first = list.begin + (g.place[i] - list.begin) / Grouping::kRun * Grouping::kRun;
    const int32_t last = list.end - first < Grouping::kRun ? list.end : first + Grouping::kRun;
    const int32_t* const from = list.after(g, -1);
    int32_t place = first;
    for (int32_t k = first; k < last; ++k) place += from[k] < list.item;
    list.after(g, 0)[place] = list.item;
    g.place[i] = place;
  }
};

struct MergeRuns {
  Grouping g;
  int level;
  TREEFILTER_HD void operator()(int64_t i) const {
    if (g.key[i] < 0) return;
    const ListOf list(g, i);
    if (list.levels < level) return;
    const int64_t run = int64_t{Grouping::kRun} << (level - 1), at = g.place[i] - list.begin;
    const int64_t pair = at / (2 * run) * (2 * run), count = list.end - list.begin;
    // The other run, and in it the first item that is not before this one.
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
    const int64_t place = list.begin + pair + (at - pair) % run + (low - before);
    list.after(g, level)[place] = list.item;
    g.place[i] = static_cast<int32_t>(place);
  }
};

TREEFILTER_PROGRAM template <class Team>
TREEFILTER_HD void Grouping::operator()(Team& team) const {
  team.each(kLevels, SetZero<int32_t>{flags});
  team.each(rows * (keys + 1), ClearCounts{*this});
  team.each(rows * length, CountItems{*this});
  PrefixSum{begin, rows, keys + 1, sums, sums_of_sums, begin_stride}(team);
  team.each(rows * keys, StartLists{*this});
  team.each(rows * length, FillLists{*this});
  team.each(rows * length, OrderRuns{*this});
  const int most = levels(length);
  for (int level = 1; level <= most && team.more(flags + image * kLevels + level - 1); ++level) {
    team.each(rows * length, MergeRuns{*this, level});
  }
}

}  // namespace treefilter::cuda
