// The part of the minimum spanning tree that can be decided inside one tile of a grid: from the edges of
// the tile, and the weights of the edges that cross its border.
//
//  1. Keys, short cycles and round 1 (first_round.h).
//  2. Boruvka's rounds on the remaining edges (boruvka.h), with the lightest crossing edge of every
//     component.
//  3. Undecided edges are returned, with a vertex of the component at each of their ends: the crossing
//     edges, and the edges that remain from step 2 unless they close a cycle inside the tile (Kruskal).
//  4. Tree edges, stored as one bit per direction and starting vertex, are written for both ends.
#pragma once

#include "../support/radix_sort.h"
#include "../support/union_find.h"
#include "../support/workspace.h"
#include "boruvka.h"
#include "first_round.h"
#include "kruskal.h"

namespace treefilter {

class TileSolver : FirstRound {
 public:
  TileSolver(const Grid& grid, const Tiling& tiling)
      : TileSolver(grid, tiling.count() == 1, TileSizes(grid, tiling)) {}

  // Finds the tile's tree edges, which write_edges() and write_masks() return, and appends the undecided
  // edges. Sets component[v] to a vertex that names v's component, for the ends of undecided edges, or
  // for all vertices if `name_all`.
  void solve(const Tile& tile, Span<const Weight> weight, bool name_all, Span<int32_t> component,
             std::vector<OrderedEdge>& undecided) {
    const int64_t components = first_round(tile, weight);
    boruvka_.start(components, !single_);
    list_edges();
    if (!single_) find_crossing();
    boruvka_.run(
        Cpu{1}, [&](int32_t code) { return edge_number(code); },
        [&](int32_t code, bool taken) { take(code, taken); });
    std::fill_n(name_.data(), components, -1);
    if (name_all) name_components(component);
    if (!single_) emit_undecided(component, undecided);
  }

  // mask[e]: whether e is a tree edge, for the edges that start in the tile.
  TREEFILTER_PHASE void write_edges(Span<bool> mask) const {
    for (int d = 0; d < grid_.num_directions; ++d) {
      for_rows([&](int64_t z, int64_t y) {
        const auto [x0, x1] = starts_in_row(grid_.directions[d], z, y);
        edge_row(tree_.data() + row_start(z, y) + x0, static_cast<uint16_t>(1 << d), x1 - x0,
                 mask.data + edge_number(grid_.directions[d], z, y, x0));
      });
    }
  }

  // The masks of a MaskForest for the tile's vertices, without undecided edges.
  template <class Mask>
  TREEFILTER_PHASE void write_masks(Span<Mask> mask) const {
    for_rows([&](int64_t z, int64_t y) {
      const uint16_t* tree = tree_.data() + row_start(z, y);
      Mask* to = mask.data + vertex(z, y, 0);
      std::fill_n(to, tile_.width, Mask{0});
      for (int d = 0; d < grid_.num_directions; ++d) mask_row(tree, tree - step_[d], d, tile_.width, to);
    });
  }

 private:
  TileSolver(const Grid& grid, bool single, const TileSizes& most)
      : FirstRound(grid, most),
        single_(single),
        name_(most.vertices),
        boruvka_(grid.num_directions * most.vertices, most.vertices) {}

  void take(int32_t code, bool taken) {
    tree_[code_vertex(code)] |= static_cast<uint16_t>(taken << code_direction(code));
  }

  static void edge_row(const uint16_t* __restrict tree, uint16_t bit, int64_t size,
                       bool* __restrict mask) {
    for (int64_t x = 0; x < size; ++x) mask[x] = (tree[x] & bit) != 0;
  }

  template <class Mask>
  static void mask_row(const uint16_t* __restrict out, const uint16_t* __restrict in, int direction,
                       int64_t width, Mask* __restrict mask) {
    for (int64_t x = 0; x < width; ++x) {
      const int starts = out[x] >> direction & 1, ends = in[x] >> direction & 1;
      mask[x] |= static_cast<Mask>(static_cast<Mask>(2 * starts + ends) << 2 * direction);
    }
  }

  // ---- 2. lists ----

  TREEFILTER_PHASE void list_edges() {
    for (int d = 0; d < grid_.num_directions; ++d) {
      const Direction& step = grid_.directions[d];
      const int64_t x0 = std::max<int64_t>(0, -step.dx),
                    x1 = tile_.width - std::max<int64_t>(0, step.dx);
      const int64_t y0 = std::max<int64_t>(0, -step.dy),
                    y1 = tile_.height - std::max<int64_t>(0, step.dy);
      for (int64_t z = 0; z < tile_.depth - step.dz; ++z) {
        for (int64_t y = y0; y < y1; ++y) {
          const int64_t q = row_start(z, y) + x0;
          const int32_t* from = link_.data() + q;
          boruvka_.append_row(key_.data() + d * padded_ + q, from, from + step_[d], x1 - x0,
                              code_of(q, d), code_of(1, 0));
        }
      }
    }
  }

  // Calls visit(code, whether it starts in the tile) for every edge with exactly one end in the tile.
  template <class Visit>
  void for_crossing(const Visit& visit) const {
    const auto inside = [](int64_t i, int64_t size) { return i >= 0 && i < size; };
    for (int d = 0; d < grid_.num_directions; ++d) {
      const Direction& step = grid_.directions[d];
      for (int64_t z = -pad_z_; z < tile_.depth + pad_z_ - step.dz; ++z) {
        const int64_t y1 = tile_.height + pad_y_ - std::max<int64_t>(0, step.dy);
        for (int64_t y = std::max<int64_t>(0, -step.dy) - pad_y_; y < y1; ++y) {
          const bool from_row = inside(z, tile_.depth) && inside(y, tile_.height);
          const bool to_row = inside(z + step.dz, tile_.depth) && inside(y + step.dy, tile_.height);
          if (!from_row && !to_row) continue;
          const int64_t x1 = tile_.width + pad_x_ - std::max<int64_t>(0, step.dx);
          for (int64_t x = std::max<int64_t>(0, -step.dx) - pad_x_; x < x1; ++x) {
            const bool from = from_row && inside(x, tile_.width);
            const bool to = to_row && inside(x + step.dx, tile_.width);
            if (from == to) {
              // Between two rows of the tile, only edges at the ends of the rows can cross the border.
              if (from && x < tile_.width - 2) x = tile_.width - 2;
              continue;
            }
            const int64_t q = row_start(z, y) + x;
            if (key_[d * padded_ + q] != kAbsent) visit(code_of(q, d), from);
          }
        }
      }
    }
  }

  TREEFILTER_PHASE void find_crossing() {
    for_crossing([&](int32_t code, bool starts_here) {
      const int64_t q = code_vertex(code);
      EdgeOrder& lightest = boruvka_.crossing(~link_[starts_here ? q : q + step_[code_direction(code)]]);
      lightest = std::min(lightest, total_order(key_of(code), edge_number(code)));
    });
  }

  // ---- 3. and 4. results ----

  WeightKey key_of(int32_t code) const {
    return key_[code_direction(code) * padded_ + code_vertex(code)];
  }

  // Names the component of vertex v, which is in a set, by the first vertex that is named in this set.
  void name(int32_t set, int32_t v, Span<int32_t> component) {
    if (name_[set] < 0) name_[set] = v;
    component[v] = name_[set];
  }

  TREEFILTER_PHASE void name_components(Span<int32_t> component) {
    for_rows([&](int64_t z, int64_t y) {
      const int64_t q = row_start(z, y), v = vertex(z, y, 0);
      for (int64_t x = 0; x < tile_.width; ++x) {
        name(find(boruvka_.sets(), ~link_[q + x]), static_cast<int32_t>(v + x), component);
      }
    });
  }

  TREEFILTER_PHASE void emit_undecided(Span<int32_t> component, std::vector<OrderedEdge>& undecided) {
    const auto emit = [&](int32_t code, int32_t u, int32_t v) {
      undecided.push_back({total_order(key_of(code), edge_number(code)), u, v});
    };
    const Span<int32_t> sets = boruvka_.sets();
    for_crossing([&](int32_t code, bool starts_here) {
      const auto [u, v] = ends(code);
      const int64_t q = code_vertex(code) + (starts_here ? 0 : step_[code_direction(code)]);
      name(find(sets, ~link_[q]), starts_here ? u : v, component);
      if (starts_here) emit(code, u, v);
    });
    const Span<const ListEdge> remaining = boruvka_.remaining();
    std::vector<OrderedEdge> rest(remaining.size);
    for (int64_t i = 0; i < remaining.size; ++i) {
      const ListEdge& e = remaining[i];
      rest[i] = {total_order(e.key, static_cast<int32_t>(i)), boruvka_.origin(e.a),
                 boruvka_.origin(e.b)};
    }
    // The sets are not needed any more: Kruskal's algorithm continues with them.
    kruskal(Cpu{1}, rest, sets, [&](const OrderedEdge& e) {
      const int32_t code = remaining[e.number()].number;
      const auto [u, v] = ends(code);
      name(e.a, u, component);
      name(e.b, v, component);
      emit(code, u, v);
    });
  }

  bool single_;
  Buffer<int32_t> name_;  // [component] a vertex
  Boruvka boruvka_;
};

}  // namespace treefilter
