// The part of dendrogram.h that both back ends share: one merge step in one image.
#pragma once

#include "dendrogram.h"

namespace treefilter {

// An element of disjoint sets whose roots are the sets' vertices nearest to the root of the tree. `up`
// is another element of the set, nearer to the root, or the element itself; `node` belongs to the set,
// and is right at its root: both are read together.
struct SetElement {
  int32_t up, node;
};

// The root of x's set. Halves the path that it follows.
TREEFILTER_HD inline int32_t find(SetElement* set, int32_t x) {
  for (int32_t up = set[x].up; up != x; up = set[x].up) {
    const int32_t beyond = set[up].up;
    set[x].up = beyond;
    x = beyond;
  }
  return x;
}

struct Merging {
  TreeEdges tree;
  const int32_t* sorted;  // [B, N]
  Merges out;
  SetElement* sets;  // [B, N]

  TREEFILTER_HD int64_t nodes() const { return tree.nodes; }
  TREEFILTER_HD int64_t merges() const { return tree.nodes - 1; }

  TREEFILTER_HD void start(int64_t b, int64_t x) const {
    const int64_t n = tree.nodes;
    const int32_t own = static_cast<int32_t>(x);
    out.parent[b * (2 * n - 1) + x] = own;
    if (x < n) sets[b * n + x] = {own, own};
  }

  // Merges 0 … k - 1 are made already. The edge of v is not among them, so v is the root of its set.
  TREEFILTER_HD void step(int64_t b, int64_t k) const {
    const int64_t n = tree.nodes;
    const int32_t v = sorted[b * n + k];
    int32_t* const pair = out.children.data + 2 * (b * (n - 1) + k);
    SetElement* const set = sets + b * n;
    const int32_t top = v < 0 || !tree.has_parent(b, v) ? v : find(set, tree.parent_of(b)[v]);
    if (v == top) {  // no edge, or a cycle: then the input is not a tree
      pair[0] = pair[1] = out.edge[b * (n - 1) + k] = -1;
      return;
    }
    const int32_t node = static_cast<int32_t>(n + k), a = set[v].node, c = set[top].node;
    int32_t* const parent = out.parent.data + b * (2 * n - 1);
    parent[a] = parent[c] = node;
    pair[0] = a < c ? a : c;
    pair[1] = a < c ? c : a;
    out.edge[b * (n - 1) + k] = tree.edge_of(b)[v];
    set[v].up = top;
    set[top].node = node;
  }
};

struct LowestLeaf {
  int64_t n;
  const int32_t *value, *children;
  int32_t* to;

  TREEFILTER_HD int64_t nodes() const { return n; }
  TREEFILTER_HD int64_t merges() const { return n - 1; }
  TREEFILTER_HD void start(int64_t b, int64_t x) const {
    to[b * (2 * n - 1) + x] = x < n ? value[b * n + x] : INT32_MAX;
  }
  TREEFILTER_HD void step(int64_t b, int64_t k) const {
    const int32_t* const pair = children + 2 * (b * (n - 1) + k);
    if (pair[0] < 0) return;
    int32_t* const image = to + b * (2 * n - 1);
    const int32_t x = image[pair[0]], y = image[pair[1]];
    image[n + k] = x < y ? x : y;
  }
};

}  // namespace treefilter
