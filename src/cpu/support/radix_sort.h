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

// A number that ascends with the value; -0 equals 0.
inline uint64_t ascending_bits(double value) {
  constexpr uint64_t kSign = uint64_t{1} << 63;
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if (bits == kSign) bits = 0;
  return bits & kSign ? ~bits : bits | kSign;
}

// The digits that a sort needs: as few and as wide as the counters of a digit stay in the first-level
// cache, and are fewer than the items. Bits that all items share at either end are in no digit.
struct Digits {
  int lowest, width, count;

  Digits(uint64_t differing_bits, int64_t items) {
    constexpr int kWidest = 12, kWidestOfFew = 8, kFew = 1 << 13;
    const int widest = items < kFew ? kWidestOfFew : kWidest;
    int bits = 64;
    for (; differing_bits >> (bits - 1) == 0;) --bits;
    for (lowest = 0; (differing_bits >> lowest & 1) == 0;) ++lowest;
    count = (bits - lowest + widest - 1) / widest;
    width = (bits - lowest + count - 1) / count;
  }

  int64_t values() const { return int64_t{1} << width; }
  int64_t operator()(uint64_t order, int i) const {
    return static_cast<int64_t>(order >> (lowest + i * width) & ((uint64_t{1} << width) - 1));
  }
};

// Sorts by the bits of order_of(item) from `first_bit`, the least significant digit first; items that
// are equal there keep their order. Returns the sorted items: in `items` or in `other`, which has their
// size.
template <class Item>
TREEFILTER_PHASE Item* radix_sort(const Cpu& cpu, Span<Item> items, Item* other, int first_bit = 0) {
  bool sorted = true;  // as where all weights are equal
  uint64_t differing_bits = 0;
  for (int64_t i = 1; i < items.size; ++i) {
    const uint64_t before = order_of(items[i - 1]) >> first_bit, order = order_of(items[i]) >> first_bit;
    sorted &= before <= order;
    differing_bits |= before ^ order;
  }
  if (sorted) return items.data;
  const Digits digits(differing_bits << first_bit, items.size);
  std::vector<int32_t> counts(digits.count * digits.values(), 0);
  for (int64_t i = 0; i < items.size; ++i) {
    for (int d = 0; d < digits.count; ++d) {
      ++counts[d * digits.values() + digits(order_of(items[i]), d)];
    }
  }
  Item* from = items.data;
  for (int d = 0; d < digits.count; ++d) {
    int32_t* const position = &counts[d * digits.values()];  // of the next item with a digit
    int32_t sum = 0;
    for (int64_t value = 0; value < digits.values(); ++value) {
      const int32_t count = position[value];
      position[value] = sum;
      sum += count;
    }
    for (int64_t i = 0; i < items.size; ++i) other[position[digits(order_of(from[i]), d)]++] = from[i];
    std::swap(from, other);
    cpu.check();
  }
  return from;
}

}  // namespace treefilter
