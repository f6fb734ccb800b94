// A "strip" is a short run of edges whose ends can be addressed for all channels: on a grid the edges of
// one direction that start in one row segment (both ends are runs of memory), in an edge list a range of
// edges. Every kernel below works strip by strip, channel by channel, with its sums in a small array.
#include "../edge_weight.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "parallel.h"

namespace treefilter {
namespace {

constexpr int64_t kStrip = 512;

// The edges e0 + i, i < count, that join vertices u0 + i and v0 + i.
struct GridStrip {
  int64_t e0, u0, v0, count;

  int64_t u(int64_t i) const { return u0 + i; }
  int64_t v(int64_t i) const { return v0 + i; }
};

struct ListStrip {
  int64_t e0, count;
  const int32_t *first, *second;

  int64_t u(int64_t i) const { return first[i]; }
  int64_t v(int64_t i) const { return second[i]; }
};

// A piece of one row of vertices.
struct Segment {
  int64_t z, y, x0, x1;
};

std::vector<Segment> segments(const Grid& grid) {
  std::vector<Segment> all;
  for (int64_t z = 0; z < grid.depth; ++z) {
    for (int64_t y = 0; y < grid.height; ++y) {
      for (int64_t x = 0; x < grid.width; x += kStrip) {
        all.push_back({z, y, x, std::min(x + kStrip, grid.width)});
      }
    }
  }
  return all;
}

// The edges of direction d whose starting vertex (or ending vertex, for `ends`) lies in the segment.
GridStrip strip_of(const Grid& grid, const Direction& d, const Segment& s, bool ends) {
  const int64_t z = s.z - ends * d.dz, y = s.y - ends * d.dy, shift = ends * d.dx;
  const int64_t x0 = std::max(s.x0 - shift, d.x0), x1 = std::min(s.x1 - shift, d.x0 + d.width);
  if (z < 0 || z >= d.depth || y < d.y0 || y >= d.y0 + d.height || x0 >= x1) return {0, 0, 0, 0};
  const int64_t u0 = (z * grid.height + y) * grid.width + x0;
  return {d.first_edge + (z * d.height + y - d.y0) * d.width + x0 - d.x0, u0,
          u0 + (d.dz * grid.height + d.dy) * grid.width + d.dx, x1 - x0};
}

// Calls visit(b, strips, number of strips) for groups of strips that share their rows.
template <class Visit>
void for_strips(Cpu cpu, const Grid& grid, int64_t batch, int64_t channels, const Visit& visit) {
  const std::vector<Segment> all = segments(grid);
  const int64_t count = static_cast<int64_t>(all.size());
  parallel_for(batch * count, kStrip * channels, cpu.threads, [&] {
    return [&](int64_t item) {
      GridStrip strips[kMaxDirections];
      int used = 0;
      for (int d = 0; d < grid.num_directions; ++d) {
        strips[used] = strip_of(grid, grid.directions[d], all[item % count], false);
        used += strips[used].count > 0;
      }
      visit(item / count, strips, used);
    };
  });
}

template <class Visit>
void for_strips(Cpu cpu, const EdgeList& graph, int64_t batch, int64_t channels, const Visit& visit) {
  const int64_t edges = graph.first.size, count = (edges + kStrip - 1) / kStrip;
  parallel_for(batch * count, kStrip * channels, cpu.threads, [&] {
    return [&](int64_t item) {
      const int64_t e0 = item % count * kStrip;
      const ListStrip strip{e0, std::min(kStrip, edges - e0), graph.first.data + e0,
                            graph.second.data + e0};
      visit(item / count, &strip, 1);
    };
  });
}

int64_t num_nodes(const Grid& grid) {
  return grid.num_nodes();
}
int64_t num_nodes(const EdgeList& graph) {
  return graph.num_nodes;
}
int64_t num_edges(const Grid& grid) {
  return grid.num_edges();
}
int64_t num_edges(const EdgeList& graph) {
  return graph.first.size;
}

template <Psi psi, class T>
T apply(T difference) {
  if (psi == Psi::kIdentity) return difference;
  return static_cast<T>((difference > 0) - (difference < 0));
}

template <Psi psi, class X, class T, class AnyGraph>
void inner(Cpu cpu, const AnyGraph& graph, int64_t batch, int64_t channels, Span<const X> f,
           Span<const X> t, Span<T> weight) {
  const int64_t nodes = num_nodes(graph), edges = num_edges(graph);
  for_strips(cpu, graph, batch, channels, [&](int64_t b, const auto* strips, int used) {
    T sums[kMaxDirections][kStrip] = {};
    for (int64_t c = 0; c < channels; ++c) {
      const X* fc = f.data + (b * channels + c) * nodes;
      const X* tc = t.data + (b * channels + c) * nodes;
      for (int s = 0; s < used; ++s) {
        const auto strip = strips[s];
        for (int64_t i = 0; i < strip.count; ++i) {
          const T df = load<T>(fc[strip.u(i)]) - load<T>(fc[strip.v(i)]);
          const T dt = load<T>(tc[strip.u(i)]) - load<T>(tc[strip.v(i)]);
          sums[s][i] += apply<psi>(df) * dt;
        }
      }
    }
    for (int s = 0; s < used; ++s) {
      std::copy_n(sums[s], strips[s].count, weight.data + b * edges + strips[s].e0);
    }
  });
}

// A grid gathers: a vertex sums over the edges that start and end at it, so rows are independent.
template <Psi psi, class X, class T>
void scatter(Cpu cpu, const Grid& grid, int64_t batch, int64_t channels, Span<const T> weight,
             Span<const X> f, Span<X> out) {
  const int64_t nodes = grid.num_nodes(), edges = grid.num_edges();
  const std::vector<Segment> all = segments(grid);
  const int64_t count = static_cast<int64_t>(all.size());
  parallel_for(batch * count, kStrip * channels, cpu.threads, [&] {
    return [&](int64_t item) {
      const Segment segment = all[item % count];
      const int64_t b = item / count;
      const int64_t row = (segment.z * grid.height + segment.y) * grid.width + segment.x0;
      for (int64_t c = 0; c < channels; ++c) {
        T sums[kStrip] = {};
        const X* fc = f.data + (b * channels + c) * nodes;
        for (int d = 0; d < 2 * grid.num_directions; ++d) {
          const bool ends = d % 2;
          const GridStrip strip = strip_of(grid, grid.directions[d / 2], segment, ends);
          if (strip.count == 0) continue;
          const X* self = fc + (ends ? strip.v0 : strip.u0);
          const X* other = fc + (ends ? strip.u0 : strip.v0);
          T* sum = sums + (self - fc - row);
          const T* w = weight.data + b * edges + strip.e0;
          for (int64_t i = 0; i < strip.count; ++i) {
            sum[i] += w[i] * apply<psi>(load<T>(self[i]) - load<T>(other[i]));
          }
        }
        X* to = out.data + (b * channels + c) * nodes + row;
        for (int64_t i = 0; i < segment.x1 - segment.x0; ++i) store(to[i], sums[i]);
      }
    };
  });
}

// An edge list scatters: one channel is one thread's, so the sums have a fixed order.
template <Psi psi, class X, class T>
void scatter(Cpu cpu, const EdgeList& graph, int64_t batch, int64_t channels, Span<const T> weight,
             Span<const X> f, Span<X> out) {
  const int64_t nodes = graph.num_nodes, edges = graph.first.size;
  parallel_for(batch * channels, edges, cpu.threads, [&] {
    return [&, sums = Buffer<T>(nodes)](int64_t item) mutable {
      sums.fill(0);
      const X* fc = f.data + item * nodes;
      const T* w = weight.data + item / channels * edges;
      for (int64_t e = 0; e < edges; ++e) {
        const int64_t u = graph.first[e], v = graph.second[e];
        const T value = w[e] * apply<psi>(load<T>(fc[u]) - load<T>(fc[v]));
        sums[u] += value;
        sums[v] -= value;
      }
      X* to = out.data + item * nodes;
      for (int64_t v = 0; v < nodes; ++v) store(to[v], sums[v]);
    };
  });
}

}  // namespace

template <class AnyGraph, class X, class T>
void edge_inner(Cpu cpu, const AnyGraph& graph, Psi psi, int64_t batch, int64_t channels,
                Span<const X> f, Span<const X> t, Span<T> weight) {
  const auto run =
      psi == Psi::kIdentity ? inner<Psi::kIdentity, X, T, AnyGraph> : inner<Psi::kSign, X, T, AnyGraph>;
  run(cpu, graph, batch, channels, f, t, weight);
}

template <class AnyGraph, class X, class T>
void edge_scatter(Cpu cpu, const AnyGraph& graph, Psi psi, int64_t batch, int64_t channels,
                  Span<const T> weight, Span<const X> f, Span<X> out) {
  if (psi == Psi::kIdentity) {
    scatter<Psi::kIdentity>(cpu, graph, batch, channels, weight, f, out);
  } else {
    scatter<Psi::kSign>(cpu, graph, batch, channels, weight, f, out);
  }
}

template <class AnyGraph, class X, class T>
void edge_argmax(Cpu cpu, const AnyGraph& graph, int64_t batch, int64_t channels, Span<const X> f,
                 Span<int64_t> out) {
  const int64_t nodes = num_nodes(graph), edges = num_edges(graph);
  for_strips(cpu, graph, batch, channels, [&](int64_t b, const auto* strips, int used) {
    T largest[kMaxDirections][kStrip];
    for (int s = 0; s < used; ++s) {
      std::fill_n(largest[s], strips[s].count, T(-1));
      std::fill_n(out.data + b * edges + strips[s].e0, strips[s].count, int64_t{0});
    }
    for (int64_t c = 0; c < channels; ++c) {
      const X* fc = f.data + (b * channels + c) * nodes;
      for (int s = 0; s < used; ++s) {
        const auto strip = strips[s];
        int64_t* arg = out.data + b * edges + strip.e0;
        for (int64_t i = 0; i < strip.count; ++i) {
          const T size = std::abs(load<T>(fc[strip.u(i)]) - load<T>(fc[strip.v(i)]));
          // The first NaN wins: it must reach the weight.
          const bool larger = size > largest[s][i] || (size != size && largest[s][i] == largest[s][i]);
          largest[s][i] = larger ? size : largest[s][i];
          arg[i] = larger ? c : arg[i];
        }
      }
    }
  });
}

#define TREEFILTER_INSTANTIATE(AnyGraph, X, T)                                                         \
  template void edge_inner<AnyGraph, X, T>(Cpu, const AnyGraph&, Psi, int64_t, int64_t, Span<const X>, \
                                           Span<const X>, Span<T>);                                    \
  template void edge_scatter<AnyGraph, X, T>(Cpu, const AnyGraph&, Psi, int64_t, int64_t,              \
                                             Span<const T>, Span<const X>, Span<X>);                   \
  template void edge_argmax<AnyGraph, X, T>(Cpu, const AnyGraph&, int64_t, int64_t, Span<const X>,     \
                                            Span<int64_t>);
#define TREEFILTER_INSTANTIATE_BOTH(X, T) \
  TREEFILTER_INSTANTIATE(Grid, X, T) TREEFILTER_INSTANTIATE(EdgeList, X, T)
TREEFILTER_INSTANTIATE_BOTH(float, float)
TREEFILTER_INSTANTIATE_BOTH(double, double)
TREEFILTER_INSTANTIATE_BOTH(BFloat16, float)
TREEFILTER_INSTANTIATE_BOTH(Half, float)

}  // namespace treefilter
