// Minimum spanning trees of a batch of weighted graphs by Boruvka's algorithm (1926).
//
// In every round each component picks its lightest outgoing edge and merges along it. The edges are in
// a strict total order, (weight, edge number), so the tree is unique: any schedule, tiling or back end
// finds the same one. -0 equals 0; an edge of weight +inf does not exist, and what it would have
// joined stays apart: the result is a forest.
//
// A tree leaves this stage unrooted, in a form that can be peeled without adjacency lists
// (cpu/mst/peel.h, on CUDA plan.h): a leaf's only edge can be read from it, and a leaf taken away by one
// exclusive-or at its neighbour.
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

// weight [B, E]; parent, edge, order [B, N] as in Tree (tree.py); root [B].
// Throws std::invalid_argument for a NaN weight, a root outside [0, N) or a bad index.
void mst(Cpu, const Grid&, Span<const float> weight, Span<const int64_t> root, Span<int32_t> parent,
         Span<int32_t> edge, Span<int32_t> order);
void mst(Cpu, const EdgeList&, Span<const float> weight, Span<const int64_t> root, Span<int32_t> parent,
         Span<int32_t> edge, Span<int32_t> order);

// On CUDA nothing is thrown for values: an edge whose weight is NaN or whose ends are outside of [0, N)
// does not exist, and a root outside of [0, N) is 0. plan [B, PlanView::size(N)] (plan.h).
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
