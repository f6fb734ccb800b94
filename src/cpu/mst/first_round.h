// Round 1 of Boruvka's algorithm on a tile, without a list of edges.
//
//  1. The keys of the tile's edges are loaded into arrays that are padded by one vertex on each side, so
//     that they contain the edges that cross the tile's border. Edges that short cycles rule out get the
//     key kAbsent (short_cycles.h).
//  2. Every vertex picks its lightest edge, row by row; the directions are tried in the order of edge
//     numbers, which breaks ties. Two vertices that pick the same edge recognise it by their picks. A
//     vertex that picks an edge across the border stalls (boruvka.h).
//
// Mispredicted branches would take most of the time, so no branch depends on a weight.
#pragma once

#include <algorithm>

#include "../support/bit_words.h"
#include "../support/workspace.h"
#include "boruvka.h"
#include "short_cycles.h"
#include "tiling.h"

namespace treefilter {

class FirstRound : protected TileFrame {
 protected:
  FirstRound(const Grid& grid, const TileSizes& most)
      : TileFrame(grid),
        key_(grid.num_directions * most.padded),
        link_(most.padded),
        tree_(most.padded),
        cycles_(grid, most),
        pick_(most.padded),
        lightest_(most.width),
        root_(most.width + kWord) {}

  // Fills key_, tree_ and link_. Returns the number of components.
  int64_t first_round(const Tile& tile, Span<const Weight> weight) {
    set_tile(tile);
    load_keys(weight);
    cycles_.drop(tile, key_.data());
    pick_lightest();
    const int64_t components = hook_picks();
    resolve(link_.span().sub(0, padded_));
    return components;
  }

  Buffer<WeightKey> key_;  // [direction][padded]
  Buffer<int32_t> link_;   // [padded] every vertex's component, as complement
  Buffer<uint16_t> tree_;  // [padded] bit d: the edge that starts here in direction d is a tree edge

 private:
  // ---- 1. keys ----

  TREEFILTER_PHASE void load_keys(Span<const Weight> weight) {
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
          WeightKey* to = key_.data() + d * padded_ + row_start(z, y);
          const Weight* from = weight.data + edge_number(step, z, y, 0);
          // The hardware does not prefetch the tile's next row, which is not contiguous with this one.
          for (int64_t x = x0; x < x1; x += 16) __builtin_prefetch(from + 2 * step.width + x);
          for (int64_t x = x0; x < x1; ++x) to[x] = weight_key(from[x]);
        }
      }
    }
  }

  // ---- 2. round 1 ----

  // A pick is 2 d + 1 for the edge that starts here in direction d, and 2 d for the one that ends here.
  // So for the other end, the same edge is pick ^ 1.
  static constexpr uint8_t kNoPick = 2 * kMaxDirections, kOutside = kNoPick + 2;

  TREEFILTER_PHASE void pick_lightest() {
    std::fill_n(pick_.data(), padded_, kOutside);
    for_rows([&](int64_t z, int64_t y) {
      const int64_t q = row_start(z, y);
      std::fill_n(lightest_.data(), tile_.width, kAbsent);
      std::fill_n(pick_.data() + q, tile_.width, kNoPick);
      for (int d = 0; d < grid_.num_directions; ++d) {
        const WeightKey* here = key_.data() + d * padded_ + q;
        const auto name = static_cast<uint8_t>(2 * d);
        pick_row(here - step_[d], name, tile_.width, lightest_.data(), pick_.data() + q);
        pick_row(here, name + 1, tile_.width, lightest_.data(), pick_.data() + q);
      }
    });
  }

  // __restrict: a uint8_t may alias anything, and then the loop would not be vectorised.
  static void pick_row(const WeightKey* __restrict key, uint8_t name, int64_t width,
                       WeightKey* __restrict lightest, uint8_t* __restrict pick) {
    for (int64_t x = 0; x < width; ++x) {
      const bool lighter = key[x] < lightest[x];
      pick[x] = lighter ? name : pick[x];
      lightest[x] = lighter ? key[x] : lightest[x];
    }
  }

  // Links every vertex to the other end of the edge that it picked. A vertex is a root if it picked
  // none, stalls, or is the lower end of an edge that both ends picked; its link is the complement of
  // its number among the roots. Returns how many roots there are.
  TREEFILTER_PHASE int64_t hook_picks() {
    int32_t jump[kNoPick + 1] = {};
    for (int d = 0; d < grid_.num_directions; ++d) {
      jump[2 * d] = static_cast<int32_t>(-step_[d]);
      jump[2 * d + 1] = static_cast<int32_t>(step_[d]);
    }
    std::fill_n(link_.data(), padded_, kPadding);
    std::fill_n(tree_.data(), padded_, uint16_t{0});
    std::fill_n(root_.data() + tile_.width, kWord, uint8_t{0});
    int32_t count = 0;
    for_rows([&](int64_t z, int64_t y) {
      const int32_t q = static_cast<int32_t>(row_start(z, y));
      const int32_t width = static_cast<int32_t>(tile_.width);
      const uint8_t* pick = pick_.data() + q;
      start_roots(pick, width, root_.data());
      for (int d = 0; d < grid_.num_directions; ++d) {
        mark_row(pick, pick + step_[d], static_cast<uint8_t>(2 * d + 1), width, tree_.data() + q,
                 root_.data());
        stall_row(pick, pick - step_[d], static_cast<uint8_t>(2 * d), width, root_.data());
      }
      link_row(pick, jump, q, width, link_.data() + q);
      for (int32_t x = 0; x < width; x += kWord) {
        for_bits(word_of(root_.data() + x), [&](int32_t i) { link_[q + x + i] = ~count++; });
      }
    });
    return count;
  }

  static void link_row(const uint8_t* __restrict pick, const int32_t* __restrict jump, int32_t q,
                       int32_t width, int32_t* __restrict link) {
    for (int32_t x = 0; x < width; ++x) link[x] = q + x + jump[pick[x]];
  }

  static void start_roots(const uint8_t* __restrict pick, int32_t width, uint8_t* __restrict root) {
    for (int32_t x = 0; x < width; ++x) root[x] = pick[x] == kNoPick;
  }

  // Edges that start in a row are tree edges if one of the ends picked them and both are in the tile.
  static void mark_row(const uint8_t* __restrict pick, const uint8_t* __restrict other, uint8_t out,
                       int32_t width, uint16_t* __restrict tree, uint8_t* __restrict root) {
    const uint8_t in = out - 1;
    const uint16_t bit = static_cast<uint16_t>(1u << (out / 2));
    for (int32_t x = 0; x < width; ++x) {
      const bool picked = pick[x] == out, picked_there = other[x] == in, inside = other[x] != kOutside;
      root[x] |= picked & (picked_there | !inside);
      tree[x] |= ((picked & inside) | picked_there) ? bit : 0;
    }
  }

  // Vertices of a row that picked an edge which comes in across the border stall.
  static void stall_row(const uint8_t* __restrict pick, const uint8_t* __restrict other, uint8_t in,
                        int32_t width, uint8_t* __restrict root) {
    for (int32_t x = 0; x < width; ++x) root[x] |= (pick[x] == in) & (other[x] == kOutside);
  }

  // A label that no component has.
  static constexpr int32_t kPadding = -1 - INT32_MAX;

  ShortCycles cycles_;
  Buffer<uint8_t> pick_;        // [padded]
  Buffer<WeightKey> lightest_;  // [column]
  Buffer<uint8_t> root_;        // [column]
};

}  // namespace treefilter
