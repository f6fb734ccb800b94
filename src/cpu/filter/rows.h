// The inner loops of the filter: one row of channels a vertex.
//
// A coefficient belongs to a slot of the tree's order. It is one number for a whole row, or one per lane
// where groups of channels are so small that a row spans several (PerLane).
//
// Visits that follow one another are independent where the CPU made the tree (mst/peel.h). In an order
// in which a vertex follows its child, each visit waits for the one before: a latency of load,
// arithmetic and store.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "../../filter.h"
#include "../support/vector.h"

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

// Without a comparison, which would have to think of NaN.
template <class T>
auto magnitude_bits(T value) {
  constexpr auto kMagnitude = std::numeric_limits<decltype(bits_of<T, 1>(value))>::max();
  return bits_of<T, 1>(value) & kMagnitude;
}

// A slot's coefficient: of all lanes of a row, or an array of one per lane.
template <class T, int N, bool PerLane>
struct Coefficient {
  T value;
  template <class Value>
  Coefficient(const Value* values, int64_t s) : value(values[s]) {}
  bool all_zero() const { return magnitude_bits(value) == 0; }
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
  bool closed() const { return bits_of<T, 1>(t) == 0; }
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
  TREEFILTER_PHASE void up(const Value* values) const {
    for_slots_up([values](const Rows& rows, int64_t s) {
      const auto [v, p] = rows.visit(s);
      const Step step(values, s);
      if (v != p && !step.closed()) rows.update(step, rows.row(p), rows.row(v));
    });
  }

  // Every row, parents first, is changed by its parent's.
  template <class Step, class Value>
  TREEFILTER_PHASE void down(const Value* values) const {
    for_slots_down([values](const Rows& rows, int64_t s) {
      const auto [v, p] = rows.visit(s);
      const Step step(values, s);
      if (v != p && !step.closed()) rows.update(step, rows.row(v), rows.row(p));
    });
  }

  // Calls use(rows, s) for all slots, children first or parents first, and asks for the memory that
  // later visits will need, except at the end, where there are no visits so far ahead. `rows` is a copy
  // of this that nothing can point to: for all that the compiler knows, whatever is stored could change
  // this one, which would be read again for every visit.
  template <class Use>
  inline __attribute__((always_inline)) void for_slots_up(const Use& use) const {
    const Rows rows = *this;
    const int64_t size = rows.visits_.size, asking = rows.cached() ? 0 : size - kFarAhead;
    int64_t s = 0;
    for (; s < asking; ++s) {
      if (rows.far_) rows.ask_far(s + kFarAhead);
      rows.ask(rows.visits_[s + kAhead].parent, rows.visits_[s + kAhead].vertex);
      use(rows, s);
    }
    for (; s < size; ++s) use(rows, s);
  }
  template <class Use>
  inline __attribute__((always_inline)) void for_slots_down(const Use& use) const {
    const Rows rows = *this;
    const int64_t last_asking = rows.cached() ? rows.visits_.size : kFarAhead;
    int64_t s = rows.visits_.size - 1;
    for (; s >= last_asking; --s) {
      if (rows.far_) rows.ask_far(s - kFarAhead);
      rows.ask(rows.visits_[s - kAhead].vertex, rows.visits_[s - kAhead].parent);
      use(rows, s);
    }
    for (; s >= 0; --s) use(rows, s);
  }

  Visit visit(int64_t s) const { return visits_[s]; }
  T* row(int64_t v) const { return rows_ + v * width_.stride(); }

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

  // Asking is inlined by force: GCC drops calls of what does nothing else.
  inline __attribute__((always_inline)) void ask_far(int64_t s) const {
    for (int64_t l = 0; l < width_.stride(); l += kLine) {
      __builtin_prefetch(row(visits_[s].vertex) + l, 0, 2);
      __builtin_prefetch(row(visits_[s].parent) + l, 0, 2);
    }
  }
  inline __attribute__((always_inline)) void ask(int32_t to, int32_t from) const {
    const int64_t stride = width_.stride();
    for (int64_t l = 0; l < stride; l += kLine) __builtin_prefetch(row(to) + l, 1);
    if (stride < kLine || stride > 2 * kLine) return;
    for (int64_t l = 0; l < stride; l += kLine) __builtin_prefetch(row(from) + l, 1);
  }

  Width width_;
  Span<const Visit> visits_;
  T* rows_;
  bool far_;
};

}  // namespace treefilter
