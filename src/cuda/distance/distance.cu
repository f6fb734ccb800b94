// Distances on CUDA (distance.h): scans through the plan's rounds (chain_scan.cuh), so that the depth of
// the tree does not matter; a block for a row of results, or the whole device for large ones.
//
// The CPU finds values and ways in one go. Here the ways come first: what can be reached from a source,
// and through which neighbour, is a matter of the topology and of the edges of weight +inf alone. Then
// the values are taken along them, as path_sums does: the two give the same bits, sums in another order
// of addition than the CPU's, maxima the CPU's bits. (A sum of finite weights that overflows is a
// distance of +inf with a way, where the CPU has none.)
//
// For many seeds see distance_transform.cuh; for the transpose, accumulate_sums, path_flow.cuh.
//
// Cost of a row: four passes, and some 60 bytes of scattered reads and writes a vertex, mostly in the L2
// cache.
#include "../../distance.h"
#include "distance_transform.cuh"
#include "path_flow.cuh"

namespace treefilter {
using namespace cuda;

namespace {

// ---- the ways from one source ----

// Which vertices have the source below them. via[source] = source is set.
template <class T>
struct ReachUp {
  static constexpr bool kUp = true, kGathers = false;
  using Piece = Step<Carried>;

  Slots slots;
  Weights<T> weight;
  int32_t* via;

  template <class Row>
  TREEFILTER_HD explicit ReachUp(const Row& row) : slots(row.slots), weight(row.weight), via(row.via) {}

  TREEFILTER_HD Piece link(int32_t s) const {
    if (via[slots.vertex(s)] >= 0) return {{1}, 0};
    if (slots.is_bottom(s) || weight.is_cut(slots.vertex(s - 1))) return {{0}, 0};
    return {{0}, 1};
  }
  TREEFILTER_HD void put(int32_t s, const Piece& link, const Carried& reached) const {
    if (reached.value != 1) return;
    const int32_t v = slots.vertex(s);
    if (link.open) via[v] = slots.vertex(s - 1);
    // There is but one source: no other chain writes there.
    if (slots.is_top(s) && !slots.is_root(s) && !weight.is_cut(v))
      via[slots.vertex(slots.parent(s))] = v;
  }
};

template <class T>
struct ReachDown {
  static constexpr bool kUp = false, kGathers = false;
  using Piece = Step<Carried>;

  Slots slots;
  Weights<T> weight;
  int32_t* via;

  template <class Row>
  TREEFILTER_HD explicit ReachDown(const Row& row)
      : slots(row.slots), weight(row.weight), via(row.via) {}

  TREEFILTER_HD Piece link(int32_t s) const {
    const int32_t v = slots.vertex(s);
    if (via[v] >= 0) return {{1}, 0};
    if (slots.is_root(s) || weight.is_cut(v)) return {{0}, 0};
    if (slots.is_top(s)) return {{via[slots.vertex(slots.parent(s))] >= 0}, 0};
    return {{0}, 1};
  }
  TREEFILTER_HD void put(int32_t s, const Piece&, const Carried& reached) const {
    const int32_t v = slots.vertex(s);
    if (reached.value == 1 && via[v] < 0) via[v] = slots.vertex(slots.parent(s));
  }
};

template <class T>
struct SourceRow : WaysRow<T, int32_t> {
  int64_t source;
};

struct StartAtSource {
  int64_t source;
  int32_t* via;

  template <class Row>
  TREEFILTER_HD explicit StartAtSource(const Row& row) : source(row.source), via(row.via) {}

  TREEFILTER_HD void operator()(int32_t v) const { via[v] = v == source ? v : -1; }
};

template <Path path, class T>
struct FindDistances : RowInput<T> {
  using Widest = Step<typename LengthAlong<path, T>::Value>;

  const int64_t* source;
  T* distance;
  int32_t *via, *bottleneck;

  TREEFILTER_HD SourceRow<T> row(int64_t index) const {
    return {WaysRow<T, int32_t>(*this, index, false, via, distance, bottleneck), source[index]};
  }
  TREEFILTER_PROGRAM template <class Stages>
  TREEFILTER_HD void stages(const Stages& stages) const {
    stages.template vertices<StartAtSource>();
    stages.template pass<ReachUp<T>>();
    stages.template pass<ReachDown<T>>();
    run_distances<path, T>(stages);
  }
};

// ---- sums along given ways ----

template <class T>
struct StartSums {
  T* sums;

  template <class Row>
  TREEFILTER_HD explicit StartSums(const Row& row) : sums(row.values) {}

  TREEFILTER_HD void operator()(int32_t v) const { sums[v] = 0; }
};

template <class T>
struct TakeSums : RowInput<T> {
  using Widest = Step<Sum<T>>;

  const int32_t* via;
  T* out;

  TREEFILTER_HD WaysRow<T, const int32_t> row(int64_t index) const {
    return {*this, index, false, via, out, nullptr};
  }
  TREEFILTER_PROGRAM template <class Stages>
  TREEFILTER_HD void stages(const Stages& stages) const {
    stages.template vertices<StartSums<T>>();
    run_along<SumAlong<T>>(stages);
  }
};

}  // namespace

template <class T>
void distance(const Cuda& cuda, Path path, const TreeView& tree, int64_t batch, int64_t sources,
              Span<const T> weight, Span<const int64_t> source, Span<T> out, Span<int32_t> via,
              Span<int32_t> bottleneck) {
  if (out.size == 0) return;
  const RowInput<T> input(tree, weight, batch, sources);
  const auto run = [&](auto task) { run_stages(cuda, "distance", source.size, task); };
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
  const RowInput<T> input(tree, weight, batch, 1);
  const auto run = path == Path::kSum ? transforms<Path::kSum, T> : transforms<Path::kMax, T>;
  run(cuda, input, batch, seeds.data, out.data, nearest.data, via.data, bottleneck.data);
}

template <class T>
void path_sums(const Cuda& cuda, const TreeView& tree, int64_t batch, int64_t sources,
               Span<const T> weight, Span<const int32_t> via, Span<T> out) {
  if (out.size == 0) return;
  const RowInput<T> input(tree, weight, batch, sources);
  run_stages(cuda, "path_sums", batch * sources, TakeSums<T>{input, via.data, out.data});
}

template <class T>
void accumulate_sums(const Cuda& cuda, const TreeView& tree, int64_t batch, int64_t sources,
                     Span<const T> grad, Span<const int32_t> via, Span<T> out) {
  if (out.size == 0) return;
  const RowInput<T> input(tree, {}, batch, sources);
  const auto [flow] = cuda.arrays<T>(grad.size);
  if (grad.size > 0) {
    run_stages(cuda, "accumulate_sums", batch * sources, FindFlow<T>{input, grad.data, via.data, flow});
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
