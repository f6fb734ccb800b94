// Kruskal's algorithm, for the few edges that remain after Boruvka's rounds.
#pragma once

#include <vector>

#include "../support/parallel.h"
#include "../support/radix_sort.h"
#include "../support/union_find.h"
#include "../support/workspace.h"

namespace treefilter {

// Calls visit(e) for the edges of the minimum spanning forest of `edges`, lightest first. `set` are the
// disjoint sets that the edges join.
template <class Visit>
void kruskal(const Cpu& cpu, std::vector<OrderedEdge>& edges, Span<int32_t> set, const Visit& visit) {
  const int64_t size = static_cast<int64_t>(edges.size());
  const Buffer<OrderedEdge> other(size);
  const OrderedEdge* const ascending =
      radix_sort(cpu, Span<OrderedEdge>{edges.data(), size}, other.data());
  for_ascending(cpu, 0, size, [&](int64_t i) {
    if (unite(set, ascending[i].a, ascending[i].b)) visit(ascending[i]);
  });
}

}  // namespace treefilter
