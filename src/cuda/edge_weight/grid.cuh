// Sums over the edges of grids. A thread has one vertex, with the edges that start there, one for each
// direction, and those that end there. Neighbouring threads have neighbouring vertices, so that each of
// their reads is one contiguous run of memory, whichever the direction.
#pragma once

#include "../../edge_weight.h"
#include "../runtime/launch.cuh"

namespace treefilter::cuda {

template <class T>
TREEFILTER_HD T apply(Psi psi, T difference) {
  if (psi == Psi::kIdentity) return difference;
  return static_cast<T>((difference > 0) - (difference < 0));
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
  struct Position {
    int32_t z, y, x;
  };

  explicit Directions(const Grid& grid)
      : nodes_(grid.num_nodes()),
        edges_(grid.num_edges()),
        height_(size(grid.height)),
        width_(size(grid.width)) {
    for (int i = 0; i < grid.num_directions; ++i) {
      const Direction& d = grid.directions[i];
      steps_[i] = {{size(d.dz), size(d.dy), size(d.dx), size(d.y0), size(d.x0), size(d.depth),
                    size(d.height), size(d.width), size(d.first_edge)},
                   size((d.dz * grid.height + d.dy) * grid.width + d.dx)};
    }
  }

  TREEFILTER_HD int64_t nodes() const { return nodes_; }
  TREEFILTER_HD int64_t edges() const { return edges_; }

  TREEFILTER_HD Position position(int32_t v) const {
    const int32_t row = v / width_;
    return {row / height_, row % height_, v - row * width_};
  }

  // From the number of a vertex to that of its neighbour in direction i.
  TREEFILTER_HD int32_t offset(int i) const { return steps_[i].offset; }

  // The edge of direction i that starts, or ends, at a vertex; -1 if there is none.
  TREEFILTER_HD int32_t starting(int i, const Position& at) const {
    return edge(steps_[i], at.z, at.y, at.x);
  }
  TREEFILTER_HD int32_t ending(int i, const Position& at) const {
    const Step& s = steps_[i];
    return edge(s, at.z - s.dz, at.y - s.dy, at.x - s.dx);
  }

 private:
  struct Step : DirectionOf<int32_t> {
    int32_t offset;  // from an edge's first vertex to its second
  };

  static int32_t size(int64_t value) { return static_cast<int32_t>(value); }

  TREEFILTER_HD static int32_t edge(const Step& s, int32_t z, int32_t y, int32_t x) {
    return s.starts_at(z, y, x) ? s.edge_at(z, y, x) : -1;
  }

  int64_t nodes_, edges_;
  int32_t height_, width_;
  Step steps_[Count] = {};
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

// Channels that a thread reads at a time, so that 20 to 40 of its reads are in flight.
template <int Count>
constexpr int kChannelsAtOnce = Count <= 2   ? 8
                                : Count <= 4 ? 4
                                             : 1;

// A thread for each vertex. Same: t is f.
template <int Count, bool Same, class X, class T>
struct GridInner {
  Directions<Count> grid;
  Psi psi;
  int64_t channels;
  const X *f, *t;
  T* weight;

  TREEFILTER_HD void operator()(int64_t i) const {
    constexpr int kAtOnce = Same || Count > 4 ? kChannelsAtOnce<Count> : kChannelsAtOnce<Count> / 2;
    const Vertex<Count> from(grid, i);
    T sums[Count] = {};
    int64_t at = from.b * channels * grid.nodes() + from.v, c = 0;
    for (; c + kAtOnce <= channels; c += kAtOnce, at += kAtOnce * grid.nodes()) {
      add<kAtOnce>(at, from, sums);
    }
    for (; c < channels; ++c, at += grid.nodes()) add<1>(at, from, sums);
    from.write(grid, sums, weight);
  }

  // Adds the terms of `Channels` channels; the first one's value of this vertex is at index `at`.
  template <int Channels>
  TREEFILTER_HD void add(int64_t at, const Vertex<Count>& from, T (&sums)[Count]) const {
    T df[Channels][Count], dt[Channels][Count];
    differences(f + at, from, df);
    if constexpr (!Same) differences(t + at, from, dt);
    for (int k = 0; k < Channels; ++k) {
      for (int d = 0; d < Count; ++d) sums[d] += apply(psi, df[k][d]) * (Same ? df[k][d] : dt[k][d]);
    }
  }

  template <int Channels>
  TREEFILTER_HD void differences(const X* at, const Vertex<Count>& from,
                                 T (&to)[Channels][Count]) const {
    for (int k = 0; k < Channels; ++k) {
      const X* plane = at + k * grid.nodes();
      const T own = load<T>(plane[0]);
      for (int d = 0; d < Count; ++d) to[k][d] = own - load<T>(plane[from.offset[d]]);
    }
  }
};

// Keeps the larger difference; the first NaN is kept, because it must reach the weight.
template <class T>
TREEFILTER_HD void keep_largest(T difference, int32_t c, T& largest, int32_t& channel) {
  const T size = difference < 0 ? -difference : difference;
  const bool larger = !(size <= largest) && largest == largest;
  if (larger) largest = size;
  if (larger) channel = c;
}

// A thread for each vertex: the first channel with the largest difference.
template <int Count, class X, class T>
struct GridArgmax {
  Directions<Count> grid;
  int64_t channels;
  const X* f;
  int64_t* argmax;

  TREEFILTER_HD void operator()(int64_t i) const {
    constexpr int kAtOnce = Count <= 4 ? 4 : 1;
    const Vertex<Count> from(grid, i);
    T largest[Count];
    int32_t channel[Count] = {};
    for (int d = 0; d < Count; ++d) largest[d] = -1;
    const X* at = f + from.b * channels * grid.nodes() + from.v;
    int32_t c = 0;
    for (; c + kAtOnce <= channels; c += kAtOnce, at += kAtOnce * grid.nodes()) {
      keep<kAtOnce>(at, from, c, largest, channel);
    }
    for (; c < channels; ++c, at += grid.nodes()) keep<1>(at, from, c, largest, channel);
    from.write(grid, channel, argmax);
  }

  template <int Channels>
  TREEFILTER_HD void keep(const X* at, const Vertex<Count>& from, int32_t c, T (&largest)[Count],
                          int32_t (&channel)[Count]) const {
    T own[Channels], other[Channels][Count];
    for (int k = 0; k < Channels; ++k) {
      own[k] = load<T>(at[k * grid.nodes()]);
      for (int d = 0; d < Count; ++d) other[k][d] = load<T>(at[k * grid.nodes() + from.offset[d]]);
    }
    for (int k = 0; k < Channels; ++k) {
      for (int d = 0; d < Count; ++d) keep_largest(own[k] - other[k][d], c + k, largest[d], channel[d]);
    }
  }
};

// A thread for each vertex and slice of kSlice channels, for which the weights are read once.
template <int Count, class X, class T>
struct GridScatter {
  static constexpr int64_t kSlice = 32;

  Directions<Count> grid;
  Psi psi;
  int64_t channels;
  const T* weight;
  const X* f;
  X* out;

  static TREEFILTER_HD int64_t slices(int64_t channels) { return (channels + kSlice - 1) / kSlice; }

  TREEFILTER_HD void operator()(int64_t i) const {
    constexpr int kAtOnce = Count <= 4 ? 4 : 1;
    const int64_t row = i / grid.nodes(), b = row / slices(channels), slice = row - b * slices(channels);
    const int32_t v = static_cast<int32_t>(i - row * grid.nodes());
    T w[2 * Count];  // for each direction, of the edge that starts here, then of the edge that ends here
    const auto at = grid.position(v);
    const T* weights = weight + b * grid.edges();
    for (int d = 0; d < Count; ++d) {
      const int32_t starting = grid.starting(d, at), ending = grid.ending(d, at);
      w[2 * d] = starting < 0 ? T(0) : weights[starting];
      w[2 * d + 1] = ending < 0 ? T(0) : weights[ending];
    }
    int64_t c = slice * kSlice;
    const int64_t end = c + kSlice < channels ? c + kSlice : channels;
    int64_t index = (b * channels + c) * grid.nodes() + v;
    for (; c + kAtOnce <= end; c += kAtOnce, index += kAtOnce * grid.nodes()) gather<kAtOnce>(index, w);
    for (; c < end; ++c, index += grid.nodes()) gather<1>(index, w);
  }

  // Features at the other end of an edge of weight 0 are not read. In a gradient of tree edges that is
  // half of all edges, or more.
  template <int Channels>
  TREEFILTER_HD void gather(int64_t index, const T (&w)[2 * Count]) const {
    T own[Channels], other[Channels][2 * Count], sums[Channels] = {};
    for (int k = 0; k < Channels; ++k) own[k] = load<T>(f[index + k * grid.nodes()]);
    for (int n = 0; n < 2 * Count; ++n) {
      const int32_t offset = n % 2 == 0 ? grid.offset(n / 2) : -grid.offset(n / 2);
      for (int k = 0; k < Channels; ++k) {
        other[k][n] = w[n] == 0 ? T(0) : load<T>(f[index + k * grid.nodes() + offset]);
      }
    }
    for (int n = 0; n < 2 * Count; ++n) {
      for (int k = 0; k < Channels; ++k) {
        if (w[n] != 0) sums[k] += w[n] * apply(psi, own[k] - other[k][n]);
      }
    }
    for (int k = 0; k < Channels; ++k) store(out[index + k * grid.nodes()], slope<T>(psi) * sums[k]);
  }
};

}  // namespace treefilter::cuda
