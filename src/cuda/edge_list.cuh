// Sums over the edges of edge lists. Towards the edges a thread per edge reads both ends. Towards the
// vertices (a gather: no atomics on floats) each vertex needs the list of its edges, in ascending order.
// It is made in each call, once for the whole batch: a graph that lives on the device cannot be looked
// at from the host, and sorting its 2E ends takes little beside B C E features.
//
// An edge with an end outside of [0, N) weighs 0 and gives nothing to anyone.
#pragma once

#include "edge_grid.cuh"
#include "prefix_sum.cuh"

namespace treefilter {

// The edges of a list with both ends in [0, N).
struct Ends {
  int64_t nodes, edges;
  const int32_t *first, *second;

  TREEFILTER_HD bool exists(int64_t e) const {
    return first[e] >= 0 && first[e] < nodes && second[e] >= 0 && second[e] < nodes;
  }
};

// A thread per edge.
template <bool Same, class X, class T>
struct ListInner {
  Ends graph;
  Psi psi;
  int64_t channels;
  const X *f, *t;
  T* weight;

  TREEFILTER_HD void operator()(int64_t i) const {
    constexpr int kAtOnce = Same ? 8 : 4;
    const int64_t b = i / graph.edges, e = i - b * graph.edges;
    T sum = 0;
    if (graph.exists(e)) {
      const int64_t u = graph.first[e], v = graph.second[e];
      int64_t plane = b * channels * graph.nodes, c = 0;
      for (; c + kAtOnce <= channels; c += kAtOnce, plane += kAtOnce * graph.nodes) {
        add<kAtOnce>(plane, u, v, sum);
      }
      for (; c < channels; ++c, plane += graph.nodes) add<1>(plane, u, v, sum);
    }
    weight[i] = sum;
  }

  template <int Channels>
  TREEFILTER_HD void add(int64_t plane, int64_t u, int64_t v, T& sum) const {
    T df[Channels], dt[Channels];
    for (int k = 0; k < Channels; ++k, plane += graph.nodes) {
      df[k] = load<T>(f[plane + u]) - load<T>(f[plane + v]);
      dt[k] = Same ? df[k] : load<T>(t[plane + u]) - load<T>(t[plane + v]);
    }
    for (int k = 0; k < Channels; ++k) sum += apply(psi, df[k]) * dt[k];
  }
};

template <class X, class T>
struct ListArgmax {
  Ends graph;
  int64_t channels;
  const X* f;
  int64_t* argmax;

  TREEFILTER_HD void operator()(int64_t i) const {
    constexpr int kAtOnce = 8;
    const int64_t b = i / graph.edges, e = i - b * graph.edges;
    T largest = -1;
    int32_t channel = 0;
    if (graph.exists(e)) {
      const X* u = f + b * channels * graph.nodes + graph.first[e];
      const int64_t to_v = int64_t{graph.second[e]} - graph.first[e];
      int32_t c = 0;
      for (; c + kAtOnce <= channels; c += kAtOnce, u += kAtOnce * graph.nodes) {
        keep<kAtOnce>(u, u + to_v, c, largest, channel);
      }
      for (; c < channels; ++c, u += graph.nodes) keep<1>(u, u + to_v, c, largest, channel);
    }
    argmax[i] = channel;
  }

  template <int Channels>
  TREEFILTER_HD void keep(const X* u, const X* v, int32_t c, T& largest, int32_t& channel) const {
    T difference[Channels];
    for (int k = 0; k < Channels; ++k) {
      difference[k] = load<T>(u[k * graph.nodes]) - load<T>(v[k * graph.nodes]);
    }
    for (int k = 0; k < Channels; ++k) keep_largest(difference[k], c + k, largest, channel);
  }
};

// The edges of each vertex: two lists, of those that it is the first end of and of those that it is the
// second of. (One of both would number twice as many ends as int32 may have edges.)
struct Adjacency {
  struct Keys {
    Ends graph;
    int32_t* key;
    TREEFILTER_HD void operator()(int64_t e) const {
      const bool exists = graph.exists(e);
      key[e] = exists ? graph.first[e] : -1;
      key[graph.edges + e] = exists ? graph.second[e] : -1;
    }
  };

  Ends graph;
  int32_t* key;
  Grouping lists;

  Adjacency(const Cuda& cuda, const Ends& graph) : graph(graph) {
    const int64_t nodes = graph.nodes, edges = graph.edges;
    const auto [keys, begin, items, next, sums, sums_of_sums] =
        cuda.arrays<int32_t, int32_t, int32_t, int32_t, int32_t, int32_t>(
            2 * edges, 2 * (nodes + 1), 2 * edges, 2 * nodes, PrefixSum::sums_size(2, nodes + 1),
            PrefixSum::sums_of_sums_size(2, nodes + 1));
    key = keys;
    lists = Grouping{2, nodes, edges, keys, begin, items, next, sums, sums_of_sums};
  }

  TREEFILTER_PROGRAM template <class Team>
  TREEFILTER_HD void operator()(Team& team) const {
    team.each(graph.edges, Keys{graph, key});
    lists(team);
  }
};

// A vertex's edges, one after the other, by ascending number.
class EdgesOf {
 public:
  TREEFILTER_HD EdgesOf(const Grouping& lists, int64_t v)
      : first_(lists.items),
        second_(lists.items + lists.items_stride),
        i_(lists.begin[v]),
        i_end_(lists.begin[v + 1]),
        j_(lists.begin[lists.begin_stride + v]),
        j_end_(lists.begin[lists.begin_stride + v + 1]) {}

  // Whether there is one more: `edge`, and whether the vertex is its first end. A loop is there twice.
  TREEFILTER_HD bool next(int32_t& edge, bool& is_first) {
    if (i_ == i_end_ && j_ == j_end_) return false;
    is_first = j_ == j_end_ || (i_ < i_end_ && first_[i_] <= second_[j_]);
    edge = is_first ? first_[i_++] : second_[j_++];
    return true;
  }

 private:
  const int32_t *first_, *second_;
  int32_t i_, i_end_, j_, j_end_;
};

// A thread per vertex and kAtOnce channels, for which the lists are walked once.
template <class X, class T>
struct ListScatter {
  static constexpr int kAtOnce = 8;

  Ends graph;
  Grouping lists;
  Psi psi;
  int64_t channels;
  const T* weight;
  const X* f;
  X* out;

  static TREEFILTER_HD int64_t slices(int64_t channels) { return (channels + kAtOnce - 1) / kAtOnce; }

  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t row = i / graph.nodes, b = row / slices(channels);
    const int64_t c = (row - b * slices(channels)) * kAtOnce;
    const int64_t v = i - row * graph.nodes, plane = (b * channels + c) * graph.nodes;
    if (c + kAtOnce <= channels) {
      gather<kAtOnce>(weight + b * graph.edges, plane, v);
      return;
    }
    for (int64_t k = 0; k < channels - c; ++k) {
      gather<1>(weight + b * graph.edges, plane + k * graph.nodes, v);
    }
  }

  template <int Channels>
  TREEFILTER_HD void gather(const T* weights, int64_t plane, int64_t v) const {
    T own[Channels], sums[Channels] = {};
    for (int k = 0; k < Channels; ++k) own[k] = load<T>(f[plane + k * graph.nodes + v]);
    EdgesOf edges(lists, v);
    int32_t e;
    bool is_first;
    while (edges.next(e, is_first)) {
      const T w = weights[e];
      if (w == 0) continue;  // before the features are read
      const X* other = f + plane + (is_first ? graph.second : graph.first)[e];
      for (int k = 0; k < Channels; ++k) {
        sums[k] += w * apply(psi, own[k] - load<T>(other[k * graph.nodes]));
      }
    }
    for (int k = 0; k < Channels; ++k) {
      store(out[plane + k * graph.nodes + v], slope<T>(psi) * sums[k]);
    }
  }
};

}  // namespace treefilter
