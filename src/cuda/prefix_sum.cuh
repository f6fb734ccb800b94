// Inclusive prefix sums of rows of integers, and items grouped by key, as parts of programs
// (launch.cuh). Integers: any order of addition gives the same.
#pragma once

#include "launch.cuh"

namespace treefilter {

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
struct Grouping {
  int64_t rows, keys, length;
  const int32_t* key;
  int32_t *begin, *items;
  int32_t* next;                                           // workspace, rows x keys
  int32_t *sums, *sums_of_sums;                            // of PrefixSum for rows of keys + 1
  int64_t begin_stride = keys + 1, items_stride = length;  // from a row to the next

  TREEFILTER_PROGRAM template <class Team>
  TREEFILTER_HD void operator()(Team& team) const;
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
    g.next[i] = g.begin[i / g.keys * g.begin_stride + i % g.keys];
  }
};

struct FillLists {
  Grouping g;
  TREEFILTER_HD void operator()(int64_t i) const {
    if (g.key[i] < 0) return;
    const int64_t row = i / g.length;
    const int32_t place = atomic_add(g.next + row * g.keys + g.key[i], 1);
    g.items[row * g.items_stride + place] = static_cast<int32_t>(i % g.length);
  }
};

// The places in a list were given in the order of arrival.
struct SortLists {
  Grouping g;

  TREEFILTER_HD void operator()(int64_t i) const {
    const int32_t* bounds = g.begin + i / g.keys * g.begin_stride + i % g.keys;
    sort(g.items + i / g.keys * g.items_stride + bounds[0], bounds[1] - bounds[0]);
  }

  static constexpr int32_t kShort = 24;

  // By insertion, and where that would take too long as a heap.
  static TREEFILTER_HD void sort(int32_t* list, int32_t count) {
    if (count <= kShort) {
      for (int32_t i = 1; i < count; ++i) {
        const int32_t item = list[i];
        int32_t at = i;
        for (; at > 0 && list[at - 1] > item; --at) list[at] = list[at - 1];
        list[at] = item;
      }
      return;
    }
    for (int32_t i = count / 2; i-- > 0;) sink(list, i, count);
    for (int32_t end = count - 1; end > 0; --end) {
      const int32_t largest = list[0];
      list[0] = list[end];
      list[end] = largest;
      sink(list, 0, end);
    }
  }
  static TREEFILTER_HD void sink(int32_t* heap, int32_t at, int32_t count) {
    const int32_t item = heap[at];
    for (int64_t child = 2 * int64_t{at} + 1; child < count; child = 2 * int64_t{at} + 1) {
      if (child + 1 < count && heap[child + 1] > heap[child]) ++child;
      if (heap[child] <= item) break;
      heap[at] = heap[child];
      at = static_cast<int32_t>(child);
    }
    heap[at] = item;
  }
};

TREEFILTER_PROGRAM template <class Team>
TREEFILTER_HD void Grouping::operator()(Team& team) const {
  team.each(rows * (keys + 1), ClearCounts{*this});
  team.each(rows * length, CountItems{*this});
  PrefixSum{begin, rows, keys + 1, sums, sums_of_sums, begin_stride}(team);
  team.each(rows * keys, StartLists{*this});
  team.each(rows * length, FillLists{*this});
  team.each(rows * keys, SortLists{*this});
}

}  // namespace treefilter
