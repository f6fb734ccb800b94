// The two kinds of graph as the device reads them: which edges there are, and which vertices they join.
//
// Vertices and edges are numbered within one graph, by int32. "Items" are what an algorithm goes
// through to see every edge once: the vertices of a grid, each with its edges in ascending directions,
// so that neighbouring threads read neighbouring weights; the edges of a list.
#pragma once

#include "../mst.h"
#include "launch.cuh"

namespace treefilter {

struct Ends {
  int32_t a, b;
};

class GridGraph {
 public:
  // Of a vertex all edges can be listed.
  static constexpr bool kListsNeighbours = true;

  explicit GridGraph(const Grid& grid)
      : edges_(grid.num_edges()),
        depth_(size(grid.depth)),
        height_(size(grid.height)),
        width_(size(grid.width)),
        directions_(grid.num_directions) {
    for (int i = 0; i < directions_; ++i) {
      const Direction& d = grid.directions[i];
      steps_[i] = {static_cast<int32_t>(d.dz),
                   static_cast<int32_t>(d.dy),
                   static_cast<int32_t>(d.dx),
                   size(d.y0),
                   size(d.x0),
                   size(d.depth),
                   size(d.height),
                   size(d.width),
                   size(d.first_edge)};
    }
  }

  TREEFILTER_HD int64_t nodes() const { return int64_t{depth_} * height_ * width_; }
  TREEFILTER_HD int64_t edges() const { return edges_; }
  TREEFILTER_HD int64_t items() const { return nodes(); }

  // Calls visit(edge, Ends) for the edges that start at a vertex.
  template <class Visit>
  TREEFILTER_HD void edges_of_item(int64_t item, const Visit& visit) const {
    const int32_t v = static_cast<int32_t>(item);
    const Place place = place_of(v);
    for (int i = 0; i < directions_; ++i) visit_step(steps_[i], place, v, visit);
  }

  // Calls visit(edge, Ends) for all edges of a vertex.
  template <class Visit>
  TREEFILTER_HD void edges_of_vertex(int32_t v, const Visit& visit) const {
    const Place place = place_of(v);
    for (int i = 0; i < directions_; ++i) {
      const Step& s = steps_[i];
      visit_step(s, place, v, visit);
      visit_step(s, {place.z - s.dz, place.y - s.dy, place.x - s.dx}, v - offset(s), visit);
    }
  }

  TREEFILTER_HD Ends ends(int32_t edge) const {
    int i = directions_ - 1;
    while (i > 0 && edge < steps_[i].first_edge) --i;
    const Step& s = steps_[i];
    const uint32_t rest = static_cast<uint32_t>(edge - s.first_edge);
    const uint32_t width = static_cast<uint32_t>(s.width), height = static_cast<uint32_t>(s.height);
    const int32_t x = static_cast<int32_t>(rest % width) + s.x0;
    const int32_t y = static_cast<int32_t>(rest / width % height) + s.y0;
    const int32_t z = static_cast<int32_t>(rest / width / height);
    const int32_t v = (z * height_ + y) * width_ + x;
    return {v, v + offset(s)};
  }

 private:
  // A Direction (mst.h) in half as many bytes.
  struct Step {
    int32_t dz, dy, dx, y0, x0, depth, height, width, first_edge;
  };
  struct Place {
    int32_t z, y, x;
  };

  static int32_t size(int64_t value) { return static_cast<int32_t>(value); }

  TREEFILTER_HD Place place_of(int32_t v) const {
    const uint32_t row = static_cast<uint32_t>(v) / static_cast<uint32_t>(width_);
    const uint32_t height = static_cast<uint32_t>(height_);
    return {static_cast<int32_t>(row / height), static_cast<int32_t>(row % height),
            v - static_cast<int32_t>(row) * width_};
  }
  TREEFILTER_HD int32_t offset(const Step& s) const { return (s.dz * height_ + s.dy) * width_ + s.dx; }

  // The edge of direction s that starts at vertex v, which is at `place`, if there is one.
  template <class Visit>
  TREEFILTER_HD void visit_step(const Step& s, const Place& place, int32_t v, const Visit& visit) const {
    const int32_t y = place.y - s.y0, x = place.x - s.x0;
    if (place.z < 0 || place.z >= s.depth || y < 0 || y >= s.height || x < 0 || x >= s.width) return;
    visit(s.first_edge + (place.z * s.height + y) * s.width + x, Ends{v, v + offset(s)});
  }

  int64_t edges_;
  int32_t depth_, height_, width_;
  int directions_;
  Step steps_[kMaxDirections] = {};
};

class ListGraph {
 public:
  static constexpr bool kListsNeighbours = false;

  explicit ListGraph(const EdgeList& list)
      : nodes_(list.num_nodes),
        edges_(list.first.size),
        first_(list.first.data),
        second_(list.second.data) {}

  TREEFILTER_HD int64_t nodes() const { return nodes_; }
  TREEFILTER_HD int64_t edges() const { return edges_; }
  TREEFILTER_HD int64_t items() const { return edges_; }

  template <class Visit>
  TREEFILTER_HD void edges_of_item(int64_t item, const Visit& visit) const {
    const int32_t edge = static_cast<int32_t>(item);
    const Ends e = ends(edge);
    if (e.a >= 0 && e.a < nodes_ && e.b >= 0 && e.b < nodes_) visit(edge, e);
  }

  TREEFILTER_HD Ends ends(int32_t edge) const { return {first_[edge], second_[edge]}; }

 private:
  int64_t nodes_, edges_;
  const int32_t *first_, *second_;
};

}  // namespace treefilter
