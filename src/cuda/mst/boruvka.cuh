// Boruvka's algorithm over all graphs of a batch at once: they are one forest.
//
// State of a vertex: its component, named by one of its vertices, the component's root; of a root: the
// lightest edge that leaves the component. Rounds of
//   offer    every edge between two components is offered to both, by a 64-bit minimum of (weight, edge
//            number): a strict total order. The first round of a grid takes the minimum vertex by
//            vertex.
//   hook     every root points at the root across its lightest edge; of two that chose the same edge the
//            lower one stays a root. The order being strict there is no other cycle.
//   relabel  every vertex follows the pointers to its new root.
// A root that hooks keeps its lightest edge for ever: these are the edges of the forest, each once.
//
// A chain of hooks is mostly a few long, but on a ramp or with equal weights N. Nobody follows more than
// kJump pointers in a phase; he notes how far he came where others read it, and goes on in the next
// phase from there. So J phases reach kJump^J vertices far, and neighbours in a chain shorten each
// other's way. Who reads what in the meantime changes nothing: there is one root at the end.
//
// At most log2(N) rounds, each of which at least halves the components (7 to 11 on photographs), of 3
// phases, which read the components of all vertices and the weights of edges between components.
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
  EdgeOrder* best;       // [batch, nodes], as the others; of a root its lightest edge
  int32_t* component;    // the root; or ~(the root to be) between hooking and arriving there
  int32_t* lowest;       // of a root, the lowest vertex of its component; may be null
  int32_t* flags;        // [batch, num_flags], of which a batch as a whole needs the first
  int64_t image = 0;

  // For every round whether any root hooked, and for every of its relabel phases whether more are
  // needed.
  static TREEFILTER_HD int64_t num_flags(int64_t nodes) {
    return floor_log2(nodes) * (1 + power_to_reach(kJump, nodes));
  }

  TREEFILTER_HD Boruvka of_image(int64_t b) const {
    Boruvka one = *this;
    one.batch = 1;
    one.image = b;
    return one;
  }

  TREEFILTER_PROGRAM template <class Team>
  TREEFILTER_HD void operator()(Team& team) const;
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
        const EdgeOrder key = edge_order(weight[edge], edge);
        if (key < best) best = key;
      });
    }
    p.best[i] = best;
  }
};

template <class Graph>
struct Offer {
  Boruvka<Graph> p;

  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t b = p.graph.by_items().quotient(i), first = b * p.graph.nodes();
    const int32_t* component = p.component + first;
    const Weight* weight = p.weight + b * p.graph.edges();
    EdgeOrder* best = p.best + first;
    p.graph.edges_of_item(i - b * p.graph.by_items().size, [&](int32_t edge, Ends ends) {
      const int32_t a = component[ends.a], c = component[ends.b];
      if (a == c) return;
      const EdgeOrder key = edge_order(weight[edge], edge);
      lower(best + a, key);
      lower(best + c, key);
    });
  }
};

template <class Graph>
struct Hook {
  Boruvka<Graph> p;
  int32_t* hooked;

  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t first = p.graph.by_nodes().floor(i);
    const int32_t v = static_cast<int32_t>(i - first);
    int32_t* component = p.component + first;
    const EdgeOrder key = p.best[i];
    if (load_relaxed(component + v) != v || key == kNoEdge) return;
    const Ends ends = p.graph.ends(number_of(key));
    const int32_t a = root_of(component, ends.a);
    const int32_t other = a == v ? root_of(component, ends.b) : a;
    if (p.best[first + other] == key && v < other) return;
    store_relaxed(component + v, ~other);
    if (load_relaxed(hooked) == 0) store_relaxed(hooked, 1);
  }

  // A vertex that points elsewhere since this phase began was a root before.
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
    if (load_relaxed(unfinished) == 0) store_relaxed(unfinished, 1);
  }
};

template <class Graph>
TREEFILTER_PROGRAM template <class Team>
TREEFILTER_HD void Boruvka<Graph>::operator()(Team& team) const {
  const int64_t nodes = graph.nodes(), vertices = batch * nodes;
  const int rounds = floor_log2(nodes), relabels = power_to_reach(kJump, nodes);
  team.each(num_flags(nodes), SetZero<int32_t>{flags});
  team.each(vertices, StartVertices<Graph>{*this});
  for (int round = 0; round < rounds; ++round) {
    int32_t* flag = flags + image * num_flags(nodes) + round * (1 + relabels);
    if (round > 0 || !Graph::kListsNeighbours)
      team.each(batch * graph.by_items().size, Offer<Graph>{*this});
    team.each(vertices, Hook<Graph>{*this, flag});
    if (!team.more(flag)) break;
    for (int k = 1; k <= relabels; ++k) {
      team.each(vertices, Relabel<Graph>{*this, flag + k});
      if (!team.more(flag + k)) break;
    }
  }
}

}  // namespace treefilter::cuda
