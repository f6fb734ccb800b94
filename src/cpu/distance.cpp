// The distances of distance.h, in the order of the tree.
#include "../distance.h"

#include <algorithm>
#include <limits>
#include <string>

#include "support/parallel.h"
#include "support/workspace.h"

namespace treefilter {
namespace {

// The tree and the weights of one image.
template <class T>
struct WeightedTree {
  int64_t nodes;
  const int32_t *parent, *order;
  const T* weight;

  WeightedTree(const TreeView& tree, Span<const T> weight, int64_t batch, int64_t b)
      : nodes(tree.nodes),
        parent(tree.parent.data + (tree.batch == 1 ? 0 : b) * nodes),
        order(tree.order.data + (tree.batch == 1 ? 0 : b) * nodes),
        weight(weight.data + (weight.size == batch * nodes ? b : 0) * nodes) {}
};

template <Path path, class T>
struct Search {
  const Cpu& cpu;
  const WeightedTree<T>& tree;
  T* distance;
  int32_t *via, *bottleneck;
  // Null for a single source, from which one path leads to each vertex. For maxima it is given, and
  // inside of a region there is a single source, too.
  int64_t* nearest;

  void run() const {
    const int64_t n = tree.nodes;
    for_ascending(cpu, 0, n, [this](int64_t s) {
      const int32_t v = tree.order[s], p = tree.parent[v];
      if (v != p && via[v] >= 0) offer(v, p, v);
    });
    pass_down();
  }

  // The same for a single source: only the vertices above it are reached through a child.
  void run_from(int64_t source) const {
    Checks checks(cpu, 1);
    int32_t v = static_cast<int32_t>(source);
    for (int64_t left = tree.nodes; left > 0 && via[v] >= 0 && tree.parent[v] != v; --left) {
      offer(v, tree.parent[v], v);
      v = tree.parent[v];
      checks.after_item();
    }
    pass_down();
  }

  void pass_down() const {
    const int64_t n = tree.nodes;
    for_descending(cpu, 0, n, [this](int64_t s) {
      const int32_t v = tree.order[s], p = tree.parent[v];
      if (v != p && via[p] >= 0 && via[p] != v) offer(p, v, v);
    });
    for (int64_t v = 0; v < n; ++v) {
      if (via[v] == v) distance[v] = 0;  // was -inf, the maximum over no edges, so far
      if (via[v] < 0) distance[v] = std::numeric_limits<T>::infinity();
    }
  }

  // Lets `to` reach a source through its neighbour `from`, over the parent edge of `edge`.
  void offer(int32_t from, int32_t to, int32_t edge) const {
    const T w = tree.weight[edge];
    T candidate = distance[from] + w;
    if (path == Path::kMax || !is_finite_length(candidate)) {
      if (w == std::numeric_limits<T>::infinity()) return;  // no edge
      candidate = joined_length(distance[from], w);
    }
    if (path == Path::kMax && nearest && nearest[from] != nearest[to]) return;
    const bool heavier = path == Path::kMax && (via[from] == from || w > distance[from] || w != w);
    if (path == Path::kMax) candidate = heavier ? w : distance[from];
    if (path == Path::kSum && nearest && via[to] >= 0) {
      const bool better =
          candidate < distance[to] || (candidate == distance[to] && nearest[from] < nearest[to]);
      if (!better) return;
    }
    distance[to] = candidate;
    via[to] = from;
    if (path == Path::kMax) bottleneck[to] = heavier ? edge : bottleneck[from];
    if (path == Path::kSum && nearest) nearest[to] = nearest[from];
  }

  void start_at(int64_t v) const {
    distance[v] = path == Path::kSum ? T(0) : -std::numeric_limits<T>::infinity();
    via[v] = static_cast<int32_t>(v);
    if (path == Path::kSum && nearest) nearest[v] = v;
  }

  void clear() const {
    std::fill_n(via, tree.nodes, -1);
    if (path == Path::kMax) std::fill_n(bottleneck, tree.nodes, -1);
    if (path == Path::kSum && nearest) std::fill_n(nearest, tree.nodes, int64_t{-1});
  }
};

template <Path path, class T>
void distances(Cpu cpu, const TreeView& tree, int64_t batch, int64_t sources, Span<const T> weight,
               Span<const int64_t> source, Span<T> distance, Span<int32_t> via,
               Span<int32_t> bottleneck) {
  const int64_t n = tree.nodes;
  parallel_for(batch * sources, 4 * n, cpu, [&] {
    return [&](int64_t i) {
      const WeightedTree<T> weighted(tree, weight, batch, i / sources);
      const Search<path, T> search{cpu,
                                   weighted,
                                   distance.data + i * n,
                                   via.data + i * n,
                                   bottleneck.data + (path == Path::kMax ? i * n : 0),
                                   nullptr};
      search.clear();
      search.start_at(source[i]);
      search.run_from(source[i]);
    };
  });
}

template <Path path, class T>
void transforms(Cpu cpu, const TreeView& tree, int64_t batch, Span<const T> weight,
                Span<const bool> seeds, Span<T> distance, Span<int64_t> nearest, Span<int32_t> via,
                Span<int32_t> bottleneck) {
  const int64_t n = tree.nodes;
  parallel_for(batch, 4 * n, cpu, [&] {
    return [&](int64_t b) {
      const WeightedTree<T> weighted(tree, weight, batch, b);
      const Search<path, T> search{cpu,
                                   weighted,
                                   distance.data + b * n,
                                   via.data + b * n,
                                   bottleneck.data + (path == Path::kMax ? b * n : 0),
                                   nearest.data + b * n};
      search.clear();
      for (int64_t v = 0; v < n; ++v) {
        if (!(weighted.weight[v] >= 0)) {  // or NaN, beside which nothing is nearest
          throw std::invalid_argument("weight must be >= 0 on the tree, got " +
                                      std::to_string(weighted.weight[v]));
        }
        if (seeds[b * n + v]) search.start_at(v);
      }
      search.run();
    };
  });
}

}  // namespace

template <class T>
void distance(Cpu cpu, Path path, const TreeView& tree, int64_t batch, int64_t sources,
              Span<const T> weight, Span<const int64_t> source, Span<T> out, Span<int32_t> via,
              Span<int32_t> bottleneck) {
  for (int64_t i = 0; i < source.size; ++i) {
    if (source[i] < 0 || source[i] >= tree.nodes) {
      throw std::invalid_argument("source must be in [0, " + std::to_string(tree.nodes) + "), got " +
                                  std::to_string(source[i]));
    }
  }
  const auto run = path == Path::kSum ? distances<Path::kSum, T> : distances<Path::kMax, T>;
  run(cpu, tree, batch, sources, weight, source, out, via, bottleneck);
}

template <class T>
void distance_transform(Cpu cpu, Path path, const TreeView& tree, int64_t batch, Span<const T> weight,
                        Span<const bool> seeds, Span<T> out, Span<int64_t> nearest, Span<int32_t> via,
                        Span<int32_t> bottleneck) {
  const auto run = path == Path::kSum ? transforms<Path::kSum, T> : transforms<Path::kMax, T>;
  run(cpu, tree, batch, weight, seeds, out, nearest, via, bottleneck);
}

// distance() found the paths through a child in its leaf-to-root pass, and those through the parent in
// its root-to-leaf pass. In the same order each value is computed after the one that it needs.
template <class T>
void path_sums(Cpu cpu, const TreeView& tree, int64_t batch, int64_t sources, Span<const T> weight,
               Span<const int32_t> via, Span<T> out) {
  const int64_t n = tree.nodes;
  parallel_for(batch * sources, 4 * n, cpu, [&] {
    return [&](int64_t i) {
      const WeightedTree<T> weighted(tree, weight, batch, i / sources);
      const int32_t* from = via.data + i * n;
      T* to = out.data + i * n;
      std::fill_n(to, n, T(0));
      for_ascending(cpu, 0, n, [&](int64_t s) {
        const int32_t v = weighted.order[s], u = from[v];
        if (u >= 0 && u != v && u != weighted.parent[v])
          to[v] = joined_length(to[u], weighted.weight[u]);
      });
      for_descending(cpu, 0, n, [&](int64_t s) {
        const int32_t v = weighted.order[s], u = from[v];
        if (u >= 0 && u != v && u == weighted.parent[v])
          to[v] = joined_length(to[u], weighted.weight[v]);
      });
    };
  });
}

template <class T>
void accumulate_sums(Cpu cpu, const TreeView& tree, int64_t batch, int64_t sources, Span<const T> grad,
                     Span<const int32_t> via, Span<T> out) {
  const int64_t n = tree.nodes;
  parallel_for(batch, 4 * n * sources, cpu, [&] {
    return [&, flow = Buffer<T>(n)](int64_t b) mutable {
      const WeightedTree<T> weighted(tree, grad, batch, b);
      T* to = out.data + b * n;
      std::fill_n(to, n, T(0));
      for (int64_t i = b * sources; i < (b + 1) * sources; ++i) {
        const int32_t* from = via.data + i * n;
        std::copy_n(grad.data + i * n, n, flow.data());
        for_ascending(cpu, 0, n, [&](int64_t s) {
          const int32_t v = weighted.order[s], u = from[v];
          if (u < 0 || u == v || u != weighted.parent[v]) return;
          to[v] += flow[v];
          flow[u] += flow[v];
        });
        for_descending(cpu, 0, n, [&](int64_t s) {
          const int32_t v = weighted.order[s], u = from[v];
          if (u < 0 || u == v || u == weighted.parent[v]) return;
          to[u] += flow[v];
          flow[u] += flow[v];
        });
      }
    };
  });
}

#define TREEFILTER_INSTANTIATE(T)                                                                     \
  template void distance(Cpu, Path, const TreeView&, int64_t, int64_t, Span<const T>,                 \
                         Span<const int64_t>, Span<T>, Span<int32_t>, Span<int32_t>);                 \
  template void distance_transform(Cpu, Path, const TreeView&, int64_t, Span<const T>,                \
                                   Span<const bool>, Span<T>, Span<int64_t>, Span<int32_t>,           \
                                   Span<int32_t>);                                                    \
  template void path_sums(Cpu, const TreeView&, int64_t, int64_t, Span<const T>, Span<const int32_t>, \
                          Span<T>);                                                                   \
  template void accumulate_sums(Cpu, const TreeView&, int64_t, int64_t, Span<const T>,                \
                                Span<const int32_t>, Span<T>);
TREEFILTER_INSTANTIATE(float)
TREEFILTER_INSTANTIATE(double)

}  // namespace treefilter
