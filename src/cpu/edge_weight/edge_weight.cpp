// The sums of edge_weight.h on the CPU.
//
// A sum over channels is loaded and stored once for kAtOnce channels; once for every channel would take
// as long as the arithmetic. For the same reason a sum over the edges of a vertex (the derivative) takes
// up to kAtOnce edges at a time.
//
// All inner loops run over neighbouring edges or vertices, each with a sum of its own: the compiler
// vectorises them, and the width of vectors does not change the order of additions.
#include "../../edge_weight.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "../support/parallel.h"
#include "../support/workspace.h"
#include "strips.h"

namespace treefilter {
namespace {

// The distance of planes is often a power of two, so that they map to the same few sets of the cache.
// Two rows of 4 planes still fit into such a set.
constexpr int kAtOnce = 4;

template <Psi psi, class T>
T apply(T difference) {
  if (psi == Psi::kIdentity) return difference;
  return static_cast<T>((difference > 0) - (difference < 0));
}

// The factor s of edge_scatter: s psi(d) is the derivative of psi(d) d.
template <Psi psi, class T>
constexpr T kSlope = psi == Psi::kIdentity ? 2 : 1;

// Calls visit(c, std::integral_constant<int, n>) for all channels, n of them at a time.
template <class Visit>
void for_channels(int64_t channels, const Visit& visit) {
  int64_t c = 0;
  for (; c + kAtOnce <= channels; c += kAtOnce) visit(c, std::integral_constant<int, kAtOnce>{});
  for (; c < channels; ++c) visit(c, std::integral_constant<int, 1>{});
}

// sums[i] += the terms of edge i in Count channels; planes are `nodes` apart. Same: t is f.
template <Psi psi, bool Same, int Count, class Strip, class X, class T>
void add_terms(const Strip strip, int64_t nodes, const X* __restrict f, const X* __restrict t,
               T* __restrict sums) {
  for (int64_t i = 0; i < strip.count; ++i) {
    T sum = sums[i];
    for (int c = 0; c < Count; ++c) {
      const int64_t u = c * nodes + strip.u(i), v = c * nodes + strip.v(i);
      const T df = load<T>(f[u]) - load<T>(f[v]);
      const T dt = Same ? df : load<T>(t[u]) - load<T>(t[v]);
      sum += apply<psi>(df) * dt;
    }
    sums[i] = sum;
  }
}

template <Psi psi, bool Same, class X, class T, class AnyGraph>
void inner(Cpu cpu, const AnyGraph& graph, int64_t batch, int64_t channels, Span<const X> f,
           Span<const X> t, Span<T> weight) {
  const int64_t nodes = num_nodes(graph), edges = num_edges(graph);
  for_strips(cpu, graph, batch, channels, [&](int64_t b, const auto* strips, int used) {
    for (int s = 0; s < used; ++s) {
      std::fill_n(weight.data + b * edges + strips[s].e0, strips[s].count, T(0));
    }
    for_channels(channels, [&](int64_t c, auto count) {
      const int64_t plane = (b * channels + c) * nodes;
      for (int s = 0; s < used; ++s) {
        add_terms<psi, Same, count()>(strips[s], nodes, f.data + plane, t.data + plane,
                                      weight.data + b * edges + strips[s].e0);
      }
    });
  });
}

// The neighbours in one direction of vertices x0 … x1 - 1 of a segment: vertex x has the neighbour
// x + step, and weight[x] is that of the edge between them.
template <class T>
struct Neighbours {
  int64_t x0, x1, step;
  const T* weight;
};

// A segment of a grid row with its neighbours in all directions. x counts from the first vertex,
// `start`.
template <class T>
struct SegmentNeighbours {
  int64_t start, width;
  int64_t all0, all1;  // vertices all0 … all1 - 1 have a neighbour in each of the `count` directions
  int count;
  Neighbours<T> neighbours[2 * kMaxDirections];
};

template <class T>
SegmentNeighbours<T> neighbours_of(const Grid& grid, const Segment& s, const T* weight) {
  const int64_t start = (s.z * grid.height + s.y) * grid.width + s.x0, width = s.x1 - s.x0;
  SegmentNeighbours<T> of{start, width, 0, width, 0, {}};
  for (int d = 0; d < 2 * grid.num_directions; ++d) {
    const bool ends = d % 2;
    const GridStrip strip = strip_of(grid, grid.directions[d / 2], s, ends);
    if (strip.count == 0) continue;
    const int64_t step = strip.v0 - strip.u0;
    const int64_t x0 = (ends ? strip.v0 : strip.u0) - start, x1 = x0 + strip.count;
    of.neighbours[of.count++] = {x0, x1, ends ? -step : step, weight + strip.e0 - x0};
    of.all0 = std::max(of.all0, x0);
    of.all1 = std::min(of.all1, x1);
  }
  of.all1 = std::max(of.all0, of.all1);
  return of;
}

// Adds the terms of Count neighbours to sums[x], which is taken as 0 if `first`.
template <Psi psi, int Count, class X, class T>
void add_neighbours(int64_t x0, int64_t x1, const Neighbours<T>* from, bool first, const X* f,
                    T* __restrict sums) {
  const X* others[Count];
  const T* weights[Count];
  for (int k = 0; k < Count; ++k) {
    others[k] = f + from[k].step;
    weights[k] = from[k].weight;
  }
  for (int64_t x = x0; x < x1; ++x) {
    const T self = load<T>(f[x]);
    T sum = first ? T(0) : sums[x];
    for (int k = 0; k < Count; ++k) sum += weights[k][x] * apply<psi>(self - load<T>(others[k][x]));
    sums[x] = sum;
  }
}

// On a grid edge_scatter gathers: each vertex sums over its edges, so vertices are independent.
template <Psi psi, class X, class T>
void gather(const SegmentNeighbours<T>& segment, const X* f, X* __restrict out) {
  T sums[kColumns];
  int done = 0;
  const auto add = [&](auto count) {
    for (; done + count() <= segment.count; done += count()) {
      add_neighbours<psi, count()>(segment.all0, segment.all1, segment.neighbours + done, done == 0, f,
                                   sums);
    }
  };
  add(std::integral_constant<int, kAtOnce>{});
  add(std::integral_constant<int, 3>{});
  add(std::integral_constant<int, 2>{});
  add(std::integral_constant<int, 1>{});
  const auto one_by_one = [&](int64_t x0, int64_t x1) {
    for (int64_t x = x0; x < x1; ++x) {
      sums[x] = 0;
      for (int k = 0; k < segment.count; ++k) {
        const Neighbours<T>& n = segment.neighbours[k];
        if (x < n.x0 || x >= n.x1) continue;
        sums[x] += n.weight[x] * apply<psi>(load<T>(f[x]) - load<T>(f[x + n.step]));
      }
    }
  };
  one_by_one(0, segment.count == 0 ? segment.width : segment.all0);
  one_by_one(segment.all1, segment.width);
  for (int64_t x = 0; x < segment.width; ++x) store(out[x], kSlope<psi, T> * sums[x]);
}

template <Psi psi, class X, class T>
void scatter(Cpu cpu, const Grid& grid, int64_t batch, int64_t channels, Span<const T> weight,
             Span<const X> f, Span<X> out) {
  const int64_t nodes = grid.num_nodes(), edges = grid.num_edges();
  const Tiles tiles(grid);
  parallel_for(batch * tiles.count(), kNodes * channels, cpu.threads, [&] {
    return [&](int64_t item) {
      const Tiles::Tile tile = tiles[item % tiles.count()];
      const int64_t b = item / tiles.count();
      SegmentNeighbours<T> segments[kRows];
      for (int64_t y = tile.y0; y < tile.y1; ++y) {
        segments[y - tile.y0] =
            neighbours_of(grid, {tile.z, y, tile.x0, tile.x1}, weight.data + b * edges);
      }
      for (int64_t c = 0; c < channels; ++c) {
        const int64_t plane = (b * channels + c) * nodes;
        for (int64_t y = 0; y < tile.y1 - tile.y0; ++y) {
          const int64_t start = plane + segments[y].start;
          gather<psi>(segments[y], f.data + start, out.data + start);
        }
      }
    };
  });
}

// An integer type of the size of T, so that vectors of both have the same number of values.
template <class T>
using IndexLike = std::conditional_t<sizeof(T) == 8, int64_t, int32_t>;

template <class Strip, class X, class T>
void keep_largest(const Strip strip, const X* __restrict f, IndexLike<T> c, T* __restrict largest,
                  IndexLike<T>* __restrict argmax) {
  for (int64_t i = 0; i < strip.count; ++i) {
    const T size = std::abs(load<T>(f[strip.u(i)]) - load<T>(f[strip.v(i)])), before = largest[i];
    // The first NaN is kept: it must reach the weight.
    const bool larger = !(size <= before) & (before == before);
    largest[i] = larger ? size : before;
    argmax[i] = larger ? c : argmax[i];
  }
}

// On an edge list edge_scatter scatters. Each channel is one thread's, so the order of additions is
// fixed.
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
      for (int64_t v = 0; v < nodes; ++v) store(to[v], kSlope<psi, T> * sums[v]);
    };
  });
}

}  // namespace

template <class AnyGraph, class X, class T>
void edge_inner(Cpu cpu, const AnyGraph& graph, Psi psi, int64_t batch, int64_t channels,
                Span<const X> f, Span<const X> t, Span<T> weight) {
  const auto run = [&](auto same) {
    if (psi == Psi::kIdentity) {
      inner<Psi::kIdentity, same()>(cpu, graph, batch, channels, f, t, weight);
    } else {
      inner<Psi::kSign, same()>(cpu, graph, batch, channels, f, t, weight);
    }
  };
  if (f.data == t.data) {
    run(std::true_type{});
  } else {
    run(std::false_type{});
  }
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
    T largest[kSums];
    IndexLike<T> argmax[kSums];
    std::fill_n(largest, kSums, T(-1));
    std::fill_n(argmax, kSums, IndexLike<T>(0));
    for (int64_t c = 0; c < channels; ++c) {
      const X* fc = f.data + (b * channels + c) * nodes;
      for (int64_t s = 0, i = 0; s < used; i += strips[s++].count) {
        keep_largest(strips[s], fc, static_cast<IndexLike<T>>(c), largest + i, argmax + i);
      }
    }
    for (int64_t s = 0, i = 0; s < used; i += strips[s++].count) {
      std::copy_n(argmax + i, strips[s].count, out.data + b * edges + strips[s].e0);
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
