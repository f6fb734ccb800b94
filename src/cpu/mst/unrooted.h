// Unrooted forests without adjacency lists, from which the peel (peel.h) removes leaf after leaf. A leaf
// is a vertex with one edge left. Both forests below have
//
//   start(roots)           declares roots, which never become leaves
//   mark_leaves(v, n, to)  to[i]: whether vertex v + i is a leaf, for i < n
//   take(v)                removes the leaf v and its edge, which is still stored at v; returns Above
//   finish(root), write()  the result: the edge that is stored at a vertex leads to its parent
#pragma once

#include <vector>

#include "../../graph.h"

namespace treefilter {

struct RootedTree {
  Span<int32_t> parent, edge, order;

  RootedTree sub(int64_t offset, int64_t count) const {
    return {parent.sub(offset, count), edge.sub(offset, count), order.sub(offset, count)};
  }
};

// The neighbour of a leaf that was removed, and whether it is a leaf now.
struct Above {
  int32_t vertex;
  bool is_leaf;
};

// The forest of an edge list. A vertex has the number of its edges, the exclusive-or of its neighbours
// and that of its edges' numbers. For a leaf, these are its only neighbour and the number of its only
// edge.
class LinkedForest {
 public:
  struct Link {
    int32_t neighbour, edge;
  };

  LinkedForest(Span<int32_t> degree, Span<Link> link) : degree_(degree), link_(link) {}

  void add_edge(int32_t a, int32_t b, int32_t edge) const {
    connect(a, b, edge);
    connect(b, a, edge);
  }

  void start(const std::vector<int32_t>& roots) const {
    for (int32_t root : roots) degree_[root] += kRootBoost;
  }

  void mark_leaves(int64_t v, int64_t count, uint8_t* __restrict is_leaf) const {
    for (int64_t i = 0; i < count; ++i) is_leaf[i] = degree_[v + i] == 1;
  }

  Above take(int32_t v) const {
    const Link last = link_[v];
    const int32_t u = last.neighbour;
    link_[u] = {link_[u].neighbour ^ v, link_[u].edge ^ last.edge};
    return {u, --degree_[u] == 1};
  }

  void finish(int32_t root) const { link_[root] = {root, -1}; }

  void write(const Cpu&, const RootedTree& tree) const {
    for (int64_t v = 0; v < link_.size; ++v) {
      tree.parent[v] = link_[v].neighbour;
      tree.edge[v] = link_[v].edge;
    }
  }

 private:
  static constexpr int kRootBoost = 2;  // a root's count of edges never comes to 1

  void connect(int32_t v, int32_t neighbour, int32_t edge) const {
    ++degree_[v];
    link_[v] = {link_[v].neighbour ^ neighbour, link_[v].edge ^ edge};
  }

  Span<int32_t> degree_;
  Span<Link> link_;
};

// The forest of a grid. A vertex has a mask with one bit for each of its edges: most masks of a large
// image stay in the caches, which the paths of the peel cross in no regular order. Bit 2 d + 1 is the
// edge that starts here in direction d, bit 2 d the one that ends here, so that one edge has
// neighbouring bits in the masks of its ends.
template <class Mask>
class MaskForest {
 public:
  MaskForest(const Grid& grid, Span<Mask> mask) : grid_(grid), mask_(mask) {
    for (int d = 0; d < grid.num_directions; ++d) {
      offset_[2 * d + 1] = static_cast<int32_t>(jump(d));
      offset_[2 * d] = -offset_[2 * d + 1];
    }
  }

  static constexpr int kMostDirections = (8 * sizeof(Mask) - 2) / 2;

  void add_edge(int32_t a, int32_t b, int32_t edge) const {
    int d = 0;
    while (d + 1 < grid_.num_directions && grid_.directions[d + 1].first_edge <= edge) ++d;
    mask_[a] |= static_cast<Mask>(Mask{2} << 2 * d);
    mask_[b] |= static_cast<Mask>(Mask{1} << 2 * d);
  }

  void start(const std::vector<int32_t>& roots) const {
    for (int32_t root : roots) mask_[root] |= kRootBits;
  }

  void mark_leaves(int64_t v, int64_t count, uint8_t* __restrict is_leaf) const {
    for (int64_t i = 0; i < count; ++i) {
      const Mask here = mask_[v + i];
      is_leaf[i] = (here != 0) & single(here);
    }
  }

  Above take(int32_t v) const {
    const Mask last = mask_[v];
    const int32_t u = v + offset_[__builtin_ctz(last)];
    const Mask left = mask_[u] ^ other_end(last);
    mask_[u] = left;
    return {u, single(left)};
  }

  void finish(int32_t root) const { mask_[root] = 0; }

  TREEFILTER_PHASE void write(const Cpu& cpu, const RootedTree& tree) const {
    for (int64_t z = 0; z < grid_.depth; ++z) {
      for (int64_t y = 0; y < grid_.height; ++y) {
        if (y % kRowsPerCheck == 0) cpu.check();
        const int64_t v = (z * grid_.height + y) * grid_.width;
        int32_t* __restrict parent = tree.parent.data + v;
        int32_t* __restrict edge = tree.edge.data + v;
        for (int32_t x = 0; x < grid_.width; ++x) {
          parent[x] = static_cast<int32_t>(v) + x;
          edge[x] = -1;
        }
        for (int d = 0; d < grid_.num_directions; ++d) {
          const Direction& step = grid_.directions[d];
          write_row(v, 2 * d + 1, step.edge_at(z, y, 0), parent, edge);
          write_row(v, 2 * d, step.edge_at(z - step.dz, y - step.dy, -step.dx), parent, edge);
        }
      }
    }
  }

 private:
  static constexpr int64_t kRowsPerCheck = 64;

  // Two bits that belong to no direction and are never cleared: a root is never a leaf.
  static constexpr Mask kRootBits = static_cast<Mask>(Mask{3} << (8 * sizeof(Mask) - 2));

  static bool single(Mask mask) { return (mask & (mask - 1)) == 0; }

  // The bits of the same edges in the masks of their other ends.
  static Mask other_end(Mask bits) {
    constexpr Mask kEven = static_cast<Mask>(0x55555555u);
    return static_cast<Mask>((bits & kEven) << 1 | (bits >> 1 & kEven));
  }

  int64_t jump(int d) const {
    const Direction& step = grid_.directions[d];
    return (step.dz * grid_.height + step.dy) * grid_.width + step.dx;
  }

  void write_row(int64_t v, int bit, int64_t first_edge, int32_t* __restrict parent,
                 int32_t* __restrict edge) const {
    const Mask* __restrict mask = mask_.data + v;
    const int32_t first = static_cast<int32_t>(first_edge), offset = offset_[bit];
    for (int32_t x = 0; x < grid_.width; ++x) {
      const bool here = mask[x] >> bit & 1;
      parent[x] += here ? offset : 0;
      edge[x] = here ? first + x : edge[x];
    }
  }

  const Grid& grid_;
  Span<Mask> mask_;
  int32_t offset_[2 * kMaxDirections] = {};
};

}  // namespace treefilter
