// The geometry of a grid: where the edges of each direction start, and how they are numbered.
#include "graph.h"

#include <algorithm>

namespace treefilter {

Grid::Grid(int64_t depth, int64_t height, int64_t width, int num_directions, const int64_t* steps)
    : depth(depth), height(height), width(width) {
  int64_t first_edge = 0;
  for (int i = 0; i < num_directions; ++i) {
    Direction d;
    d.dz = steps[3 * i];
    d.dy = steps[3 * i + 1];
    d.dx = steps[3 * i + 2];
    d.y0 = std::max<int64_t>(0, -d.dy);
    d.x0 = std::max<int64_t>(0, -d.dx);
    d.depth = std::max<int64_t>(0, depth - d.dz);
    d.height = std::max<int64_t>(0, height - std::abs(d.dy));
    d.width = std::max<int64_t>(0, width - std::abs(d.dx));
    d.first_edge = first_edge;
    const int64_t count = d.depth * d.height * d.width;
    if (count == 0) continue;  // a missing axis: no stage has to think of it again
    first_edge += count;
    directions[this->num_directions++] = d;
  }
}

int64_t Grid::num_edges() const {
  if (num_directions == 0) return 0;
  const Direction& last = directions[num_directions - 1];
  return last.first_edge + last.depth * last.height * last.width;
}

}  // namespace treefilter
