// Dendrograms: the order in which Kruskal's algorithm joins the vertices of a tree (single linkage, the
// canonical binary partition tree of L. Najman, J. Cousty and B. Perret, ISMM 2013).
//
// The edges of a tree are sorted by the total order of edge_order.h. Each joins two sets of vertices,
// lightest first; merge k makes node N + k of the dendrogram, whose children are the nodes of the two
// sets, and 0 … N - 1 are the leaves. So children have lower numbers than their parents, and a pass in
// the order of numbers needs nothing else. An edge of weight +inf joins nothing.
//
// The order is strict, and so the result is a function of the weights and the tree alone: the same on
// every back end and at any number of threads.
//
// On the CPU: a radix sort of N edges, and disjoint sets (union-find) with halved paths; images in
// parallel; 20 bytes a vertex of workspace on a grid. On CUDA torch sorts the edges (_ops.py), the
// merges are found in parallel as limbs (cuda/dendrogram/limbs.cuh), which torch sorts too, and these
// are joined.
#pragma once

#include "edge_order.h"
#include "tree.h"

namespace treefilter {

// parent, edge [batch or 1, nodes] of the trees.
struct TreeEdges {
  int64_t nodes;
  Span<const int32_t> parent, edge;

  TREEFILTER_HD const int32_t* parent_of(int64_t b) const { return at(parent, b); }
  TREEFILTER_HD const int32_t* edge_of(int64_t b) const { return at(edge, b); }
  // On CUDA nothing is checked before: a vertex whose parent is none has no edge.
  TREEFILTER_HD bool has_parent(int64_t b, int64_t v) const {
    return static_cast<uint32_t>(parent_of(b)[v]) < static_cast<uint32_t>(nodes);
  }

 private:
  TREEFILTER_HD const int32_t* at(Span<const int32_t> values, int64_t b) const {
    return values.data + (values.size == nodes ? 0 : b * nodes);
  }
};

// parent [B, 2 N - 1]: a node without a parent is its own. edge [B, N - 1]: the graph's edge of merge k,
// and children [B, N - 1, 2]: first that of the lower number; -1 where there are no more merges. Without
// children (a size of 0) they are not written.
struct Merges {
  Span<int32_t> parent, edge, children;
};

// weight [B, E]. sorted [B, N]: the vertices in ascending order of the edges to their parents, then -1.
// An edge of weight NaN does not exist.
void sort_edges(Cpu, int64_t batch, const TreeEdges&, Span<const Weight> weight, Span<int32_t> sorted);

void merge(Cpu, int64_t batch, const TreeEdges&, Span<const int32_t> sorted, const Merges&);

// The same on CUDA in two steps, between which the merges are sorted by their limbs: limb [B, N - 1], of
// every merge, then ascending with merge [B, N - 1], the numbers of the merges.
void find_limbs(const Cuda&, int64_t batch, const TreeEdges&, Span<const int32_t> sorted, const Merges&,
                Span<int32_t> limb);
void join_limbs(const Cuda&, int64_t batch, int64_t nodes, Span<const int32_t> limb,
                Span<const int64_t> merge, const Merges&);

// The least value of the leaves below every node, INT32_MAX where there are none: value [B, N], to [B,
// 2 N - 1], of dendrograms by their parents [B, 2 N - 1], or as trees with plans.
void lowest_leaf(Cpu, int64_t batch, int64_t nodes, Span<const int32_t> value,
                 Span<const int32_t> parent, Span<int32_t> to);
void lowest_leaf(const Cuda&, int64_t batch, const TreeView& dendrogram, Span<const int32_t> value,
                 Span<int32_t> to);

}  // namespace treefilter
