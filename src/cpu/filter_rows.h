// The inner loops of the filter: one row of channels a vertex.
//
// A coefficient belongs to a slot of the tree's order. It is one number for a whole row, or one per lane
// where groups of channels are so small that a row spans several (PerLane).
//
// A visit depends on the one before (its vertex is mostly that one's parent), so a pass costs one
// latency of load, arithmetic and store per vertex, and rows of 1 to 16 floats cost nearly the same.
#pragma once

#include <algorithm>

#include "../filter.h"
#include "vector.h"

namespace treefilter {

// The order of visits with parents: order[s] and parent[order[s]] side by side.
struct Visit {
  int32_t vertex, parent;
};

// The weights of a mean on its way down, per slot: of the vertex, and of its parent (1 for the first
// form below).
template <class T>
struct MixWeights {
  const T *vertex, *parent;
};

template <class T, class Width, bool PerLane>
class Rows {
 public:
  Rows(Width width, Span<const Visit> visits, T* rows) : width_(width), visits_(visits), rows_(rows) {}

  // rows[parent] += up * rows[vertex], children first.
  void leaf_to_root(const T* up) const {
    for (int64_t s = 0; s < visits_.size; ++s) {
      prefetch(std::min(s + kAhead, visits_.size - 1));
      const Visit visit = visits_[s];
      if (visit.vertex == visit.parent) continue;
      update(visit.parent, visit.vertex, [&](int64_t l, auto to, auto from, auto size) {
        return to + coefficient(up, s, l, size) * from;
      });
    }
  }

  // rows[vertex] += down * rows[parent], parents first.
  void root_to_leaf(const T* down) const {
    for (int64_t s = visits_.size; s-- > 0;) {
      prefetch(std::max<int64_t>(s - kAhead, 0));
      const Visit visit = visits_[s];
      if (visit.vertex == visit.parent) continue;
      update(visit.vertex, visit.parent, [&](int64_t l, auto to, auto from, auto size) {
        return to + coefficient(down, s, l, size) * from;
      });
    }
  }

  // rows[vertex] = (1 - a^2) rows[vertex] + a rows[parent], parents first.
  void sum_down(const T* down) const {
    for (int64_t s = visits_.size; s-- > 0;) {
      prefetch(std::max<int64_t>(s - kAhead, 0));
      const Visit visit = visits_[s];
      if (visit.vertex == visit.parent) continue;
      update(visit.vertex, visit.parent, [&](int64_t l, auto to, auto from, auto size) {
        const auto w = coefficient(down, s, l, size);
        return (1 - w) * (1 + w) * to + w * from;
      });
    }
  }

  // rows[vertex] = (1 - b) rows[parent] + b rows[vertex], parents first, with b and g = 1 - b given.
  // Each of two forms is accurate, relative to its result, on one side of b = 1/2:
  //   b < 1/2:  parent + b (vertex - parent), which nothing but the last addition rounds,
  //   else:     g parent + b vertex, which keeps what little comes from the parent,
  // and both are g' parent + b (vertex - k parent), with g' = k = 1 in the first, k = 0 in the second.
  // g = 0 (a root, or an edge whose affinity is 0) leaves the row alone: not even a NaN passes.
  void mean_down(const MixWeights<T>& down) const {
    for (int64_t s = visits_.size; s-- > 0;) {
      prefetch(std::max<int64_t>(s - kAhead, 0));
      const Visit visit = visits_[s];
      if (PerLane ? visit.vertex == visit.parent : down.parent[s] == 0) continue;
      update(visit.vertex, visit.parent, [&](int64_t l, auto to, auto from, auto size) {
        const auto b = coefficient(down.vertex, s, l, size), g = coefficient(down.parent, s, l, size);
        return mix(b, g, to, from);
      });
    }
  }

  template <class C, class V>
  static V mix(C b, C g, V vertex, V parent) {
    const C k = g == 1 ? C{} + 1 : C{};
    const V mixed = g * parent + b * (vertex - k * parent);
    if constexpr (PerLane) {
      return g == 0 ? vertex : mixed;
    } else {
      return mixed;
    }
  }

  // The coefficients of `size` lanes from l on: a vector of them, or the one number.
  template <class Size>
  static auto coefficient(const T* values, int64_t s, int64_t l, Size) {
    if constexpr (PerLane) {
      return load_vector<Size::value>(values + s * lanes_of(Width{}) + l);
    } else {
      return values[s];
    }
  }

  // The visits are known in advance while their rows lie anywhere: asking for the rows of a later visit
  // hides most of the memory's latency.
  static constexpr int64_t kAhead = 16;

 private:
  T* row(int64_t v) const { return rows_ + v * width_.stride(); }

  void prefetch(int64_t s) const {
    for (int32_t v : {visits_[s].vertex, visits_[s].parent}) {
      for (int64_t l = 0; l < width_.stride(); l += 64 / static_cast<int64_t>(sizeof(T))) {
        __builtin_prefetch(row(v) + l, 1);
      }
    }
  }

  // rows[to][l] = operation(l, rows[to][l], rows[from][l], size of the vector).
  template <class Operation>
  void update(int64_t to, int64_t from, const Operation& operation) const {
    T* const t = row(to);
    const T* const f = row(from);
    for_vectors<T>(width_, [&](int64_t l, auto size) {
      constexpr int kSize = decltype(size)::value;
      store_vector(t + l, operation(l, load_vector<kSize>(t + l), load_vector<kSize>(f + l), size));
    });
  }

  Width width_;
  Span<const Visit> visits_;
  T* rows_;
};

}  // namespace treefilter
