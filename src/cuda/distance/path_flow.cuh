// accumulate_sums (distance.h) on CUDA: the transpose of the sums along paths. A gradient flows along
// the paths to the sources, for each source by the same two passes in the other direction. The flows
// through an edge are added over the sources, in their order. Workspace: as large as `grad`.
#pragma once

#include "paths.cuh"

namespace treefilter::cuda {

template <class T>
struct FlowChannel {
  PlanView plan;
  const int32_t* via;
  const T* grad;
  T* flow;
};

// No path leads through a vertex without a slot: its flow stays 0.
template <class T>
struct StartFlow {
  T* flow;

  template <class Channel>
  TREEFILTER_HD explicit StartFlow(const Channel& channel) : flow(channel.flow) {}

  TREEFILTER_HD void operator()(int32_t v) const { flow[v] = 0; }
};

// flow[v] is grad[v] plus the grad of all vertices whose path leads through v. First those below v,
template <class T>
struct FlowUp {
  static constexpr bool kUp = true, kGathers = true;
  using Map = ChainMap<Sum<T>>;
  using Gathered = Sum<T>;

  PlanView plan;
  const int32_t* via;
  const T* grad;
  T* flow;

  TREEFILTER_HD explicit FlowUp(const FlowChannel<T>& channel)
      : plan(channel.plan), via(channel.via), grad(channel.grad), flow(channel.flow) {}

  TREEFILTER_HD void gather(int32_t s) const {
    const int32_t v = plan.vertex(s), last = plan.light_begin()[s + 1];
    T sum = grad[v];
    for (int32_t i = plan.light_begin()[s]; i < last; ++i) {
      dependent_step();
      const int32_t child = plan.vertex(plan.light_children()[i]);
      if (via[child] == v) sum += flow[child];
    }
    flow[v] = sum;
  }
  // Of hubs.
  TREEFILTER_HD Gathered light_child(int32_t i) const {
    const int32_t top = plan.light_children()[i], child = plan.vertex(top);
    return {via[child] == plan.vertex(plan.parent(top)) ? flow[child] : T(0)};
  }
  TREEFILTER_HD Gathered own(int32_t s) const { return {grad[plan.vertex(s)]}; }
  TREEFILTER_HD void take(int32_t s, const Gathered& sum) const { flow[plan.vertex(s)] = sum.value; }

  TREEFILTER_HD Map step(int32_t s) const {
    const int32_t v = plan.vertex(s);
    return {{flow[v]}, !plan.is_bottom(s) && via[plan.vertex(s - 1)] == v};
  }
  TREEFILTER_HD void put(int32_t s, const Sum<T>& sum) const { flow[plan.vertex(s)] = sum.value; }
};

// then those above it.
template <class T>
struct FlowDown {
  static constexpr bool kUp = false, kGathers = false;
  using Map = ChainMap<Sum<T>>;

  PlanView plan;
  const int32_t* via;
  T* flow;

  TREEFILTER_HD explicit FlowDown(const FlowChannel<T>& channel)
      : plan(channel.plan), via(channel.via), flow(channel.flow) {}

  TREEFILTER_HD Map step(int32_t s) const {
    const int32_t v = plan.vertex(s), p = plan.parent(s), u = plan.vertex(p);
    if (p == s || via[u] != v) return {{flow[v]}, 0};
    if (!plan.is_top(s)) return {{flow[v]}, 1};
    return {{flow[v] + flow[u]}, 0};
  }
  TREEFILTER_HD void put(int32_t s, const Sum<T>& sum) const { flow[plan.vertex(s)] = sum.value; }
};

template <class T>
struct FindFlow : WeightedTrees<T> {
  using LargestMap = ChainMap<Sum<T>>;
  static constexpr bool kGathers = true;

  const T* grad;
  const int32_t* via;
  T* flow;

  TREEFILTER_HD FlowChannel<T> channel(int64_t index) const {
    const int64_t at = index * this->nodes();
    return {this->plan(index / this->channels_per_tree), via + at, grad + at, flow + at};
  }
  TREEFILTER_PHASED template <class Runner>
  TREEFILTER_HD void run(const Runner& runner) const {
    runner.template vertices<StartFlow<T>>();
    runner.template pass<FlowUp<T>>();
    runner.template pass<FlowDown<T>>();
  }
};

// out[b, v] of accumulate_sums.
template <class T>
struct AddFlows {
  WeightedTrees<T> input;
  const int32_t* via;
  const T* flow;
  T* out;

  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t n = input.nodes(), b = i / n, sources = input.channels_per_tree;
    const int32_t v = static_cast<int32_t>(i % n), p = input.parent(b)[v];
    T sum = 0;
    if (p != v && p >= 0 && p < n) {
      for (int64_t channel = b * sources; channel < (b + 1) * sources; ++channel) {
        const int32_t* from = via + channel * n;
        if (from[v] == p) {
          sum += flow[channel * n + v];
        } else if (from[p] == v) {
          sum += flow[channel * n + p];
        }
      }
    }
    out[i] = sum;
  }
};

}  // namespace treefilter::cuda
