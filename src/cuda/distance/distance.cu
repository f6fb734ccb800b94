// Distances on CUDA (distance.h): scans over the rounds of the plan (scan/chain_scan.cuh), so that the
// depth of the tree does not matter. A channel of results gets a block, or all channels the whole device
// if they are large.
//
// The CPU finds values and paths at the same time. Here the paths come first: what can be reached from a
// source, and through which neighbour, depends on the topology and on the edges of weight +inf alone.
// Then the values are found along the paths, by the same code as path_sums: the two give the same bits.
// Sums are taken in another order of addition than on the CPU; maxima have the CPU's bits.
//
// For many seeds see distance_transform.cuh; for the transpose, accumulate_sums, see path_flow.cuh.
//
// The cost of a channel is four passes, and some 60 bytes of scattered reads and writes a vertex, mostly
// in the L2 cache.
#include "../../distance.h"
#include "distance_transform.cuh"
#include "path_flow.cuh"

namespace treefilter {
using namespace cuda;

namespace {

// ---- the paths from one source ----

// Finds which vertices have the source below them. via[source] = source is set already.
template <class T>
struct ReachUp {
  static constexpr bool kUp = true, kGathers = false;
  using Map = ChainMap<Carried>;

  PlanView plan;
  Weights<T> weight;
  int32_t* via;

  template <class Channel>
  TREEFILTER_HD explicit ReachUp(const Channel& channel)
      : plan(channel.plan), weight(channel.weight), via(channel.via) {}

  TREEFILTER_HD Map step(int32_t s) const {
    if (via[plan.vertex(s)] >= 0) return {{1}, 0};
    if (plan.is_bottom(s) || weight.is_cut(plan.vertex(s - 1))) return {{0}, 0};
    return {{0}, 1};
  }
  TREEFILTER_HD void put(int32_t s, const Carried& reached) const {
    if (reached.value != 1) return;
    const int32_t v = plan.vertex(s);
    if (via[v] < 0) via[v] = plan.vertex(s - 1);
    // There is only one source, so no other chain writes there.
    if (plan.is_top(s) && !plan.is_root(s) && !weight.is_cut(v)) via[plan.vertex(plan.parent(s))] = v;
  }
};

template <class T>
struct ReachDown {
  static constexpr bool kUp = false, kGathers = false;
  using Map = ChainMap<Carried>;

  PlanView plan;
  Weights<T> weight;
  int32_t* via;

  template <class Channel>
  TREEFILTER_HD explicit ReachDown(const Channel& channel)
      : plan(channel.plan), weight(channel.weight), via(channel.via) {}

  TREEFILTER_HD Map step(int32_t s) const {
    const int32_t v = plan.vertex(s);
    if (via[v] >= 0) return {{1}, 0};
    if (plan.is_root(s) || weight.is_cut(v)) return {{0}, 0};
    if (plan.is_top(s)) return {{via[plan.vertex(plan.parent(s))] >= 0}, 0};
    return {{0}, 1};
  }
  TREEFILTER_HD void put(int32_t s, const Carried& reached) const {
    const int32_t v = plan.vertex(s);
    if (reached.value == 1 && via[v] < 0) via[v] = plan.vertex(plan.parent(s));
  }
};

template <class T>
struct SourceChannel : PathsChannel<T, int32_t> {
  int64_t source;
};

struct StartAtSource {
  int64_t source;
  int32_t* via;

  template <class Channel>
  TREEFILTER_HD explicit StartAtSource(const Channel& channel)
      : source(channel.source), via(channel.via) {}

  TREEFILTER_HD void operator()(int32_t v) const { via[v] = v == source ? v : -1; }
};

template <Path path, class T>
struct FindDistances : WeightedTrees<T> {
  using LargestMap = ChainMap<typename LengthAlong<path, T>::Value>;

  const int64_t* source;
  T* distance;
  int32_t *via, *bottleneck;

  TREEFILTER_HD SourceChannel<T> channel(int64_t index) const {
    return {PathsChannel<T, int32_t>(*this, index, false, via, distance, bottleneck), source[index]};
  }
  TREEFILTER_PHASED template <class Runner>
  TREEFILTER_HD void run(const Runner& runner) const {
    runner.template vertices<StartAtSource>();
    runner.template pass<ReachUp<T>>();
    runner.template pass<ReachDown<T>>();
    run_distances<path, T>(runner);
  }
};

// ---- the paths in the regions of many seeds ----

// The weights without the edges between regions, where a single source is searched for.
template <class T>
struct CutRegions {
  TreeView tree;
  const int64_t* nearest;
  const T* weight;
  int64_t weight_step;
  T* to;

  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t n = tree.nodes, b = i / n, v = i % n;
    const int32_t p = tree.parent[(tree.batch == 1 ? 0 : b) * n + v];
    const bool inside = p >= 0 && p < n && nearest[i] == nearest[b * n + p];
    to[i] = inside ? weight[b * weight_step + v] : static_cast<T>(INFINITY);
  }
};

template <class T>
struct RegionChannel : PathsChannel<T, int32_t> {
  const int64_t* nearest;
};

struct StartAtSeeds {
  const int64_t* nearest;
  int32_t* via;

  template <class Channel>
  TREEFILTER_HD explicit StartAtSeeds(const Channel& channel)
      : nearest(channel.nearest), via(channel.via) {}

  TREEFILTER_HD void operator()(int32_t v) const { via[v] = nearest[v] == v ? v : -1; }
};

template <class T>
struct FindRegionDistances : WeightedTrees<T> {
  using LargestMap = ChainMap<Heaviest<T>>;

  const int64_t* nearest;
  T* distance;
  int32_t *via, *bottleneck;

  TREEFILTER_HD RegionChannel<T> channel(int64_t index) const {
    return {PathsChannel<T, int32_t>(*this, index, true, via, distance, bottleneck),
            nearest + index * this->nodes()};
  }
  TREEFILTER_PHASED template <class Runner>
  TREEFILTER_HD void run(const Runner& runner) const {
    runner.template vertices<StartAtSeeds>();
    runner.template pass<ReachUp<T>>();
    runner.template pass<ReachDown<T>>();
    run_distances<Path::kMax, T>(runner);
  }
};

// ---- sums along given paths ----

template <class T>
struct StartSums {
  T* sums;

  template <class Channel>
  TREEFILTER_HD explicit StartSums(const Channel& channel) : sums(channel.values) {}

  TREEFILTER_HD void operator()(int32_t v) const { sums[v] = 0; }
};

template <class T>
struct TakeSums : WeightedTrees<T> {
  using LargestMap = ChainMap<Length<T>>;

  const int32_t* via;
  T* out;

  TREEFILTER_HD PathsChannel<T, const int32_t> channel(int64_t index) const {
    return {*this, index, false, via, out, nullptr};
  }
  TREEFILTER_PHASED template <class Runner>
  TREEFILTER_HD void run(const Runner& runner) const {
    runner.template vertices<StartSums<T>>();
    run_along<SumAlong<T>>(runner);
  }
};

}  // namespace

template <class T>
void distance(const Cuda& cuda, Path path, const TreeView& tree, int64_t batch, int64_t sources,
              Span<const T> weight, Span<const int64_t> source, Span<T> out, Span<int32_t> via,
              Span<int32_t> bottleneck) {
  if (out.size == 0) return;
  const WeightedTrees<T> input(tree, weight, batch, sources);
  const auto run = [&](auto task) { run_task(cuda, "distance", source.size, task); };
  if (path == Path::kSum) {
    run(FindDistances<Path::kSum, T>{input, source.data, out.data, via.data, nullptr});
  } else {
    run(FindDistances<Path::kMax, T>{input, source.data, out.data, via.data, bottleneck.data});
  }
}

template <class T>
void distance_transform(const Cuda& cuda, Path path, const TreeView& tree, int64_t batch,
                        Span<const T> weight, Span<const bool> seeds, Span<T> out, Span<int64_t> nearest,
                        Span<int32_t> via, Span<int32_t> bottleneck) {
  if (out.size == 0) return;
  const WeightedTrees<T> input(tree, weight, batch, 1);
  if (path == Path::kSum) {
    transforms(cuda, input, batch, seeds.data, out.data, nearest.data, via.data);
    return;
  }
  const auto [cut] = cuda.arrays<T>(out.size);
  launch_flat(cuda, "distance_transform", out.size,
              CutRegions<T>{tree, nearest.data, weight.data, input.weight_step, cut});
  const WeightedTrees<T> regions(tree, {cut, out.size}, batch, 1);
  run_task(cuda, "distance_transform", batch,
           FindRegionDistances<T>{regions, nearest.data, out.data, via.data, bottleneck.data});
}

template <class T>
void path_sums(const Cuda& cuda, const TreeView& tree, int64_t batch, int64_t sources,
               Span<const T> weight, Span<const int32_t> via, Span<T> out) {
  if (out.size == 0) return;
  const WeightedTrees<T> input(tree, weight, batch, sources);
  run_task(cuda, "path_sums", batch * sources, TakeSums<T>{input, via.data, out.data});
}

template <class T>
void accumulate_sums(const Cuda& cuda, const TreeView& tree, int64_t batch, int64_t sources,
                     Span<const T> grad, Span<const int32_t> via, Span<T> out) {
  if (out.size == 0) return;
  const WeightedTrees<T> input(tree, {}, batch, sources);
  const auto [flow] = cuda.arrays<T>(grad.size);
  if (grad.size > 0) {
    run_task(cuda, "accumulate_sums", batch * sources, FindFlow<T>{input, grad.data, via.data, flow});
  }
  launch_flat(cuda, "accumulate_sums", out.size, AddFlows<T>{input, via.data, flow, out.data});
}

#define TREEFILTER_INSTANTIATE(T)                                                              \
  template void distance(const Cuda&, Path, const TreeView&, int64_t, int64_t, Span<const T>,  \
                         Span<const int64_t>, Span<T>, Span<int32_t>, Span<int32_t>);          \
  template void distance_transform(const Cuda&, Path, const TreeView&, int64_t, Span<const T>, \
                                   Span<const bool>, Span<T>, Span<int64_t>, Span<int32_t>,    \
                                   Span<int32_t>);                                             \
  template void path_sums(const Cuda&, const TreeView&, int64_t, int64_t, Span<const T>,       \
                          Span<const int32_t>, Span<T>);                                       \
  template void accumulate_sums(const Cuda&, const TreeView&, int64_t, int64_t, Span<const T>, \
                                Span<const int32_t>, Span<T>);
TREEFILTER_INSTANTIATE(float)
TREEFILTER_INSTANTIATE(double)

}  // namespace treefilter
