// The two kinds of graph as device code reads them: which edges there are, and which vertices they join.
//
// Vertices and edges are numbered within one graph, by int32. An algorithm sees every edge once by going
// through the *items* of a graph. The items of a grid are its vertices, each with the edges that start
// there, by ascending direction: neighbouring threads read neighbouring weights. The items of an edge
// list are its edges.
#pragma once

#include "../runtime/divisor.cuh"
#include "../runtime/grid_step.cuh"

namespace treefilter::cuda {

struct Ends {
  int32_t a, b;
};

class GridGraph {
 public:
  // Whether edges_of_vertex() exists.
  static constexpr bool kListsNeighbours = true;

  explicit GridGraph(const Grid& grid)
      : edges_(grid.num_edges()),
        depth_(static_cast<int32_t>(grid.depth)),
        height_(static_cast<int32_t>(grid.height)),
        width_(static_cast<int32_t>(grid.width)),
        directions_(grid.num_directions),
        by_nodes_(grid.num_nodes()) {
    for (int i = 0; i < directions_; ++i) {
      const Direction& d = grid.directions[i];
      const int64_t code = (d.dz * 3 + d.dy) * 3 + d.dx - 1;
      if (code < 0 || code >= kMaxDirections) {
        throw std::invalid_argument("a grid's steps must lead to its next vertices");
      }
      codes_ |= static_cast<uint64_t>(code) << (4 * i);
    }
  }

  TREEFILTER_HD int64_t nodes() const { return by_nodes_.size; }
  TREEFILTER_HD int64_t edges() const { return edges_; }
  TREEFILTER_HD const Divisor& by_nodes() const { return by_nodes_; }
  TREEFILTER_HD const Divisor& by_items() const { return by_nodes_; }

  // Calls visit(edge, Ends) for the edges that start at a vertex.
  template <class Visit>
  TREEFILTER_HD void edges_of_item(int64_t item, const Visit& visit) const {
    const int32_t v = static_cast<int32_t>(item);
    const GridPosition at = GridPosition::of(v, height_, width_);
    int32_t first_edge = 0;
    for (int i = 0; i < directions_; ++i) {
      const GridStep s = step(i, first_edge);
      first_edge += s.count();  // before the visit, across which it is one value less to keep
      visit_edge(s.starting(at), v, v + s.offset, visit);
    }
  }

  // Calls visit(edge, Ends) for all edges of a vertex.
  template <class Visit>
  TREEFILTER_HD void edges_of_vertex(int32_t v, const Visit& visit) const {
    const GridPosition at = GridPosition::of(v, height_, width_);
    int32_t first_edge = 0;
    for (int i = 0; i < directions_; ++i) {
      const GridStep s = step(i, first_edge);
      visit_edge(s.starting(at), v, v + s.offset, visit);
      visit_edge(s.ending(at), v - s.offset, v, visit);
      first_edge += s.count();
    }
  }

  // Of an edge of any image.
  TREEFILTER_HD Ends ends(int64_t, int32_t edge) const {
    int i = 0;
    for (; i + 1 < directions_; ++i) {
      const int32_t count = step(i, 0).count();
      if (edge < count) break;
      edge -= count;
    }
    const GridStep s = step(i, 0);
    const uint32_t rest = static_cast<uint32_t>(edge), row = rest / static_cast<uint32_t>(s.width);
    const int32_t x = static_cast<int32_t>(rest % static_cast<uint32_t>(s.width)) + s.x0;
    const int32_t y = static_cast<int32_t>(row % static_cast<uint32_t>(s.height)) + s.y0;
    const int32_t z = static_cast<int32_t>(row / static_cast<uint32_t>(s.height));
    const int32_t v = (z * height_ + y) * width_ + x;
    return {v, v + s.offset};
  }

 private:
  // Direction i. It is computed each time: a table in the kernel's parameters that threads index would
  // be copied to local memory first.
  TREEFILTER_HD GridStep step(int i, int32_t first_edge) const {
    const int32_t code = static_cast<int32_t>(codes_ >> (4 * i) & 15) + 5;
    const int32_t dz = code / 9, dy = code % 9 / 3 - 1, dx = code % 3 - 1;
    return {DirectionOf<int32_t>::in_grid(dz, dy, dx, depth_, height_, width_, first_edge), height_,
            width_};
  }

  template <class Visit>
  static TREEFILTER_HD void visit_edge(int32_t edge, int32_t a, int32_t b, const Visit& visit) {
    if (edge >= 0) visit(edge, Ends{a, b});
  }

  int64_t edges_;
  int32_t depth_, height_, width_;
  int32_t directions_;
  uint64_t codes_ = 0;  // 4 bits for a direction: its number among the 13 forward steps
  Divisor by_nodes_;
};

class ListGraph {
 public:
  static constexpr bool kListsNeighbours = false;

  explicit ListGraph(const EdgeList& list)
      : by_nodes_(list.num_nodes),
        by_edges_(list.first.size),
        first_(list.first.data),
        second_(list.second.data) {}

  TREEFILTER_HD int64_t nodes() const { return by_nodes_.size; }
  TREEFILTER_HD int64_t edges() const { return by_edges_.size; }
  TREEFILTER_HD const Divisor& by_nodes() const { return by_nodes_; }
  TREEFILTER_HD const Divisor& by_items() const { return by_edges_; }

  template <class Visit>
  TREEFILTER_HD void edges_of_item(int64_t item, const Visit& visit) const {
    const int32_t edge = static_cast<int32_t>(item);
    const Ends e{first_[edge], second_[edge]};
    if (e.a >= 0 && e.a < nodes() && e.b >= 0 && e.b < nodes()) visit(edge, e);
  }

  TREEFILTER_HD Ends ends(int64_t, int32_t edge) const { return {first_[edge], second_[edge]}; }

 private:
  Divisor by_nodes_, by_edges_;
  const int32_t *first_, *second_;
};

}  // namespace treefilter::cuda
