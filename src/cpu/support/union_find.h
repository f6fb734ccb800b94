// Disjoint sets (union-find): trees of pointers, each set with its lowest element as the root.
#pragma once

#include <utility>

#include "../../core.h"

namespace treefilter {

inline int32_t find(Span<int32_t> set, int32_t x) {
  while (set[x] != x) {
    set[x] = set[set[x]];
    x = set[x];
  }
  return x;
}

inline bool unite(Span<int32_t> set, int32_t a, int32_t b) {
  a = find(set, a);
  b = find(set, b);
  if (a == b) return false;
  if (a < b) std::swap(a, b);
  set[a] = b;
  return true;
}

}  // namespace treefilter
