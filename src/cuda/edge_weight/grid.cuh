// Threads on grids. A thread has one vertex, with the edges that start there, one for each
// direction, and those that end there. Neighbouring threads have neighbouring vertices, so that each of
// their reads is one contiguous run of memory, whichever the direction.
#pragma once

#include "../../edge_weight.h"
#include "../runtime/grid_step.cuh"
#include "../runtime/launch.cuh"

namespace treefilter::cuda {

template <class T>
TREEFILTER_HD T apply(Psi psi, T difference) {
  return psi == Psi::kSign ? sign_of(difference) : difference;
}

// The factor of edge_scatter: this times psi(d) is the derivative of psi(d) d.
template <class T>
TREEFILTER_HD T slope(Psi psi) {
  return psi == Psi::kIdentity ? T(2) : T(1);
}

// A grid of at most Count directions, for which the compiler keeps registers. Directions that the grid
// does not have have no edges.
template <int Count>
class Directions {
 public:
  static constexpr int kCount = Count;

  explicit Directions(const Grid& grid)
      : nodes_(grid.num_nodes()),
        edges_(grid.num_edges()),
        height_(size(grid.height)),
        width_(size(grid.width)) {
    for (int i = 0; i < grid.num_directions; ++i) {
      const Direction& d = grid.directions[i];
      steps_[i] = {{size(d.dz), size(d.dy), size(d.dx), size(d.y0), size(d.x0), size(d.depth),
                    size(d.height), size(d.width), size(d.first_edge)},
                   height_,
                   width_};
    }
  }

  TREEFILTER_HD int64_t nodes() const { return nodes_; }
  TREEFILTER_HD int64_t edges() const { return edges_; }

  TREEFILTER_HD GridPosition position(int32_t v) const { return GridPosition::of(v, height_, width_); }

  // From the number of a vertex to that of its neighbour in direction i.
  TREEFILTER_HD int32_t offset(int i) const { return steps_[i].offset; }

  // The edge of direction i that starts, or ends, at a vertex; -1 if there is none.
  TREEFILTER_HD int32_t starting(int i, const GridPosition& at) const { return steps_[i].starting(at); }
  TREEFILTER_HD int32_t ending(int i, const GridPosition& at) const { return steps_[i].ending(at); }

 private:
  static int32_t size(int64_t value) { return static_cast<int32_t>(value); }

  int64_t nodes_, edges_;
  int32_t height_, width_;
  GridStep steps_[Count];
};

// The vertex of a thread of a phase over [B, N], and the other ends of the edges that start there, as
// offsets. The offset of an edge that does not exist is 0, so that all are read in the same way, many at
// a time.
template <int Count>
struct Vertex {
  int64_t b;
  int32_t v;
  int32_t offset[Count];

  TREEFILTER_HD Vertex(const Directions<Count>& grid, int64_t i)
      : b(i / grid.nodes()), v(static_cast<int32_t>(i - b * grid.nodes())) {
    const auto at = grid.position(v);
    for (int d = 0; d < Count; ++d) offset[d] = grid.starting(d, at) < 0 ? 0 : grid.offset(d);
  }

  // Writes values[d] for the edge of each direction d; to [B, E]. (The edges' numbers are computed
  // again: keeping them would take registers.)
  template <class T, class Value>
  TREEFILTER_HD void write(const Directions<Count>& grid, const Value (&values)[Count], T* to) const {
    const auto at = grid.position(v);
    for (int d = 0; d < Count; ++d) {
      const int32_t edge = grid.starting(d, at);
      if (edge >= 0) to[b * grid.edges() + edge] = values[d];
    }
  }
};

// launch_flat for threads that hold the features of many channels and directions in registers. They get
// as many registers as they need: the latency of reads is hidden by the many reads that one thread has
// in flight.
template <class Phase>
struct Wide {
  static constexpr int kThreads = 256;

  int64_t count;
  Phase phase;

  TREEFILTER_HD void operator()(const Block& block) const {
    block.each([&](int t) {
      const int64_t i = block.index * kThreads + t;
      if (i < count) phase(i);
    });
  }
};

template <class Phase>
void launch_wide(const Cuda& cuda, const char* name, int64_t count, const Phase& phase) {
  constexpr int kThreads = Wide<Phase>::kThreads;
  launch_blocks<kThreads>(cuda, name, (count + kThreads - 1) / kThreads, 0, Wide<Phase>{count, phase});
}

}  // namespace treefilter::cuda
