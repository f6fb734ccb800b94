// Disjoint sets (union-find).
#pragma once

#include <utility>

#include "../../core.h"

namespace treefilter {

// ---- sets of numbers ----

// set[x] is another element of x's set, or x. The lowest element is the root.

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

// ---- sets that carry something ----

// An element of sets whose roots are the sets' vertices nearest to the root of the tree. `up`
// is another element of the set, nearer to the root, or the element itself; `node` belongs to the set,
// and is right at its root: both are read together.
struct SetElement {
  int32_t up, node;
};

// Halves the path from x, and returns what is two steps above it.
template <class Element>
inline int32_t halve(Element* set, int32_t x) {
  const int32_t beyond = set[set[x].up].up;
  set[x].up = beyond;
  return beyond;
}

// The root of x's set. Halves the path that it follows.
template <class Element>
inline int32_t find(Element* set, int32_t x) {
  // Most paths have no step or one, and a branch between the two is often mispredicted. So the first
  // halving has no condition: at a root it changes nothing.
  x = halve(set, x);
  while (set[x].up != x) x = halve(set, x);
  return x;
}

}  // namespace treefilter
