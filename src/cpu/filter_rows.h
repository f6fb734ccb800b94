// The inner loops of the filter: rows of `Lanes` channels, one row a vertex, in raster order.
//
// A coefficient belongs to a slot of the tree's order. It is one number for all lanes of a block, or
// one per lane where groups are so small that a block spans several (PerLane).
#pragma once

#include "../filter.h"

namespace treefilter {

// The order of visits with parents: order[s] and parent[order[s]] side by side.
struct Visit {
  int32_t vertex, parent;
};

// The weights of a mean on its way down: of the vertex, and of its parent (1 for the first form below).
template <class T>
struct Mix {
  T vertex, parent;
};

template <class T, int Lanes, bool PerLane>
struct Rows {
  static constexpr int kStride = PerLane ? Lanes : 1;

  // The visits are known in advance while their rows lie anywhere: asking for the rows of a later visit
  // hides most of the memory's latency.
  static constexpr int64_t kAhead = 16;

  static void prefetch(const Visit* visits, int64_t s, const T* rows) {
    __builtin_prefetch(rows + int64_t{visits[s].vertex} * Lanes, 1);
    __builtin_prefetch(rows + int64_t{visits[s].parent} * Lanes, 1);
  }

  // rows[parent] += up * rows[vertex], children first.
  static void leaf_to_root(Span<const Visit> visits, const T* up, T* rows) {
    for (int64_t s = 0; s < visits.size; ++s) {
      prefetch(visits.data, std::min(s + kAhead, visits.size - 1), rows);
      const Visit visit = visits[s];
      if (visit.vertex == visit.parent) continue;
      const T* a = up + s * kStride;
      const T* __restrict from = rows + int64_t{visit.vertex} * Lanes;
      T* __restrict to = rows + int64_t{visit.parent} * Lanes;
      for (int l = 0; l < Lanes; ++l) to[l] += a[PerLane ? l : 0] * from[l];
    }
  }

  // rows[vertex] += down * rows[parent], parents first.
  static void root_to_leaf(Span<const Visit> visits, const T* down, T* rows) {
    for (int64_t s = visits.size; s-- > 0;) {
      prefetch(visits.data, std::max<int64_t>(s - kAhead, 0), rows);
      const Visit visit = visits[s];
      if (visit.vertex == visit.parent) continue;
      const T* a = down + s * kStride;
      T* __restrict to = rows + int64_t{visit.vertex} * Lanes;
      const T* __restrict from = rows + int64_t{visit.parent} * Lanes;
      for (int l = 0; l < Lanes; ++l) to[l] += a[PerLane ? l : 0] * from[l];
    }
  }

  // rows[vertex] = (1 - a^2) rows[vertex] + a rows[parent], parents first.
  static void sum_down(Span<const Visit> visits, const T* down, T* rows) {
    for (int64_t s = visits.size; s-- > 0;) {
      prefetch(visits.data, std::max<int64_t>(s - kAhead, 0), rows);
      const Visit visit = visits[s];
      if (visit.vertex == visit.parent) continue;
      const T* a = down + s * kStride;
      T* __restrict to = rows + int64_t{visit.vertex} * Lanes;
      const T* __restrict from = rows + int64_t{visit.parent} * Lanes;
      for (int l = 0; l < Lanes; ++l) {
        const T w = a[PerLane ? l : 0];
        to[l] = (1 - w) * (1 + w) * to[l] + w * from[l];
      }
    }
  }

  // rows[vertex] = (1 - b) rows[parent] + b rows[vertex], parents first, with b and g = 1 - b given.
  // Each of two forms is accurate, relative to its result, on one side of b = 1/2:
  //   b < 1/2:  parent + b (vertex - parent), which nothing but the last addition rounds,
  //   else:     g parent + b vertex, which keeps what little comes from the parent,
  // and both are g' parent + b (vertex - k parent), with g' = k = 1 in the first, k = 0 in the second.
  // g = 0 (a root, or an edge whose affinity is 0) leaves the row alone: not even a NaN passes.
  static void mean_down(Span<const Visit> visits, const Mix<T>* down, T* rows) {
    for (int64_t s = visits.size; s-- > 0;) {
      prefetch(visits.data, std::max<int64_t>(s - kAhead, 0), rows);
      const Visit visit = visits[s];
      const Mix<T>* mix = down + s * kStride;
      if (PerLane ? visit.vertex == visit.parent : mix->parent == 0) continue;
      T* __restrict to = rows + int64_t{visit.vertex} * Lanes;
      const T* __restrict from = rows + int64_t{visit.parent} * Lanes;
      for (int l = 0; l < Lanes; ++l) {
        const T g = mix[PerLane ? l : 0].parent, b = mix[PerLane ? l : 0].vertex;
        const T k = g == 1 ? T(1) : T(0);
        const T mixed = g * from[l] + b * (to[l] - k * from[l]);
        to[l] = PerLane && g == 0 ? to[l] : mixed;
      }
    }
  }
};

// ---- between tensors and rows ----

// rows[v][l] = x[channel + l][v] * scale[v]; lanes beyond `used` are 0. scale may be null: 1.
template <class T, int Lanes, bool PerLane, class X>
void pack(const Strided<const X>& x, int64_t b, int64_t channel, int64_t used, const T* scale, T* rows) {
  constexpr int64_t kChunk = 128;  // vertices whose rows stay in the first-level cache
  for (int64_t v0 = 0; v0 < x.nodes; v0 += kChunk) {
    const int64_t v1 = std::min(v0 + kChunk, x.nodes);
    for (int l = 0; l < Lanes; ++l) {
      if (l >= used) {
        for (int64_t v = v0; v < v1; ++v) rows[v * Lanes + l] = 0;
        continue;
      }
      const X* from = x.at(b, channel + l);
      for (int64_t v = v0; v < v1; ++v) {
        const T value = load<T>(from[v * x.node_stride]);
        rows[v * Lanes + l] = scale ? value * scale[PerLane ? v * Lanes + l : v] : value;
      }
    }
  }
}

// out[channel + l][v] = rows[v][l] * scale[v].
template <class T, int Lanes, bool PerLane, class X>
void unpack(const T* rows, const T* scale, int64_t b, int64_t channel, int64_t used,
            const Strided<X>& out) {
  constexpr int64_t kChunk = 128;
  for (int64_t v0 = 0; v0 < out.nodes; v0 += kChunk) {
    const int64_t v1 = std::min(v0 + kChunk, out.nodes);
    for (int64_t l = 0; l < used; ++l) {
      X* to = out.at(b, channel + l);
      for (int64_t v = v0; v < v1; ++v) {
        const T value = rows[v * Lanes + l];
        store(to[v * out.node_stride], scale ? value * scale[PerLane ? v * Lanes + l : v] : value);
      }
    }
  }
}

}  // namespace treefilter
