// The weights of a tree's edges: from the numbering of the graph's edges to that of the vertices that
// the edges belong to (each but the root to one, the child), and back for derivatives.
//
// An edge belongs to at most one vertex, so the way back is a plain store: nothing is summed. Cost:
// O(N).
#pragma once

#include "core.h"
#include "cuda/runtime/call.h"

namespace treefilter {

// weight [B, G, E]; edge [B or 1, N]; out [B, G, N]: weight[edge[v]], 0 at a root.
// Throws std::invalid_argument for an edge outside [-1, E); on CUDA it counts as -1.
template <class T>
void tree_weight(Cpu, int64_t batch, int64_t groups, Span<const T> weight, Span<const int32_t> edge,
                 int64_t num_nodes, Span<T> out);
template <class T>
void tree_weight(const Cuda&, int64_t batch, int64_t groups, Span<const T> weight,
                 Span<const int32_t> edge, int64_t num_nodes, Span<T> out);

// grad [B, G, N]; out [B, G, E], 0 where no vertex has the edge.
template <class T>
void tree_weight_backward(Cpu, int64_t batch, int64_t groups, Span<const T> grad,
                          Span<const int32_t> edge, int64_t num_nodes, Span<T> out);
template <class T>
void tree_weight_backward(const Cuda&, int64_t batch, int64_t groups, Span<const T> grad,
                          Span<const int32_t> edge, int64_t num_nodes, Span<T> out);

}  // namespace treefilter
