// tree_weight, affinity and their transposes on CUDA, with one thread for each value of a vertex.
// Neighbouring threads read or write neighbouring values there. tree_weight gathers weights of edges; a
// tree has a third to a half of a grid's edges, and neighbours have neighbouring edges, so that on a
// photograph about every sector of `weight` is read once. The transpose clears its result, then stores
// at most one value for each edge. Cost: O(N) and O(N + E); one and two launches.
//
// If two vertices have the same edge, the input is not a tree, and the transpose keeps either value.
#include "../affinity.h"
#include "../exponential.h"
#include "runtime/launch.cuh"

namespace treefilter {
using namespace cuda;

namespace {

// The edge of vertex v in the tree of image b; -1 if there is none.
struct EdgeOf {
  const int32_t* edge;
  int64_t nodes, edges;
  bool shared;

  // `weights`: the number of all weights; `maps`: of images times groups.
  static EdgeOf of(Span<const int32_t> edge, int64_t nodes, int64_t weights, int64_t maps) {
    return {edge.data, nodes, weights / maps, edge.size == nodes};
  }
  TREEFILTER_HD int64_t operator()(int64_t b, int64_t v) const {
    const int32_t e = edge[(shared ? 0 : b * nodes) + v];
    return e < 0 || e >= edges ? -1 : e;
  }
};

// The value of vertex v of map b * groups + g is at i = (b * groups + g) * nodes + v.
template <class T>
struct Gather {
  EdgeOf edge_of;
  int64_t groups;
  const T* weight;
  T* out;

  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t map = i / edge_of.nodes, e = edge_of(map / groups, i - map * edge_of.nodes);
    out[i] = e < 0 ? T(0) : weight[map * edge_of.edges + e];
  }
};

template <class T>
struct Scatter {
  EdgeOf edge_of;
  int64_t groups;
  const T* grad;
  T* out;

  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t map = i / edge_of.nodes, e = edge_of(map / groups, i - map * edge_of.nodes);
    if (e >= 0) out[map * edge_of.edges + e] = grad[i];
  }
};

template <class T>
struct Affinity {
  EdgeOf edge_of;
  int64_t groups, weight_groups;
  Sigma<T> sigma;
  const T* weight;
  T* out;

  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t map = i / edge_of.nodes, b = map / groups, g = map - b * groups;
    const int64_t e = edge_of(b, i - map * edge_of.nodes);
    const int64_t from = weight_groups == 1 ? b : map;
    out[i] = e < 0 ? T(0) : exponential(weight[from * edge_of.edges + e] / -sigma.of(b, g));
  }
};

// i = (b * weight_groups + w) * nodes + v. The groups that share their weights are added one by one.
template <class T>
struct AffinityBackward {
  EdgeOf edge_of;
  int64_t groups, weight_groups;
  Sigma<T> sigma;
  const T *grad, *a;
  T* out;

  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t map = i / edge_of.nodes, v = i - map * edge_of.nodes, b = map / weight_groups;
    const int64_t e = edge_of(b, v);
    if (e < 0) return;
    const int64_t summed = groups / weight_groups;
    T sum = T(0);
    for (int64_t from = map * summed; from < (map + 1) * summed; ++from) {
      const int64_t at = from * edge_of.nodes + v;
      sum += grad[at] * a[at] / -sigma.of(b, from - b * groups);
    }
    out[map * edge_of.edges + e] = sum;
  }
};

}  // namespace

template <class T>
void tree_weight(const Cuda& cuda, int64_t batch, int64_t groups, Span<const T> weight,
                 Span<const int32_t> edge, int64_t num_nodes, Span<T> out) {
  if (batch * groups == 0) return;
  launch_flat(cuda, "tree_weight", out.size,
              Gather<T>{EdgeOf::of(edge, num_nodes, weight.size, batch * groups), groups, weight.data,
                        out.data});
}

template <class T>
void tree_weight_backward(const Cuda& cuda, int64_t batch, int64_t groups, Span<const T> grad,
                          Span<const int32_t> edge, int64_t num_nodes, Span<T> out) {
  if (batch * groups == 0) return;
  launch_flat(cuda, "tree_weight_backward", out.size, SetZero<T>{out.data});
  launch_flat(
      cuda, "tree_weight_backward", grad.size,
      Scatter<T>{EdgeOf::of(edge, num_nodes, out.size, batch * groups), groups, grad.data, out.data});
}

template <class T>
void affinity(const Cuda& cuda, int64_t batch, int64_t groups, Span<const T> weight,
              int64_t weight_groups, Span<const int32_t> edge, int64_t num_nodes, const Sigma<T>& sigma,
              Span<T> out) {
  if (batch * groups == 0) return;
  const EdgeOf edge_of = EdgeOf::of(edge, num_nodes, weight.size, batch * weight_groups);
  launch_flat(cuda, "affinity", out.size,
              Affinity<T>{edge_of, groups, weight_groups, sigma, weight.data, out.data});
}

template <class T>
void affinity_backward(const Cuda& cuda, int64_t batch, int64_t groups, Span<const T> grad,
                       Span<const T> a, Span<const int32_t> edge, int64_t num_nodes,
                       const Sigma<T>& sigma, int64_t weight_groups, Span<T> out) {
  if (batch * groups == 0) return;
  const EdgeOf edge_of = EdgeOf::of(edge, num_nodes, out.size, batch * weight_groups);
  launch_flat(cuda, "affinity_backward", out.size, SetZero<T>{out.data});
  launch_flat(cuda, "affinity_backward", batch * weight_groups * num_nodes,
              AffinityBackward<T>{edge_of, groups, weight_groups, sigma, grad.data, a.data, out.data});
}

#define TREEFILTER_INSTANTIATE(T)                                                                       \
  template void tree_weight(const Cuda&, int64_t, int64_t, Span<const T>, Span<const int32_t>, int64_t, \
                            Span<T>);                                                                   \
  template void tree_weight_backward(const Cuda&, int64_t, int64_t, Span<const T>, Span<const int32_t>, \
                                     int64_t, Span<T>);                                                 \
  template void affinity(const Cuda&, int64_t, int64_t, Span<const T>, int64_t, Span<const int32_t>,    \
                         int64_t, const Sigma<T>&, Span<T>);                                            \
  template void affinity_backward(const Cuda&, int64_t, int64_t, Span<const T>, Span<const T>,          \
                                  Span<const int32_t>, int64_t, const Sigma<T>&, int64_t, Span<T>);
TREEFILTER_INSTANTIATE(float)
TREEFILTER_INSTANTIATE(double)

}  // namespace treefilter
