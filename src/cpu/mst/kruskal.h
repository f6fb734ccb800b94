// Kruskal's algorithm, for the few edges that remain after Boruvka's rounds.
#pragma once

#include <vector>

#include "../support/radix_sort.h"
#include "../support/union_find.h"

namespace treefilter {

// Calls visit(e) for the edges of the minimum spanning forest of `edges`, lightest first. `set` are the
// disjoint sets that the edges join.
template <class Visit>
void kruskal(std::vector<OrderedEdge>& edges, Span<int32_t> set, const Visit& visit) {
  radix_sort(edges);
  for (const OrderedEdge& e : edges) {
    if (unite(set, e.a, e.b)) visit(e);
  }
}

}  // namespace treefilter
