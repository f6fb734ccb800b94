// Kruskal's algorithm, for the few edges that remain after Boruvka's rounds.
#pragma once

#include <vector>

#include "../support/parallel.h"
#include "../support/radix_sort.h"
#include "../support/union_find.h"

namespace treefilter {

// Calls visit(e) for the edges of the minimum spanning forest of `edges`, lightest first. `set` are the
// disjoint sets that the edges join.
template <class Visit>
void kruskal(const Cpu& cpu, std::vector<OrderedEdge>& edges, Span<int32_t> set, const Visit& visit) {
  radix_sort(cpu, edges);
  for_ascending(cpu, 0, static_cast<int64_t>(edges.size()), [&](int64_t i) {
    if (unite(set, edges[i].a, edges[i].b)) visit(edges[i]);
  });
}

}  // namespace treefilter
