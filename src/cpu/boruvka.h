// Boruvka's rounds on a compacted edge list, and Kruskal's algorithm for the few edges left over.
//
// Edges are kept in ascending number, so that a position in the list breaks ties like the number does
// and one 64-bit minimum of (weight key, position) finds a component's lightest edge. Edges inside a
// component are dropped after every round; the list shrinks to 0.6, 0.36, 0.2 … on photographs.
//
// A component may also have edges that are not in the list (to another tile). It stalls, i.e. does not
// choose, while the lightest of those is lighter than its lightest edge here: every edge that is chosen
// is the lightest of a whole component, so it belongs to the spanning tree of the whole graph.
#pragma once

#include <algorithm>
#include <vector>

#include "../core.h"

namespace treefilter {

// A float's place among the floats as an integer; -0 equals 0; +inf ("no such edge") comes last.
constexpr int32_t kAbsent = INT32_MAX;

inline int32_t weight_key(float weight) {
  int32_t bits;
  std::memcpy(&bits, &weight, sizeof bits);
  if (bits >= 0x7f800000) return kAbsent;
  // Negative floats grow towards zero while their bits grow away from it; INT32_MIN is -0.
  return bits >= 0 ? bits : bits == INT32_MIN ? 0 : bits ^ 0x7fffffff;
}

// (key, number) as one number.
inline uint64_t total_order(int32_t key, int32_t number) {
  const uint32_t ascending = static_cast<uint32_t>(key) ^ 0x80000000u;
  return (static_cast<uint64_t>(ascending) << 32) | static_cast<uint32_t>(number);
}

constexpr uint64_t kNoEdge = UINT64_MAX;

struct ListEdge {
  int32_t key;
  int32_t a, b;    // components
  int32_t number;  // ascends along the list
};

// An edge on its way to Kruskal.
struct OrderedEdge {
  uint64_t order;
  int32_t a, b;

  int32_t number() const { return static_cast<int32_t>(order & 0xffffffffu); }
};

// ---- union-find with the lowest element as a set's root ----

inline int32_t find(Span<int32_t> set, int32_t x) {
  while (set[x] != x) {
    set[x] = set[set[x]];
    x = set[x];
  }
  return x;
}

inline bool unite(Span<int32_t> set, int32_t a, int32_t b) {
  a = find(set, a);
  b = find(set, b);
  if (a == b) return false;
  if (a < b) std::swap(a, b);
  set[a] = b;
  return true;
}

// Sorts by `order`, least significant byte first; bytes that all edges share are skipped.
inline void radix_sort(std::vector<OrderedEdge>& edges) {
  constexpr int kBytes = 8;
  std::vector<OrderedEdge> other(edges.size());
  std::vector<int64_t> count(kBytes * 256, 0);
  for (const OrderedEdge& e : edges) {
    for (int byte = 0; byte < kBytes; ++byte) ++count[byte * 256 + (e.order >> (8 * byte) & 255)];
  }
  for (int byte = 0; byte < kBytes; ++byte) {
    int64_t* place = &count[byte * 256];
    if (*std::max_element(place, place + 256) == static_cast<int64_t>(edges.size())) continue;
    int64_t sum = 0;
    for (int digit = 0; digit < 256; ++digit) {
      const int64_t here = place[digit];
      place[digit] = sum;
      sum += here;
    }
    for (const OrderedEdge& e : edges) other[place[e.order >> (8 * byte) & 255]++] = e;
    edges.swap(other);
  }
}

// Visits the edges of the minimum spanning forest of `edges` over the sets of `set`, lightest first.
template <class Visit>
void kruskal(std::vector<OrderedEdge>& edges, Span<int32_t> set, const Visit& visit) {
  radix_sort(edges);
  for (const OrderedEdge& e : edges) {
    if (unite(set, e.a, e.b)) visit(e);
  }
}

// ---- rounds ----

class Boruvka {
 public:
  // `edges` and the arrays of size `components` belong to the caller, who may use them again.
  // `crossing[c]`: the lightest edge of c that is not in the list, kNoEdge if there is none.
  // `set` becomes a union-find over the components (find() resolves it).
  Boruvka(Span<ListEdge> edges, int64_t components, Span<uint64_t> crossing, Span<int32_t> set)
      : edges_(edges),
        crossing_(crossing),
        set_(set),
        live_(components),
        best_(components),
        choice_(components),
        hook_(components),
        origin_(components) {
    for (int64_t c = 0; c < components; ++c) {
      set_[c] = static_cast<int32_t>(c);
      origin_[c] = static_cast<int32_t>(c);
    }
  }

  // Runs rounds until no edge is left, or until too many components stall for a round to pay.
  // edge_number(number): the graph's edge of a list's edge; mark(number): takes it into the tree.
  template <class EdgeNumber, class Mark>
  void run(const EdgeNumber& edge_number, const Mark& mark) {
    while (edges_.size > 0) {
      find_lightest();
      const int64_t active = choose(edge_number);
      const int64_t merged = hook(mark);
      if (merged > 0) relabel();
      if (merged * kWorthwhile < active) break;
    }
  }

  Span<const ListEdge> remaining() const { return {edges_.data, edges_.size}; }

  // The set (see above) that a component of the remaining edges stands for.
  int32_t origin(int32_t component) const { return origin_[component]; }

 private:
  static constexpr int64_t kWorthwhile = 16;

  void find_lightest() {
    for (int64_t c = 0; c < live_; ++c) best_[c] = kNoEdge;
    for (int64_t i = 0; i < edges_.size; ++i) {
      const ListEdge& e = edges_[i];
      const uint64_t candidate = total_order(e.key, static_cast<int32_t>(i));
      best_[e.a] = std::min(best_[e.a], candidate);
      best_[e.b] = std::min(best_[e.b], candidate);
    }
  }

  // Returns the number of components that have an edge in the list.
  template <class EdgeNumber>
  int64_t choose(const EdgeNumber& edge_number) {
    int64_t active = 0;
    for (int64_t c = 0; c < live_; ++c) {
      choice_[c] = -1;
      if (best_[c] == kNoEdge) continue;
      ++active;
      const int32_t i = static_cast<int32_t>(best_[c] & 0xffffffffu);
      if (!stalls(crossing_[c], edges_[i], edge_number)) choice_[c] = i;
    }
    return active;
  }

  // The edge's number is asked for only where the keys are equal: it may cost a division.
  template <class EdgeNumber>
  static bool stalls(uint64_t crossing, const ListEdge& e, const EdgeNumber& edge_number) {
    const uint64_t key = total_order(e.key, 0) >> 32;
    if (crossing >> 32 != key) return crossing >> 32 < key;
    return crossing < total_order(e.key, edge_number(e.number));
  }

  // Two components that choose the same edge would hook into each other: the lower one becomes a root.
  template <class Mark>
  int64_t hook(const Mark& mark) {
    int64_t merged = 0;
    for (int64_t c = 0; c < live_; ++c) {
      const int32_t self = static_cast<int32_t>(c);
      hook_[c] = self;
      const int32_t i = choice_[c];
      if (i < 0) continue;
      const int32_t other = edges_[i].a ^ edges_[i].b ^ self;
      if (choice_[other] == i && self < other) continue;
      hook_[c] = other;
      mark(edges_[i].number);
      ++merged;
    }
    return merged;
  }

  // Numbers the merged components anew. Components without an edge are not needed any more.
  void relabel() {
    for (int64_t c = 0; c < live_; ++c) {
      int32_t root = static_cast<int32_t>(c);
      while (hook_[root] != root) root = hook_[root];
      for (int32_t x = static_cast<int32_t>(c); x != root;) {
        const int32_t above = hook_[x];
        hook_[x] = root;
        x = above;
      }
    }
    int32_t count = 0;
    Span<int32_t> renumbered = choice_.span();
    for (int64_t c = 0; c < live_; ++c) {
      if (hook_[c] != c || best_[c] == kNoEdge) continue;
      renumbered[c] = count++;
    }
    for (int64_t c = 0; c < live_; ++c) {
      const int32_t root = hook_[c];
      if (root == c) continue;
      set_[origin_[c]] = origin_[root];
      crossing_[root] = std::min(crossing_[root], crossing_[c]);
      renumbered[c] = renumbered[root];
    }
    compress(renumbered);
    for (int64_t c = 0; c < live_; ++c) {  // renumbered[c] <= c: nothing is overwritten too early
      if (hook_[c] != c || best_[c] == kNoEdge) continue;
      origin_[renumbered[c]] = origin_[c];
      crossing_[renumbered[c]] = crossing_[c];
    }
    live_ = count;
  }

  void compress(Span<const int32_t> renumbered) {
    int64_t kept = 0;
    for (int64_t i = 0; i < edges_.size; ++i) {
      ListEdge e = edges_[i];
      e.a = renumbered[e.a];
      e.b = renumbered[e.b];
      edges_[kept] = e;
      kept += e.a != e.b;
    }
    edges_.size = kept;
  }

  void compress(Span<int32_t> renumbered) {
    compress(Span<const int32_t>{renumbered.data, renumbered.size});
  }

  Span<ListEdge> edges_;
  Span<uint64_t> crossing_;
  Span<int32_t> set_;
  int64_t live_;
  Buffer<uint64_t> best_;
  Buffer<int32_t> choice_, hook_, origin_;
};

}  // namespace treefilter
