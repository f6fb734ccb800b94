// Minimum spanning trees of a batch of weighted graphs, by Boruvka's algorithm (1926).
//
// In every round each component chooses its lightest outgoing edge and merges along it. The edges have a
// strict total order, (weight, edge number) (edge_order.h), so that the tree is unique: every schedule,
// tiling and back end finds the same one. An edge of weight +inf does not exist; the vertices that it
// would join may stay apart, and the result is a forest.
//
// The solver's result is an unrooted forest, in a form that can be peeled without adjacency lists
// (cpu/mst/peel.h, cuda/plan/peel.cuh): the only edge of a leaf can be read from it, and one
// exclusive-or at its neighbour removes the leaf.
#pragma once

#include "cuda/runtime/call.h"
#include "edge_order.h"
#include "graph.h"

namespace treefilter {

// For float64 weights [B, E]: float32 weights `to` [B, E] in the same order in each image, equal weights
// by edge number (edge_order.h). +inf and NaN are the same in both. O(E); 16 bytes per edge of
// workspace, up to 48 if most weights round to the same float32 value. Where float32 holds all weights
// of an image exactly, they are the result, and nothing is sorted.
void rank_weights(Cpu, int64_t batch, Span<const double> weight, Span<Weight> to);

// weight [B, E]; root [B]; parent, edge, order [B, N] as in Tree (tree.py).
// Throws std::invalid_argument for a NaN weight, a root outside [0, N) or a bad index.
void mst(Cpu, const Grid&, Span<const float> weight, Span<const int64_t> root, Span<int32_t> parent,
         Span<int32_t> edge, Span<int32_t> order);
void mst(Cpu, const EdgeList&, Span<const float> weight, Span<const int64_t> root, Span<int32_t> parent,
         Span<int32_t> edge, Span<int32_t> order);

// On CUDA no value makes it throw: an edge whose weight is NaN, or that has an end outside of [0, N),
// does not exist, and a root outside of [0, N) is taken as 0. plan [B, PlanView::size(N)] (plan.h).
void mst(const Cuda&, const Grid&, Span<const float> weight, Span<const int64_t> root,
         Span<int32_t> parent, Span<int32_t> edge, Span<int32_t> order, Span<int32_t> plan);
void mst(const Cuda&, const EdgeList&, Span<const float> weight, Span<const int64_t> root,
         Span<int32_t> parent, Span<int32_t> edge, Span<int32_t> order, Span<int32_t> plan);

// The edge set alone: mask [B, E].
void mst_edges(Cpu, const Grid&, int64_t batch, Span<const float> weight, Span<bool> mask);
void mst_edges(Cpu, const EdgeList&, int64_t batch, Span<const float> weight, Span<bool> mask);
void mst_edges(const Cuda&, const Grid&, int64_t batch, Span<const float> weight, Span<bool> mask);
void mst_edges(const Cuda&, const EdgeList&, int64_t batch, Span<const float> weight, Span<bool> mask);

}  // namespace treefilter
