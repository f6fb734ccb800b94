// Labels for a forest of pointers: every element gets the label of its root.
#pragma once

#include <algorithm>

#include "../../core.h"
#include "../support/select.h"

namespace treefilter {

// Sets the links of x and of all elements on the path to its root to the root's label.
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

// Replaces every link by the label of its root, in linear time. link[x] is another element or, at a
// root, a label as its complement (< 0).
//
// A loop to the root would have unpredictable length. But links lead to near elements. Two passes
// without branches come first: each follows links that lead to elements which it has already visited.
// Few links are left for the loop at the end, which skips blocks without any.
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
