// accumulate_sums (distance.h) on CUDA: what flows along the ways to the sources, the transpose of the
// sums along them: the same two passes the other way round for every source. What they leave is added up
// over the sources, in their order. Workspace: as large as `grad`.
#pragma once

#include "paths.cuh"

namespace treefilter::cuda {

template <class T>
struct FlowRow {
  Slots slots;
  const int32_t* via;
  const T* grad;
  T* flow;
};

// What has no slot is in nobody's way.
template <class T>
struct StartFlow {
  T* flow;

  template <class Row>
  TREEFILTER_HD explicit StartFlow(const Row& row) : flow(row.flow) {}

  TREEFILTER_HD void operator()(int32_t v) const { flow[v] = 0; }
};

// flow[v], of `grad` and of all whose way passes through v: first of the ways that lead to v from below,
template <class T>
struct FlowUp {
  static constexpr bool kUp = true, kGathers = true;
  using Piece = Step<Sum<T>>;

  Slots slots;
  const int32_t* via;
  const T* grad;
  T* flow;

  TREEFILTER_HD explicit FlowUp(const FlowRow<T>& row)
      : slots(row.slots), via(row.via), grad(row.grad), flow(row.flow) {}

  TREEFILTER_HD void gather(int32_t s) const {
    const int32_t v = slots.vertex(s), last = slots.plan.light_begin()[s + 1];
    T sum = grad[v];
    for (int32_t i = slots.plan.light_begin()[s]; i < last; ++i) {
      const int32_t child = slots.vertex(slots.plan.light()[i]);
      if (via[child] == v) sum += flow[child];
    }
    flow[v] = sum;
  }
  TREEFILTER_HD Piece link(int32_t s) const {
    const int32_t v = slots.vertex(s);
    return {{flow[v]}, !slots.is_bottom(s) && via[slots.vertex(s - 1)] == v};
  }
  TREEFILTER_HD void put(int32_t s, const Piece&, const Sum<T>& sum) const {
    flow[slots.vertex(s)] = sum.value;
  }
};

// then of those that lead to it from above.
template <class T>
struct FlowDown {
  static constexpr bool kUp = false, kGathers = false;
  using Piece = Step<Sum<T>>;

  Slots slots;
  const int32_t* via;
  T* flow;

  TREEFILTER_HD explicit FlowDown(const FlowRow<T>& row)
      : slots(row.slots), via(row.via), flow(row.flow) {}

  TREEFILTER_HD Piece link(int32_t s) const {
    const int32_t v = slots.vertex(s), p = slots.parent(s), u = slots.vertex(p);
    if (p == s || via[u] != v) return {{flow[v]}, 0};
    if (!slots.is_top(s)) return {{flow[v]}, 1};
    return {{flow[v] + flow[u]}, 0};
  }
  TREEFILTER_HD void put(int32_t s, const Piece&, const Sum<T>& sum) const {
    flow[slots.vertex(s)] = sum.value;
  }
};

template <class T>
struct FindFlow : RowInput<T> {
  using Widest = Step<Sum<T>>;

  const T* grad;
  const int32_t* via;
  T* flow;

  TREEFILTER_HD FlowRow<T> row(int64_t index) const {
    const int64_t at = index * this->nodes();
    return {this->slots(index / this->rows_per_tree), via + at, grad + at, flow + at};
  }
  TREEFILTER_PROGRAM template <class Stages>
  TREEFILTER_HD void stages(const Stages& stages) const {
    stages.template vertices<StartFlow<T>>();
    stages.template pass<FlowUp<T>>();
    stages.template pass<FlowDown<T>>();
  }
};

// out[b, v] of accumulate_sums.
template <class T>
struct AddFlows {
  RowInput<T> input;
  const int32_t* via;
  const T* flow;
  T* out;

  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t n = input.nodes(), b = i / n, sources = input.rows_per_tree;
    const int32_t v = static_cast<int32_t>(i % n), p = input.parent(b)[v];
    T sum = 0;
    if (p != v && p >= 0 && p < n) {
      for (int64_t row = b * sources; row < (b + 1) * sources; ++row) {
        const int32_t* from = via + row * n;
        if (from[v] == p) {
          sum += flow[row * n + v];
        } else if (from[p] == v) {
          sum += flow[row * n + p];
        }
      }
    }
    out[i] = sum;
  }
};

}  // namespace treefilter::cuda
