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

// Halves the path from x, and returns what is two steps above it.
template <class Element>
TREEFILTER_HD inline int32_t halve(Element* set, int32_t x) {
  const int32_t beyond = set[set[x].up].up;
  set[x].up = beyond;
  return beyond;
}

// The root of x's set. Halves the path that it follows.
template <class Element>
TREEFILTER_HD inline int32_t find(Element* set, int32_t x) {
  // Most paths have no step or one, and a branch between the two is often mispredicted. So the first
  // halving has no condition: at a root it changes nothing.
  x = halve(set, x);
  while (set[x].up != x) x = halve(set, x);
  return x;
}

struct Merging {
  // A set's element and what is known of its vertex, which a merge reads together.
  struct Vertex : SetElement {
    int32_t parent, edge;
  };

  TreeEdges tree;
  const int32_t* sorted;  // [B, N]
  Merges out;
  Vertex* vertices;  // [B, N]

  TREEFILTER_HD int64_t nodes() const { return tree.nodes; }
  TREEFILTER_HD int64_t merges() const { return tree.nodes - 1; }

  TREEFILTER_HD void start(int64_t b, int64_t v) const {
    const int32_t own = static_cast<int32_t>(v);
    out.parent[b * (2 * tree.nodes - 1) + v] = own;
    Vertex& vertex = vertices[b * tree.nodes + v];
    vertex.up = vertex.node = own;
    vertex.parent = tree.has_parent(b, v) ? tree.parent_of(b)[v] : own;
    vertex.edge = tree.edge_of(b)[v];
  }

  // Merges 0 … k - 1 are made already. The edge of v is not among them, so v is the root of its set.
  TREEFILTER_HD void step(int64_t b, int64_t k) const {
    const int64_t n = tree.nodes;
    const int32_t v = sorted[b * n + k];
    Vertex* const vertex = vertices + b * n;
    int32_t* const parent = out.parent.data + b * (2 * n - 1);
    const int32_t node = static_cast<int32_t>(n + k);
    parent[node] = node;
    const int32_t top = v < 0 ? v : find(vertex, vertex[v].parent);
    if (v == top) {  // no edge, or a cycle: then the input is not a tree
      set_children(b, k, -1, -1);
      out.edge[b * (n - 1) + k] = -1;
      return;
    }
    const int32_t a = vertex[v].node, c = vertex[top].node;
    parent[a] = parent[c] = node;
    set_children(b, k, a < c ? a : c, a < c ? c : a);
    out.edge[b * (n - 1) + k] = vertex[v].edge;
    vertex[v].up = top;
    vertex[top].node = node;
  }

 private:
  TREEFILTER_HD void set_children(int64_t b, int64_t k, int32_t lower, int32_t higher) const {
    if (out.children.size == 0) return;
    int32_t* const pair = out.children.data + 2 * (b * merges() + k);
    pair[0] = lower;
    pair[1] = higher;
  }
};

struct LowestLeaf {
  int64_t n;
  const int32_t *value, *children;
  int32_t* to;

  TREEFILTER_HD int64_t nodes() const { return n; }
  TREEFILTER_HD int64_t merges() const { return n - 1; }
  TREEFILTER_HD void start(int64_t b, int64_t v) const { to[b * (2 * n - 1) + v] = value[b * n + v]; }
  TREEFILTER_HD void step(int64_t b, int64_t k) const {
    const int32_t* const pair = children + 2 * (b * (n - 1) + k);
    int32_t* const image = to + b * (2 * n - 1);
    if (pair[0] < 0) {
      image[n + k] = INT32_MAX;
      return;
    }
    const int32_t x = image[pair[0]], y = image[pair[1]];
    image[n + k] = x < y ? x : y;
  }
};

}  // namespace treefilter
