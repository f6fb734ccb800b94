// The graphs of the library as the native code sees them: grids, and lists of edges.
#pragma once

#include "core.h"

namespace treefilter {

constexpr int kMaxDirections = 13;

// A step of the half-neighbourhood and the edges that it makes: one from each vertex of a box.
struct Direction {
  int64_t dz, dy, dx;
  int64_t y0, x0;                // first row and column that such an edge starts in
  int64_t depth, height, width;  // of the box of starting vertices
  int64_t first_edge;
};

// A grid of the graph stage: sizes (1 for a missing axis) and directions in order of edge number.
struct Grid {
  int64_t depth = 0, height = 0, width = 0;
  int num_directions = 0;
  Direction directions[kMaxDirections];

  Grid(int64_t depth, int64_t height, int64_t width, int num_directions, const int64_t* steps);
  TREEFILTER_HD int64_t num_nodes() const { return depth * height * width; }
  int64_t num_edges() const;
};

// An edge list, (2, E) int32. The indices are checked where they are read.
struct EdgeList {
  int64_t num_nodes;
  Span<const int32_t> first, second;
};

}  // namespace treefilter
