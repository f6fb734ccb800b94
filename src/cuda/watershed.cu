// Seeded watersheds on CUDA (watershed.h): Boruvka's algorithm over the tree's own edges.
//
// In every round each component without a marker chooses its lightest edge and points at the component
// on the other side; components with a marker choose none. Of two that chose the same edge the lower one
// stays. Because the order is strict there is no other cycle. A component that points at nothing is a
// root; all others follow the pointers to theirs. The root of a component with a marker is the vertex
// with that marker, as it never points elsewhere. There are at most log2(N) + 1 rounds, each of which at
// least halves the components without a marker, of five phases over the vertices.
#include "../watershed.h"
#include "runtime/launch.cuh"
#include "runtime/logarithm.cuh"

namespace treefilter {
using namespace cuda;

namespace {

constexpr int32_t kNone = INT32_MAX;

struct Flood {
  int64_t batch, edges;
  TreeEdges tree;
  const Weight* weight;
  const int64_t* markers;
  int64_t* labels;
  EdgeOrder* best;     // [B, N], as the next ones; of a root, its lightest edge
  int32_t* chosen;     // of a root, the vertex below that edge
  int32_t* component;  // the root
  int32_t* target;     // of a root, the root that it points at, or itself
  int32_t* flags;      // a round: whether any edge was offered

  static TREEFILTER_HD int rounds(int64_t nodes) { return floor_log2(nodes) + 1; }

  // The edge above vertex i of [B, N].
  TREEFILTER_HD EdgeOrder order_of(int64_t i) const {
    const int64_t b = i / tree.nodes, v = i % tree.nodes;
    const int32_t e = tree.edge_of(b)[v];
    const bool none = e < 0 || e >= edges || !tree.has_parent(b, v);
    return none ? kNoEdge : edge_order(weight[b * edges + e], e);
  }
  TREEFILTER_HD int32_t parent_of(int64_t i) const {
    return tree.parent_of(i / tree.nodes)[i % tree.nodes];
  }

  TREEFILTER_PHASED template <class Group>
  TREEFILTER_HD void operator()(Group& group) const;
};

struct StartFlood {
  Flood p;
  TREEFILTER_HD void operator()(int64_t i) const {
    p.component[i] = static_cast<int32_t>(i % p.tree.nodes);
    p.best[i] = kNoEdge;
    p.chosen[i] = kNone;
  }
};

struct OfferEdge {
  Flood p;
  int32_t* offered;
  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t first = i - i % p.tree.nodes;
    const EdgeOrder order = p.order_of(i);
    if (order == kNoEdge) return;
    const int32_t a = p.component[i], c = p.component[first + p.parent_of(i)];
    const bool open_a = p.markers[first + a] == 0, open_c = p.markers[first + c] == 0;
    if (a == c || !(open_a || open_c)) return;
    if (open_a) lower(p.best + first + a, order);
    if (open_c) lower(p.best + first + c, order);
    if (load_relaxed(offered) == 0) store_relaxed(offered, 1);
  }
};

// Edges have different numbers, and the lower vertex is taken where they have not.
struct ChooseEdge {
  Flood p;
  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t first = i - i % p.tree.nodes;
    const EdgeOrder order = p.order_of(i);
    if (order == kNoEdge) return;
    const int64_t a = first + p.component[i], c = first + p.component[first + p.parent_of(i)];
    if (a == c) return;
    const int32_t v = static_cast<int32_t>(i - first);
    if (p.best[a] == order) lower(p.chosen + a, v);
    if (p.best[c] == order) lower(p.chosen + c, v);
  }
};

struct PointAtOther {
  Flood p;
  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t first = i - i % p.tree.nodes;
    const int32_t self = static_cast<int32_t>(i - first), edge = p.chosen[i];
    int32_t to = self;
    if (p.component[i] == self && edge != kNone) {
      const int32_t low = p.component[first + edge];
      const int32_t other = low == self ? p.component[first + p.parent_of(first + edge)] : low;
      const bool mutual = p.chosen[first + other] == edge;
      to = mutual && self < other ? self : other;
    }
    p.target[i] = to;
  }
};

struct FollowTargets {
  Flood p;
  TREEFILTER_HD void operator()(int64_t i) const {
    int32_t* const target = p.target + (i - i % p.tree.nodes);
    int32_t x = p.component[i];
    // Path halving. Other threads may change the pointers meanwhile; all lead to the same root.
    for (int32_t above = load_relaxed(target + x); above != x; above = load_relaxed(target + x)) {
      const int32_t beyond = load_relaxed(target + above);
      if (beyond != above) store_relaxed(target + x, beyond);
      x = beyond;
    }
    p.component[i] = x;
    p.best[i] = kNoEdge;
    p.chosen[i] = kNone;
  }
};

struct TakeLabels {
  Flood p;
  TREEFILTER_HD void operator()(int64_t i) const {
    p.labels[i] = p.markers[i - i % p.tree.nodes + p.component[i]];
  }
};

TREEFILTER_PHASED template <class Group>
TREEFILTER_HD void Flood::operator()(Group& group) const {
  const int64_t vertices = batch * tree.nodes;
  group.each(rounds(tree.nodes), SetZero<int32_t>{flags});
  group.each(vertices, StartFlood{*this});
  for (int round = 0; round < rounds(tree.nodes); ++round) {
    group.each(vertices, OfferEdge{*this, flags + round});
    if (!group.more(flags + round)) break;
    group.each(vertices, ChooseEdge{*this});
    group.each(vertices, PointAtOther{*this});
    group.each(vertices, FollowTargets{*this});
  }
  group.each(vertices, TakeLabels{*this});
}

}  // namespace

void watershed(const Cuda& cuda, int64_t batch, const TreeEdges& tree, Span<const Weight> weight,
               Span<const int64_t> markers, Span<int64_t> labels) {
  if (batch == 0) return;
  const int64_t all = batch * tree.nodes;
  const auto [best, chosen, component, target, flags] =
      cuda.arrays<EdgeOrder, int32_t, int32_t, int32_t, int32_t>(all, all, all, all,
                                                                 Flood::rounds(tree.nodes));
  launch_phased(cuda, "watershed", all,
                Flood{batch, weight.size / batch, tree, weight.data, markers.data, labels.data, best,
                      chosen, component, target, flags});
}

}  // namespace treefilter
