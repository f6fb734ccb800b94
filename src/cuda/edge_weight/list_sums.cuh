// The threads that sum over the edges of edge lists (list.cuh).
#pragma once

#include "exact.cuh"
#include "grid_sums.cuh"
#include "list.cuh"

namespace treefilter::cuda {

// A thread for each edge.
template <bool Same, class X, class T>
struct ListInner {
  ListedEdges graph;
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
    T sums[1] = {sum};
    if (Same && finish(psi, sums) && graph.exists(e)) {
      const X* const plane = f + b * channels * graph.nodes;
      sums[0] =
          exact_weight<T>(psi, channels, graph.nodes, plane + graph.first[e], plane + graph.second[e]);
    }
    weight[i] = sums[0];
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
  ListedEdges graph;
  int64_t channels;
  const X* f;
  int64_t* argmax;
  T* distance;

  TREEFILTER_HD void operator()(int64_t i) const {
    constexpr int kAtOnce = 8;
    const int64_t b = i / graph.edges, e = i - b * graph.edges;
    T largest = -1;
    int32_t channel = 0;
    argmax[i] = 0;
    distance[i] = 0;
    if (graph.exists(e)) {
      const X* u = f + b * channels * graph.nodes + graph.first[e];
      const int64_t to_v = int64_t{graph.second[e]} - graph.first[e];
      int32_t c = 0;
      for (; c + kAtOnce <= channels; c += kAtOnce, u += kAtOnce * graph.nodes) {
        keep<kAtOnce>(u, u + to_v, c, largest, channel);
      }
      for (; c < channels; ++c, u += graph.nodes) keep<1>(u, u + to_v, c, largest, channel);
      argmax[i] = channel;
      distance[i] = largest + T(0);  // not -0
      if (!in_range(Psi::kSign, largest)) {
        u -= channels * graph.nodes;
        distance[i] = exact_largest<T>(channels, graph.nodes, u, u + to_v, argmax[i]);
      }
    }
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

// The contributions of edges to one vertex, summed for a few channels at once.
template <class X, class T, int kChannels>
struct EdgeSums {
  const ListedEdges& graph;
  Psi psi;
  const T* weights;
  const X* plane;  // the first channel's
  T own[kChannels], sums[kChannels] = {};

  TREEFILTER_HD EdgeSums(const ListedEdges& graph, Psi psi, const T* weights, const X* plane, int64_t v)
      : graph(graph), psi(psi), weights(weights), plane(plane) {
    for (int k = 0; k < kChannels; ++k) own[k] = load<T>(plane[k * graph.nodes + v]);
  }
  TREEFILTER_HD void add(int32_t e, bool is_first) {
    dependent_step();
    const T w = weights[e];
    if (w == 0) return;  // before the features are read
    const X* other = plane + (is_first ? graph.second : graph.first)[e];
    for (int k = 0; k < kChannels; ++k) {
      sums[k] += w * apply(psi, own[k] - load<T>(other[k * graph.nodes]));
    }
  }
};

// A thread for each vertex and kAtOnce channels, for which the two lists are read once: merged, by
// ascending edge; or, if one is long, one after the other, a long one as the sums of its parts.
template <class X, class T>
struct ListScatter {
  static constexpr int kAtOnce = sizeof(T) == 4 ? 8 : 2;  // as registers allow

  ListedEdges graph;
  Grouping lists;
  Psi psi;
  int64_t channels;
  const T* weight;
  EuclideanEdges<T> euclidean;
  const X* f;
  X* out;
  T* parts;  // [image][channel][part]

  static TREEFILTER_HD int64_t slices(int64_t channels) { return (channels + kAtOnce - 1) / kAtOnce; }

  // Calls visit.run<n>(image, channel) for n channels from `channel` on: a slice of an image, all at
  // once or one by one.
  template <class Visit>
  TREEFILTER_HD void visit_slice(int64_t slice, const Visit& visit) const {
    const int64_t b = slice / slices(channels), c = (slice - b * slices(channels)) * kAtOnce;
    if (c + kAtOnce <= channels) return visit.template run<kAtOnce>(b, c);
    for (int64_t k = c; k < channels; ++k) visit.template run<1>(b, k);
  }

  struct OfVertex {
    const ListScatter& all;
    int64_t v;
    template <int kChannels>
    TREEFILTER_HD void run(int64_t b, int64_t c) const {
      all.gather<kChannels>(b, c, v);
    }
  };

  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t slice = i / graph.nodes;
    visit_slice(slice, OfVertex{*this, i - slice * graph.nodes});
  }

  template <int kChannels>
  TREEFILTER_HD void gather(int64_t b, int64_t c, int64_t v) const {
    const int64_t plane = (b * channels + c) * graph.nodes;
    EdgeSums<X, T, kChannels> to(graph, psi, weight + b * graph.edges, f + plane, v);
    Incident first(lists, 0, v), second(lists, 1, v);
    if (first.count() <= kPart && second.count() <= kPart) {
      while (first.first < first.last || second.first < second.last) {
        const bool is_first = takes_first(first, second);
        to.add(is_first ? first.edges[first.first++] : second.edges[second.first++], is_first);
      }
    } else {
      add_list(first, 0, b, c, to);
      add_list(second, 1, b, c, to);
    }
    bool precise = true;
    TREEFILTER_UNROLL
    for (int k = 0; k < kChannels; ++k) {
      store(out[plane + k * graph.nodes + v], slope<T>(psi) * to.sums[k]);
      precise = precise && to.sums[k] == to.sums[k];
    }
    if (precise || psi != Psi::kEuclidean) return;
    TREEFILTER_ONE_BY_ONE
    for (int k = 0; k < kChannels; ++k) {
      store(out[plane + k * graph.nodes + v], exact_sum(b, plane + k * graph.nodes, v));
    }
  }

  // The sum of vertex v in one channel, as edge_range.h says, over both lists by ascending edge.
  TREEFILTER_HD T exact_sum(int64_t b, int64_t plane, int64_t v) const {
    Incident first(lists, 0, v), second(lists, 1, v);
    T sum = 0;
    while (first.first < first.last || second.first < second.last) {
      dependent_step();
      const bool is_first = takes_first(first, second);
      const int32_t e = is_first ? first.edges[first.first++] : second.edges[second.first++];
      const int32_t other = (is_first ? graph.second : graph.first)[e];
      sum += euclidean.term(b * graph.edges + e, f[plane + v], f[plane + other]);
    }
    return sum;
  }

  // Whether the next edge of the two lists is in the first one. (A loop is in both.)
  static TREEFILTER_HD bool takes_first(const Incident& first, const Incident& second) {
    return second.first == second.last ||
           (first.first < first.last && first.edges[first.first] <= second.edges[second.first]);
  }

  template <int kChannels>
  TREEFILTER_HD void add_list(const Incident& list, int which, int64_t b, int64_t c,
                              EdgeSums<X, T, kChannels>& to) const {
    if (list.count() <= kPart) {
      for (int32_t i = list.first; i < list.last; ++i) to.add(list.edges[i], which == 0);
      return;
    }
    const Parts all{graph.edges};
    const T* const sums = parts + (b * channels + c) * all.count();
    for (int64_t part = list.first / kPart; part * kPart < list.last; ++part) {
      dependent_step();
      const int64_t at = all.number(which, part, list.first > part * kPart);
      for (int k = 0; k < kChannels; ++k) to.sums[k] += sums[k * all.count() + at];
    }
  }
};

// A thread for each part, side of it and kAtOnce channels.
template <class X, class T>
struct ListParts {
  ListScatter<X, T> to;

  struct OfPart {
    const ListParts& all;
    int64_t number;
    template <int kChannels>
    TREEFILTER_HD void run(int64_t b, int64_t c) const {
      all.sum<kChannels>(b, c, number);
    }
  };

  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t count = Parts{to.graph.edges}.count(), slice = i / count;
    to.visit_slice(slice, OfPart{*this, i - slice * count});
  }

  template <int kChannels>
  TREEFILTER_HD void sum(int64_t b, int64_t c, int64_t number) const {
    const ListedEdges& graph = to.graph;
    const Parts all{graph.edges};
    const int which = number / 2 >= all.of_each(), side = static_cast<int>(number % 2);
    const int64_t begin = (number / 2 - which * all.of_each()) * kPart;
    // Edges that do not exist are in no list, so the positions behind the last list are not filled.
    const int64_t filled = to.lists.begin[which * to.lists.begin_stride + graph.nodes];
    const int64_t end = begin + kPart < filled ? begin + kPart : filled;
    if (begin >= end) return;
    const int32_t* const edges = to.lists.items + which * to.lists.items_stride;
    const int32_t v = (which == 0 ? graph.first : graph.second)[edges[side == 0 ? begin : end - 1]];
    const Incident list(to.lists, which, v);
    if (list.count() <= kPart || (list.first > begin) != (side == 1)) return;
    const int64_t first = list.first > begin ? list.first : begin;
    const int64_t last = list.last < end ? list.last : end;
    EdgeSums<X, T, kChannels> sums(graph, to.psi, to.weight + b * graph.edges,
                                   to.f + (b * to.channels + c) * graph.nodes, v);
    for (int64_t i = first; i < last; ++i) sums.add(edges[i], which == 0);
    for (int k = 0; k < kChannels; ++k) {
      to.parts[(b * to.channels + c + k) * all.count() + number] = sums.sums[k];
    }
  }
};

}  // namespace treefilter::cuda
