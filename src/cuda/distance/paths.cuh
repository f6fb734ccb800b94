// Paths along `via` (distance.h) on CUDA, and what is found along them: sums, heaviest edges, seeds.
// These are passes for scan/chain_scan.cuh.
//
// `via` may lead to a child or to the parent. Values along paths through children are found in the pass
// from the leaves to the root, those along paths through parents in the pass back. In this order each
// value is there when it is needed.
#pragma once

#include <cmath>

#include "../../distance.h"
#include "../scan/chain_scan_large.cuh"

namespace treefilter::cuda {

// ---- channels ----

// The weights of one tree.
template <class T>
struct Weights {
  const T* values;
  bool magnitude;  // whether signs are dropped

  TREEFILTER_HD T operator[](int32_t v) const {
    const T w = values[v];
    return magnitude && w < 0 ? -w : w;
  }
  // Whether there is no edge, as far as distances are concerned.
  TREEFILTER_HD bool is_cut(int32_t v) const { return (*this)[v] == static_cast<T>(INFINITY); }
};

// The trees of a batch and their weights: what tasks (scan/chain_scan.cuh) start from. A channel is the
// distances, or sums, of one source of one image.
template <class T>
struct WeightedTrees {
  using Value = T;
  static constexpr bool kGathers = false;  // of most tasks

  TreeView tree;
  int64_t channels_per_tree;
  const T* weight;
  int64_t weight_step;  // from one image to the next; 0 where all have the same

  WeightedTrees(const TreeView& tree, Span<const T> weight, int64_t batch, int64_t channels_per_tree)
      : tree(tree),
        channels_per_tree(channels_per_tree),
        weight(weight.data),
        weight_step(weight.size == batch * tree.nodes ? tree.nodes : 0) {}

  TREEFILTER_HD int64_t nodes() const { return tree.nodes; }
  TREEFILTER_HD const TreeView& trees() const { return tree; }
  TREEFILTER_HD PlanView plan(int64_t b) const { return tree.plan_of(b); }
  TREEFILTER_HD const int32_t* parent(int64_t b) const {
    return tree.parent.data + (tree.batch == 1 ? 0 : b) * tree.nodes;
  }
  TREEFILTER_HD Weights<T> weights(int64_t b, bool magnitude) const {
    return {weight + b * weight_step, magnitude};
  }
};

// A channel with paths, and where its results are. Passes take what they need from it, by these names.
template <class T, class Via>
struct PathsChannel {
  PlanView plan;
  const int32_t* parent;
  Weights<T> weight;
  Via* via;
  T* values;            // distances, or sums
  int32_t* bottleneck;  // null for sums

  TREEFILTER_HD PathsChannel(const WeightedTrees<T>& input, int64_t index, bool magnitude, Via* via,
                             T* values, int32_t* bottleneck)
      : via(via + index * input.tree.nodes),
        values(values + index * input.tree.nodes),
        bottleneck(bottleneck == nullptr ? nullptr : bottleneck + index * input.tree.nodes) {
    const int64_t b = index / input.channels_per_tree;
    plan = input.plan(b);
    parent = input.parent(b);
    weight = input.weights(b, magnitude);
  }
};

// ---- what passes compute (chain_scan.cuh: monoids) ----

template <class T>
struct Sum {
  T value;

  static TREEFILTER_HD Sum identity() { return {0}; }
  static TREEFILTER_HD Sum combine(const Sum& earlier, const Sum& later) {
    return {earlier.value + later.value};
  }
};

// The length of a path.
template <class T>
struct Length {
  T value;

  static TREEFILTER_HD Length identity() { return {0}; }
  static TREEFILTER_HD Length combine(const Length& earlier, const Length& later) {
    return {joined_length(earlier.value, later.value)};
  }
};

// The heaviest edge since the source; among equals the nearest to the source; of NaNs the last. This is
// exact, so that any order of combination gives the same. edge = -1: no edge.
template <class T>
struct Heaviest {
  T value;
  int32_t edge;

  static TREEFILTER_HD Heaviest identity() { return {0, -1}; }
  static TREEFILTER_HD Heaviest combine(const Heaviest& earlier, const Heaviest& later) {
    if (later.edge < 0) return earlier;
    const bool heavier = earlier.edge < 0 || later.value > earlier.value || later.value != later.value;
    return heavier ? later : earlier;
  }
};

// A number that is passed on unchanged.
struct Carried {
  int32_t value;

  static TREEFILTER_HD Carried identity() { return {-1}; }
  static TREEFILTER_HD Carried combine(const Carried& earlier, const Carried&) { return earlier; }
};

// ---- values along the paths ----

// `Along`, made from a channel, says what is computed: Value (a monoid), edge(v) (what v's parent edge
// adds), start(v) (what a source has), get(v), put(v, value).
template <class Along>
struct AlongUp {
  static constexpr bool kUp = true, kGathers = false;
  using Value = typename Along::Value;
  using Map = ChainMap<Value>;

  PlanView plan;
  const int32_t *via, *parent;
  Along along;

  template <class Channel>
  TREEFILTER_HD explicit AlongUp(const Channel& channel)
      : plan(channel.plan), via(channel.via), parent(channel.parent), along(channel) {}

  TREEFILTER_HD Map step(int32_t s) const {
    const int32_t v = plan.vertex(s), u = via[v];
    if (u == v) return {along.start(v), 0};
    if (u < 0 || u >= static_cast<int32_t>(plan.nodes)) return {Value::identity(), 0};
    if (!plan.is_bottom(s) && u == plan.vertex(s - 1)) return {along.edge(u), 1};
    if (parent[u] != v) return {Value::identity(), 0};
    return {Value::combine(along.get(u), along.edge(u)), 0};
  }
  TREEFILTER_HD void put(int32_t s, const Value& value) const { along.put(plan.vertex(s), value); }
};

template <class Along>
struct AlongDown {
  static constexpr bool kUp = false, kGathers = false;
  using Value = typename Along::Value;
  using Map = ChainMap<Value>;

  PlanView plan;
  const int32_t* via;
  Along along;

  template <class Channel>
  TREEFILTER_HD explicit AlongDown(const Channel& channel)
      : plan(channel.plan), via(channel.via), along(channel) {}

  TREEFILTER_HD Map step(int32_t s) const {
    const int32_t v = plan.vertex(s), p = plan.parent(s), u = plan.vertex(p);
    if (p == s || via[v] != u) return {along.get(v), 0};
    if (!plan.is_top(s)) return {along.edge(v), 1};
    return {Value::combine(along.get(u), along.edge(v)), 0};
  }
  TREEFILTER_HD void put(int32_t s, const Value& value) const { along.put(plan.vertex(s), value); }
};

TREEFILTER_PHASED template <class Along, class Runner>
TREEFILTER_HD void run_along(const Runner& runner) {
  runner.template pass<AlongUp<Along>>();
  runner.template pass<AlongDown<Along>>();
}

template <class T>
struct SumAlong {
  using Value = Length<T>;

  Weights<T> weight;
  T* sums;

  template <class Channel>
  TREEFILTER_HD explicit SumAlong(const Channel& channel)
      : weight(channel.weight), sums(channel.values) {}

  TREEFILTER_HD Value edge(int32_t v) const { return {weight[v]}; }
  TREEFILTER_HD Value start(int32_t) const { return Value::identity(); }
  TREEFILTER_HD Value get(int32_t v) const { return {sums[v]}; }
  TREEFILTER_HD void put(int32_t v, const Value& value) const { sums[v] = value.value; }
};

template <class T>
struct HeaviestAlong {
  using Value = Heaviest<T>;

  Weights<T> weight;
  T* heaviest;
  int32_t* edges;

  template <class Channel>
  TREEFILTER_HD explicit HeaviestAlong(const Channel& channel)
      : weight(channel.weight), heaviest(channel.values), edges(channel.bottleneck) {}

  TREEFILTER_HD Value edge(int32_t v) const { return {weight[v], v}; }
  TREEFILTER_HD Value start(int32_t) const { return Value::identity(); }
  TREEFILTER_HD Value get(int32_t v) const { return {heaviest[v], edges[v]}; }
  TREEFILTER_HD void put(int32_t v, const Value& value) const {
    heaviest[v] = value.value;
    edges[v] = value.edge;
  }
};

// ---- distances ----

template <Path path, class T>
using LengthAlong = std::conditional_t<path == Path::kSum, SumAlong<T>, HeaviestAlong<T>>;

// Sets the distance of a vertex that was not reached to +inf, and that of a source, which may have no
// slot, to 0.
template <class T>
struct SetUnreached {
  const int32_t* via;
  T* distance;
  int32_t* bottleneck;

  template <class Channel>
  TREEFILTER_HD explicit SetUnreached(const Channel& channel)
      : via(channel.via), distance(channel.values), bottleneck(channel.bottleneck) {}

  TREEFILTER_HD void operator()(int32_t v) const {
    if (via[v] >= 0 && via[v] != v) return;
    distance[v] = via[v] < 0 ? static_cast<T>(INFINITY) : T(0);
    if (bottleneck != nullptr) bottleneck[v] = -1;
  }
};

// The distances of a channel along its `via`.
TREEFILTER_PHASED template <Path path, class T, class Runner>
TREEFILTER_HD void run_distances(const Runner& runner) {
  run_along<LengthAlong<path, T>>(runner);
  runner.template vertices<SetUnreached<T>>();
}

}  // namespace treefilter::cuda
