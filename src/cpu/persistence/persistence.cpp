// Persistence pairs on the CPU (persistence.h): images in parallel, each of them on one thread.
#include "../../persistence.h"

#include <algorithm>
#include <limits>
#include <type_traits>

#include "../support/radix_sort.h"
#include "../support/union_find.h"
#include "descent.h"

namespace treefilter {
namespace {

// Numbers sorted by a key that ascends with a value. -0 equals 0.
template <class T>
struct Keyed {
  using Key = uint32_t;
  using Item = EdgeOrder;
  static constexpr int kFirstBit = 32;
  static Key key(float value) { return rank_of(total_order(weight_key(value), 0)); }
  static Item item(Key key, int64_t number) { return static_cast<Item>(key) << 32 | number; }
  static Key key_of(Item item) { return rank_of(item); }
  static int32_t number_of(Item item) { return treefilter::number_of(item); }
};
template <>
struct Keyed<double> {
  using Key = uint64_t;
  using Item = OrderedEdge;
  static constexpr int kFirstBit = 0;
  static Key key(double value) { return ascending_bits(value); }
  static Item item(Key key, int64_t number) { return {key, static_cast<int32_t>(number), 0}; }
  static Key key_of(const Item& item) { return item.order; }
  static int32_t number_of(const Item& item) { return item.a; }
};

// A component by the number of its minimum: an elder one that it has joined, or itself.
template <class T>
struct Component {
  int32_t up;
  typename Keyed<T>::Key born;
};

struct Pair {
  int32_t birth, death;
};

// Keeps the meetings of different components, as numbers of minima. Returns how many.
template <class T>
TREEFILTER_PHASE int64_t find_joins(const Cpu& cpu, const Descent<T>& descent) {
  int64_t count = 0;
  for_ascending(cpu, 0, descent.num_meetings, [&](int64_t i) {
    const Meeting met = descent.meetings[i];
    const int32_t a = descent.minimum_of(met.a), b = descent.minimum_of(met.b);
    descent.meetings[count] = {met.later, a, b};
    count += a != b;
  });
  return count;
}

// The numbers of the joins in the order of their vertices; those of one vertex keep theirs. `by_number`:
// they are in the order of the vertices' numbers. Sorted in `items` or in `other`, which it returns.
template <class T, class Item = typename Keyed<T>::Item>
TREEFILTER_PHASE const Item* sort_joins(const Cpu& cpu, const T* value, Span<const Meeting> joins,
                                        bool by_number, Item* items, Item* other) {
  using K = Keyed<T>;
  const auto sort = [&] {
    Item* const sorted = radix_sort(cpu, Span<Item>{items, joins.size}, other, K::kFirstBit);
    if (sorted == other) std::swap(items, other);
  };
  for (int64_t i = 0; i < joins.size; ++i) items[i] = K::item(joins[i].later, i);
  if (!by_number) sort();
  for (int64_t i = 0; i < joins.size; ++i) {
    const int32_t number = K::number_of(items[i]);
    items[i] = K::item(K::key(value[joins[number].later]), number);
  }
  sort();
  return items;
}

// Joins components in ascending order. The pairs of different values. Returns how many.
template <class T, class Item = typename Keyed<T>::Item>
TREEFILTER_PHASE int64_t join_all(const Cpu& cpu, Span<const Item> sorted, const Meeting* joins,
                                  const int32_t* minima, Component<T>* components, Pair* pairs) {
  constexpr int64_t kAhead = 8;
  int64_t count = 0;
  for_ascending(cpu, 0, sorted.size, [&](int64_t i) {
    if (i + 2 * kAhead < sorted.size) {
      const Meeting& soon = joins[Keyed<T>::number_of(sorted[i + kAhead])];
      __builtin_prefetch(&joins[Keyed<T>::number_of(sorted[i + 2 * kAhead])]);
      __builtin_prefetch(&components[soon.a]);
      __builtin_prefetch(&components[soon.b]);
    }
    const Meeting& join = joins[Keyed<T>::number_of(sorted[i])];
    const int32_t a = find(components, join.a), b = find(components, join.b);
    // Without branches, which could not be predicted. Where a is b nothing changes.
    const auto born_a = components[a].born, born_b = components[b].born;
    const bool a_first = (born_a < born_b) | ((born_a == born_b) & (a < b));
    const int32_t elder = a_first ? a : b, younger = a_first ? b : a;
    components[younger].up = elder;
    pairs[count] = {minima[younger], join.later};
    count += (a != b) & (components[younger].born != Keyed<T>::key_of(sorted[i]));
  });
  return count;
}

// What never dies, in the order of births. Returns how many.
template <class T>
int64_t list_lasting(const Cpu& cpu, Span<const Component<T>> components, const int32_t* minima,
                     int64_t* birth) {
  using K = Keyed<T>;
  std::vector<typename K::Item> items;
  for (int64_t i = 0; i < components.size; ++i) {
    if (components[i].up == i) items.push_back(K::item(components[i].born, i));
  }
  const int64_t count = static_cast<int64_t>(items.size());
  std::vector<typename K::Item> other(items.size());
  const auto* const sorted =
      radix_sort(cpu, Span<typename K::Item>{items.data(), count}, other.data(), K::kFirstBit);
  for (int64_t i = 0; i < count; ++i) birth[i] = minima[K::number_of(sorted[i])];
  return count;
}

int64_t nodes_of(const EdgeList& graph) {
  return graph.num_nodes;
}
int64_t nodes_of(const Grid& grid) {
  return grid.num_nodes();
}

// The number of meetings at most.
int64_t most_meetings(const EdgeList& graph) {
  return graph.first.size;
}
int64_t most_meetings(const Grid& grid) {
  return grid.num_edges() + 2 * (grid.height + grid.width);  // those of the border with the outside
}

// The values in whose order vertices enter, after that of the vertex outside.
template <class T, class X>
Buffer<T> heights(const Filtration& filtration, Span<const X> value) {
  constexpr T kInfinity = std::numeric_limits<T>::infinity();
  const int64_t n = value.size;
  Buffer<T> heights(n + 1);
  T* const to = heights.data() + 1;
  to[kOutside] = -kInfinity;
  for (int64_t v = 0; v < n; ++v) {
    const T given = load<T>(value[v]), own = filtration.superlevel ? -given : given;
    to[v] = own != own ? kInfinity : own;
  }
  if (!filtration.holes) return heights;
  std::reverse(to, to + n);
  for (int64_t v = 0; v < n; ++v) to[v] = -to[v];
  return heights;
}

template <class T>
void descend_in(const Cpu& cpu, const Grid& grid, bool holes, Descent<T>& descent) {
  GridDescent<T>(grid, holes, descent).run(cpu);
}
template <class T>
void descend_in(const Cpu& cpu, const EdgeList& graph, bool, Descent<T>& descent) {
  descend(cpu, graph, descent);
}

template <class T, class AnyGraph, class X>
void pair_up(const Cpu& cpu, const AnyGraph& graph, const Filtration& filtration, Span<const X> value,
             int64_t* birth, int64_t* death) {
  const int64_t n = nodes_of(graph);
  const bool holes = filtration.holes;
  const Buffer<T> values = heights<T>(filtration, value);
  const Buffer<int32_t> to(n + 1), minima(n + 2);
  const Buffer<Meeting> meetings(most_meetings(graph) + 1);
  Descent<T> descent{values.data() + 1, to.data() + 1, minima.data(), meetings.data()};
  descend_in(cpu, graph, holes, descent);

  const int64_t count = find_joins(cpu, descent);
  using Item = typename Keyed<T>::Item;
  const Buffer<Item> items(count), other(count);
  const Item* const sorted = sort_joins(cpu, descent.value, Span<const Meeting>{meetings.data(), count},
                                        std::is_same_v<AnyGraph, Grid>, items.data(), other.data());
  const Buffer<Component<T>> components(descent.num_minima);
  for (int64_t i = 0; i < descent.num_minima; ++i) {
    components[i] = {static_cast<int32_t>(i), Keyed<T>::key(descent.value[minima[i]])};
  }
  const Buffer<Pair> pairs(count + 1);
  const int64_t paired = join_all<T>(cpu, Span<const Item>{sorted, count}, meetings.data(),
                                     minima.data(), components.data(), pairs.data());

  for (int64_t i = 0; i < paired; ++i) {
    const Pair& pair = pairs[holes ? paired - 1 - i : i];
    birth[i] = holes ? n - 1 - pair.death : pair.birth;
    death[i] = holes ? n - 1 - pair.birth : pair.death;
  }
  std::fill(death + paired, death + n, -1);
  const Span<const Component<T>> all{components.data(), components.size()};
  const int64_t lasting = holes ? 0 : list_lasting(cpu, all, minima.data(), birth + paired);
  std::fill(birth + paired + lasting, birth + n, -1);
}

}  // namespace

template <class AnyGraph, class X>
void persistence(Cpu cpu, int64_t batch, const AnyGraph& graph, const Filtration& filtration,
                 Span<const X> value, Span<int64_t> birth, Span<int64_t> death) {
  using T = std::conditional_t<std::is_same_v<X, double>, double, float>;
  const int64_t n = nodes_of(graph);
  parallel_for(batch, 16 * n, cpu, [&] {
    return [&](int64_t b) {
      pair_up<T>(cpu, graph, filtration, value.sub(b * n, n), birth.data + b * n, death.data + b * n);
    };
  });
}

#define TREEFILTER_INSTANTIATE(GRAPH, X)                                                            \
  template void persistence<GRAPH, X>(Cpu, int64_t, const GRAPH&, const Filtration&, Span<const X>, \
                                      Span<int64_t>, Span<int64_t>);
TREEFILTER_INSTANTIATE(Grid, float)
TREEFILTER_INSTANTIATE(Grid, double)
TREEFILTER_INSTANTIATE(Grid, Half)
TREEFILTER_INSTANTIATE(Grid, BFloat16)
TREEFILTER_INSTANTIATE(EdgeList, float)
TREEFILTER_INSTANTIATE(EdgeList, double)
TREEFILTER_INSTANTIATE(EdgeList, Half)
TREEFILTER_INSTANTIATE(EdgeList, BFloat16)

}  // namespace treefilter
