// Minimum spanning trees on CUDA: Boruvka's rounds (boruvka.cuh), then the unrooted forest, then its
// peel (plan/plan.cu).
//
// A vertex that hooked holds one edge of the forest. The forest is stored as the degrees of the vertices
// and the exclusive-ors of their neighbours, accumulated by atomic operations on integers, whose order
// does not matter. Roots are the given one, and the lowest vertex of every other component. When the
// peel has found the parents, each edge's number is stored at the end that is the child.
//
// Workspace: 29 bytes a vertex, and that of the peel.
#include "../../mst.h"
#include "../plan/forest.cuh"
#include "../runtime/per_image.cuh"
#include "boruvka.cuh"

namespace treefilter {
using namespace cuda;

namespace {

template <class Graph>
void run_boruvka(const Cuda& cuda, const Boruvka<Graph>& boruvka) {
  const int64_t nodes = boruvka.graph.nodes(), items = boruvka.graph.by_items().size;
  run_batch(cuda, "mst", boruvka.batch, nodes > items ? nodes : items, boruvka);
}

// The edge that a vertex holds, or -1.
template <class Graph>
TREEFILTER_HD int32_t held_edge(const Boruvka<Graph>& boruvka, int64_t i) {
  const bool root = boruvka.component[i] == static_cast<int32_t>(i - boruvka.graph.by_nodes().floor(i));
  return root ? -1 : number_of(boruvka.best[i]);
}

template <class Graph>
struct AddEdge {
  Boruvka<Graph> boruvka;
  Forest forest;  // `branch` may share its memory with `best`
  const int64_t* root;
  int32_t* number;

  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t nodes = forest.nodes.size, b = forest.nodes.quotient(i), first = b * nodes;
    const int32_t v = static_cast<int32_t>(i - first), edge = held_edge(boruvka, i);
    number[i] = edge;
    if (edge >= 0) {
      const Ends ends = boruvka.graph.ends(b, edge);
      forest.add_branch(i, ends.a, ends.b);
    } else {
      forest.branch[i] = Forest::kNoBranch;
    }
    const int64_t given = root[b] >= 0 && root[b] < nodes ? root[b] : 0;
    const int32_t component = boruvka.component[i];
    const bool lowest = boruvka.lowest[first + component] == v;
    if (v == given || (lowest && component != boruvka.component[first + given])) forest.add_root(i);
  }
};

struct NumberEdges {
  Forest forest;
  const int32_t *parent, *number;
  int32_t* edge;

  TREEFILTER_HD void operator()(int64_t i) const {
    if (forest.round[i] == Forest::kRoot) edge[i] = -1;
    if (number[i] < 0) return;
    const int64_t first = forest.nodes.floor(i);
    const auto [a, b] = Forest::ends(forest.branch[i]);
    edge[first + (parent[first + a] == b ? a : b)] = number[i];
  }
};

template <class Graph>
struct MarkEdge {
  Boruvka<Graph> boruvka;
  bool* mask;

  TREEFILTER_HD void operator()(int64_t i) const {
    const int32_t edge = held_edge(boruvka, i);
    if (edge >= 0) mask[boruvka.graph.by_nodes().quotient(i) * boruvka.graph.edges() + edge] = true;
  }
};

template <class Graph>
void solve(const Cuda& cuda, const Graph& graph, Span<const float> weight, Span<const int64_t> root,
           Span<int32_t> parent, Span<int32_t> edge, Span<int32_t> order, Span<int32_t> plan) {
  const int64_t batch = root.size, nodes = graph.nodes(), vertices = batch * nodes;
  if (vertices == 0) return;
  const auto [best, component, lowest, number, degree, neighbour, round, flags] =
      cuda.arrays<EdgeOrder, int32_t, int32_t, int32_t, int32_t, int32_t, int8_t, int32_t>(
          vertices, vertices, vertices, vertices, vertices, vertices, vertices,
          batch * Boruvka<Graph>::num_flags(nodes));
  const Boruvka<Graph> boruvka{graph, batch, weight.data, best, component, lowest, flags};
  run_boruvka(cuda, boruvka);
  const Forest forest{batch, Divisor(nodes), degree, neighbour, round, best};
  launch_flat(cuda, "mst", vertices, ClearForest{forest});
  launch_flat(cuda, "mst", vertices, AddEdge<Graph>{boruvka, forest, root.data, number});
  root_and_order(cuda, forest, parent.data, order.data, plan.data);
  launch_flat(cuda, "mst", vertices, NumberEdges{forest, parent.data, number, edge.data});
}

template <class Graph>
void solve_edges(const Cuda& cuda, const Graph& graph, int64_t batch, Span<const float> weight,
                 Span<bool> mask) {
  const int64_t nodes = graph.nodes(), vertices = batch * nodes;
  launch_flat(cuda, "mst", batch * graph.edges(), SetZero<bool>{mask.data});
  if (vertices == 0) return;
  const auto [best, component, flags] = cuda.arrays<EdgeOrder, int32_t, int32_t>(
      vertices, vertices, batch * Boruvka<Graph>::num_flags(nodes));
  const Boruvka<Graph> boruvka{graph, batch, weight.data, best, component, nullptr, flags};
  run_boruvka(cuda, boruvka);
  launch_flat(cuda, "mst", vertices, MarkEdge<Graph>{boruvka, mask.data});
}

}  // namespace

void mst(const Cuda& cuda, const Grid& grid, Span<const float> weight, Span<const int64_t> root,
         Span<int32_t> parent, Span<int32_t> edge, Span<int32_t> order, Span<int32_t> plan) {
  solve(cuda, GridGraph(grid), weight, root, parent, edge, order, plan);
}

void mst(const Cuda& cuda, const EdgeList& graph, Span<const float> weight, Span<const int64_t> root,
         Span<int32_t> parent, Span<int32_t> edge, Span<int32_t> order, Span<int32_t> plan) {
  solve(cuda, ListGraph(graph), weight, root, parent, edge, order, plan);
}

void mst_edges(const Cuda& cuda, const Grid& grid, int64_t batch, Span<const float> weight,
               Span<bool> mask) {
  solve_edges(cuda, GridGraph(grid), batch, weight, mask);
}

void mst_edges(const Cuda& cuda, const EdgeList& graph, int64_t batch, Span<const float> weight,
               Span<bool> mask) {
  solve_edges(cuda, ListGraph(graph), batch, weight, mask);
}

}  // namespace treefilter
