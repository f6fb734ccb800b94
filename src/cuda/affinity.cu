// tree_weight and its transpose on CUDA, with a thread for each value of the vertices' side.
// Neighbouring threads read or write neighbouring values there. tree_weight gathers from the edges'
// side; a tree has a third to a half of a grid's edges, and neighbours have neighbouring edges, so that
// on a photograph about every sector of `weight` is read once. The transpose clears its result, then
// stores at most one value for each edge. Cost: O(N) and O(N + E); one and two launches.
//
// If two vertices have the same edge this is no tree; it is then open which of their values the
// transpose keeps.
#include "../affinity.h"
#include "runtime/launch.cuh"

namespace treefilter {
using namespace cuda;

namespace {

// The edges of B x G trees: tree.edge [B, N], or [1, N] for all.
struct TreeEdges {
  const int32_t* edge;
  int64_t nodes, edges, groups;
  bool shared;

  // The index in [B, G, E] of the edge that index i of [B, G, N] has; -1 if there is none.
  TREEFILTER_HD int64_t index_of_edge(int64_t i) const {
    const int64_t group = i / nodes, tree = shared ? 0 : groups == 1 ? group : group / groups;
    const int32_t e = edge[i - (group - tree) * nodes];
    return e < 0 || e >= edges ? -1 : group * edges + e;
  }
};

TreeEdges tree_edges(int64_t batch, int64_t groups, Span<const int32_t> edge, int64_t num_nodes,
                     int64_t weights) {
  return {edge.data, num_nodes, weights / (batch * groups), groups, edge.size == num_nodes};
}

template <class T>
struct Gather {
  TreeEdges tree;
  const T* weight;
  T* out;

  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t e = tree.index_of_edge(i);
    out[i] = e < 0 ? T(0) : weight[e];
  }
};

template <class T>
struct Scatter {
  TreeEdges tree;
  const T* grad;
  T* out;

  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t e = tree.index_of_edge(i);
    if (e >= 0) out[e] = grad[i];
  }
};

}  // namespace

template <class T>
void tree_weight(const Cuda& cuda, int64_t batch, int64_t groups, Span<const T> weight,
                 Span<const int32_t> edge, int64_t num_nodes, Span<T> out) {
  if (batch * groups == 0) return;
  launch_flat(cuda, "tree_weight", out.size,
              Gather<T>{tree_edges(batch, groups, edge, num_nodes, weight.size), weight.data, out.data});
}

template <class T>
void tree_weight_backward(const Cuda& cuda, int64_t batch, int64_t groups, Span<const T> grad,
                          Span<const int32_t> edge, int64_t num_nodes, Span<T> out) {
  if (batch * groups == 0) return;
  launch_flat(cuda, "tree_weight_backward", out.size, SetZero<T>{out.data});
  launch_flat(cuda, "tree_weight_backward", grad.size,
              Scatter<T>{tree_edges(batch, groups, edge, num_nodes, out.size), grad.data, out.data});
}

#define TREEFILTER_INSTANTIATE(T)                                                                       \
  template void tree_weight(const Cuda&, int64_t, int64_t, Span<const T>, Span<const int32_t>, int64_t, \
                            Span<T>);                                                                   \
  template void tree_weight_backward(const Cuda&, int64_t, int64_t, Span<const T>, Span<const int32_t>, \
                                     int64_t, Span<T>);
TREEFILTER_INSTANTIATE(float)
TREEFILTER_INSTANTIATE(double)

}  // namespace treefilter
