// Dendrograms in parallel (after P. Sao, A. Prokopenko and D. Lebrun-Grandie, PANDORA: A parallel
// dendrogram construction algorithm for single linkage clustering on GPU, ICPP 2024).
//
// A *limb* of a dendrogram is a run of merges, each a child of the next one. The tree is contracted as
// by Boruvka's algorithm (mst/boruvka.cuh): in a round every component joins along its lightest edge.
// Of a component that a round begins with, let e be the lightest edge that leaves it. Edges inside of
// the component that are lighter than e and not yet in a limb form one: in ascending order each adds to
// what contains the end of e, until e itself joins that with the rest. So
//   - a limb is named by e and by the end of e that is in the component; the merge of e is the parent of
//     the limb's last merge;
//   - the edges inside of a component that nothing leaves form the limb of its root;
//   - a vertex is a limb without merges: its parent is the merge of its lightest edge.
// An edge finds its limb in the first round in which the lightest edge that leaves its component is
// heavier. Then all merges are sorted by limb and number, by torch, and each is linked to the next one.
//
// The cost: log2(N) rounds of an offer, a search of limbs beside the hooks, and relabelling; a sort; and
// two phases. No thread has more than a bounded number of steps, whatever the weights are. Edges that
// close a cycle, where the input is no tree, are in no limb.
#pragma once

#include "../../dendrogram.h"
#include "../mst/boruvka.cuh"
#include "../runtime/per_image.cuh"

namespace treefilter::cuda {

constexpr int32_t kNoLimb = INT32_MAX;  // after all others

// The name of the limb below a merge on the side of an end of its edge: 0, the vertex that holds the
// edge, or 1, its parent.
TREEFILTER_HD inline int32_t limb_below(int32_t merge, int side) {
  return 2 * merge + side;
}
// Of the merges of a component that nothing leaves, by its root.
TREEFILTER_HD inline int32_t limb_of_root(int32_t component) {
  return ~component;
}

// The edges of trees, for boruvka.cuh: each has the number of the vertex below it.
class TreeGraph {
 public:
  static constexpr bool kListsNeighbours = false;

  explicit TreeGraph(const TreeEdges& tree) : tree(tree), by_nodes_(tree.nodes) {}

  TREEFILTER_HD int64_t nodes() const { return tree.nodes; }
  TREEFILTER_HD const Divisor& by_nodes() const { return by_nodes_; }
  TREEFILTER_HD Ends ends(int64_t b, int32_t v) const { return {v, tree.parent_of(b)[v]}; }

  TreeEdges tree;

 private:
  Divisor by_nodes_;
};

struct Contraction {
  // What rank[v] is besides the merge of the edge above v: ~ of it when the edge is contracted.
  static constexpr int32_t kNone = INT32_MIN;

  Boruvka<TreeGraph> forest;  // an order is the merge, then the edge's vertex
  const int32_t* sorted;      // [B, N]
  Merges out;
  int32_t* rank;  // [B, N]
  int32_t* limb;  // [B, N - 1]

  TREEFILTER_HD Contraction of_image(int64_t b) const {
    Contraction one = *this;
    one.forest = forest.of_image(b);
    return one;
  }
  static int64_t shared_bytes() { return 0; }
  TREEFILTER_HD int64_t nodes() const { return forest.graph.nodes(); }

  TREEFILTER_PHASED template <class Group>
  TREEFILTER_HD void operator()(Group& group) const;
};

// Vertex v of image b as index i of [B, N]. All phases run over these; where they are about a merge, it
// is merge v, and the last vertex has none.
struct ContractionPhase {
  struct At {
    int64_t b, first, merges;  // the image, its first vertex, and its first merge
    int32_t v;
  };
  Contraction p;

  TREEFILTER_HD At at(int64_t i) const {
    const int64_t b = p.forest.graph.by_nodes().quotient(i), first = b * p.nodes();
    return {b, first, first - b, static_cast<int32_t>(i - first)};
  }
};

struct StartContraction : ContractionPhase {
  TREEFILTER_HD void operator()(int64_t i) const {
    const At at = this->at(i);
    p.forest.component[i] = at.v;
    p.forest.best[i] = kNoEdge;
    p.rank[i] = Contraction::kNone;
    p.out.parent[at.b * (2 * p.nodes() - 1) + at.v] = at.v;
    if (at.v + 1 == p.nodes()) return;
    p.limb[at.merges + at.v] = kNoLimb;
    if (p.out.children.size == 0) return;
    p.out.children[2 * (at.merges + at.v)] = p.out.children[2 * (at.merges + at.v) + 1] = -1;
  }
};

struct RankEdges : ContractionPhase {
  TREEFILTER_HD void operator()(int64_t i) const {
    const At at = this->at(i);
    if (at.v + 1 == p.nodes()) return;
    const TreeEdges& tree = p.forest.graph.tree;
    const int32_t v = p.sorted[i];
    const bool exists = v >= 0 && tree.has_parent(at.b, v);
    p.out.edge[at.merges + at.v] = exists ? tree.edge_of(at.b)[v] : -1;
    if (exists) p.rank[at.first + v] = at.v;
  }
};

struct OfferTreeEdge : ContractionPhase {
  TREEFILTER_HD void operator()(int64_t i) const {
    const int32_t merge = p.rank[i];
    if (merge < 0) return;
    const At at = this->at(i);
    const int32_t* const component = p.forest.component + at.first;
    const int32_t a = component[at.v], c = component[p.forest.graph.ends(at.b, at.v).b];
    if (a == c) return;  // it closes a cycle
    const EdgeOrder order = static_cast<EdgeOrder>(merge) << 32 | static_cast<uint32_t>(at.v);
    lower(p.forest.best + at.first + a, order);
    lower(p.forest.best + at.first + c, order);
  }
};

// Runs beside the hooks, and sees components as they were before.
struct FindLimbs : ContractionPhase {
  bool first_round;

  TREEFILTER_HD void operator()(int64_t i) const {
    const At at = this->at(i);
    const EdgeOrder lightest = p.forest.best[i];
    if (component_of(at, at.v) == at.v && lightest != kNoEdge) {
      const int32_t merge = merge_of(lightest);
      if (first_round) join_leaf(at, merge, side_of(at, lightest, at.v));
      store_relaxed(p.rank + at.first + number_of(lightest), ~merge);
    }
    join_merge(at, load_relaxed(p.rank + i));
  }

 private:
  static TREEFILTER_HD int32_t merge_of(EdgeOrder order) { return static_cast<int32_t>(rank_of(order)); }
  TREEFILTER_HD int32_t component_of(const At& at, int32_t v) const {
    return Hook<TreeGraph>::root_of(p.forest.component + at.first, v);
  }
  TREEFILTER_HD int side_of(const At& at, EdgeOrder edge, int32_t component) const {
    return component_of(at, number_of(edge)) == component ? 0 : 1;
  }
  TREEFILTER_HD void join_leaf(const At& at, int32_t merge, int side) const {
    p.out.parent[at.b * (2 * p.nodes() - 1) + at.v] = static_cast<int32_t>(p.nodes() + merge);
    if (p.out.children.size > 0) p.out.children[2 * at.merges + limb_below(merge, side)] = at.v;
  }
  // Where the edge above the vertex has the rank `rank`. One that is contracted in this round is not yet
  // inside of a component.
  TREEFILTER_HD void join_merge(const At& at, int32_t rank) const {
    if (rank >= 0 || rank == Contraction::kNone) return;
    int32_t* const limb = p.limb + at.merges + ~rank;
    const int32_t component = component_of(at, at.v);
    if (*limb != kNoLimb || component_of(at, p.forest.graph.ends(at.b, at.v).b) != component) return;
    const EdgeOrder lightest = p.forest.best[at.first + component];
    if (lightest == kNoEdge || merge_of(lightest) < ~rank) return;
    *limb = limb_below(merge_of(lightest), side_of(at, lightest, component));
  }
};

struct EndContraction : ContractionPhase {
  TREEFILTER_HD void operator()(int64_t i) const {
    const int32_t rank = p.rank[i];
    if (rank == Contraction::kNone) return;
    const At at = this->at(i);
    if (rank >= 0) {
      p.out.edge[at.merges + rank] = -1;  // it closes a cycle
    } else if (p.limb[at.merges + ~rank] == kNoLimb) {
      p.limb[at.merges + ~rank] = limb_of_root(p.forest.component[i]);
    }
  }
};

TREEFILTER_PHASED template <class Group>
TREEFILTER_HD void Contraction::operator()(Group& group) const {
  const int64_t vertices = forest.batch * nodes();
  group.each(vertices, StartContraction{{*this}}, forest.num_flags(nodes()),
             SetZero<int32_t>{forest.flags});
  group.each(vertices, RankEdges{{*this}});
  for (int round = 0; round < floor_log2(nodes()); ++round) {
    group.each(vertices, OfferTreeEdge{{*this}});
    if (!forest.join(group, round, vertices, FindLimbs{{*this}, round == 0})) break;
  }
  group.each(vertices, EndContraction{{*this}});
}

}  // namespace treefilter::cuda
