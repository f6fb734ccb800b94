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
//     graph), and the crossing edges go to the caller.
//  5. The tree edges, one bit per direction and vertex, turn into degrees and exclusive-ors row by row.
#pragma once

#include "boruvka.h"
#include "tiling.h"

namespace treefilter {

class TileSolver : TileFrame {
 public:
  TileSolver(const Grid& grid, const Tiling& tiling) : TileFrame(grid), single_(tiling.count() == 1) {
    int64_t largest = 0;
    for (int64_t t = 0; t < tiling.count(); ++t) {
      place(tiling.tile(t));
      largest = std::max(largest, padded_);
    }
    const int64_t directions = grid.num_directions;
    key_ = Buffer<int32_t>(directions * largest);
    component_ = Buffer<int32_t>(largest);
    pick_ = Buffer<uint8_t>(largest);
    tree_ = Buffer<uint16_t>(largest);
    list_ = Buffer<ListEdge>(directions * largest);
    crossing_ = Buffer<uint64_t>(largest);
    set_ = Buffer<int32_t>(largest);
    lowest_ = Buffer<int32_t>(largest);
  }

  // Fills the tile's part of `forest` and appends the undecided edges.
  void solve(const Tile& tile, Span<const float> weight, const Unrooted<uint8_t>& forest,
             std::vector<OrderedEdge>& undecided) {
    place(tile);
    load_keys(weight);
    pick_lightest();
    hook_picks();
    const int64_t components = number_components();
    find_crossing(components);
    Boruvka boruvka(list_edges(), components, crossing_.span(), set_.span());
    boruvka.run([&](int32_t slot) { return edge_number(slot); }, [&](int32_t slot) { take(slot); });
    name_components(components, forest.component);
    emit_undecided(boruvka, undecided);
    write_forest(forest);
  }

 private:
  OrderedEdge ordered(int32_t slot) const {
    const Place p = place_of(slot);
    const Direction& d = p.direction;
    return {total_order(key_[slot], edge_number(slot)), static_cast<int32_t>(vertex(p.z, p.y, p.x)),
            static_cast<int32_t>(vertex(p.z + d.dz, p.y + d.dy, p.x + d.dx))};
  }

  void take(int32_t slot) { tree_[slot % padded_] |= static_cast<uint16_t>(1u << (slot / padded_)); }

  // ---- 1. keys ----

  void load_keys(Span<const float> weight) {
    for (int64_t i = 0; i < grid_.num_directions * padded_; ++i) key_[i] = kAbsent;
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
  // here.
  static constexpr uint8_t kNoPick = 255;

  void pick_lightest() {
    Buffer<int32_t> lightest(tile_.width);
    for_rows([&](int64_t z, int64_t y) {
      const int64_t q = row_start(z, y);
      lightest.fill(kAbsent);
      std::memset(pick_.data() + q, kNoPick, tile_.width);
      for (int d = 0; d < grid_.num_directions; ++d) {
        const int32_t* here = key_.data() + d * padded_ + q;
        const auto name = static_cast<uint8_t>(2 * d);
        pick_row(here - step_[d], name, tile_.width, lightest.data(), pick_.data() + q);
        pick_row(here, name + 1, tile_.width, lightest.data(), pick_.data() + q);
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

  int64_t target(int64_t q) const {
    const int64_t step = step_[pick_[q] / 2];
    return pick_[q] % 2 ? q + step : q - step;
  }

  // component_[q]: what q hooks into, q itself for a root, kOutside in the padding.
  static constexpr int32_t kOutside = -1;

  void hook_picks() {
    for (int64_t q = 0; q < padded_; ++q) {
      component_[q] = kOutside;
      tree_[q] = 0;
    }
    for_rows([&](int64_t z, int64_t y) {
      const int64_t q0 = row_start(z, y);
      for (int64_t q = q0; q < q0 + tile_.width; ++q) component_[q] = static_cast<int32_t>(q);
    });
    for_rows([&](int64_t z, int64_t y) {
      const int64_t q0 = row_start(z, y);
      for (int64_t q = q0; q < q0 + tile_.width; ++q) {
        if (pick_[q] == kNoPick) continue;
        const int64_t t = target(q);
        if (component_[t] == kOutside) continue;            // stalls
        if (pick_[t] == (pick_[q] ^ 1) && q < t) continue;  // the same edge: the lower end is the root
        component_[q] = static_cast<int32_t>(t);
        tree_[pick_[q] % 2 ? q : t] |= static_cast<uint16_t>(1u << (pick_[q] / 2));
      }
    });
  }

  // Numbers the components in component_; returns how many there are.
  int64_t number_components() {
    // Roots first, as ~number, which nothing else looks like.
    int32_t count = 0;
    const auto for_vertices = [&](const auto& visit) {
      for_rows([&](int64_t z, int64_t y) {
        const int64_t q0 = row_start(z, y);
        for (int64_t q = q0; q < q0 + tile_.width; ++q) visit(q);
      });
    };
    for_vertices([&](int64_t q) {
      if (component_[q] == q) component_[q] = kFirstNumber - count++;
    });
    for_vertices([&](int64_t q) {
      int64_t root = q;
      while (component_[root] >= 0) root = component_[root];
      const int32_t number = component_[root];
      for (int64_t x = q; component_[x] >= 0;) {
        const int64_t above = component_[x];
        component_[x] = number;
        x = above;
      }
    });
    for_vertices([&](int64_t q) { component_[q] = kFirstNumber - component_[q]; });
    return count;
  }

  static constexpr int32_t kFirstNumber = kOutside - 1;

  // ---- 3. lists ----

  Span<ListEdge> list_edges() {
    int64_t count = 0;
    for (int d = 0; d < grid_.num_directions; ++d) {
      const Direction& step = grid_.directions[d];
      const int64_t x0 = std::max<int64_t>(0, -step.dx),
                    x1 = tile_.width - std::max<int64_t>(0, step.dx);
      for (int64_t z = 0; z < tile_.depth - step.dz; ++z) {
        const int64_t y1 = tile_.height - std::max<int64_t>(0, step.dy);
        for (int64_t y = std::max<int64_t>(0, -step.dy); y < y1; ++y) {
          const int64_t q0 = row_start(z, y);
          for (int64_t q = q0 + x0; q < q0 + x1; ++q) {
            const int64_t slot = d * padded_ + q;
            const int32_t a = component_[q], b = component_[q + step_[d]];
            list_[count] = {key_[slot], a, b, static_cast<int32_t>(slot)};
            count += (a != b) & (key_[slot] != kAbsent);
          }
        }
      }
    }
    return list_.span().sub(0, count);
  }

  // Calls visit(slot) for every edge with exactly one end in the tile.
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
            const int64_t slot = d * padded_ + row_start(z, y) + x;
            if (key_[slot] != kAbsent) visit(static_cast<int32_t>(slot));
          }
        }
      }
    }
  }

  void find_crossing(int64_t components) {
    for (int64_t c = 0; c < components; ++c) crossing_[c] = kNoEdge;
    if (single_) return;
    for_crossing([&](int32_t slot) {
      const int64_t q = slot % padded_, t = q + step_[slot / padded_];
      uint64_t& lightest = crossing_[std::max(component_[q], component_[t])];
      lightest = std::min(lightest, total_order(key_[slot], edge_number(slot)));
    });
  }

  // ---- 4. and 5. results ----

  // The lowest vertex of every component, as a union-find that the caller can go on with.
  void name_components(int64_t components, Span<int32_t> component) {
    for (int64_t c = 0; c < components; ++c) lowest_[c] = -1;
    for_rows([&](int64_t z, int64_t y) {
      const int64_t q = row_start(z, y), v = vertex(z, y, 0);
      for (int64_t x = 0; x < tile_.width; ++x) {
        int32_t& name = lowest_[find(set_.span(), component_[q + x])];
        if (name < 0) name = static_cast<int32_t>(v + x);
        component[v + x] = name;
      }
    });
  }

  void emit_undecided(const Boruvka& boruvka, std::vector<OrderedEdge>& undecided) {
    if (single_) return;
    const Span<const ListEdge> remaining = boruvka.remaining();
    std::vector<OrderedEdge> rest(remaining.size);
    for (int64_t i = 0; i < remaining.size; ++i) {
      const ListEdge& e = remaining[i];
      rest[i] = {total_order(e.key, e.number), boruvka.origin(e.a), boruvka.origin(e.b)};
    }
    // set_ is not needed any more: its sets become those of the thinning.
    kruskal(rest, set_.span(), [&](const OrderedEdge& e) { undecided.push_back(ordered(e.number())); });
    for_crossing([&](int32_t slot) {
      const bool starts_here = component_[slot % padded_] != kOutside;
      if (starts_here) undecided.push_back(ordered(slot));
    });
  }

  void write_forest(const Unrooted<uint8_t>& forest) const {
    for_rows([&](int64_t z, int64_t y) {
      const int64_t q = row_start(z, y), v = vertex(z, y, 0);
      const int32_t width = static_cast<int32_t>(tile_.width);
      uint8_t* __restrict degree = forest.degree.data + v;
      int32_t* __restrict neighbour = forest.neighbour.data + v;
      int32_t* __restrict edge = forest.edge.data + v;
      for (int64_t x = 0; x < tile_.width; ++x) degree[x] = 0, neighbour[x] = 0, edge[x] = 0;
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
          neighbour[x] ^= (has_out & (self + static_cast<int32_t>(jump))) ^
                          (has_in & (self - static_cast<int32_t>(jump)));
          edge[x] ^= (has_out & (starts + x)) ^ (has_in & (ends + x));
        }
      }
    });
  }

  bool single_;
  Buffer<int32_t> key_;        // [direction][padded]
  Buffer<int32_t> component_;  // [padded]
  Buffer<uint8_t> pick_;       // [padded]
  Buffer<uint16_t> tree_;      // [padded] bit d: the edge that starts here in direction d is a tree edge
  Buffer<ListEdge> list_;
  Buffer<uint64_t> crossing_;     // [component]
  Buffer<int32_t> set_, lowest_;  // [component]
};

}  // namespace treefilter
