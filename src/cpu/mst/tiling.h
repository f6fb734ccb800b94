// The division of a grid into tiles, and the coordinates inside one.
#pragma once

#include <algorithm>
#include <cmath>
#include <utility>

#include "../../graph.h"

namespace treefilter {

struct Tile {
  int64_t z0, y0, x0;            // first vertex
  int64_t depth, height, width;  // without padding
};

// Divides a grid into tiles of nearly equal size, as cubic as its shape allows.
class Tiling {
 public:
  explicit Tiling(const Grid& grid) : grid_(grid) {
    const int64_t sizes[3] = {grid.depth, grid.height, grid.width};
    int axes[3] = {0, 1, 2};
    std::sort(axes, axes + 3, [&](int a, int b) { return sizes[a] < sizes[b]; });
    double budget = grid.depth > 1 ? kVerticesOfVolume : kVertices;
    for (int i = 0; i < 3; ++i) {  // a short axis leaves its budget to the longer ones
      const int64_t side = static_cast<int64_t>(std::pow(budget, 1.0 / (3 - i)) + 0.5);
      const int64_t size = sizes[axes[i]];
      parts_[axes[i]] = (size + side - 1) / side;
      budget /= static_cast<double>(std::min(size, side));
    }
  }

  int64_t count() const { return parts_[0] * parts_[1] * parts_[2]; }

  Tile tile(int64_t index) const {
    Tile t;
    cut(grid_.width, parts_[2], index % parts_[2], t.x0, t.width);
    index /= parts_[2];
    cut(grid_.height, parts_[1], index % parts_[1], t.y0, t.height);
    cut(grid_.depth, parts_[0], index / parts_[1], t.z0, t.depth);
    return t;
  }

 private:
  // The vertices of a tile. With so many, its keys, picks and components nearly fit into a second-level
  // cache of 1 MiB. A tile of a volume has a larger surface, whose edges cannot be decided inside the
  // tile, so larger tiles are faster.
  static constexpr int64_t kVertices = 256 * 256, kVerticesOfVolume = 64 * 64 * 64;

  static void cut(int64_t size, int64_t parts, int64_t i, int64_t& begin, int64_t& length) {
    begin = size * i / parts;
    length = size * (i + 1) / parts - begin;
  }

  Grid grid_;
  int64_t parts_[3];
};

// The coordinates of one tile. z, y, x are relative to its first vertex, -1 in the padding before it; q
// is the row-major index in the padded tile. The code of an edge is made of the q that it starts at and
// its direction.
class TileFrame {
 protected:
  explicit TileFrame(const Grid& grid) : grid_(grid) {}

  void set_tile(const Tile& tile) {
    tile_ = tile;
    pad_z_ = grid_.depth > 1;
    pad_y_ = grid_.height > 1;
    pad_x_ = grid_.width > 1;
    rows_ = tile.height + 2 * pad_y_;
    columns_ = tile.width + 2 * pad_x_;
    padded_ = (tile.depth + 2 * pad_z_) * rows_ * columns_;
    for (int d = 0; d < grid_.num_directions; ++d) {
      const Direction& step = grid_.directions[d];
      step_[d] = (step.dz * rows_ + step.dy) * columns_ + step.dx;
    }
  }

  int64_t row_start(int64_t z, int64_t y) const {  // tile coordinates, -1 for the padding before
    return ((z + pad_z_) * rows_ + y + pad_y_) * columns_ + pad_x_;
  }

  int64_t vertex(int64_t z, int64_t y, int64_t x) const {
    return ((tile_.z0 + z) * grid_.height + tile_.y0 + y) * grid_.width + tile_.x0 + x;
  }

  // The number of the edge that starts at tile coordinates (z, y, x).
  int64_t edge_number(const Direction& d, int64_t z, int64_t y, int64_t x) const {
    return d.edge_at(tile_.z0 + z, tile_.y0 + y, tile_.x0 + x);
  }

  // The range of columns in a row of the tile where an edge of direction d starts.
  std::pair<int64_t, int64_t> starts_in_row(const Direction& d, int64_t z, int64_t y) const {
    const int64_t row = tile_.y0 + y - d.y0;
    if (tile_.z0 + z >= d.depth || row < 0 || row >= d.height) return {0, 0};
    return {std::max<int64_t>(0, d.x0 - tile_.x0), std::min(tile_.width, d.x0 + d.width - tile_.x0)};
  }

  static int32_t code_of(int64_t q, int d) { return static_cast<int32_t>(q << kDirectionBits | d); }
  static int64_t code_vertex(int32_t code) { return code >> kDirectionBits; }
  static int code_direction(int32_t code) { return code & ((1 << kDirectionBits) - 1); }

  struct EdgeStart {
    const Direction& direction;
    int64_t z, y, x;
  };

  EdgeStart start_of(int32_t code) const {
    const int32_t q = static_cast<int32_t>(code_vertex(code));
    const int32_t row = q / static_cast<int32_t>(columns_);
    return {grid_.directions[code_direction(code)], row / static_cast<int32_t>(rows_) - pad_z_,
            row % static_cast<int32_t>(rows_) - pad_y_, q % static_cast<int32_t>(columns_) - pad_x_};
  }

  int32_t edge_number(int32_t code) const {
    const EdgeStart e = start_of(code);
    return static_cast<int32_t>(edge_number(e.direction, e.z, e.y, e.x));
  }

  // The vertices that an edge joins.
  std::pair<int32_t, int32_t> ends(int32_t code) const {
    const EdgeStart e = start_of(code);
    const Direction& d = e.direction;
    return {static_cast<int32_t>(vertex(e.z, e.y, e.x)),
            static_cast<int32_t>(vertex(e.z + d.dz, e.y + d.dy, e.x + d.dx))};
  }

  // Calls visit(z, y) for every row of the tile.
  template <class Visit>
  void for_rows(const Visit& visit) const {
    for (int64_t z = 0; z < tile_.depth; ++z) {
      for (int64_t y = 0; y < tile_.height; ++y) visit(z, y);
    }
  }

  static constexpr int kDirectionBits = 4;
  static_assert(kMaxDirections <= 1 << kDirectionBits);

  Grid grid_;
  Tile tile_{};
  int64_t pad_z_ = 0, pad_y_ = 0, pad_x_ = 0;
  int64_t rows_ = 0, columns_ = 0, padded_ = 0;
  int64_t step_[kMaxDirections] = {};
};

// What the largest tiles of a grid need.
struct TileSizes : private TileFrame {
  int64_t padded = 0, width = 0, vertices = 0;

  TileSizes(const Grid& grid, const Tiling& tiling) : TileFrame(grid) {
    for (int64_t t = 0; t < tiling.count(); ++t) {
      const Tile tile = tiling.tile(t);
      set_tile(tile);
      padded = std::max(padded, padded_);
      width = std::max(width, tile.width + 2 * pad_x_);
      vertices = std::max(vertices, tile.depth * tile.height * tile.width);
    }
  }
};

}  // namespace treefilter
