// The weights of a tree's edges: from the numbering by the edges of the graph to the numbering by
// vertices (each vertex but the root has one edge, that to its parent), and the transpose, for
// derivatives; and affinities, exp(-weight / sigma) of the same edges (Eq. 5 of Liang et al., CVPR
// 2022), whose exp is that of exponential.h.
//
// An edge belongs to at most one vertex, so that the transpose stores values and adds nothing, except
// over groups that share their weights, in the groups' order. Cost: O(N).
#pragma once

#include "core.h"
#include "cuda/runtime/call.h"

namespace treefilter {

// The sigma of group g in image b: one number for all, or values [B, S], of which S = 1 serves all
// groups.
template <class T>
struct Sigma {
  T all;
  Span<const T> values;
  int64_t groups;

  TREEFILTER_HD T of(int64_t b, int64_t g) const {
    return values.size == 0 ? all : values[b * groups + (groups == 1 ? 0 : g)];
  }
};

// weight [B, G, E]; edge [B or 1, N]; out [B, G, N] = weight[edge[v]], and 0 at a root (edge -1).
// Throws std::invalid_argument for an edge outside of [-1, E), where `name` is what the user calls the
// edges; on CUDA that counts as -1.
template <class T>
void tree_weight(Cpu, int64_t batch, int64_t groups, Span<const T> weight, Span<const int32_t> edge,
                 int64_t num_nodes, Span<T> out, const char* name = "tree.edge");
template <class T>
void tree_weight(const Cuda&, int64_t batch, int64_t groups, Span<const T> weight,
                 Span<const int32_t> edge, int64_t num_nodes, Span<T> out);

// grad [B, G, N]; out [B, G, E], which is 0 where no vertex has the edge.
template <class T>
void tree_weight_backward(Cpu, int64_t batch, int64_t groups, Span<const T> grad,
                          Span<const int32_t> edge, int64_t num_nodes, Span<T> out);
template <class T>
void tree_weight_backward(const Cuda&, int64_t batch, int64_t groups, Span<const T> grad,
                          Span<const int32_t> edge, int64_t num_nodes, Span<T> out);

// weight [B, W, E] with W = G or 1; edge [B or 1, N]; out [B, G, N] = exp(-weight[edge[v]] / sigma), and
// 0 at a root. For edges as above.
template <class T>
void affinity(Cpu, int64_t batch, int64_t groups, Span<const T> weight, int64_t weight_groups,
              Span<const int32_t> edge, int64_t num_nodes, const Sigma<T>& sigma, Span<T> out);
template <class T>
void affinity(const Cuda&, int64_t batch, int64_t groups, Span<const T> weight, int64_t weight_groups,
              Span<const int32_t> edge, int64_t num_nodes, const Sigma<T>& sigma, Span<T> out);

// The derivative by the weights. grad, a [B, G, N], a of affinity(); out [B, W, E] = grad a / -sigma,
// which is 0 where no vertex has the edge; with W = 1 the sum over the groups.
template <class T>
void affinity_backward(Cpu, int64_t batch, int64_t groups, Span<const T> grad, Span<const T> a,
                       Span<const int32_t> edge, int64_t num_nodes, const Sigma<T>& sigma,
                       int64_t weight_groups, Span<T> out);
template <class T>
void affinity_backward(const Cuda&, int64_t batch, int64_t groups, Span<const T> grad, Span<const T> a,
                       Span<const int32_t> edge, int64_t num_nodes, const Sigma<T>& sigma,
                       int64_t weight_groups, Span<T> out);

}  // namespace treefilter
