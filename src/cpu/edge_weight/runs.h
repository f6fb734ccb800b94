// The vertices of a grid in runs with their neighbours, for sums over the edges of a vertex.
//
// Visiting a row costs as much as some dozens of its vertices, because it begins and ends with vertices
// that have fewer neighbours. So rows of a whole grid, but the outer ones, are joined: a neighbour
// beyond the end of a row is the vertex that is there in memory, at the end of another row, and its
// weight is 0. Weights of neighbours in other columns are copied for that, once for all channels.
#pragma once

#include <algorithm>

#include "../support/workspace.h"
#include "strips.h"

namespace treefilter {

// The most weights, rows and columns of a tile, and the most vertices of several rows. The weights stay
// in the second-level cache.
constexpr int64_t kWeights = 32768, kTileRows = 128, kTileColumns = 2048, kJoined = 512;
static_assert(kWeights / kJoined + 5 <= kTileRows);  // runs of a tile

// The neighbours in one direction of vertices x0 … x1 - 1 of a run: vertex x has the neighbour x + step,
// and weight[x] is that of the edge between them.
template <class T>
struct Neighbours {
  int64_t x0, x1, step;
  const T* weight;
};

// Consecutive vertices with their neighbours in all directions. x counts from the first vertex, `start`.
template <class T>
struct RunOf {
  int64_t start, width;
  int64_t all0, all1;  // vertices all0 … all1 - 1 have a neighbour in each of the `count` directions
  int count;
  Neighbours<T> neighbours[2 * kMaxDirections];
};

// A segment of a row as a run.
template <class T>
RunOf<T> run_of(const Grid& grid, const Segment& s, const T* weight) {
  const int64_t start = (s.z * grid.height + s.y) * grid.width + s.x0, width = s.x1 - s.x0;
  RunOf<T> run{start, width, 0, width, 0, {}};
  for (int d = 0; d < 2 * grid.num_directions; ++d) {
    const bool ends = d % 2;
    const GridStrip strip = strip_of(grid, grid.directions[d / 2], s, ends);
    if (strip.count == 0) continue;
    const int64_t step = strip.v0 - strip.u0;
    const int64_t x0 = (ends ? strip.v0 : strip.u0) - start, x1 = x0 + strip.count;
    run.neighbours[run.count++] = {x0, x1, ends ? -step : step, weight + strip.e0 - x0};
    run.all0 = std::max(run.all0, x0);
    run.all1 = std::min(run.all1, x1);
  }
  run.all1 = std::max(run.all0, run.all1);
  return run;
}

// The runs of a tile, in ascending order.
template <class T>
class TileRuns {
 public:
  static Tiles tiles(const Grid& grid) {
    return Tiles(grid, kWeights / std::max(1, grid.num_directions), kTileRows, kTileColumns);
  }
  explicit TileRuns(const Grid& grid) : grid_(grid), copies_(2 * kWeights) {}

  void set(const Tiles::Tile& tile, const T* weight) {
    // A neighbour beyond the end of a row may be two rows away. It must be a vertex of the grid.
    const bool whole = tile.x0 == 0 && tile.x1 == grid_.width;
    const int64_t y0 = std::clamp<int64_t>(2, tile.y0, tile.y1);
    const int64_t y1 = std::clamp<int64_t>(grid_.height - 2, y0, tile.y1);
    count_ = 0;
    add_rows(tile, tile.y0, whole ? y0 : tile.y1, weight);
    if (!whole) return;
    if (y0 < y1) add_joined(tile.z, y0, y1, weight);
    add_rows(tile, y1, tile.y1, weight);
  }

  int count() const { return count_; }
  const RunOf<T>& operator[](int i) const { return runs_[i]; }

 private:
  void add_rows(const Tiles::Tile& tile, int64_t y0, int64_t y1, const T* weight) {
    for (int64_t y = y0; y < y1; ++y) {
      runs_[count_++] = run_of(grid_, {tile.z, y, tile.x0, tile.x1}, weight);
    }
  }

  // Whole rows y0 … y1 - 1.
  void add_joined(int64_t z, int64_t y0, int64_t y1, const T* weight) {
    const int64_t width = grid_.width, size = (y1 - y0) * width;
    RunOf<T> all = run_of(grid_, {z, y0, 0, width}, weight);
    for (int64_t y = y0; y < y1; ++y) {
      const RunOf<T> row = run_of(grid_, {z, y, 0, width}, weight);
      T* copy = copies_.data() + (y - y0) * width;
      for (const Neighbours<T>* n = row.neighbours; n < row.neighbours + row.count; ++n) {
        if (n->x1 - n->x0 == width) continue;
        std::fill(copy, copy + n->x0, T(0));
        std::copy(n->weight + n->x0, n->weight + n->x1, copy + n->x0);
        std::fill(copy + n->x1, copy + width, T(0));
        copy += size;
      }
    }
    const T* copy = copies_.data();
    for (Neighbours<T>* n = all.neighbours; n < all.neighbours + all.count; ++n) {
      if (n->x1 - n->x0 == width) continue;
      n->weight = copy;
      copy += size;
    }
    for (int64_t x0 = 0; x0 < size; x0 += kJoined) {
      RunOf<T>& run = runs_[count_++] = all;
      run.start += x0;
      run.width = std::min(kJoined, size - x0);
      run.all0 = 0;
      run.all1 = run.width;
      for (Neighbours<T>* n = run.neighbours; n < run.neighbours + run.count; ++n) {
        n->x0 = 0;
        n->x1 = run.width;
        n->weight += x0;
      }
    }
  }

  const Grid& grid_;
  Buffer<T> copies_;
  RunOf<T> runs_[kTileRows];
  int count_ = 0;
};

}  // namespace treefilter
