// Boruvka's algorithm on CUDA, over all graphs of a batch at the same time, as one forest.
//
// The state of a vertex is its component, named by one of its vertices, which is the root of the
// component. The state of a root is the lightest edge that leaves its component. A round has three
// steps:
//   offer    Every edge between two components is offered to both, by an atomic minimum of its order
//            (edge_order.h). In the first round on a grid each vertex takes the minimum of its own
//            edges.
//   hook     Every root points at the root on the other side of its lightest edge. Of two roots that
//            chose the same edge, the lower one stays a root. Because the order is strict there is no
//            other cycle.
//   relabel  Every vertex follows the pointers to its new root.
// A root that hooks keeps its lightest edge: these are the edges of the forest, each of them once.
//
// A chain of pointers is mostly a few vertices long, but up to N on a ramp or where weights are equal.
// In one phase a thread follows at most kJump pointers. It then stores how far it came, where other
// threads read it, and goes on from there in the next phase. So J phases follow kJump^J pointers, and
// vertices of a chain shorten each other's chain. What other threads read in the meantime does not
// matter: the root is the same.
//
// There are at most log2(N) rounds, each of which at least halves the number of components (7 to 11
// rounds on photographs). A round has three phases or more; they read the components of all vertices,
// and the weights of the edges between components.
#pragma once

#include "../../edge_order.h"
#include "../runtime/logarithm.cuh"
#include "graph.cuh"

namespace treefilter::cuda {

template <class Graph>
struct Boruvka {
  static constexpr int kJump = 128;

  Graph graph;
  int64_t batch;
  const Weight* weight;  // [batch, edges]
  EdgeOrder* best;       // [batch, nodes], as the next ones; of a root, its lightest edge
  int32_t* component;    // the root; from hooking until relabelled, ~(a vertex closer to the new root)
  int32_t* lowest;       // of a root, the lowest vertex of its component; may be null
  int32_t* flags;        // [batch, num_flags]; a kernel for the whole batch uses those of image 0
  int64_t image = 0;

  // For every round: whether any root hooked, and for each relabel phase whether another one is needed.
  static TREEFILTER_HD int64_t num_flags(int64_t nodes) {
    return floor_log2(nodes) * (1 + power_to_reach(kJump, nodes));
  }

  TREEFILTER_HD Boruvka of_image(int64_t b) const {
    Boruvka one = *this;
    one.batch = 1;
    one.image = b;
    return one;
  }
  static int64_t shared_bytes() { return 0; }

  TREEFILTER_PHASED template <class Group>
  TREEFILTER_HD void operator()(Group& group) const;

  // Hooks and relabels, at the end of a round; whether any root hooked. `beside`: a number of threads
  // and a phase that runs beside the hooks, and reads components by root_of() only.
  TREEFILTER_PHASED template <class Group, class... Beside>
  TREEFILTER_HD bool join(Group& group, int round, Beside... beside) const;
};

template <class Graph>
struct StartVertices {
  Boruvka<Graph> p;

  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t b = p.graph.by_nodes().quotient(i);
    const int32_t v = static_cast<int32_t>(i - b * p.graph.nodes());
    p.component[i] = v;
    if (p.lowest != nullptr) p.lowest[i] = v;
    EdgeOrder best = kNoEdge;
    if constexpr (Graph::kListsNeighbours) {
      const Weight* weight = p.weight + b * p.graph.edges();
      p.graph.edges_of_vertex(v, [&](int32_t edge, Ends) {
        const EdgeOrder order = edge_order(weight[edge], edge);
        if (order < best) best = order;
      });
    }
    p.best[i] = best;
  }
};

template <class Graph>
struct OfferEdges {
  Boruvka<Graph> p;

  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t b = p.graph.by_items().quotient(i), first = b * p.graph.nodes();
    const int32_t* component = p.component + first;
    const Weight* weight = p.weight + b * p.graph.edges();
    EdgeOrder* best = p.best + first;
    p.graph.edges_of_item(i - b * p.graph.by_items().size, [&](int32_t edge, Ends ends) {
      const int32_t a = component[ends.a], c = component[ends.b];
      if (a == c) return;
      const EdgeOrder order = edge_order(weight[edge], edge);
      lower(best + a, order);
      lower(best + c, order);
    });
  }
};

template <class Graph>
struct Hook {
  Boruvka<Graph> p;
  int32_t* hooked;

  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t b = p.graph.by_nodes().quotient(i), first = b * p.graph.nodes();
    const int32_t v = static_cast<int32_t>(i - first);
    int32_t* component = p.component + first;
    const EdgeOrder chosen = p.best[i];
    if (load_relaxed(component + v) != v || chosen == kNoEdge) return;
    const Ends ends = p.graph.ends(b, number_of(chosen));
    const int32_t a = root_of(component, ends.a);
    const int32_t other = a == v ? root_of(component, ends.b) : a;
    if (p.best[first + other] == chosen && v < other) return;
    store_relaxed(component + v, ~other);
    set_flag(hooked);
  }

  // A vertex that hooked in this phase was a root when the phase began.
  static TREEFILTER_HD int32_t root_of(const int32_t* component, int32_t v) {
    const int32_t c = load_relaxed(component + v);
    return c < 0 ? v : c;
  }
};

template <class Graph>
struct Relabel {
  Boruvka<Graph> p;
  int32_t* unfinished;

  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t first = p.graph.by_nodes().floor(i);
    const int32_t v = static_cast<int32_t>(i - first);
    int32_t* component = p.component + first;
    const int32_t own = load_relaxed(component + v);
    const bool hooked = own < 0;
    int32_t at = hooked ? ~own : own;
    if (at == v) {
      p.best[i] = kNoEdge;
      return;
    }
    for (int step = 0; step < Boruvka<Graph>::kJump; ++step) {
      const int32_t c = load_relaxed(component + at), next = c < 0 ? ~c : c;
      if (next == at) {
        if (hooked && p.lowest != nullptr) lower(p.lowest + first + at, p.lowest[i]);
        store_relaxed(component + v, at);
        return;
      }
      at = next;
      store_relaxed(component + v, hooked ? ~at : at);
    }
    set_flag(unfinished);
  }
};

template <class Graph>
TREEFILTER_PHASED template <class Group, class... Beside>
TREEFILTER_HD bool Boruvka<Graph>::join(Group& group, int round, Beside... beside) const {
  const int64_t nodes = graph.nodes(), vertices = batch * nodes;
  const int relabels = power_to_reach(kJump, nodes);
  int32_t* flag = flags + image * num_flags(nodes) + round * (1 + relabels);
  group.each(vertices, Hook<Graph>{*this, flag}, beside...);
  if (!group.more(flag)) return false;
  for (int k = 1; k <= relabels; ++k) {
    group.each(vertices, Relabel<Graph>{*this, flag + k});
    if (!group.more(flag + k)) break;
  }
  return true;
}

template <class Graph>
TREEFILTER_PHASED template <class Group>
TREEFILTER_HD void Boruvka<Graph>::operator()(Group& group) const {
  const int64_t nodes = graph.nodes();
  group.each(num_flags(nodes), SetZero<int32_t>{flags}, batch * nodes, StartVertices<Graph>{*this});
  for (int round = 0; round < floor_log2(nodes); ++round) {
    if (round > 0 || !Graph::kListsNeighbours)
      group.each(batch * graph.by_items().size, OfferEdges<Graph>{*this});
    if (!join(group, round)) break;
  }
}

}  // namespace treefilter::cuda
