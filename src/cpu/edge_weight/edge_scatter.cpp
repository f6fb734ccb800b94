// Sums over the edges of a vertex, for every channel: edge_scatter() of edge_weight.h on the CPU.
#include <algorithm>
#include <type_traits>

#include "../support/parallel.h"
#include "../support/workspace.h"
#include "runs.h"
#include "terms.h"

namespace treefilter {
namespace {

// A thread's work is a tile of so many channels: long chunks of each plane, so that memory is read and
// written in order.
constexpr int64_t kChannels = 32;

// A run is prefetched while the one so many before it is added up.
constexpr int kAhead = 4;

// Some vectors of any width.
constexpr int64_t kBlock = 16;

// The factor s of edge_scatter: s psi(d) is the derivative of psi(d) d.
template <Psi psi, class T>
constexpr T kSlope = psi == Psi::kIdentity ? 2 : 1;

// What a sum that is NaN needs to be computed once more: `scale`, the weights of an image's edges; for
// kEuclidean (edge_range.h) also their gradients and distances.
template <class T>
struct ImageEdges {
  const T *gradient, *distance, *scale;
};

// Adds the terms of Count neighbours to sums[x], which is taken as 0 if First. The Last ones write the
// result instead; then not 0 is returned if one of them is NaN.
template <Psi psi, int Count, bool First, bool Last, class X, class T>
IndexLike<T> add_neighbours(int64_t x0, int64_t x1, const Neighbours<T>* from, const X* f,
                            T* __restrict sums, X* __restrict out) {
  const X* others[Count];
  const T* weights[Count];
  for (int k = 0; k < Count; ++k) {
    others[k] = f + from[k].step;
    weights[k] = from[k].weight;
  }
  IndexLike<T> undefined = 0;
  const auto add = [&](int64_t from, int64_t to) {
    for (int64_t x = from; x < to; ++x) {
      const T self = load<T>(f[x]);
      T sum = First ? T(0) : sums[x];
      for (int k = 0; k < Count; ++k) {
        sum += weights[k][x] * apply<psi>(self - load<T>(others[k][x]));
      }
      if constexpr (Last) {
        undefined |= sum == sum ? 0 : -1;
        store(out[x], kSlope<psi, T> * sum);
      } else {
        sums[x] = sum;
      }
    }
  };
  if (First && x1 - x0 >= kBlock) {  // the last ones again rather than one by one
    add(x0, x1 - (x1 - x0) % kBlock);
    if ((x1 - x0) % kBlock != 0) add(x1 - kBlock, x1);
  } else {
    add(x0, x1);
  }
  return undefined;
}

// The sum of vertex v, precisely. An edge of weight 0 adds 0, though the difference may be infinite.
template <Psi psi, class X, class T>
T exact_sum(const Grid& grid, const ImageEdges<T>& of, const X* f, int64_t v) {
  const int64_t x = v % grid.width, row = v / grid.width;
  const Segment segment{row / grid.height, row % grid.height, x, x + 1};
  const RunOf<T> vertex = run_of(grid, segment, of.scale);
  T sum = 0;
  for (int k = 0; k < vertex.count; ++k) {
    const Neighbours<T>& n = vertex.neighbours[k];
    const int64_t e = n.weight - of.scale;
    if constexpr (psi == Psi::kEuclidean) {
      sum += edge_term(of.scale[e], of.gradient[e], of.distance[e], f[v], f[v + n.step]);
    } else if (of.scale[e] != 0) {
      sum += of.scale[e] * apply<psi>(load<T>(f[v]) - load<T>(f[v + n.step]));
    }
  }
  return sum;
}

// On a grid edge_scatter gathers: each vertex sums over its edges, so vertices are independent. f and
// out are those of the vertex `start`. Not 0 is returned if a sum is NaN.
template <Psi psi, class X, class T>
IndexLike<T> gather(const RunOf<T>& run, const X* f, X* __restrict out) {
  T sums[kTileColumns];
  IndexLike<T> undefined = 0;
  int done = 0;
  const auto add = [&](auto count) {
    for (; done + count() <= run.count; done += count()) {
      const auto some = [&](auto first, auto last) {
        undefined |= add_neighbours<psi, count(), first(), last()>(run.all0, run.all1,
                                                                   run.neighbours + done, f, sums, out);
      };
      const auto from = [&](auto first) {
        if (done + count() == run.count) {
          some(first, std::true_type{});
        } else {
          some(first, std::false_type{});
        }
      };
      if (done == 0) {
        from(std::true_type{});
      } else {
        from(std::false_type{});
      }
    }
  };
  add(std::integral_constant<int, kAtOnce>{});
  add(std::integral_constant<int, 3>{});
  add(std::integral_constant<int, 2>{});
  add(std::integral_constant<int, 1>{});
  const auto one_by_one = [&](int64_t x0, int64_t x1) {
    for (int64_t x = x0; x < x1; ++x) {
      T sum = 0;
      for (int k = 0; k < run.count; ++k) {
        const Neighbours<T>& n = run.neighbours[k];
        if (x < n.x0 || x >= n.x1) continue;
        sum += n.weight[x] * apply<psi>(load<T>(f[x]) - load<T>(f[x + n.step]));
      }
      undefined |= sum == sum ? 0 : -1;
      store(out[x], kSlope<psi, T> * sum);
    }
  };
  one_by_one(0, run.count == 0 ? run.width : run.all0);
  one_by_one(run.all1, run.width);
  return undefined;
}

// weight: for kEuclidean the scales, and gradient and distance as in edge_scatter().
template <Psi psi, class X, class T>
void scatter(Cpu cpu, const Grid& grid, int64_t batch, int64_t channels, Span<const T> weight,
             Span<const T> gradient, Span<const T> distance, Span<const X> f, Span<X> out) {
  const int64_t nodes = grid.num_nodes(), edges = grid.num_edges();
  const Tiles tiles = TileRuns<T>::tiles(grid);
  const int64_t parts = (channels + kChannels - 1) / kChannels;
  parallel_for(batch * parts * tiles.count(), kNodes * kChannels, cpu, [&] {
    return [&, runs = TileRuns<T>(grid)](int64_t item) mutable {
      const int64_t b = item / tiles.count() / parts, first = item / tiles.count() % parts * kChannels;
      const ImageEdges<T> image{gradient.data + b * edges, distance.data + b * edges,
                                weight.data + b * edges};
      runs.set(tiles[item % tiles.count()], image.scale);
      const int64_t last = std::min(first + kChannels, channels);
      for (int64_t c = first; c < last; ++c) {
        const X* const from = f.data + (b * channels + c) * nodes;
        X* const to = out.data + (b * channels + c) * nodes;
        for (int i = 0; i < runs.count(); ++i) {
          const RunOf<T>& run = runs[i];
          const int later = i + kAhead;
          if (const int64_t skipped = later / runs.count(); c + skipped < last) {
            const RunOf<T>& next = runs[later % runs.count()];
            prefetch_values(from + skipped * nodes + next.start, next.width);
            prefetch_values<true>(to + skipped * nodes + next.start, next.width);
          }
          if (gather<psi>(run, from + run.start, to + run.start) == 0) continue;
          for (int64_t v = run.start; v < run.start + run.width; ++v) {
            const T sum = load<T>(to[v]);
            if (sum != sum) store(to[v], kSlope<psi, T> * exact_sum<psi>(grid, image, from, v));
          }
        }
      }
    };
  });
}

// On an edge list edge_scatter scatters. Each channel is one thread's, so the order of additions is
// fixed.
template <Psi psi, class X, class T>
void scatter(Cpu cpu, const EdgeList& graph, int64_t batch, int64_t channels, Span<const T> weight,
             Span<const T> gradient, Span<const T> distance, Span<const X> f, Span<X> out) {
  const int64_t nodes = graph.num_nodes, edges = graph.first.size;
  parallel_for(batch * channels, edges, cpu, [&] {
    return [&, sums = Buffer<T>(nodes)](int64_t item) mutable {
      sums.fill(0);
      const X* fc = f.data + item * nodes;
      const int64_t first_edge = item / channels * edges;
      const T* w = weight.data + first_edge;
      for_ascending(cpu, 0, edges, [&, sums = sums.data()](int64_t e) {
        const int64_t u = graph.first[e], v = graph.second[e];
        T value = w[e] * apply<psi>(load<T>(fc[u]) - load<T>(fc[v]));
        if (psi == Psi::kEuclidean && value != value) {
          value = edge_term(w[e], gradient[first_edge + e], distance[first_edge + e], fc[u], fc[v]);
        } else if (w[e] == 0) {
          value = 0;  // not NaN, though the difference may be infinite
        }
        sums[u] += value;
        sums[v] -= value;
      });
      X* to = out.data + item * nodes;
      for (int64_t v = 0; v < nodes; ++v) store(to[v], kSlope<psi, T> * sums[v]);
    };
  });
}

}  // namespace

template <class AnyGraph, class X, class T>
void edge_scatter(Cpu cpu, const AnyGraph& graph, Psi psi, int64_t batch, int64_t channels,
                  Span<const T> weight, Span<const T> distance, Span<const X> f, Span<X> out) {
  const bool scaled = psi == Psi::kEuclidean || any_largest(distance.size, distance.data);
  const Buffer<T> scale(scaled ? weight.size : 0);
  const int64_t chunks = (scale.size() + kSums - 1) / kSums;
  parallel_for(chunks, kSums, cpu, [&] {
    return [&](int64_t chunk) {
      const int64_t end = std::min((chunk + 1) * kSums, weight.size);
      for (int64_t e = chunk * kSums; e < end; ++e) scale[e] = edge_scale(psi, weight[e], distance[e]);
    };
  });
  const Span<const T> scales = scaled ? Span<const T>{scale.data(), scale.size()} : weight;
  if (psi == Psi::kIdentity) {
    scatter<Psi::kIdentity>(cpu, graph, batch, channels, scales, {}, {}, f, out);
  } else if (psi == Psi::kSign) {
    scatter<Psi::kSign>(cpu, graph, batch, channels, scales, {}, {}, f, out);
  } else {
    scatter<Psi::kEuclidean>(cpu, graph, batch, channels, scales, weight, distance, f, out);
  }
}

#define TREEFILTER_INSTANTIATE(AnyGraph, X, T)                                            \
  template void edge_scatter<AnyGraph, X, T>(Cpu, const AnyGraph&, Psi, int64_t, int64_t, \
                                             Span<const T>, Span<const T>, Span<const X>, Span<X>);
#define TREEFILTER_INSTANTIATE_BOTH(X, T) \
  TREEFILTER_INSTANTIATE(Grid, X, T) TREEFILTER_INSTANTIATE(EdgeList, X, T)
TREEFILTER_INSTANTIATE_BOTH(float, float)
TREEFILTER_INSTANTIATE_BOTH(double, double)
TREEFILTER_INSTANTIATE_BOTH(BFloat16, float)
TREEFILTER_INSTANTIATE_BOTH(Half, float)

}  // namespace treefilter
