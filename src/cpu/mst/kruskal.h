// Kruskal's algorithm, for the few edges that Boruvka's rounds leave over.
#pragma once

#include <vector>

#include "../support/radix_sort.h"
#include "../support/union_find.h"

namespace treefilter {

// Visits the edges of the minimum spanning forest of `edges` over the sets of `set`, lightest first.
template <class Visit>
void kruskal(std::vector<OrderedEdge>& edges, Span<int32_t> set, const Visit& visit) {
  radix_sort(edges);
  for (const OrderedEdge& e : edges) {
    if (unite(set, e.a, e.b)) visit(e);
  }
}

}  // namespace treefilter
