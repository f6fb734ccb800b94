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
  std::vector<uint64_t> items;  // key, vertex
  items.reserve(n);
  bool tree = true;  // whether no two vertices have the same edge
  const auto add = [&](int32_t v, int64_t e) {
    const WeightKey key = weight_key(weight[e]);
    if (key != kAbsent) items.push_back(total_order(key, v));
  };
  {
    const Buffer<int32_t> below(num_edges, -1);
    for (int32_t v = 0; v < n; ++v) {
      if (edge[v] < 0) continue;
      tree &= below[edge[v]] < 0;
      below[edge[v]] = v;
    }
    for (int64_t e = 0; tree && e < num_edges; ++e) {
      if (below[e] >= 0) add(below[e], e);
    }
  }
  if (!tree) {
    std::vector<OrderedEdge> numbers;
    for (int32_t v = 0; v < n; ++v) {
      if (edge[v] >= 0) numbers.push_back({static_cast<uint64_t>(edge[v]), v, 0});
    }
    radix_sort(cpu, numbers);
    for (const OrderedEdge& item : numbers) add(item.a, edge[item.a]);
  }
  constexpr int kFirstByteOfKey = 4;
  radix_sort(cpu, items, kFirstByteOfKey);
  const int64_t count = static_cast<int64_t>(items.size());
  for (int64_t i = 0; i < count; ++i) sorted[i] = number_of(items[i]);
  std::fill(sorted + count, sorted + n, -1);
}

}  // namespace treefilter
