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

// The visits are known in advance while what they visit lies anywhere: asking for a later visit's memory
// hides most of its latency.
constexpr int64_t kAhead = 16;

// A slot's coefficient: of all lanes of a row, or an array of one per lane.
template <class T, int N, bool PerLane>
struct Coefficient {
  T value;
  Coefficient(const T* values, int64_t s) : value(values[s]) {}
  template <class Size>
  T operator()(int64_t, Size) const {
    return value;
  }
};
template <class T, int N>
struct Coefficient<T, N, true> {
  const T* values;
  Coefficient(const T* values, int64_t s) : values(values + s * N) {}
  template <class Size>
  Vector<T, Size::value> operator()(int64_t l, Size) const {
    return load_vector<Size::value>(values + l);
  }
};

// ---- the steps of a pass: what a row becomes, from itself and the one that it is linked to ----

// row + a * linked
template <class T, int N, bool PerLane>
struct AddStep {
  using Values = const T*;
  Coefficient<T, N, PerLane> a;
  AddStep(Values values, int64_t s) : a(values, s) {}
  bool leaves_alone() const { return false; }
  template <class V, class Size>
  V operator()(int64_t l, Size size, V row, V linked) const {
    return row + a(l, size) * linked;
  }
};

// (1 - a^2) row + a * linked. An affinity of 0 leaves the row alone: not even a NaN passes.
template <class T, int N, bool PerLane>
struct SumStep {
  using Values = const T*;
  Coefficient<T, N, PerLane> a;
  SumStep(Values values, int64_t s) : a(values, s) {}
  bool leaves_alone() const {
    if constexpr (PerLane)
      return false;
    else
      return a.value == 0;
  }
  template <class V, class Size>
  V operator()(int64_t l, Size size, V row, V linked) const {
    const auto w = a(l, size);
    return (1 - w) * (1 + w) * row + w * linked;
  }
};

// (1 - b) linked + b row, with b and g = 1 - b given. Each of two forms is accurate, relative to its
// result, on one side of b = 1/2:
//   b < 1/2:  linked + b (row - linked), which nothing but the last addition rounds,
//   else:     g linked + b row, which keeps what little comes from there,
// and both are g' linked + b (row - k linked), with g' = k = 1 in the first, k = 0 in the second. Which
// it is must not become a branch: nothing predicts it. g = 0 (a root, or an edge whose affinity is 0)
// leaves the row alone: not even a NaN passes.
template <class T>
struct MixWeights {
  const T *row, *linked;  // b; g, 1 for the first form
};
template <class T, int N, bool PerLane>
struct MixStep {
  using Values = MixWeights<T>;
  T b, g, k;
  MixStep(const Values& values, int64_t s) : b(values.row[s]), g(values.linked[s]), k(g == 1) {}
  bool leaves_alone() const { return g == 0; }
  template <class V, class Size>
  V operator()(int64_t, Size, V row, V linked) const {
    return g * linked + b * (row - k * linked);
  }
};
template <class T, int N>
struct MixStep<T, N, true> {
  using Values = MixWeights<T>;
  Coefficient<T, N, true> b, g;
  MixStep(const Values& values, int64_t s) : b(values.row, s), g(values.linked, s) {}
  bool leaves_alone() const { return false; }
  template <class V, class Size>
  V operator()(int64_t l, Size size, V row, V linked) const {
    const V bs = b(l, size), gs = g(l, size), k = gs == 1 ? V{} + 1 : V{};
    return gs == 0 ? row : gs * linked + bs * (row - k * linked);
  }
};

// ---- passes ----

template <class T, class Width>
class Rows {
 public:
  Rows(Width width, Span<const Visit> visits, T* rows) : width_(width), visits_(visits), rows_(rows) {}

  // Every row, children first, changes its parent's.
  template <class Step>
  TREEFILTER_PHASE void up(const typename Step::Values& values) const {
    for (int64_t s = 0; s < visits_.size; ++s) {
      prefetch(std::min(s + kAhead, visits_.size - 1));
      const auto [v, p] = visits_[s];
      if (v != p) update(Step(values, s), row(p), row(v));
    }
  }

  // Every row, parents first, is changed by its parent's.
  template <class Step>
  TREEFILTER_PHASE void down(const typename Step::Values& values) const {
    for (int64_t s = visits_.size; s-- > 0;) {
      prefetch(std::max<int64_t>(s - kAhead, 0));
      const auto [v, p] = visits_[s];
      const Step step(values, s);
      if (v != p && !step.leaves_alone()) update(step, row(v), row(p));
    }
  }

  T* row(int64_t v) const { return rows_ + v * width_.stride(); }

  void prefetch(int64_t s) const {
    for (int32_t v : {visits_[s].vertex, visits_[s].parent}) {
      for (int64_t l = 0; l < width_.stride(); l += 64 / static_cast<int64_t>(sizeof(T))) {
        __builtin_prefetch(row(v) + l, 1);
      }
    }
  }

 private:
  template <class Step>
  void update(const Step& step, T* to, const T* from) const {
    for_vectors<T>(width_, [&](int64_t l, auto size) {
      constexpr int kSize = decltype(size)::value;
      store_vector(to + l, step(l, size, load_vector<kSize>(to + l), load_vector<kSize>(from + l)));
    });
  }

  Width width_;
  Span<const Visit> visits_;
  T* rows_;
};

}  // namespace treefilter
