// The edges of one tree in the total order (edge_order.h), each given by its child vertex.
#pragma once

#include <vector>

#include "parallel.h"
#include "radix_sort.h"
#include "workspace.h"

namespace treefilter {

// sorted [N]: the vertices whose edge to the parent exists, then -1. Sorted by the edge's number first,
// without comparisons, and then, stably, by weight. An edge of weight NaN does not exist.
inline void sort_tree_edges(const Cpu& cpu, Span<const Weight> weight, Span<const int32_t> edge,
                            int32_t* sorted) {
  const int64_t n = edge.size, num_edges = weight.size;
  const Buffer<uint64_t> items(n + 1);  // key, vertex
  int64_t count = 0;
  // Always written and then counted or not: which edges are the tree's cannot be predicted.
  const auto add = [&](int32_t v, int64_t e) {
    const WeightKey key = weight_key(weight[e]);
    items[count] = total_order(key, v);
    count += (v >= 0) & (key != kAbsent);
  };
  bool tree = true;  // whether no two vertices have the same edge
  {
    const Buffer<int32_t> below(num_edges, -1);
    for (int32_t v = 0; v < n; ++v) {
      if (edge[v] < 0) continue;
      tree &= below[edge[v]] < 0;
      below[edge[v]] = v;
    }
    for (int64_t e = 0; tree && e < num_edges; ++e) add(below[e], e);
  }
  if (!tree) {
    std::vector<OrderedEdge> numbers;
    for (int32_t v = 0; v < n; ++v) {
      if (edge[v] >= 0) numbers.push_back({static_cast<uint64_t>(edge[v]), v, 0});
    }
    const int64_t size = static_cast<int64_t>(numbers.size());
    std::vector<OrderedEdge> workspace(numbers.size());
    const OrderedEdge* const by_number =
        radix_sort(cpu, Span<OrderedEdge>{numbers.data(), size}, workspace.data());
    for (int64_t i = 0; i < size; ++i) add(by_number[i].a, edge[by_number[i].a]);
  }
  constexpr int kFirstBitOfKey = 32;
  const Buffer<uint64_t> other(count);  // made when the memory of `below` is free again
  const uint64_t* const ascending =
      radix_sort(cpu, items.span().sub(0, count), other.data(), kFirstBitOfKey);
  for (int64_t i = 0; i < count; ++i) sorted[i] = number_of(ascending[i]);
  std::fill(sorted + count, sorted + n, -1);
}

}  // namespace treefilter
