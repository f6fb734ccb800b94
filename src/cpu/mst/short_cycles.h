// Rules out edges of a tile by the shortest cycles of the grid.
//
// The heaviest edge of a cycle is not in the minimum spanning tree. A grid has many cycles of three or
// four edges, of a few shapes only. For one shape, the heaviest edges of all cycles are found row by
// row, without lists and without branches. On a grid with 4 neighbours each unit square rules out one of
// its edges: 1.3 N of 2 N edges remain, of which N - 1 are the tree, and the lists of the later rounds
// are half as long. (In the dual graph this is a round of Boruvka's algorithm for the maximum spanning
// tree; Matsui 1995, The minimum spanning tree problem on a planar graph, alternates between the two.)
//
// Shapes: all triangles of the grid's directions; if there are none, all parallelograms.
#pragma once

#include <algorithm>
#include <tuple>
#include <vector>

#include "../../edge_order.h"
#include "../support/workspace.h"
#include "tiling.h"

namespace treefilter {

class ShortCycles : TileFrame {
 public:
  ShortCycles(const Grid& grid, const TileSizes& most)
      : TileFrame(grid), ruled_out_(most.padded), heaviest_(most.width) {
    for_pairs([&](int d, int e, int sum) {
      if (sum < 0) return;
      add({{d, {}}, {e, steps_of(d)}, {sum, {}}});
      add({{e, {}}, {d, steps_of(e)}, {sum, {}}});
    });
    if (!shapes_.empty()) return;
    for_pairs([&](int d, int e, int) { add({{d, {}}, {d, steps_of(e)}, {e, {}}, {e, steps_of(d)}}); });
  }

  // Sets the keys of edges that are ruled out to kAbsent. key [direction][padded].
  TREEFILTER_PHASE void drop(const Tile& tile, WeightKey* key) {
    if (shapes_.empty()) return;
    set_tile(tile);
    std::fill_n(ruled_out_.data(), padded_, uint16_t{0});
    for (const Shape& shape : shapes_) {
      if (shape.edges.size() == 3) {
        find_heaviest<3>(shape, key);
      } else {
        find_heaviest<4>(shape, key);
      }
    }
    for (int d = 0; d < grid_.num_directions; ++d) drop_row(key + d * padded_, d);
  }

 private:
  struct Steps {
    int64_t z = 0, y = 0, x = 0;
  };
  struct ShapeEdge {
    int direction;
    Steps from;  // its start, relative to the cycle's first vertex
  };
  struct Shape {
    std::vector<ShapeEdge> edges;  // in the order of edge numbers, which breaks ties
    Steps low, high;               // the bounding box of its vertices
  };

  Steps steps_of(int d) const {
    return {grid_.directions[d].dz, grid_.directions[d].dy, grid_.directions[d].dx};
  }

  // Calls visit(d, e, sum) for all pairs of directions d < e: sum is the direction d + e, or -1.
  template <class Visit>
  void for_pairs(const Visit& visit) const {
    for (int d = 0; d < grid_.num_directions; ++d) {
      for (int e = d + 1; e < grid_.num_directions; ++e) {
        int sum = -1;
        for (int f = 0; f < grid_.num_directions; ++f) {
          const Direction &a = grid_.directions[d], &b = grid_.directions[e], &c = grid_.directions[f];
          if (a.dz + b.dz == c.dz && a.dy + b.dy == c.dy && a.dx + b.dx == c.dx) sum = f;
        }
        visit(d, e, sum);
      }
    }
  }

  void add(std::vector<ShapeEdge> edges) {
    const auto sort_key = [](const ShapeEdge& e) {
      return std::make_tuple(e.direction, e.from.z, e.from.y, e.from.x);
    };
    std::sort(edges.begin(), edges.end(),
              [&](const ShapeEdge& a, const ShapeEdge& b) { return sort_key(a) < sort_key(b); });
    Shape shape{edges, {}, {}};
    const auto include = [&](const Steps& s) {
      shape.low = {std::min(shape.low.z, s.z), std::min(shape.low.y, s.y), std::min(shape.low.x, s.x)};
      shape.high = {std::max(shape.high.z, s.z), std::max(shape.high.y, s.y),
                    std::max(shape.high.x, s.x)};
    };
    for (const ShapeEdge& e : edges) {
      const Steps step = steps_of(e.direction);
      include(e.from);
      include({e.from.z + step.z, e.from.y + step.y, e.from.x + step.x});
    }
    shapes_.push_back(shape);
  }

  // For all cycles of a shape in the padded tile. An absent edge is the heaviest.
  template <int Edges>
  void find_heaviest(const Shape& shape, const WeightKey* key) {
    const int64_t x0 = -pad_x_ - shape.low.x, x1 = tile_.width + pad_x_ - shape.high.x;
    for (int64_t z = -pad_z_ - shape.low.z; z < tile_.depth + pad_z_ - shape.high.z; ++z) {
      for (int64_t y = -pad_y_ - shape.low.y; y < tile_.height + pad_y_ - shape.high.y; ++y) {
        const int64_t q = row_start(z, y) + x0;
        const WeightKey* keys[Edges];
        uint16_t* ruled_out[Edges];
        for (int i = 0; i < Edges; ++i) {
          const auto& [d, from] = shape.edges[i];
          const int64_t start = q + (from.z * rows_ + from.y) * columns_ + from.x;
          keys[i] = key + d * padded_ + start;
          ruled_out[i] = ruled_out_.data() + start;
        }
        name_heaviest<Edges>(keys, x1 - x0, heaviest_.data());
        for (int i = 0; i < Edges; ++i) {
          rule_out(heaviest_.data(), i, shape.edges[i].direction, x1 - x0, ruled_out[i]);
        }
      }
    }
  }

  template <int Edges>
  static void name_heaviest(const WeightKey* const (&key)[Edges], int64_t width,
                            uint8_t* __restrict heaviest) {
    for (int64_t x = 0; x < width; ++x) {
      WeightKey most = key[0][x];
      int32_t name = 0;
#pragma GCC unroll 4
      for (int i = 1; i < Edges; ++i) {
        name = key[i][x] >= most ? i : name;
        most = key[i][x] >= most ? key[i][x] : most;
      }
      heaviest[x] = static_cast<uint8_t>(name);
    }
  }

  static void rule_out(const uint8_t* __restrict heaviest, int name, int direction, int64_t width,
                       uint16_t* __restrict ruled_out) {
    const auto bit = static_cast<uint16_t>(1 << direction);
    for (int64_t x = 0; x < width; ++x) ruled_out[x] |= heaviest[x] == name ? bit : 0;
  }

  void drop_row(WeightKey* __restrict key, int direction) const {
    const uint16_t* __restrict ruled_out = ruled_out_.data();
    for (int64_t q = 0; q < padded_; ++q) key[q] = ruled_out[q] >> direction & 1 ? kAbsent : key[q];
  }

  std::vector<Shape> shapes_;
  Buffer<uint16_t> ruled_out_;  // [padded] bit d: the edge that starts here in direction d
  Buffer<uint8_t> heaviest_;    // [column] which edge of the cycle that starts here
};

}  // namespace treefilter
