// How a grid is cut into tiles, and the coordinates inside one.
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

// Cuts a grid into tiles of nearly equal size, as cubic as its shape allows.
class Tiling {
 public:
  explicit Tiling(const Grid& grid) : grid_(grid) {
    const int64_t sizes[3] = {grid.depth, grid.height, grid.width};
    int axes[3] = {0, 1, 2};
    std::sort(axes, axes + 3, [&](int a, int b) { return sizes[a] < sizes[b]; });
    double budget = grid.depth > 1 ? kVerticesOfVolume : kVertices;
    for (int i = 0; i < 3; ++i) {  // what a short axis does not use is left to the longer ones
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
  // Of a tile: its keys, picks and components then nearly fit a second-level cache of 1 MiB. A volume's
  // tile has so much more surface, whose edges it cannot decide, that larger ones are faster.
  static constexpr int64_t kVertices = 256 * 256, kVerticesOfVolume = 64 * 64 * 64;

  static void cut(int64_t size, int64_t parts, int64_t i, int64_t& begin, int64_t& length) {
    begin = size * i / parts;
    length = size * (i + 1) / parts - begin;
  }

  Grid grid_;
  int64_t parts_[3];
};

// The coordinates of one tile. z, y, x count its vertices and are -1 in the padding before it; q counts
// the padded tile in row-major order; a slot names an edge by the q that it starts at and its direction.
class TileFrame {
 protected:
  explicit TileFrame(const Grid& grid) : grid_(grid) {}

  void place(const Tile& tile) {
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

  // The columns of a row of the tile where an edge of direction d starts.
  std::pair<int64_t, int64_t> starts_in_row(const Direction& d, int64_t z, int64_t y) const {
    const int64_t row = tile_.y0 + y - d.y0;
    if (tile_.z0 + z >= d.depth || row < 0 || row >= d.height) return {0, 0};
    return {std::max<int64_t>(0, d.x0 - tile_.x0), std::min(tile_.width, d.x0 + d.width - tile_.x0)};
  }

  static int32_t slot_of(int64_t q, int d) { return static_cast<int32_t>(q << kDirectionBits | d); }
  static int64_t slot_vertex(int32_t slot) { return slot >> kDirectionBits; }
  static int slot_direction(int32_t slot) { return slot & ((1 << kDirectionBits) - 1); }

  struct Place {
    const Direction& direction;
    int64_t z, y, x;
  };

  Place place_of(int32_t slot) const {
    const int32_t q = static_cast<int32_t>(slot_vertex(slot));
    const int32_t row = q / static_cast<int32_t>(columns_);
    return {grid_.directions[slot_direction(slot)], row / static_cast<int32_t>(rows_) - pad_z_,
            row % static_cast<int32_t>(rows_) - pad_y_, q % static_cast<int32_t>(columns_) - pad_x_};
  }

  int32_t edge_number(int32_t slot) const {
    const Place p = place_of(slot);
    return static_cast<int32_t>(edge_number(p.direction, p.z, p.y, p.x));
  }

  // The vertices that an edge joins.
  std::pair<int32_t, int32_t> ends(int32_t slot) const {
    const Place p = place_of(slot);
    const Direction& d = p.direction;
    return {static_cast<int32_t>(vertex(p.z, p.y, p.x)),
            static_cast<int32_t>(vertex(p.z + d.dz, p.y + d.dy, p.x + d.dx))};
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
      place(tile);
      padded = std::max(padded, padded_);
      width = std::max(width, tile.width + 2 * pad_x_);
      vertices = std::max(vertices, tile.depth * tile.height * tile.width);
    }
  }
};

}  // namespace treefilter
