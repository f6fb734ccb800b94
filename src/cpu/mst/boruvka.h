// Boruvka's rounds on a list of edges that shrinks after every round.
//
// The list is in ascending order of edge numbers, so the position in the list breaks ties as the number
// does, and one 64-bit minimum of (weight key, position) finds a component's lightest edge. Edges inside
// a component are removed after every round: the list shrinks to 0.6, 0.36, 0.2 … on photographs.
//
// A component may also have edges that are not in the list (to another tile). If the lightest of those
// is lighter than its lightest edge in the list, the component stalls: it chooses no edge. So every edge
// that is chosen is the lightest outgoing edge of a whole component, and belongs to the minimum spanning
// tree of the whole graph.
#pragma once

#include <algorithm>
#include <vector>

#include "../../edge_order.h"
#include "../support/bit_words.h"
#include "../support/select.h"
#include "../support/union_find.h"
#include "../support/workspace.h"
#include "labels.h"

namespace treefilter {

struct ListEdge {
  WeightKey key;
  int32_t a, b;    // components
  int32_t number;  // ascends along the list
};

class Boruvka {
 public:
  Boruvka() = default;
  Boruvka(int64_t max_edges, int64_t max_components)
      : edges_(max_edges),
        best_(max_components),
        link_(max_components),
        set_(max_components),
        crossing_(max_components),
        next_crossing_(max_components),
        origin_(max_components),
        next_origin_(max_components) {}

  // Starts with single components and no edges. `crosses`: crossing() will be used.
  void start(int64_t components, bool crosses) {
    count_ = 0;
    live_ = components;
    crosses_ = crosses;
    for (int64_t c = 0; c < components; ++c) set_[c] = origin_[c] = static_cast<int32_t>(c);
    if (crosses) std::fill_n(crossing_.data(), components, kNoEdge);
  }

  // The lightest edge of a component that is not in the list; kNoEdge if there is none.
  EdgeOrder& crossing(int32_t component) { return crossing_[component]; }

  // Appends the edges of a grid row unless they are absent or inside a component: edge x joins the
  // components ~a[x] and ~b[x] and has the number first + x * step.
  void append_row(const WeightKey* key, const int32_t* a, const int32_t* b, int64_t size, int32_t first,
                  int32_t step) {
    ListEdge* to = edges_.data() + count_;
    for (int64_t x0 = 0; x0 < size; x0 += kWord) {
      uint8_t keep[kWord] = {};
      to_keep(key + x0, a + x0, b + x0, std::min(kWord, size - x0), keep);
      for_bits(word_of(keep), [&](int64_t i) {
        const int64_t x = x0 + i;
        *to++ = {key[x], ~a[x], ~b[x], first + static_cast<int32_t>(x) * step};
      });
    }
    count_ = to - edges_.data();
  }

  void append(WeightKey key, int32_t a, int32_t b, int32_t number) {
    edges_[count_] = {key, a, b, number};
    count_ += (a != b) & (key != kAbsent);
  }

  // Runs rounds until no edge is left, or until so many components stall that another round does not
  // pay. Calls mark(number, chosen) for edges of the list: all chosen ones, and others with chosen =
  // false. edge_number(number) is the number in the graph of an edge of the list.
  template <class EdgeNumber, class Mark>
  void run(const Cpu& cpu, const EdgeNumber& edge_number, const Mark& mark) {
    while (count_ > 0) {
      cpu.check();
      find_lightest();
      if (crosses_) stall(edge_number);
      int64_t active = 0;
      const int64_t merged = hook(mark, active);
      if (merged == 0) break;
      cpu.check();
      relabel();
      if (merged * kWorthwhile < active) break;
    }
  }

  Span<const ListEdge> remaining() const { return {edges_.data(), count_}; }

  int64_t components() const { return live_; }

  // Sets component[v] to the number that v's component has now, v one of those that it started with.
  void name(Span<int32_t> component) const {
    const Buffer<int32_t> number(component.size);
    for (int64_t c = 0; c < live_; ++c) number[find(set_.span(), origin_[c])] = static_cast<int32_t>(c);
    for (int64_t v = 0; v < component.size; ++v) {
      component[v] = number[find(set_.span(), static_cast<int32_t>(v))];
    }
  }

  // An element of the set that is a component of the remaining edges.
  int32_t origin(int32_t component) const { return origin_[component]; }

  // The components that it started with, as disjoint sets.
  Span<int32_t> sets() const { return set_.span(); }

 private:
  static constexpr int64_t kWorthwhile = 16;
  static constexpr EdgeOrder kStalled = kNoEdge - 1;

  static void to_keep(const WeightKey* __restrict key, const int32_t* __restrict a,
                      const int32_t* __restrict b, int64_t size, uint8_t* __restrict keep) {
    for (int64_t x = 0; x < size; ++x) keep[x] = (a[x] != b[x]) & (key[x] != kAbsent);
  }

  TREEFILTER_PHASE void find_lightest() {
    EdgeOrder* best = best_.data();
    std::fill_n(best, live_, kNoEdge);
    for (int64_t i = 0; i < count_; ++i) {
      const ListEdge& e = edges_[i];
      const EdgeOrder candidate = total_order(e.key, static_cast<int32_t>(i));
      const EdgeOrder best_a = best[e.a], best_b = best[e.b];
      best[e.a] = candidate < best_a ? candidate : best_a;
      best[e.b] = candidate < best_b ? candidate : best_b;
    }
  }

  // The edge's number, which may take a division, is computed only where the keys are equal.
  template <class EdgeNumber>
  TREEFILTER_PHASE void stall(const EdgeNumber& edge_number) {
    for (int64_t c = 0; c < live_; ++c) {
      const EdgeOrder best = best_[c], crossing = crossing_[c];
      if (best == kNoEdge || rank_of(crossing) > rank_of(best)) continue;
      const bool tie = rank_of(crossing) == rank_of(best);
      const ListEdge& e = edges_[tie ? number_of(best) : 0];
      if (tie && crossing > total_order(e.key, edge_number(e.number))) continue;
      best_[c] = kStalled;
    }
  }

  // Links every component to the other end of its chosen edge. Two components that choose the same edge
  // would be linked to each other: the lower one becomes a root instead. So does one that chooses no
  // edge. A root's link is the complement of its number in the next round.
  template <class Mark>
  TREEFILTER_PHASE int64_t hook(const Mark& mark, int64_t& active) {
    int32_t roots = 0;
    for (int64_t c = 0; c < live_; ++c) {
      const EdgeOrder best = best_[c];
      const bool chooses = best < kStalled;
      active += best != kNoEdge;
      const ListEdge& e = edges_[chooses ? number_of(best) : 0];
      const int32_t self = static_cast<int32_t>(c);
      const int32_t other = chooses ? e.a ^ e.b ^ self : self;
      const bool same = (best_[other] == best) & (self < other);
      const bool root = static_cast<int>(same) | static_cast<int>(!chooses);
      mark(e.number, !root);
      link_[c] = select(-static_cast<int32_t>(root), ~roots, other);
      next_origin_[roots] = origin_[c];  // overwritten unless c is a root
      roots += root;
    }
    const int64_t merged = live_ - roots;
    roots_ = roots;
    return merged;
  }

  TREEFILTER_PHASE void relabel() {
    resolve(link_.span().sub(0, live_));
    if (crosses_) std::fill_n(next_crossing_.data(), roots_, kNoEdge);
    for (int64_t c = 0; c < live_; ++c) {
      const int32_t now = ~link_[c];
      set_[origin_[c]] = next_origin_[now];
      if (crosses_) next_crossing_[now] = std::min(next_crossing_[now], crossing_[c]);
    }
    std::swap(origin_, next_origin_);
    if (crosses_) std::swap(crossing_, next_crossing_);
    live_ = roots_;
    const int32_t* link = link_.data();
    ListEdge* to = edges_.data();
    for (const ListEdge *from = to, *end = to + count_; from < end; ++from) {
      const int32_t a = ~link[from->a], b = ~link[from->b];
      *to = {from->key, a, b, from->number};
      to += a != b;
    }
    count_ = to - edges_.data();
  }

  Buffer<ListEdge> edges_;
  Buffer<EdgeOrder> best_;  // (key, position) of a component's lightest edge
  Buffer<int32_t> link_;    // the component that a component is linked to
  Buffer<int32_t> set_;
  Buffer<EdgeOrder> crossing_, next_crossing_;
  Buffer<int32_t> origin_, next_origin_;
  int64_t count_ = 0, live_ = 0, roots_ = 0;
  bool crosses_ = false;
};

}  // namespace treefilter
