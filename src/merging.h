// The code of dendrogram.h that the back ends share: one merge, of one image.
#pragma once

#include "dendrogram.h"

namespace treefilter {

// An element of disjoint sets. `up` is another element of the set, or of its root -(the set's size).
// `node` is the root's node in the dendrogram: both are read together.
struct SetElement {
  int32_t up, node;
};

struct Merging {
  TreeEdges tree;
  const int32_t* sorted;  // [B, N]
  Merges out;
  SetElement* sets;  // [B, N]

  TREEFILTER_HD int64_t nodes() const { return tree.nodes; }
  TREEFILTER_HD int64_t merges() const { return tree.nodes - 1; }

  TREEFILTER_HD void start(int64_t b, int64_t x) const {
    const int64_t n = tree.nodes;
    out.parent[b * (2 * n - 1) + x] = static_cast<int32_t>(x);
    if (x < n) sets[b * n + x] = {-1, static_cast<int32_t>(x)};
  }

  // The root of x's set. Halves the path that it follows.
  static TREEFILTER_HD int32_t find(SetElement* set, int32_t x) {
    for (int32_t up = set[x].up; up >= 0; up = set[x].up) {
      const int32_t beyond = set[up].up;
      if (beyond < 0) return up;
      set[x].up = beyond;
      x = beyond;
    }
    return x;
  }

  // Merges 0 … k - 1 are made already.
  TREEFILTER_HD void step(int64_t b, int64_t k) const {
    const int64_t n = tree.nodes;
    const int32_t v = sorted[b * n + k];
    int32_t* const pair = out.children.data + 2 * (b * (n - 1) + k);
    SetElement* const set = sets + b * n;
    const int32_t x = v < 0 ? 0 : find(set, v), y = v < 0 ? 0 : find(set, tree.parent_of(b)[v]);
    if (x == y) {  // no edge; or a cycle of what is no tree
      pair[0] = pair[1] = out.edge[b * (n - 1) + k] = -1;
      return;
    }
    const int32_t node = static_cast<int32_t>(n + k), a = set[x].node, c = set[y].node;
    int32_t* const parent = out.parent.data + b * (2 * n - 1);
    parent[a] = parent[c] = node;
    pair[0] = a < c ? a : c;
    pair[1] = a < c ? c : a;
    out.edge[b * (n - 1) + k] = tree.edge_of(b)[v];
    const bool larger = set[x].up < set[y].up;
    const int32_t top = larger ? x : y, below = larger ? y : x;
    set[top] = {set[x].up + set[y].up, node};
    set[below].up = top;
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
