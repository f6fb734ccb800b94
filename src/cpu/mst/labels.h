// Labels for a forest of pointers: every element learns the label of its root.
#pragma once

#include <algorithm>

#include "../../core.h"
#include "../support/select.h"

namespace treefilter {

// Points x and all between it and its root at the root's label.
inline void follow(Span<int32_t> link, int64_t x) {
  int64_t root = x;
  while (link[root] >= 0) root = link[root];
  const int32_t label = link[root];
  while (link[x] >= 0) {
    const int64_t above = link[x];
    link[x] = label;
    x = above;
  }
}

// Points every element of a forest of pointers at its root's label, in linear time. `link[x]` is another
// element, or a label as its complement (< 0). How far it is to the root nobody predicts; but pointers
// lead to near elements, so that two passes without branches, each of which follows those that lead
// where it has already been, leave next to nothing to the loops at the end: they skip most blocks.
TREEFILTER_PHASE inline void resolve(Span<int32_t> link) {
  const int32_t size = static_cast<int32_t>(link.size);
  for (int32_t x = 0; x < size; ++x) {
    const int32_t to = link[x], stays = -static_cast<int32_t>((to > x) | (to < 0));
    link[x] = link[select(stays, x, to)];
  }
  for (int64_t x = link.size; x-- > 0;) {
    const int32_t to = link[x];
    link[x] = link[select(to >> 31, static_cast<int32_t>(x), to)];
  }
  constexpr int64_t kBlock = 32;
  for (int64_t first = 0; first < link.size; first += kBlock) {
    const int64_t end = std::min(first + kBlock, link.size);
    int32_t labels = -1;  // negative if all are
    for (int64_t x = first; x < end; ++x) labels &= link[x];
    for (int64_t x = labels < 0 ? end : first; x < end; ++x) follow(link, x);
  }
}

}  // namespace treefilter
