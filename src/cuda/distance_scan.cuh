// What follows a way through a tree, on CUDA: one block for a row, round by round of the plan (plan.h).
//
// A round is one run of slots, a chain after the other. In a chain what a slot has follows from what the
// slot before it has (Step): either it goes on from there, or it starts anew. Links compose, so that a
// round is a scan, whatever the lengths of the chains in it: its slots are cut into stretches of equal
// length, one a thread;
//   1. what each stretch makes of whatever enters it is found alone;
//   2. a scan of these over the threads gives what enters each of them;
//   3. each stretch is walked once more, with that.
// What hangs from a slot beside its chain is complete when the earlier round is over.
//
// Cost of a round of n slots: two visits of a slot and 5 barriers: slots / 1024 steps, however deep the
// tree. The order in which sums are taken depends on the plan's rounds alone.
// What hangs from one slot is gathered by one thread, and one large image keeps one block busy: a star's
// centre and a single row of millions of vertices take their time.
#pragma once

#include <cmath>

#include "../distance.h"
#include "launch.cuh"

namespace treefilter::cuda {

// Of a block: doubles take more registers.
template <class T>
constexpr int row_threads() {
  return sizeof(T) == 4 ? 1024 : 512;
}

// What a slot adds to what the slot before it in its chain has, or has by itself (not open).
template <class V>
struct Step {
  V value;
  int32_t open;

  static TREEFILTER_HD Step nothing() { return {V::nothing(), 1}; }
  static TREEFILTER_HD Step join(const Step& earlier, const Step& later) {
    if (!later.open) return later;
    return {V::join(earlier.value, later.value), earlier.open};
  }
};

// ---- what flows ----

template <class T>
struct Sum {
  T value;

  static TREEFILTER_HD Sum nothing() { return {0}; }
  static TREEFILTER_HD Sum join(const Sum& earlier, const Sum& later) {
    return {earlier.value + later.value};
  }
};

// The heaviest edge from the source on, among equals the nearest to it; of NaNs the last. It is exact,
// so that any order of joining gives the same. edge = -1: no edge.
template <class T>
struct Heaviest {
  T value;
  int32_t edge;

  static TREEFILTER_HD Heaviest nothing() { return {0, -1}; }
  static TREEFILTER_HD Heaviest join(const Heaviest& earlier, const Heaviest& later) {
    if (later.edge < 0) return earlier;
    const bool heavier = earlier.edge < 0 || later.value > earlier.value || later.value != later.value;
    return heavier ? later : earlier;
  }
};

// A number that is handed on as it is.
struct Carried {
  int32_t value;

  static TREEFILTER_HD Carried nothing() { return {-1}; }
  static TREEFILTER_HD Carried join(const Carried& earlier, const Carried&) { return earlier; }
};

// ---- slots ----

// One tree, in slots.
struct Slots {
  PlanView plan;

  TREEFILTER_HD int32_t nodes() const { return static_cast<int32_t>(plan.nodes); }
  // Vertices of a cycle have none.
  TREEFILTER_HD int32_t count() const { return plan.rounds()[PlanView::kRounds - 1]; }
  TREEFILTER_HD int32_t vertex(int32_t s) const { return plan.order()[s]; }
  TREEFILTER_HD bool is_top(int32_t s) const { return plan.up()[s] < 0; }
  TREEFILTER_HD bool is_bottom(int32_t s) const { return s == 0 || plan.up()[s - 1] < 0; }
  TREEFILTER_HD bool is_root(int32_t s) const { return plan.up()[s] == ~s; }
  TREEFILTER_HD int32_t parent(int32_t s) const {  // s at a root
    const int32_t up = plan.up()[s];
    return up < 0 ? ~up : up;
  }
};

// ---- passes ----

// A pass has
//   Piece, slots          Step<…> or what is joined like it
//   gather(s)             (if kGathers) first of all in a round: takes in what hangs from the slot
//   link(s)               a Piece, from the slot below it (kUp) or above it in its chain
//   put(s, link, value)   the result
// which touch nothing that others of the round touch.

template <class Pass>
TREEFILTER_HD void scan_round(const Block& block, const Pass& pass, int32_t begin, int32_t end) {
  using Piece = typename Pass::Piece;
  constexpr bool kUp = Pass::kUp;
  const int32_t each = (end - begin + block.threads - 1) / block.threads;
  // The first thread has the first slots of the way up, the last of the way down.
  const auto visit = [&](int t, const auto& slot) {
    const int64_t first = static_cast<int64_t>(t) * each, count = end - begin;
    const int64_t last = first + each < count ? first + each : count;
    for (int64_t i = first; i < last; ++i) slot(static_cast<int32_t>(kUp ? begin + i : end - 1 - i));
  };
  PerThread<Piece> piece;
  if constexpr (Pass::kGathers) {
    block.each([&](int t) {
      for (int64_t s = begin + int64_t{t}; s < end; s += block.threads) {
        pass.gather(static_cast<int32_t>(s));
      }
    });
  }
  block.each([&](int t) {
    Piece sum = Piece::nothing();
    visit(t, [&](int32_t s) { sum = Piece::join(sum, pass.link(s)); });
    piece[t] = sum;
  });
  exclusive_scan(block, piece, Piece::nothing(), reinterpret_cast<Piece*>(block.shared), &Piece::join);
  block.each([&](int t) {
    Piece sum = piece[t];
    visit(t, [&](int32_t s) {
      const Piece link = pass.link(s);
      sum = Piece::join(sum, link);
      pass.put(s, link, sum.value);
    });
  });
}

template <class Pass>
TREEFILTER_HD void run_pass(const Block& block, const Pass& pass) {
  const int32_t* rounds = pass.slots.plan.rounds();
  if (Pass::kUp) {
    for (int k = 0; k + 1 < PlanView::kRounds && rounds[k] < rounds[k + 1]; ++k) {
      scan_round(block, pass, rounds[k], rounds[k + 1]);
    }
  } else {
    for (int k = PlanView::kRounds - 1; k-- > 0;) {
      if (rounds[k] < rounds[k + 1]) scan_round(block, pass, rounds[k], rounds[k + 1]);
    }
  }
}

// Calls piece(v) for every vertex.
template <class Piece>
TREEFILTER_HD void each_vertex(const Block& block, int64_t nodes, const Piece& piece) {
  block.each([&](int t) {
    for (int64_t v = t; v < nodes; v += block.threads) piece(static_cast<int32_t>(v));
  });
}

// Bytes of shared memory for the scans of a pass.
template <class Piece>
constexpr int64_t scan_bytes() {
  return kWarp * static_cast<int64_t>(sizeof(Piece));
}

// ---- values along `via` ----

// `Along` says what flows: Value, edge(v) (what v's parent edge adds), start(v) (what a source has),
// get(v), put(v, value). Ways through children are found on the way up, those through parents on the way
// down; then a value is there when it is needed.
template <class Along>
struct AlongUp {
  static constexpr bool kUp = true, kGathers = false;
  using Value = typename Along::Value;
  using Piece = Step<Value>;

  Slots slots;
  const int32_t *via, *parent;
  Along along;

  TREEFILTER_HD Step<Value> link(int32_t s) const {
    const int32_t v = slots.vertex(s), u = via[v];
    if (u == v) return {along.start(v), 0};
    if (u < 0 || u >= slots.nodes()) return {Value::nothing(), 0};
    if (!slots.is_bottom(s) && u == slots.vertex(s - 1)) return {along.edge(u), 1};
    if (parent[u] != v) return {Value::nothing(), 0};
    return {Value::join(along.get(u), along.edge(u)), 0};
  }
  TREEFILTER_HD void put(int32_t s, const Step<Value>&, const Value& value) const {
    along.put(slots.vertex(s), value);
  }
};

template <class Along>
struct AlongDown {
  static constexpr bool kUp = false, kGathers = false;
  using Value = typename Along::Value;
  using Piece = Step<Value>;

  Slots slots;
  const int32_t* via;
  Along along;

  TREEFILTER_HD Step<Value> link(int32_t s) const {
    const int32_t v = slots.vertex(s), p = slots.parent(s), u = slots.vertex(p);
    if (p == s || via[v] != u) return {along.get(v), 0};
    if (!slots.is_top(s)) return {along.edge(v), 1};
    return {Value::join(along.get(u), along.edge(v)), 0};
  }
  TREEFILTER_HD void put(int32_t s, const Step<Value>&, const Value& value) const {
    along.put(slots.vertex(s), value);
  }
};

template <class Along>
TREEFILTER_HD void run_along(const Block& block, const Slots& slots, const int32_t* via,
                             const int32_t* parent, const Along& along) {
  run_pass(block, AlongUp<Along>{slots, via, parent, along});
  run_pass(block, AlongDown<Along>{slots, via, along});
}

// The weights of one tree.
template <class T>
struct Weights {
  const T* values;
  bool magnitude;  // without their sign

  TREEFILTER_HD T operator[](int32_t v) const {
    const T w = values[v];
    return magnitude && w < 0 ? -w : w;
  }
  // No edge, as far as distances go.
  TREEFILTER_HD bool is_cut(int32_t v) const { return (*this)[v] == static_cast<T>(INFINITY); }
};

template <class T>
struct SumAlong {
  using Value = Sum<T>;

  Weights<T> weight;
  T* sums;

  TREEFILTER_HD Value edge(int32_t v) const { return {weight[v]}; }
  TREEFILTER_HD Value start(int32_t) const { return Value::nothing(); }
  TREEFILTER_HD Value get(int32_t v) const { return {sums[v]}; }
  TREEFILTER_HD void put(int32_t v, const Value& value) const { sums[v] = value.value; }
};

template <class T>
struct HeaviestAlong {
  using Value = Heaviest<T>;

  Weights<T> weight;
  T* heaviest;
  int32_t* edges;

  TREEFILTER_HD Value edge(int32_t v) const { return {weight[v], v}; }
  TREEFILTER_HD Value start(int32_t) const { return Value::nothing(); }
  TREEFILTER_HD Value get(int32_t v) const { return {heaviest[v], edges[v]}; }
  TREEFILTER_HD void put(int32_t v, const Value& value) const {
    heaviest[v] = value.value;
    edges[v] = value.edge;
  }
};

// ---- distances ----

// The trees and the weights of the rows of results.
template <class T>
struct RowInput {
  TreeView tree;
  const T* weight;
  int64_t weight_step;  // from one image to the next; 0: one for all

  RowInput(const TreeView& tree, Span<const T> weight, int64_t batch)
      : tree(tree),
        weight(weight.data),
        weight_step(weight.size == batch * tree.nodes ? tree.nodes : 0) {}

  TREEFILTER_HD Slots slots(int64_t b) const { return {tree.plan_of(b)}; }
  TREEFILTER_HD const int32_t* parent(int64_t b) const {
    return tree.parent.data + (tree.batch == 1 ? 0 : b) * tree.nodes;
  }
  TREEFILTER_HD Weights<T> weights(int64_t b, bool magnitude) const {
    return {weight + b * weight_step, magnitude};
  }
};

// The distances of a row along its `via`; +inf where there is none. `bottleneck` is that of all rows, of
// which this one starts `at` (null for sums).
template <Path path, class T>
TREEFILTER_HD void run_distances(const Block& block, const Slots& slots, const int32_t* via,
                                 const int32_t* parent, const Weights<T>& weight, T* distance,
                                 int32_t* bottleneck, int64_t at) {
  if constexpr (path == Path::kSum) {
    run_along(block, slots, via, parent, SumAlong<T>{weight, distance});
  } else {
    run_along(block, slots, via, parent, HeaviestAlong<T>{weight, distance, bottleneck + at});
  }
  // Besides what was not reached, a source without a slot.
  each_vertex(block, slots.nodes(), [&](int32_t v) {
    if (via[v] >= 0 && via[v] != v) return;
    distance[v] = via[v] < 0 ? static_cast<T>(INFINITY) : T(0);
    if constexpr (path == Path::kMax) bottleneck[at + v] = -1;
  });
}

template <Path path, class T>
constexpr int64_t distance_scan_bytes() {
  return path == Path::kSum ? scan_bytes<Step<Sum<T>>>() : scan_bytes<Step<Heaviest<T>>>();
}

}  // namespace treefilter::cuda
