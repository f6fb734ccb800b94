// A radix sort of edges in a total order.
#pragma once

#include <algorithm>
#include <vector>

#include "../../edge_order.h"

namespace treefilter {

// An edge and the number that it is sorted by.
struct OrderedEdge {
  uint64_t order;
  int32_t a, b;

  int32_t number() const { return number_of(order); }
};

// Sorts by `order`, least significant byte first; bytes that all edges share are skipped.
TREEFILTER_PHASE inline void radix_sort(std::vector<OrderedEdge>& edges) {
  const auto lighter = [](const OrderedEdge& a, const OrderedEdge& b) { return a.order < b.order; };
  if (std::is_sorted(edges.begin(), edges.end(), lighter)) return;  // equal weights, in order already
  constexpr int kBytes = 8;
  std::vector<OrderedEdge> other(edges.size());
  std::vector<int64_t> count(kBytes * 256, 0);
  for (const OrderedEdge& e : edges) {
    for (int byte = 0; byte < kBytes; ++byte) ++count[byte * 256 + (e.order >> (8 * byte) & 255)];
  }
  for (int byte = 0; byte < kBytes; ++byte) {
    int64_t* next =
        &count[byte * 256];  // the number of edges with a digit, then where the next one goes
    if (*std::max_element(next, next + 256) == static_cast<int64_t>(edges.size())) continue;
    int64_t sum = 0;
    for (int digit = 0; digit < 256; ++digit) {
      const int64_t edges_here = next[digit];
      next[digit] = sum;
      sum += edges_here;
    }
    for (const OrderedEdge& e : edges) other[next[e.order >> (8 * byte) & 255]++] = e;
    edges.swap(other);
  }
}

}  // namespace treefilter
