// The edges of a graph in groups that are contiguous in memory, called strips. On a grid, a strip is the
// edges of one direction that start in one segment of a row: both their ends are contiguous as well. In
// an edge list, a strip is a range of edges.
//
// On a grid the strips of a few rows, a tile, are visited together, channel by channel. So a row is read
// from memory once, although it is the upper end of some edges and the lower end of others, and in
// segments that are long enough for the hardware to prefetch.
#pragma once

#include <algorithm>

#include "../../graph.h"
#include "../support/parallel.h"

namespace treefilter {

// The most edges, vertices, columns and rows of a tile. The sums of its edges stay in the first-level
// cache.
constexpr int64_t kSums = 4096, kNodes = 1024, kColumns = 512, kRows = 16;

// The edges e0 + i for 0 <= i < count. Edge e0 + i joins the vertices u0 + i and v0 + i.
struct GridStrip {
  int64_t e0, u0, v0, count;

  int64_t u(int64_t i) const { return u0 + i; }
  int64_t v(int64_t i) const { return v0 + i; }
};

// The edges e0 + i for 0 <= i < count of an edge list.
struct ListStrip {
  int64_t e0, count;
  const int32_t *first, *second;

  int64_t u(int64_t i) const { return first[i]; }
  int64_t v(int64_t i) const { return second[i]; }
};

// Vertices x0 … x1 - 1 of one row of a grid.
struct Segment {
  int64_t z, y, x0, x1;
};

// The grid divided into tiles of rows y0 … y1 - 1 and columns x0 … x1 - 1.
class Tiles {
 public:
  struct Tile {
    int64_t z, y0, y1, x0, x1;
  };

  // Tiles of at most so many vertices, rows and columns.
  Tiles(const Grid& grid, int64_t nodes, int64_t rows, int64_t columns) : grid_(grid) {
    columns_ = std::min({grid.width, columns, nodes});
    rows_ = std::min({grid.height, rows, nodes / columns_});
    across_ = (grid.width + columns_ - 1) / columns_;
    down_ = (grid.height + rows_ - 1) / rows_;
  }

  int64_t count() const { return grid_.depth * down_ * across_; }

  Tile operator[](int64_t i) const {
    const int64_t x = i % across_ * columns_, y = i / across_ % down_ * rows_;
    return {i / across_ / down_, y, std::min(y + rows_, grid_.height), x,
            std::min(x + columns_, grid_.width)};
  }

 private:
  const Grid& grid_;
  int64_t columns_ = 1, rows_ = 1, across_ = 0, down_ = 0;
};

// The edges of direction d whose starting vertex (or ending vertex, for `ends`) lies in the segment.
inline GridStrip strip_of(const Grid& grid, const Direction& d, const Segment& s, bool ends) {
  const int64_t z = s.z - ends * d.dz, y = s.y - ends * d.dy, shift = ends * d.dx;
  const int64_t x0 = std::max(s.x0 - shift, d.x0), x1 = std::min(s.x1 - shift, d.x0 + d.width);
  const bool none = z < 0 || z >= d.depth || y < d.y0 || y >= d.y0 + d.height || x0 >= x1;
  if (none) return {0, 0, 0, 0};
  const int64_t u0 = (z * grid.height + y) * grid.width + x0;
  return {d.edge_at(z, y, x0), u0, u0 + (d.dz * grid.height + d.dy) * grid.width + d.dx, x1 - x0};
}

// Calls visit(b, strips, number of strips) for the strips of every tile of every image of the batch.
// They have kSums edges at most.
template <class Visit>
void for_strips(Cpu cpu, const Grid& grid, int64_t batch, int64_t channels, const Visit& visit) {
  const int64_t nodes = std::min(kNodes, kSums / std::max(1, grid.num_directions));
  const Tiles tiles(grid, nodes, kRows, kColumns);
  parallel_for(batch * tiles.count(), kNodes * channels, cpu, [&] {
    return [&](int64_t item) {
      const Tiles::Tile tile = tiles[item % tiles.count()];
      GridStrip strips[kRows * kMaxDirections];
      int used = 0;
      for (int64_t y = tile.y0; y < tile.y1; ++y) {
        for (int d = 0; d < grid.num_directions; ++d) {
          strips[used] = strip_of(grid, grid.directions[d], {tile.z, y, tile.x0, tile.x1}, false);
          used += strips[used].count > 0;
        }
      }
      visit(item / tiles.count(), strips, used);
    };
  });
}

template <class Visit>
void for_strips(Cpu cpu, const EdgeList& graph, int64_t batch, int64_t channels, const Visit& visit) {
  const int64_t edges = graph.first.size, count = (edges + kNodes - 1) / kNodes;
  parallel_for(batch * count, kNodes * channels, cpu, [&] {
    return [&](int64_t item) {
      const int64_t e0 = item % count * kNodes;
      const ListStrip strip{e0, std::min(kNodes, edges - e0), graph.first.data + e0,
                            graph.second.data + e0};
      visit(item / count, &strip, 1);
    };
  });
}

inline int64_t num_nodes(const Grid& grid) {
  return grid.num_nodes();
}
inline int64_t num_nodes(const EdgeList& graph) {
  return graph.num_nodes;
}
inline int64_t num_edges(const Grid& grid) {
  return grid.num_edges();
}
inline int64_t num_edges(const EdgeList& graph) {
  return graph.first.size;
}

}  // namespace treefilter
