// The inner loops of the filter, over packed channels: the channels of one image, up to a block of them,
// stored side by side for each vertex (pack.h). A visit to a vertex is a load of a cache line or two and
// a short vector operation.
//
// A coefficient belongs to a slot, which is a position in the tree's order. It is one number for all
// channels of the block, or one number per lane where a block holds several groups (PerLane).
//
// In the order that the CPU gives to trees (mst/peel.h), consecutive visits are independent. In an order
// in which a vertex follows its child, each visit waits for the result of the one before: for the
// latency of a load, the arithmetic and a store.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "../../filter.h"
#include "../support/parallel.h"
#include "../support/vector.h"

namespace treefilter {

// The order of visits with parents: order[s] and parent[order[s]] side by side.
struct Visit {
  int32_t vertex, parent;
};

// The order of visits is known in advance, but the memory that they touch is not contiguous. Prefetching
// the channels of a later visit hides most of the latency. Which channels are prefetched:
//   - one or two cache lines per vertex: those of the vertex and of its neighbour,
//   - more than two lines: only those that are written; a core has no buffers for more requests,
//   - less than a line: like more than two, and nothing if the second-level cache holds all vertices.
// Channels that come from main memory are prefetched into the second-level cache much earlier, because
// that cache can wait for more lines than the first-level cache.
constexpr int64_t kPrefetchDistance = 32, kFarPrefetchDistance = 128;
constexpr int64_t kSecondLevel = 1 << 20;

// Whether an array of so many bytes is larger than a core's private caches.
constexpr bool is_far(int64_t bytes) {
  return bytes > 4 * kSecondLevel;
}

// The bits without the sign. They are compared as integers, which treats NaN like any other value.
template <class T>
auto magnitude_of(T value) {
  constexpr auto kMagnitude = std::numeric_limits<decltype(bits_of<T, 1>(value))>::max();
  return bits_of<T, 1>(value) & kMagnitude;
}

// A slot's coefficient: one for all lanes, or an array of one per lane.
template <class T, int N, bool PerLane>
struct Coefficient {
  T value;
  template <class Value>
  Coefficient(const Value* values, int64_t s) : value(values[s]) {}
  bool all_zero() const { return magnitude_of(value) == 0; }
  template <class Size>
  T operator()(int64_t, Size) const {
    return value;
  }
};
template <class T, int N>
struct Coefficient<T, N, true> {
  const T* values;
  Coefficient(const T* values, int64_t s) : values(values + s * N) {}
  bool all_zero() const { return false; }  // not checked: lanes differ
  template <class Size>
  Vector<T, Size::value> operator()(int64_t l, Size) const {
    return load_vector<Size::value>(values + l);
  }
};

// ---- the steps of a pass: how a vertex's channels change ----
//
// A step computes new channels of a vertex from its own ones (`self`) and those of its neighbour in the
// tree: of a child in a leaf-to-root pass, of the parent in a root-to-leaf pass. base() tells which of
// the two the result starts from. A closed step has the affinity 0 and leaves the vertex unchanged: not
// even a NaN passes. (With one coefficient per lane, each lane is closed or open on its own.)

// self + a * neighbour
template <class T, int N, bool PerLane>
struct AddStep {
  Coefficient<T, N, PerLane> a;
  template <class Value>
  AddStep(const Value* values, int64_t s) : a(values, s) {}
  bool closed() const { return a.all_zero(); }
  const T* base(const T* self, const T*) const { return self; }
  template <class V, class Size>
  V operator()(int64_t l, Size size, V base, V, V neighbour) const {
    return base + a(l, size) * neighbour;
  }
};

// (1 - a^2) self + a * neighbour
template <class T, int N, bool PerLane>
struct SumStep {
  Coefficient<T, N, PerLane> a;
  template <class Value>
  SumStep(const Value* values, int64_t s) : a(values, s) {}
  bool closed() const { return a.all_zero(); }
  const T* base(const T* self, const T*) const { return self; }
  template <class V, class Size>
  V operator()(int64_t l, Size size, V base, V, V neighbour) const {
    const auto w = a(l, size);
    return (1 - w) * (1 + w) * base + w * neighbour;
  }
};

// r self + s neighbour with r + s = 1, computed as base + t (other - base). The base is the one with the
// larger coefficient; t is the smaller coefficient, however small. Only the addition rounds the base, so
// the result stays between the two values, and equal values give exactly that value. Which one is the
// base cannot be predicted and must not become a branch, so the sign of t encodes it: t = s if the base
// is self, t = -r if it is the neighbour; then the result is base + t (neighbour - self) in both cases.
template <class T>
T mix_coefficient(double r, double s) {
  const bool base_is_self = (s >= 0) & ((s <= 0.5) | (r < 0));  // r < 0: affinities beyond 1
  return static_cast<T>(base_is_self ? s : -r);
}

template <class T, int N, bool PerLane>
struct MixStep {
  T t;
  MixStep(const T* values, int64_t s) : t(values[s]) {}
  bool closed() const { return bits_of<T, 1>(t) == 0; }
  const T* base(const T* self, const T* neighbour) const { return std::signbit(t) ? neighbour : self; }
  template <class V, class Size>
  V operator()(int64_t, Size, V base, V self, V neighbour) const {
    return base + t * (neighbour - self);
  }
};
template <class T, int N>
struct MixStep<T, N, true> {
  Coefficient<T, N, true> t;
  MixStep(const T* values, int64_t s) : t(values, s) {}
  bool closed() const { return false; }
  const T* base(const T* self, const T*) const { return self; }
  template <class V, class Size>
  V operator()(int64_t l, Size size, V, V self, V neighbour) const {
    const V ts = t(l, size);
    const auto bits = bits_of<T, Size::value>(ts);
    return bits == 0 ? self : (bits < 0 ? neighbour : self) + ts * (neighbour - self);
  }
};

// ---- passes ----

// The passes over packed channels. Width (Lanes or AnyLanes): how many channels a vertex has, and how
// far apart the channels of two vertices are.
template <class T, class Width>
class Passes {
 public:
  Passes(const Cpu& cpu, Width width, Span<const Visit> visits, T* packed)
      : cpu_(cpu),
        width_(width),
        visits_(visits),
        packed_(packed),
        far_(is_far(visits.size * vertex_bytes())) {}

  // Leaf to root: every vertex, children first, changes its parent.
  template <class Step, class Value>
  TREEFILTER_PHASE void up(const Value* values) const {
    for_slots_up([values](const Passes& passes, int64_t s) {
      const auto [v, p] = passes.visit(s);
      const Step step(values, s);
      if (v != p && !step.closed()) passes.update(step, passes.channels(p), passes.channels(v));
    });
  }

  // Root to leaf: every vertex, parents first, is changed by its parent.
  template <class Step, class Value>
  TREEFILTER_PHASE void down(const Value* values) const {
    for_slots_down([values](const Passes& passes, int64_t s) {
      const auto [v, p] = passes.visit(s);
      const Step step(values, s);
      if (v != p && !step.closed()) passes.update(step, passes.channels(v), passes.channels(p));
    });
  }

  // Calls use(passes, s) for all slots, children first or parents first, and prefetches the channels of
  // later visits as long as there are visits so far ahead. `passes` is a local copy of *this: no pointer
  // leads to it, so the compiler may keep its members in registers. It would have to read the members of
  // *this again for every visit, because a store to the channels might change them.
  template <class Use>
  inline __attribute__((always_inline)) void for_slots_up(const Use& use) const {
    const Passes passes = *this;
    const int64_t size = passes.visits_.size;
    const int64_t prefetch_end = passes.cached() ? 0 : size - kFarPrefetchDistance;
    for_ascending(cpu_, 0, prefetch_end, [&passes, &use](int64_t s) {
      if (passes.far_) passes.prefetch_far(s + kFarPrefetchDistance);
      const Visit later = passes.visits_[s + kPrefetchDistance];
      passes.prefetch(later.parent, later.vertex);
      use(passes, s);
    });
    for (int64_t s = std::max<int64_t>(0, prefetch_end); s < size; ++s) use(passes, s);
  }
  template <class Use>
  inline __attribute__((always_inline)) void for_slots_down(const Use& use) const {
    const Passes passes = *this;
    const int64_t prefetch_last = passes.cached() ? passes.visits_.size : kFarPrefetchDistance;
    for_descending(cpu_, prefetch_last, passes.visits_.size, [&passes, &use](int64_t s) {
      if (passes.far_) passes.prefetch_far(s - kFarPrefetchDistance);
      const Visit later = passes.visits_[s - kPrefetchDistance];
      passes.prefetch(later.vertex, later.parent);
      use(passes, s);
    });
    for (int64_t s = std::min(prefetch_last, passes.visits_.size) - 1; s >= 0; --s) use(passes, s);
  }

  Visit visit(int64_t s) const { return visits_[s]; }
  T* channels(int64_t v) const { return packed_ + v * width_.stride(); }

  // Applies a step to the channels `self`.
  template <class Step>
  void update(const Step& step, T* self, const T* neighbour) const {
    const T* base = step.base(self, neighbour);
    for_vectors<T>(width_, [&](int64_t l, auto size) {
      constexpr int kSize = decltype(size)::value;
      store_vector(self + l, step(l, size, load_vector<kSize>(base + l), load_vector<kSize>(self + l),
                                  load_vector<kSize>(neighbour + l)));
    });
  }

 private:
  static constexpr int64_t kLineBytes = 64, kLine = kLineBytes / static_cast<int64_t>(sizeof(T));

  int64_t vertex_bytes() const { return width_.stride() * static_cast<int64_t>(sizeof(T)); }
  bool cached() const {
    return vertex_bytes() < kLineBytes && visits_.size * vertex_bytes() <= kSecondLevel;
  }

  // always_inline: GCC removes calls of functions that only prefetch, as if they had no effect.
  inline __attribute__((always_inline)) void prefetch_far(int64_t s) const {
    for (int64_t l = 0; l < width_.stride(); l += kLine) {
      __builtin_prefetch(channels(visits_[s].vertex) + l, 0, 2);
      __builtin_prefetch(channels(visits_[s].parent) + l, 0, 2);
    }
  }
  inline __attribute__((always_inline)) void prefetch(int32_t written, int32_t read) const {
    const int64_t stride = width_.stride();
    for (int64_t l = 0; l < stride; l += kLine) __builtin_prefetch(channels(written) + l, 1);
    if (stride < kLine || stride > 2 * kLine) return;
    for (int64_t l = 0; l < stride; l += kLine) __builtin_prefetch(channels(read) + l, 1);
  }

  Cpu cpu_;
  Width width_;
  Span<const Visit> visits_;
  T* packed_;
  bool far_;
};

}  // namespace treefilter
