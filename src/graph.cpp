// The directions of a grid that have edges.
#include "graph.h"

namespace treefilter {

Grid::Grid(int64_t depth, int64_t height, int64_t width, int num_directions, const int64_t* steps)
    : depth(depth), height(height), width(width) {
  int64_t first_edge = 0;
  for (int i = 0; i < num_directions; ++i) {
    const Direction d = Direction::in_grid(steps[3 * i], steps[3 * i + 1], steps[3 * i + 2], depth,
                                           height, width, first_edge);
    if (d.depth <= 0 || d.height <= 0 || d.width <= 0) continue;  // a missing axis: no edges
    first_edge += d.count();
    directions[this->num_directions++] = d;
  }
}

int64_t Grid::num_edges() const {
  if (num_directions == 0) return 0;
  const Direction& last = directions[num_directions - 1];
  return last.first_edge + last.count();
}

}  // namespace treefilter
