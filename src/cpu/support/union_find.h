// Disjoint sets (union-find): set[x] is another element of x's set, or x. The lowest element is the
// root.
#pragma once

#include <utility>

#include "../../core.h"

namespace treefilter {

// The root of x's set. Halves the path that it follows.
inline int32_t find(Span<int32_t> set, int32_t x) {
  while (set[x] != x) {
    set[x] = set[set[x]];
    x = set[x];
  }
  return x;
}

// Joins the sets of a and b. Returns whether they were two.
inline bool unite(Span<int32_t> set, int32_t a, int32_t b) {
  a = find(set, a);
  b = find(set, b);
  if (a == b) return false;
  if (a < b) std::swap(a, b);
  set[a] = b;
  return true;
}

}  // namespace treefilter
