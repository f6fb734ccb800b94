// Ways through a tree on CUDA, `via` (distance.h), and what is taken along them: sums, heaviest edges,
// seeds. Stages of a row for chain_scan.cuh.
//
// Ways through children are found on the way up, those through parents on the way down; then a value is
// there when it is needed.
#pragma once

#include <cmath>

#include "../../distance.h"
#include "../scan/chain_scan_large.cuh"

namespace treefilter::cuda {

// ---- rows ----

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

// The trees and the weights of the rows of results: what tasks (chain_scan.cuh) begin with.
template <class T>
struct RowInput {
  using Value = T;

  TreeView tree;
  int64_t rows_per_tree;
  const T* weight;
  int64_t weight_step;  // from one image to the next; 0: one for all

  RowInput(const TreeView& tree, Span<const T> weight, int64_t batch, int64_t rows_per_tree)
      : tree(tree),
        rows_per_tree(rows_per_tree),
        weight(weight.data),
        weight_step(weight.size == batch * tree.nodes ? tree.nodes : 0) {}

  TREEFILTER_HD int64_t nodes() const { return tree.nodes; }
  TREEFILTER_HD const TreeView& trees() const { return tree; }
  TREEFILTER_HD Slots slots(int64_t b) const { return {tree.plan_of(b)}; }
  TREEFILTER_HD const int32_t* parent(int64_t b) const {
    return tree.parent.data + (tree.batch == 1 ? 0 : b) * tree.nodes;
  }
  TREEFILTER_HD Weights<T> weights(int64_t b, bool magnitude) const {
    return {weight + b * weight_step, magnitude};
  }
};

// A row with ways, and where its results are. Stages take from a row what they need, by these names.
template <class T, class Via>
struct WaysRow {
  Slots slots;
  const int32_t* parent;
  Weights<T> weight;
  Via* via;
  T* values;            // distances, or sums
  int32_t* bottleneck;  // null for sums

  TREEFILTER_HD WaysRow(const RowInput<T>& input, int64_t index, bool magnitude, Via* via, T* values,
                        int32_t* bottleneck)
      : via(via + index * input.tree.nodes),
        values(values + index * input.tree.nodes),
        bottleneck(bottleneck == nullptr ? nullptr : bottleneck + index * input.tree.nodes) {
    const int64_t b = index / input.rows_per_tree;
    slots = input.slots(b);
    parent = input.parent(b);
    weight = input.weights(b, magnitude);
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

// ---- values along the ways ----

// `Along`, made from a row, says what flows: Value, edge(v) (what v's parent edge adds), start(v) (what
// a source has), get(v), put(v, value).
template <class Along>
struct AlongUp {
  static constexpr bool kUp = true, kGathers = false;
  using Value = typename Along::Value;
  using Piece = Step<Value>;

  Slots slots;
  const int32_t *via, *parent;
  Along along;

  template <class Row>
  TREEFILTER_HD explicit AlongUp(const Row& row)
      : slots(row.slots), via(row.via), parent(row.parent), along(row) {}

  TREEFILTER_HD Piece link(int32_t s) const {
    const int32_t v = slots.vertex(s), u = via[v];
    if (u == v) return {along.start(v), 0};
    if (u < 0 || u >= slots.nodes()) return {Value::nothing(), 0};
    if (!slots.is_bottom(s) && u == slots.vertex(s - 1)) return {along.edge(u), 1};
    if (parent[u] != v) return {Value::nothing(), 0};
    return {Value::join(along.get(u), along.edge(u)), 0};
  }
  TREEFILTER_HD void put(int32_t s, const Piece&, const Value& value) const {
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

  template <class Row>
  TREEFILTER_HD explicit AlongDown(const Row& row) : slots(row.slots), via(row.via), along(row) {}

  TREEFILTER_HD Piece link(int32_t s) const {
    const int32_t v = slots.vertex(s), p = slots.parent(s), u = slots.vertex(p);
    if (p == s || via[v] != u) return {along.get(v), 0};
    if (!slots.is_top(s)) return {along.edge(v), 1};
    return {Value::join(along.get(u), along.edge(v)), 0};
  }
  TREEFILTER_HD void put(int32_t s, const Piece&, const Value& value) const {
    along.put(slots.vertex(s), value);
  }
};

TREEFILTER_PROGRAM template <class Along, class Stages>
TREEFILTER_HD void run_along(const Stages& stages) {
  stages.template pass<AlongUp<Along>>();
  stages.template pass<AlongDown<Along>>();
}

template <class T>
struct SumAlong {
  using Value = Sum<T>;

  Weights<T> weight;
  T* sums;

  template <class Row>
  TREEFILTER_HD explicit SumAlong(const Row& row) : weight(row.weight), sums(row.values) {}

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

  template <class Row>
  TREEFILTER_HD explicit HeaviestAlong(const Row& row)
      : weight(row.weight), heaviest(row.values), edges(row.bottleneck) {}

  TREEFILTER_HD Value edge(int32_t v) const { return {weight[v], v}; }
  TREEFILTER_HD Value start(int32_t) const { return Value::nothing(); }
  TREEFILTER_HD Value get(int32_t v) const { return {heaviest[v], edges[v]}; }
  TREEFILTER_HD void put(int32_t v, const Value& value) const {
    heaviest[v] = value.value;
    edges[v] = value.edge;
  }
};

// ---- distances ----

template <Path path, class T>
using LengthAlong = std::conditional_t<path == Path::kSum, SumAlong<T>, HeaviestAlong<T>>;

// Besides what was not reached, a source without a slot: +inf, or 0.
template <class T>
struct SetUnreached {
  const int32_t* via;
  T* distance;
  int32_t* bottleneck;

  template <class Row>
  TREEFILTER_HD explicit SetUnreached(const Row& row)
      : via(row.via), distance(row.values), bottleneck(row.bottleneck) {}

  TREEFILTER_HD void operator()(int32_t v) const {
    if (via[v] >= 0 && via[v] != v) return;
    distance[v] = via[v] < 0 ? static_cast<T>(INFINITY) : T(0);
    if (bottleneck != nullptr) bottleneck[v] = -1;
  }
};

// The distances of a row along its `via`.
TREEFILTER_PROGRAM template <Path path, class T, class Stages>
TREEFILTER_HD void run_distances(const Stages& stages) {
  run_along<LengthAlong<path, T>>(stages);
  stages.template vertices<SetUnreached<T>>();
}

}  // namespace treefilter::cuda
