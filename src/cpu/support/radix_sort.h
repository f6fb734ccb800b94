// A radix sort, for edges in a total order.
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

inline uint64_t order_of(const OrderedEdge& edge) {
  return edge.order;
}
inline uint64_t order_of(uint64_t number) {
  return number;
}

// Sorts by the bytes `first_byte` … 7 of order_of(item), the least significant one first; items with
// equal bytes keep their order. Bytes that all items share are skipped.
template <class Item>
TREEFILTER_PHASE void radix_sort(const Cpu& cpu, std::vector<Item>& items, int first_byte = 0) {
  const auto less = [first_byte](const Item& a, const Item& b) {
    return order_of(a) >> (8 * first_byte) < order_of(b) >> (8 * first_byte);
  };
  if (std::is_sorted(items.begin(), items.end(), less)) return;  // as where all weights are equal
  constexpr int kBytes = 8;
  std::vector<Item> other(items.size());
  std::vector<int64_t> counts(kBytes * 256, 0);
  for (const Item& item : items) {
    for (int byte = first_byte; byte < kBytes; ++byte) {
      ++counts[byte * 256 + (order_of(item) >> (8 * byte) & 255)];
    }
  }
  for (int byte = first_byte; byte < kBytes; ++byte) {
    int64_t* position = &counts[byte * 256];  // of the next item with a digit
    if (*std::max_element(position, position + 256) == static_cast<int64_t>(items.size())) continue;
    int64_t sum = 0;
    for (int digit = 0; digit < 256; ++digit) {
      const int64_t count = position[digit];
      position[digit] = sum;
      sum += count;
    }
    for (const Item& item : items) other[position[order_of(item) >> (8 * byte) & 255]++] = item;
    items.swap(other);
    cpu.check();
  }
}

}  // namespace treefilter
