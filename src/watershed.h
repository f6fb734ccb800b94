// Seeded watersheds: the minimum spanning forest that is rooted in markers (J. Cousty, G. Bertrand,
// L. Najman and M. Couprie, IEEE TPAMI 31(8), 2009), of a graph whose minimum spanning tree is known.
//
// Every vertex gets the label of the marker that it is joined to by the lightest edges: the forest is
// the minimum spanning tree of the graph in which all markers are one vertex, and has only edges of the
// minimum spanning tree. The order of edges is strict (edge_order.h), so there is one such forest, the
// same on every back end. A region is connected to a marker of its label.
//
// On the CPU the tree's edges are sorted, and Kruskal's algorithm joins sets of which at most one has a
// label. On CUDA it is Boruvka's algorithm (cuda/watershed.cu). Cost: O(N).
#pragma once

#include "dendrogram.h"

namespace treefilter {

// weight [B, E]; markers, labels [B, N]: 0 is no marker, and the label where none is in reach.
// An edge of weight NaN does not exist.
void watershed(Cpu, int64_t batch, const TreeEdges&, Span<const Weight> weight,
               Span<const int64_t> markers, Span<int64_t> labels);
void watershed(const Cuda&, int64_t batch, const TreeEdges&, Span<const Weight> weight,
               Span<const int64_t> markers, Span<int64_t> labels);

}  // namespace treefilter
