// The weights of a tree's edges: from the numbering by the edges of the graph to the numbering by
// vertices (each vertex but the root has one edge, that to its parent), and the transpose, for
// derivatives.
//
// An edge belongs to at most one vertex, so that the transpose stores values and adds nothing. Cost:
// O(N).
#pragma once

#include "core.h"
#include "cuda/runtime/call.h"

namespace treefilter {

// weight [B, G, E]; edge [B or 1, N]; out [B, G, N] = weight[edge[v]], and 0 at a root (edge -1).
// Throws std::invalid_argument for an edge outside of [-1, E); on CUDA that counts as -1.
template <class T>
void tree_weight(Cpu, int64_t batch, int64_t groups, Span<const T> weight, Span<const int32_t> edge,
                 int64_t num_nodes, Span<T> out);
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

}  // namespace treefilter
