// The graphs of the library in native form: grids, and lists of edges.
#pragma once

#include "core.h"

namespace treefilter {

constexpr int kMaxDirections = 13;

// A direction of a grid (a step to one half of the neighbours) and its edges. One edge starts at each
// vertex of a box; edges are numbered in the order of these vertices, which is row by row. Int is
// int64_t, or int32_t on the device, where it takes fewer registers.
template <class Int>
struct DirectionOf {
  Int dz, dy, dx;
  Int y0, x0;                // the first row and column in which an edge starts; the first plane is 0
  Int depth, height, width;  // of the box
  Int first_edge;

  // The direction (dz, dy, dx) in a grid of these sizes. A side of the box is <= 0 if it has no edges.
  static TREEFILTER_HD DirectionOf in_grid(Int dz, Int dy, Int dx, Int depth, Int height, Int width,
                                           Int first_edge) {
    return {dz,
            dy,
            dx,
            dy < 0 ? -dy : 0,
            dx < 0 ? -dx : 0,
            depth - dz,
            dy < 0 ? height + dy : height - dy,
            dx < 0 ? width + dx : width - dx,
            first_edge};
  }

  TREEFILTER_HD Int count() const { return depth * height * width; }

  // Whether an edge starts at a vertex.
  TREEFILTER_HD bool starts_at(Int z, Int y, Int x) const {
    const Int row = y - y0, column = x - x0;
    return z >= 0 && z < depth && row >= 0 && row < height && column >= 0 && column < width;
  }
  // The number of the edge that starts at a vertex.
  TREEFILTER_HD Int edge_at(Int z, Int y, Int x) const {
    return first_edge + (z * height + (y - y0)) * width + (x - x0);
  }
};

using Direction = DirectionOf<int64_t>;

// A grid: its sizes (1 for a missing axis), and the directions that have edges, in the order of edge
// numbers.
struct Grid {
  int64_t depth = 0, height = 0, width = 0;
  int num_directions = 0;
  Direction directions[kMaxDirections];

  Grid(int64_t depth, int64_t height, int64_t width, int num_directions, const int64_t* steps);
  TREEFILTER_HD int64_t num_nodes() const { return depth * height * width; }
  int64_t num_edges() const;
};

// An edge list, (2, E) int32. The indices are checked by the code that reads them.
struct EdgeList {
  int64_t num_nodes;
  Span<const int32_t> first, second;
};

}  // namespace treefilter
