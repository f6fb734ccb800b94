// Distances on CUDA (distance.h): one block for a row of results, which goes through the plan's rounds
// by scans (distance_scan.cuh), so that the depth of the tree does not matter.
//
// The CPU finds values and ways in one go. Here the ways come first: what can be reached from a source,
// and through which neighbour, is a matter of the topology and of the edges of weight +inf alone. Then
// the values are taken along them, as path_sums does: the two give the same bits, sums in another order
// of addition than the CPU's, maxima the CPU's bits. (A sum of finite weights that overflows is a
// distance of +inf with a way, where the CPU has none.)
//
// For many seeds see distance_transform.cuh.
//
// The transpose, accumulate_sums, is the same two passes the other way round for every source; what
// they leave is added up over the sources, in their order. Workspace: as large as `grad`.
//
// Cost of a row: four passes, for the accumulated sums two, each of slots / 1024 + 20 rounds' barriers
// steps, and some 60 bytes of scattered reads and writes a vertex, mostly in the L2 cache.
#include "../distance.h"
#include "distance_scan.cuh"
#include "distance_transform.cuh"

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

// ---- rows ----

template <Path path, class T>
struct DistanceRow {
  RowInput<T> input;
  int64_t sources;
  const int64_t* source;
  T* distance;
  int32_t *via, *bottleneck;

  TREEFILTER_HD void operator()(const Block& block) const {
    const int64_t n = input.tree.nodes, b = block.index / sources, at = block.index * n;
    const Slots slots = input.slots(b);
    const Weights<T> weight = input.weights(b, false);
    int32_t* const from = via + at;
    const int64_t start = source[block.index];
    each_vertex(block, n, [&](int32_t v) { from[v] = v == start ? v : -1; });
    run_pass(block, ReachUp<T>{slots, weight, from});
    run_pass(block, ReachDown<T>{slots, weight, from});
    run_distances<path>(block, slots, from, input.parent(b), weight, distance + at, bottleneck, at);
  }
};

template <class T>
struct PathSumsRow {
  RowInput<T> input;
  int64_t sources;
  const int32_t* via;
  T* out;

  TREEFILTER_HD void operator()(const Block& block) const {
    const int64_t n = input.tree.nodes, b = block.index / sources, at = block.index * n;
    each_vertex(block, n, [&](int32_t v) { out[at + v] = 0; });
    run_along(block, input.slots(b), via + at, input.parent(b),
              SumAlong<T>{input.weights(b, false), out + at});
  }
};

// ---- accumulated sums ----

// flow[v], of `grad` and of all whose way passes through v: first of the ways that lead to v from below,
template <class T>
struct FlowUp {
  static constexpr bool kUp = true, kGathers = true;
  using Piece = Step<Sum<T>>;

  Slots slots;
  const int32_t* via;
  const T* grad;
  T* flow;

  TREEFILTER_HD void gather(int32_t s) const {
    const int32_t v = slots.vertex(s), last = slots.plan.light_begin()[s + 1];
    T sum = grad[v];
    for (int32_t i = slots.plan.light_begin()[s]; i < last; ++i) {
      const int32_t child = slots.vertex(slots.plan.light()[i]);
      if (via[child] == v) sum += flow[child];
    }
    flow[v] = sum;
  }
  TREEFILTER_HD Piece link(int32_t s) const {
    const int32_t v = slots.vertex(s);
    return {{flow[v]}, !slots.is_bottom(s) && via[slots.vertex(s - 1)] == v};
  }
  TREEFILTER_HD void put(int32_t s, const Piece&, const Sum<T>& sum) const {
    flow[slots.vertex(s)] = sum.value;
  }
};

// then of those that lead to it from above.
template <class T>
struct FlowDown {
  static constexpr bool kUp = false, kGathers = false;
  using Piece = Step<Sum<T>>;

  Slots slots;
  const int32_t* via;
  T* flow;

  TREEFILTER_HD Piece link(int32_t s) const {
    const int32_t v = slots.vertex(s), p = slots.parent(s), u = slots.vertex(p);
    if (p == s || via[u] != v) return {{flow[v]}, 0};
    if (!slots.is_top(s)) return {{flow[v]}, 1};
    return {{flow[v] + flow[u]}, 0};
  }
  TREEFILTER_HD void put(int32_t s, const Piece&, const Sum<T>& sum) const {
    flow[slots.vertex(s)] = sum.value;
  }
};

template <class T>
struct FlowRow {
  RowInput<T> input;
  int64_t sources;
  const T* grad;
  const int32_t* via;
  T* flow;

  TREEFILTER_HD void operator()(const Block& block) const {
    const int64_t n = input.tree.nodes, b = block.index / sources, at = block.index * n;
    const Slots slots = input.slots(b);
    // What has no slot is in nobody's way.
    if (slots.count() < n) each_vertex(block, n, [&](int32_t v) { flow[at + v] = 0; });
    run_pass(block, FlowUp<T>{slots, via + at, grad + at, flow + at});
    run_pass(block, FlowDown<T>{slots, via + at, flow + at});
  }
};

// out[b, v] of accumulate_sums.
template <class T>
struct AddFlows {
  RowInput<T> input;
  int64_t sources;
  const int32_t* via;
  const T* flow;
  T* out;

  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t n = input.tree.nodes, b = i / n;
    const int32_t v = static_cast<int32_t>(i % n), p = input.parent(b)[v];
    T sum = 0;
    if (p != v && p >= 0 && p < n) {
      for (int64_t row = b * sources; row < (b + 1) * sources; ++row) {
        const int32_t* from = via + row * n;
        if (from[v] == p) {
          sum += flow[row * n + v];
        } else if (from[p] == v) {
          sum += flow[row * n + p];
        }
      }
    }
    out[i] = sum;
  }
};

template <Path path, class T>
void distances(const Cuda& cuda, const RowInput<T>& input, int64_t sources, Span<const int64_t> source,
               Span<T> out, Span<int32_t> via, Span<int32_t> bottleneck) {
  launch_blocks<row_threads<T>()>(
      cuda, "distance", source.size, distance_scan_bytes<path, T>(),
      DistanceRow<path, T>{input, sources, source.data, out.data, via.data, bottleneck.data});
}

}  // namespace

template <class T>
void distance(const Cuda& cuda, Path path, const TreeView& tree, int64_t batch, int64_t sources,
              Span<const T> weight, Span<const int64_t> source, Span<T> out, Span<int32_t> via,
              Span<int32_t> bottleneck) {
  if (out.size == 0) return;
  const RowInput<T> input(tree, weight, batch);
  const auto run = path == Path::kSum ? distances<Path::kSum, T> : distances<Path::kMax, T>;
  run(cuda, input, sources, source, out, via, bottleneck);
}

template <class T>
void distance_transform(const Cuda& cuda, Path path, const TreeView& tree, int64_t batch,
                        Span<const T> weight, Span<const bool> seeds, Span<T> out, Span<int64_t> nearest,
                        Span<int32_t> via, Span<int32_t> bottleneck) {
  if (out.size == 0) return;
  const RowInput<T> input(tree, weight, batch);
  const auto run = path == Path::kSum ? transforms<Path::kSum, T> : transforms<Path::kMax, T>;
  run(cuda, input, batch, seeds.data, out.data, nearest.data, via.data, bottleneck.data);
}

template <class T>
void path_sums(const Cuda& cuda, const TreeView& tree, int64_t batch, int64_t sources,
               Span<const T> weight, Span<const int32_t> via, Span<T> out) {
  if (out.size == 0) return;
  launch_blocks<row_threads<T>()>(
      cuda, "path_sums", batch * sources, scan_bytes<Step<Sum<T>>>(),
      PathSumsRow<T>{RowInput<T>(tree, weight, batch), sources, via.data, out.data});
}

template <class T>
void accumulate_sums(const Cuda& cuda, const TreeView& tree, int64_t batch, int64_t sources,
                     Span<const T> grad, Span<const int32_t> via, Span<T> out) {
  if (out.size == 0) return;
  const RowInput<T> input(tree, {}, batch);
  const auto [flow] = cuda.arrays<T>(grad.size);
  if (grad.size > 0) {
    launch_blocks<row_threads<T>()>(cuda, "accumulate_sums", batch * sources, scan_bytes<Step<Sum<T>>>(),
                                    FlowRow<T>{input, sources, grad.data, via.data, flow});
  }
  launch_flat(cuda, "accumulate_sums", out.size, AddFlows<T>{input, sources, via.data, flow, out.data});
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
