// One tile of a grid: everything about its minimum spanning tree that the tile's own edges, and the
// weights of the edges that leave it, can decide.
//
//  1. Keys of the tile's edges, in arrays padded by one vertex on each side, so that the edges that
//     cross the tile's border are there like the others.
//  2. Round 1 without lists: every vertex picks its lightest edge among its neighbours in the order of
//     the edges' numbers, rows at a time. Two vertices that pick the same edge see it in each other's
//     pick. A pick across the border stalls.
//  3. The rounds of boruvka.h on the compacted rest, with the lightest crossing edge per component.
//  4. The rest of that, thinned by Kruskal (an edge that closes a cycle here closes it in the whole
//     graph), and the crossing edges go to the caller, with the names of the components at their ends.
//  5. The tree edges, one bit per direction and vertex, turn into degrees and exclusive-ors row by row.
//
// What decides about the time is mispredicted branches: nothing that a weight decides is a branch.
#pragma once

#include "boruvka.h"
#include "tiling.h"

namespace treefilter {

class TileSolver : TileFrame {
 public:
  TileSolver(const Grid& grid, const Tiling& tiling) : TileFrame(grid), single_(tiling.count() == 1) {
    int64_t largest = 0, widest = 0, components = 0;
    for (int64_t t = 0; t < tiling.count(); ++t) {
      const Tile tile = tiling.tile(t);
      place(tile);
      largest = std::max(largest, padded_);
      widest = std::max(widest, tile.width);
      components = std::max(components, tile.depth * tile.height * tile.width);
    }
    const int64_t directions = grid.num_directions;
    key_ = Buffer<int32_t>(directions * largest);
    link_ = Buffer<int32_t>(largest);
    pick_ = Buffer<uint8_t>(largest);
    lightest_ = Buffer<int32_t>(widest);
    root_ = Buffer<uint8_t>(widest);
    tree_ = Buffer<uint16_t>(largest);
    name_ = Buffer<int32_t>(components);
    boruvka_ = Boruvka(directions * components, components);
  }

  // Finds the tile's tree edges, for the write_…() below, and appends the undecided edges. `component`
  // is filled where an undecided edge ends, or everywhere if `name_all`.
  void solve(const Tile& tile, Span<const float> weight, bool name_all, Span<int32_t> component,
             std::vector<OrderedEdge>& undecided) {
    place(tile);
    load_keys(weight);
    pick_lightest();
    const int64_t components = hook_picks();
    resolve(link_.span().sub(0, padded_));
    boruvka_.start(components, !single_);
    list_edges();
    if (!single_) find_crossing();
    boruvka_.run([&](int32_t slot) { return edge_number(slot); },
                 [&](int32_t slot, bool taken) { take(slot, taken); });
    std::fill_n(name_.data(), components, -1);
    if (name_all) name_components(component);
    if (!single_) emit_undecided(component, undecided);
  }

  // mask[e]: whether e is a tree edge, for the edges that start in the tile.
  TREEFILTER_PHASE void write_edges(Span<bool> mask) const {
    for (int d = 0; d < grid_.num_directions; ++d) {
      for_rows([&](int64_t z, int64_t y) {
        const auto [x0, x1] = starts_in_row(grid_.directions[d], z, y);
        const uint16_t* tree = tree_.data() + row_start(z, y);
        bool* to = mask.data + edge_number(grid_.directions[d], z, y, 0);
        for (int64_t x = x0; x < x1; ++x) to[x] = tree[x] >> d & 1;
      });
    }
  }

  // The tile's part of a forest, without the edges that the tile could not decide.
  TREEFILTER_PHASE void write_forest(const Unrooted<uint8_t>& forest) const {
    for_rows([&](int64_t z, int64_t y) {
      const int64_t q = row_start(z, y), v = vertex(z, y, 0);
      const int32_t width = static_cast<int32_t>(tile_.width);
      uint8_t* __restrict degree = forest.degree.data + v;
      Link* __restrict link = forest.link.data + v;
      for (int64_t x = 0; x < tile_.width; ++x) degree[x] = 0, link[x] = {0, 0};
      for (int d = 0; d < grid_.num_directions; ++d) {
        const Direction& step = grid_.directions[d];
        const int64_t jump = (step.dz * grid_.height + step.dy) * grid_.width + step.dx;
        const int32_t starts = static_cast<int32_t>(edge_number(step, z, y, 0));
        const int32_t ends = static_cast<int32_t>(edge_number(step, z - step.dz, y - step.dy, -step.dx));
        const uint16_t* __restrict out = tree_.data() + q;
        const uint16_t* __restrict in = out - step_[d];
        for (int32_t x = 0; x < width; ++x) {
          const int32_t has_out = -((out[x] >> d) & 1), has_in = -((in[x] >> d) & 1);
          const int32_t self = static_cast<int32_t>(v) + x;
          degree[x] = static_cast<uint8_t>(degree[x] - has_out - has_in);
          link[x].neighbour ^= (has_out & (self + static_cast<int32_t>(jump))) ^
                               (has_in & (self - static_cast<int32_t>(jump)));
          link[x].edge ^= (has_out & (starts + x)) ^ (has_in & (ends + x));
        }
      }
      for (int32_t x = 0; x < width; ++x) link[x].neighbour |= degree[x] == 2 ? kPasses : 0;
    });
  }

 private:
  void take(int32_t slot, bool taken) {
    tree_[slot_vertex(slot)] |= static_cast<uint16_t>(taken << slot_direction(slot));
  }

  // ---- 1. keys ----

  TREEFILTER_PHASE void load_keys(Span<const float> weight) {
    std::fill_n(key_.data(), grid_.num_directions * padded_, kAbsent);
    for (int d = 0; d < grid_.num_directions; ++d) {
      const Direction& step = grid_.directions[d];
      // Starting vertices in the padded tile, clipped to those that have such an edge.
      const auto clip = [](int64_t first, int64_t size, int64_t pad, int64_t low, int64_t count) {
        const int64_t begin = std::max(first - pad, low),
                      end = std::min(first + size + pad, low + count);
        return std::make_pair(begin - first, end - first);
      };
      const auto [z0, z1] = clip(tile_.z0, tile_.depth, pad_z_, 0, step.depth);
      const auto [y0, y1] = clip(tile_.y0, tile_.height, pad_y_, step.y0, step.height);
      const auto [x0, x1] = clip(tile_.x0, tile_.width, pad_x_, step.x0, step.width);
      for (int64_t z = z0; z < z1; ++z) {
        for (int64_t y = y0; y < y1; ++y) {
          int32_t* to = key_.data() + d * padded_ + row_start(z, y);
          const float* from = weight.data + edge_number(step, z, y, 0);
          for (int64_t x = x0; x < x1; ++x) to[x] = weight_key(from[x]);
        }
      }
    }
  }

  // ---- 2. round 1 ----

  // A pick is 2 d for the edge that comes from vertex - direction d, 2 d + 1 for the one that starts
  // here, so that the other end of the same edge picks it as pick ^ 1.
  static constexpr uint8_t kNoPick = 2 * kMaxDirections, kOutside = kNoPick + 2;

  TREEFILTER_PHASE void pick_lightest() {
    std::fill_n(pick_.data(), padded_, kOutside);
    for_rows([&](int64_t z, int64_t y) {
      const int64_t q = row_start(z, y);
      std::fill_n(lightest_.data(), tile_.width, kAbsent);
      std::fill_n(pick_.data() + q, tile_.width, kNoPick);
      for (int d = 0; d < grid_.num_directions; ++d) {
        const int32_t* here = key_.data() + d * padded_ + q;
        const auto name = static_cast<uint8_t>(2 * d);
        pick_row(here - step_[d], name, tile_.width, lightest_.data(), pick_.data() + q);
        pick_row(here, name + 1, tile_.width, lightest_.data(), pick_.data() + q);
      }
    });
  }

  // The arrays are told apart because a uint8_t may alias anything, which keeps the loop scalar.
  static void pick_row(const int32_t* __restrict key, uint8_t name, int64_t width,
                       int32_t* __restrict lightest, uint8_t* __restrict pick) {
    for (int64_t x = 0; x < width; ++x) {
      const bool lighter = key[x] < lightest[x];
      pick[x] = lighter ? name : pick[x];
      lightest[x] = lighter ? key[x] : lightest[x];
    }
  }

  // Links every vertex to the other end of its pick, or numbers it (as complement) if it is a root:
  // without a pick, stalled, or the lower end of an edge that both ends pick. Returns their number.
  TREEFILTER_PHASE int64_t hook_picks() {
    int32_t jump[kNoPick + 1] = {};
    for (int d = 0; d < grid_.num_directions; ++d) {
      jump[2 * d] = static_cast<int32_t>(-step_[d]);
      jump[2 * d + 1] = static_cast<int32_t>(step_[d]);
    }
    std::fill_n(link_.data(), padded_, kPadding);
    std::fill_n(tree_.data(), padded_, uint16_t{0});
    int32_t count = 0;
    for_rows([&](int64_t z, int64_t y) {
      const int32_t q = static_cast<int32_t>(row_start(z, y));
      const int32_t width = static_cast<int32_t>(tile_.width);
      const uint8_t* pick = pick_.data() + q;
      for (int32_t x = 0; x < width; ++x) root_[x] = pick[x] == kNoPick;
      for (int d = 0; d < grid_.num_directions; ++d) {
        mark_row(pick, pick + step_[d], static_cast<uint8_t>(2 * d + 1), width, tree_.data() + q,
                 root_.data());
        stall_row(pick, pick - step_[d], static_cast<uint8_t>(2 * d), width, root_.data());
      }
      for (int32_t x = 0; x < width; ++x) {
        link_[q + x] = root_[x] ? ~count : q + x + jump[pick[x]];
        count += root_[x];
      }
    });
    return count;
  }

  // The edges that start in a row: taken if one of its ends picks it and both lie in the tile.
  static void mark_row(const uint8_t* __restrict pick, const uint8_t* __restrict other, uint8_t out,
                       int32_t width, uint16_t* __restrict tree, uint8_t* __restrict root) {
    const uint8_t in = out - 1;
    const uint16_t bit = static_cast<uint16_t>(1u << (out / 2));
    for (int32_t x = 0; x < width; ++x) {
      const bool picked = pick[x] == out, picked_there = other[x] == in, inside = other[x] != kOutside;
      root[x] |= picked & (picked_there | !inside);
      tree[x] |= (picked & inside) | picked_there ? bit : 0;
    }
  }

  // The edges that end in a row, for those that cross the border.
  static void stall_row(const uint8_t* __restrict pick, const uint8_t* __restrict other, uint8_t in,
                        int32_t width, uint8_t* __restrict root) {
    for (int32_t x = 0; x < width; ++x) root[x] |= (pick[x] == in) & (other[x] == kOutside);
  }

  // A label that no component has.
  static constexpr int32_t kPadding = -1 - INT32_MAX;

  // ---- 3. lists ----

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
                              slot_of(q, d), slot_of(1, 0));
        }
      }
    }
  }

  // Calls visit(slot, whether it starts here) for every edge with exactly one end in the tile.
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
              // Between two rows of the tile only the ends can cross: skip what lies between.
              if (from && x < tile_.width - 2) x = tile_.width - 2;
              continue;
            }
            const int64_t q = row_start(z, y) + x;
            if (key_[d * padded_ + q] != kAbsent) visit(slot_of(q, d), from);
          }
        }
      }
    }
  }

  TREEFILTER_PHASE void find_crossing() {
    for_crossing([&](int32_t slot, bool starts_here) {
      const int64_t q = slot_vertex(slot);
      uint64_t& lightest = boruvka_.crossing(~link_[starts_here ? q : q + step_[slot_direction(slot)]]);
      lightest = std::min(lightest, total_order(key_of(slot), edge_number(slot)));
    });
  }

  // ---- 4. and 5. results ----

  int32_t key_of(int32_t slot) const { return key_[slot_direction(slot) * padded_ + slot_vertex(slot)]; }

  // A set is named by the first of its vertices that asks for its name.
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
    const auto emit = [&](int32_t slot, int32_t u, int32_t v) {
      undecided.push_back({total_order(key_of(slot), edge_number(slot)), u, v});
    };
    const Span<int32_t> sets = boruvka_.sets();
    for_crossing([&](int32_t slot, bool starts_here) {
      const auto [u, v] = ends(slot);
      const int64_t q = slot_vertex(slot) + (starts_here ? 0 : step_[slot_direction(slot)]);
      name(find(sets, ~link_[q]), starts_here ? u : v, component);
      if (starts_here) emit(slot, u, v);
    });
    const Span<const ListEdge> remaining = boruvka_.remaining();
    std::vector<OrderedEdge> rest(remaining.size);
    for (int64_t i = 0; i < remaining.size; ++i) {
      const ListEdge& e = remaining[i];
      rest[i] = {total_order(e.key, static_cast<int32_t>(i)), boruvka_.origin(e.a),
                 boruvka_.origin(e.b)};
    }
    // The sets are not needed any more: they become those of the thinning.
    kruskal(rest, sets, [&](const OrderedEdge& e) {
      const int32_t slot = remaining[e.number()].number;
      const auto [u, v] = ends(slot);
      name(e.a, u, component);
      name(e.b, v, component);
      emit(slot, u, v);
    });
  }

  bool single_;
  Buffer<int32_t> key_;       // [direction][padded]
  Buffer<int32_t> link_;      // [padded] see hook_picks(); then every vertex's component, as complement
  Buffer<uint8_t> pick_;      // [padded]
  Buffer<uint16_t> tree_;     // [padded] bit d: the edge that starts here in direction d is a tree edge
  Buffer<int32_t> lightest_;  // [column]
  Buffer<uint8_t> root_;      // [column]
  Buffer<int32_t> name_;      // [component] a vertex
  Boruvka boruvka_;
};

}  // namespace treefilter
