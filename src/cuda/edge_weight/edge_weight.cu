// edge_inner, edge_scatter and edge_argmax on CUDA.
//
// Threads share nothing, and nothing but features and results is moved: each thread keeps the sums of
// its edges (edge_inner) or of its vertex (edge_scatter) in registers and goes through the channels,
// several at a time, so that enough reads are in flight. On a grid, a plane of features is read from
// memory once: 16 bytes at a time where its rows allow that (runs.cuh), else value by value
// (grid_sums.cuh), and then the reads of neighbouring threads come at nearly the same time and meet in
// the caches. Where a weight is 0, edge_scatter does not read the feature.
//
// Sums are taken in the order of the CPU: over channels ascending, over the edges of a vertex by
// direction on a grid and by edge number in a list. The results are the same bits, except where a
// feature is not finite and the weight of its edge is 0: the CPU makes that a NaN, and here the feature
// is not read.
//
// Cost: B C N features are read, and B C N written by edge_scatter; it is bound by memory bandwidth. An
// edge list adds O(E + N) to find the edges of its vertices, and reads both ends of every edge: sectors
// of memory, not runs of it. For a hub of a list a thread sums 1024 edges, then one thread the sums: the
// one place where the order is not that of the CPU.
#include <type_traits>

#include "../../edge_weight.h"
#include "../runtime/launch.cuh"
#include "grid_sums.cuh"
#include "list_sums.cuh"
#include "run_sums.cuh"

namespace treefilter {
using namespace cuda;

namespace {

// Calls launch(Directions<Count>) with the smallest Count that has a kernel.
template <class Launch>
void with_directions(const Grid& grid, const Launch& launch) {
  if (grid.num_directions <= 2) return launch(Directions<2>(grid));
  if (grid.num_directions <= 4) return launch(Directions<4>(grid));
  launch(Directions<kMaxDirections>(grid));
}

ListedEdges edges_of(const EdgeList& graph) {
  return {graph.num_nodes, graph.first.size, graph.first.data, graph.second.data};
}

template <bool Same, class X, class T>
void inner(const Cuda& cuda, const Grid& grid, Psi psi, int64_t batch, int64_t channels, const X* f,
           const X* t, T* weight) {
  const bool done = with_runs<X>(grid, {f, t}, [&](auto kind) {
    const Runs<decltype(kind), X> runs(grid, batch);
    launch_tiles(cuda, "edge_inner",
                 RunInner<decltype(kind), Same, X, T>{runs, psi, channels, f, t, weight});
  });
  if (done) return;
  with_directions(grid, [&](const auto& directions) {
    constexpr int kCount = std::decay_t<decltype(directions)>::kCount;
    launch_wide(cuda, "edge_inner", batch * directions.nodes(),
                GridInner<kCount, Same, X, T>{directions, psi, channels, f, t, weight});
  });
}

template <bool Same, class X, class T>
void inner(const Cuda& cuda, const EdgeList& list, Psi psi, int64_t batch, int64_t channels, const X* f,
           const X* t, T* weight) {
  const ListedEdges graph = edges_of(list);
  launch_flat(cuda, "edge_inner", batch * graph.edges,
              ListInner<Same, X, T>{graph, psi, channels, f, t, weight});
}

template <class X, class T>
void scatter(const Cuda& cuda, const Grid& grid, Psi psi, int64_t batch, int64_t channels,
             const T* weight, const EuclideanEdges<T>& euclidean, const X* f, X* out) {
  const bool done = with_runs<X, 4>(grid, {f, out}, [&](auto kind) {
    const Runs<decltype(kind), X> runs(grid, batch);
    launch_tiles(cuda, "edge_scatter",
                 RunScatter<decltype(kind), X, T>{runs, psi, channels, weight, euclidean, f, out});
  });
  if (done) return;
  with_directions(grid, [&](const auto& directions) {
    using Phase = GridScatter<std::decay_t<decltype(directions)>::kCount, X, T>;
    launch_wide(cuda, "edge_scatter", batch * Phase::slices(channels) * directions.nodes(),
                Phase{directions, psi, channels, weight, euclidean, f, out});
  });
}

template <class X, class T>
void scatter(const Cuda& cuda, const EdgeList& list, Psi psi, int64_t batch, int64_t channels,
             const T* weight, const EuclideanEdges<T>& euclidean, const X* f, X* out) {
  const ListedEdges graph = edges_of(list);
  const Adjacency adjacency = make_adjacency(cuda, graph);
  using Phase = ListScatter<X, T>;
  launch_phased(cuda, "edge_scatter (adjacency)", 2 * graph.edges, adjacency);
  const Parts all{graph.edges};
  const auto [parts] = cuda.arrays<T>(batch * channels * all.count());
  const Phase phase{graph, adjacency.lists, psi, channels, weight, euclidean, f, out, parts};
  const int64_t slices = batch * Phase::slices(channels);
  launch_flat(cuda, "edge_scatter (parts)", slices * all.count(), ListParts<X, T>{phase});
  launch_flat(cuda, "edge_scatter", slices * graph.nodes, phase);
}

template <class X, class T>
void argmax(const Cuda& cuda, const Grid& grid, int64_t batch, int64_t channels, const X* f,
            int64_t* out, T* distance) {
  const bool done = with_runs<X>(grid, {f}, [&](auto kind) {
    const Runs<decltype(kind), X> runs(grid, batch);
    launch_tiles(cuda, "edge_argmax", RunArgmax<decltype(kind), X, T>{runs, channels, f, out, distance});
  });
  if (done) return;
  with_directions(grid, [&](const auto& directions) {
    constexpr int kCount = std::decay_t<decltype(directions)>::kCount;
    launch_wide(cuda, "edge_argmax", batch * directions.nodes(),
                GridArgmax<kCount, X, T>{directions, channels, f, out, distance});
  });
}

template <class X, class T>
void argmax(const Cuda& cuda, const EdgeList& list, int64_t batch, int64_t channels, const X* f,
            int64_t* out, T* distance) {
  const ListedEdges graph = edges_of(list);
  launch_flat(cuda, "edge_argmax", batch * graph.edges,
              ListArgmax<X, T>{graph, channels, f, out, distance});
}

}  // namespace

template <class AnyGraph, class X, class T>
void edge_inner(const Cuda& cuda, const AnyGraph& graph, Psi psi, int64_t batch, int64_t channels,
                Span<const X> f, Span<const X> t, Span<T> weight) {
  if (f.data == t.data || psi == Psi::kEuclidean) {
    inner<true>(cuda, graph, psi, batch, channels, f.data, t.data, weight.data);
  } else {
    inner<false>(cuda, graph, psi, batch, channels, f.data, t.data, weight.data);
  }
}

template <class AnyGraph, class X, class T>
void edge_scatter(const Cuda& cuda, const AnyGraph& graph, Psi psi, int64_t batch, int64_t channels,
                  Span<const T> weight, Span<const T> distance, Span<const X> f, Span<X> out) {
  if (out.size == 0) return;
  if (distance.size == 0) {
    return scatter(cuda, graph, psi, batch, channels, weight.data, {}, f.data, out.data);
  }
  const auto [scale] = cuda.arrays<T>(weight.size);
  launch_flat(cuda, "edge_scatter (scales)", weight.size,
              SetScales<T>{psi, weight.data, distance.data, scale});
  EuclideanEdges<T> euclidean{};
  if (psi == Psi::kEuclidean) euclidean = {scale, weight.data, distance.data};
  scatter(cuda, graph, psi, batch, channels, scale, euclidean, f.data, out.data);
}

template <class AnyGraph, class X, class T>
void edge_argmax(const Cuda& cuda, const AnyGraph& graph, int64_t batch, int64_t channels,
                 Span<const X> f, Span<int64_t> out, Span<T> distance) {
  argmax<X, T>(cuda, graph, batch, channels, f.data, out.data, distance.data);
}

#define TREEFILTER_INSTANTIATE(AnyGraph, X, T)                                                      \
  template void edge_inner<AnyGraph, X, T>(const Cuda&, const AnyGraph&, Psi, int64_t, int64_t,     \
                                           Span<const X>, Span<const X>, Span<T>);                  \
  template void edge_scatter<AnyGraph, X, T>(const Cuda&, const AnyGraph&, Psi, int64_t, int64_t,   \
                                             Span<const T>, Span<const T>, Span<const X>, Span<X>); \
  template void edge_argmax<AnyGraph, X, T>(const Cuda&, const AnyGraph&, int64_t, int64_t,         \
                                            Span<const X>, Span<int64_t>, Span<T>);
#define TREEFILTER_INSTANTIATE_BOTH(X, T) \
  TREEFILTER_INSTANTIATE(Grid, X, T) TREEFILTER_INSTANTIATE(EdgeList, X, T)
TREEFILTER_INSTANTIATE_BOTH(float, float)
TREEFILTER_INSTANTIATE_BOTH(double, double)
TREEFILTER_INSTANTIATE_BOTH(BFloat16, float)
TREEFILTER_INSTANTIATE_BOTH(Half, float)

}  // namespace treefilter
