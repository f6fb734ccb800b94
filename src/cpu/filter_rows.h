// The inner loops of the filter: one row of channels a vertex.
//
// A coefficient belongs to a slot of the tree's order. It is one number for a whole row, or one per lane
// where groups of channels are so small that a row spans several (PerLane).
//
// Visits that follow one another are independent where the CPU made the tree (peel.h). In an order in
// which a vertex follows its child, each visit waits for the one before: a latency of load, arithmetic
// and store.
#pragma once

#include <algorithm>
#include <cmath>

#include "../filter.h"
#include "vector.h"

namespace treefilter {

// The order of visits with parents: order[s] and parent[order[s]] side by side.
struct Visit {
  int32_t vertex, parent;
};

// The visits are known in advance while what they visit lies anywhere: asking for a later visit's memory
// hides most of its latency. A row of a line or two is asked for whole, and so is the one that it is
// linked to; of longer rows only the one that is written, because more would be asked for than a core
// can wait for; and so of shorter ones, unless the second-level cache holds them all. What comes from
// memory the second-level cache is asked for long before: it can wait for more lines than the first.
constexpr int64_t kAhead = 32, kFarAhead = 128;
constexpr int64_t kSecondLevel = 1 << 20;

// Whether an array of so many bytes lies beyond the caches that a core has for itself.
constexpr bool is_far(int64_t bytes) {
  return bytes > 4 * kSecondLevel;
}

// A slot's coefficient: of all lanes of a row, or an array of one per lane.
template <class T, int N, bool PerLane>
struct Coefficient {
  T value;
  template <class Value>
  Coefficient(const Value* values, int64_t s) : value(values[s]) {}
  bool all_zero() const { return value == 0; }
  template <class Size>
  T operator()(int64_t, Size) const {
    return value;
  }
};
template <class T, int N>
struct Coefficient<T, N, true> {
  const T* values;
  Coefficient(const T* values, int64_t s) : values(values + s * N) {}
  bool all_zero() const { return false; }  // nobody looks
  template <class Size>
  Vector<T, Size::value> operator()(int64_t l, Size) const {
    return load_vector<Size::value>(values + l);
  }
};

// ---- the steps of a pass: what a row becomes, from itself and the one that it is linked to ----
//
// base() is the row that the result starts from. A closed step, of an affinity of 0, leaves the row
// alone: not even a NaN passes. (Where coefficients are per lane, a step is closed in each lane for
// itself.)

// row + a * linked
template <class T, int N, bool PerLane>
struct AddStep {
  Coefficient<T, N, PerLane> a;
  template <class Value>
  AddStep(const Value* values, int64_t s) : a(values, s) {}
  bool closed() const { return a.all_zero(); }
  const T* base(const T* row, const T*) const { return row; }
  template <class V, class Size>
  V operator()(int64_t l, Size size, V base, V, V linked) const {
    return base + a(l, size) * linked;
  }
};

// (1 - a^2) row + a * linked
template <class T, int N, bool PerLane>
struct SumStep {
  Coefficient<T, N, PerLane> a;
  template <class Value>
  SumStep(const Value* values, int64_t s) : a(values, s) {}
  bool closed() const { return a.all_zero(); }
  const T* base(const T* row, const T*) const { return row; }
  template <class V, class Size>
  V operator()(int64_t l, Size size, V base, V, V linked) const {
    const auto w = a(l, size);
    return (1 - w) * (1 + w) * base + w * linked;
  }
};

// r row + s linked with r + s = 1, as base + t (linked - row): the one of the two with the larger share
// is the base, which only the addition rounds, and t, its sign aside, is the smaller share, which may be
// as small as it likes. The result never leaves the range of the two, and where they are equal it is
// what they are. Nothing predicts which is the base: it must not become a branch, so t's sign tells.
template <class T>
T mix_weight(double r, double s) {
  const bool row_is_base = (s >= 0) & ((s <= 0.5) | (r < 0));  // r < 0: affinities beyond 1
  return static_cast<T>(row_is_base ? s : -r);
}

template <class T, int N, bool PerLane>
struct MixStep {
  T t;
  MixStep(const T* values, int64_t s) : t(values[s]) {}
  bool closed() const { return t == 0 && !std::signbit(t); }
  const T* base(const T* row, const T* linked) const { return std::signbit(t) ? linked : row; }
  template <class V, class Size>
  V operator()(int64_t, Size, V base, V row, V linked) const {
    return base + t * (linked - row);
  }
};
template <class T, int N>
struct MixStep<T, N, true> {
  Coefficient<T, N, true> t;
  MixStep(const T* values, int64_t s) : t(values, s) {}
  bool closed() const { return false; }
  const T* base(const T* row, const T*) const { return row; }
  template <class V, class Size>
  V operator()(int64_t l, Size size, V, V row, V linked) const {
    const V ts = t(l, size);
    const auto bits = bits_of<T, Size::value>(ts);
    return bits == 0 ? row : (bits < 0 ? linked : row) + ts * (linked - row);
  }
};

// ---- passes ----

template <class T, class Width>
class Rows {
 public:
  Rows(Width width, Span<const Visit> visits, T* rows)
      : width_(width), visits_(visits), rows_(rows), far_(is_far(visits.size * row_bytes())) {}

  // Every row, children first, changes its parent's.
  template <class Step, class Value>
  void up(const Value* values) const {
    cached() ? up_rows<Step, false>(values) : up_rows<Step, true>(values);
  }

  // Every row, parents first, is changed by its parent's.
  template <class Step, class Value>
  void down(const Value* values) const {
    cached() ? down_rows<Step, false>(values) : down_rows<Step, true>(values);
  }

  T* row(int64_t v) const { return rows_ + v * width_.stride(); }

  // Ask for the memory of the visits to come after that of slot s, on the way up, which writes parents,
  // and down. All of this is inlined by force: GCC drops calls of what does nothing but ask.
  inline __attribute__((always_inline)) void ask_up(int64_t s) const {
    const int64_t last = visits_.size - 1;
    if (far_) ask_far(visits_[std::min(s + kFarAhead, last)]);
    const Visit later = visits_[std::min(s + kAhead, last)];
    ask(later.parent, later.vertex);
  }
  inline __attribute__((always_inline)) void ask_down(int64_t s) const {
    if (far_) ask_far(visits_[std::max<int64_t>(s - kFarAhead, 0)]);
    const Visit later = visits_[std::max<int64_t>(s - kAhead, 0)];
    ask(later.vertex, later.parent);
  }

  // `to` becomes what the step makes of it and the row `from` that it is linked to.
  template <class Step>
  void update(const Step& step, T* to, const T* from) const {
    const T* base = step.base(to, from);
    for_vectors<T>(width_, [&](int64_t l, auto size) {
      constexpr int kSize = decltype(size)::value;
      store_vector(to + l, step(l, size, load_vector<kSize>(base + l), load_vector<kSize>(to + l),
                                load_vector<kSize>(from + l)));
    });
  }

 private:
  static constexpr int64_t kLineBytes = 64, kLine = kLineBytes / static_cast<int64_t>(sizeof(T));

  int64_t row_bytes() const { return width_.stride() * static_cast<int64_t>(sizeof(T)); }
  bool cached() const { return row_bytes() < kLineBytes && visits_.size * row_bytes() <= kSecondLevel; }

  inline __attribute__((always_inline)) void ask_far(Visit visit) const {
    for (int64_t l = 0; l < width_.stride(); l += kLine) {
      __builtin_prefetch(row(visit.vertex) + l, 0, 2);
      __builtin_prefetch(row(visit.parent) + l, 0, 2);
    }
  }
  inline __attribute__((always_inline)) void ask(int32_t to, int32_t from) const {
    const int64_t stride = width_.stride();
    for (int64_t l = 0; l < stride; l += kLine) __builtin_prefetch(row(to) + l, 1);
    if (stride < kLine || stride > 2 * kLine) return;
    for (int64_t l = 0; l < stride; l += kLine) __builtin_prefetch(row(from) + l, 1);
  }

  template <class Step, bool Ask, class Value>
  TREEFILTER_PHASE void up_rows(const Value* values) const {
    for (int64_t s = 0; s < visits_.size; ++s) {
      if constexpr (Ask) ask_up(s);
      const auto [v, p] = visits_[s];
      const Step step(values, s);
      if (v != p && !step.closed()) update(step, row(p), row(v));
    }
  }

  template <class Step, bool Ask, class Value>
  TREEFILTER_PHASE void down_rows(const Value* values) const {
    for (int64_t s = visits_.size; s-- > 0;) {
      if constexpr (Ask) ask_down(s);
      const auto [v, p] = visits_[s];
      const Step step(values, s);
      if (v != p && !step.closed()) update(step, row(v), row(p));
    }
  }

  Width width_;
  Span<const Visit> visits_;
  T* rows_;
  bool far_;
};

}  // namespace treefilter
