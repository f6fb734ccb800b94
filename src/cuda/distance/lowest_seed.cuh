// The lowest of all seeds that are equally near, for maxima (name_lowest in cpu/distance.cpp), on CUDA.
//
// For a maximum, equal distances are the rule: the seeds nearest to a vertex v are all seeds in v's
// component of the edges that are no heavier than its distance d(v). The CPU visits the edges in
// ascending order and keeps one union-find. Here all thresholds are searched at the same time, bit by
// bit from the highest, as in a radix sort. The edges and distances that share their leading bits form a
// graph of their own, with
//   edges     whose weights begin with these bits,
//   vertices  the components of all lighter edges, each with its lowest seed (its label), and
//   queries   of the v whose d(v) begins with these bits: "which is the lowest seed in my component?"
// The next bit splits the graph in two. Edges and queries with a 0 stay among themselves. Those with a 1
// go on in the graph in which the edges with a 0 are contracted. No edge and no query is in two graphs,
// so that the graphs of a bit are together as large as the tree, and are worked on at the same time.
// After the last bit, the edges of a graph are all exactly as heavy as its queries allow, and are
// contracted.
//
// The id of a vertex of a graph is taken from one end of the lowest of its edges: e for the lower end of
// edge e (a vertex of the tree stands for its parent edge), -1 - e for the upper end. The label of a
// vertex without edges does not change any more, so its queries are answered.
//
// Cost: 31 bits (63 for double) times 4 phases over the tree, and 4 for each round of the contraction,
// of which there are up to log2(N), mostly few. Workspace: 60 bytes a vertex.
#pragma once

#include "../runtime/per_image.cuh"
#include "paths.cuh"

namespace treefilter::cuda {

// The bits of a weight without its sign, which ascend with the weight.
inline TREEFILTER_HD uint64_t weight_bits(float value) {
  return float_to_bits(value) & (UINT32_MAX >> 1);
}
inline TREEFILTER_HD uint64_t weight_bits(double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits & (UINT64_MAX >> 1);
}

template <class T>
struct LowestSeed {
  static constexpr int32_t kNone = INT32_MAX;
  static constexpr int kBits = 8 * sizeof(T) - 1;

  int64_t images, n;
  WeightedTrees<T> input;
  int64_t first_image;
  const T* distance;  // [B, n], as the next two
  const bool* seeds;
  int64_t* nearest;

  // Workspaces. Arrays by id are [B, 2 n]; id x, in -n … n - 1, is at index n + x.
  int32_t *lower, *upper, *query;   // [B, n]: the ends of edge e; where the query of v is
  int32_t *even_label, *odd_label;  // by id: the lowest seed in a vertex, for even and odd bits
  int32_t* all_label;               // by id: the same for a component
  int32_t* component;
  int32_t *best, *hook;  // for the contraction; then the new ids, on the side of the 0s and of the 1s
  int32_t* more;         // [B, kBits + 1, kMostRounds]

  static constexpr int kMostRounds = 34;
  static TREEFILTER_HD int rounds(int64_t nodes) {
    int rounds = 2;  // a round at least halves the components; there are two ids for each vertex
    while ((int64_t{1} << (rounds - 2)) < nodes) ++rounds;
    return rounds < kMostRounds ? rounds : kMostRounds;
  }

  // The kernel for one image.
  TREEFILTER_HD LowestSeed image(int64_t b) const {
    LowestSeed one = *this;
    one.images = 1;
    one.first_image = b;
    return one;
  }

  // The index in the arrays of the i-th edge, or id, of this kernel.
  TREEFILTER_HD int64_t edge(int64_t i) const { return first_image * n + i; }
  TREEFILTER_HD int64_t id(int64_t i) const { return 2 * first_image * n + i; }
  TREEFILTER_HD int32_t* flags() const { return more + first_image * (kBits + 1) * kMostRounds; }

  // i: the index of an edge or a query.
  TREEFILTER_HD int64_t base(int64_t i) const { return i / n * 2 * n + n; }
  TREEFILTER_HD int32_t* label(int bit) const { return (bit & 1) == 0 ? even_label : odd_label; }
  TREEFILTER_HD bool is_edge(int64_t i) const { return lower[i] != kNone; }
  TREEFILTER_HD T weight(int64_t i) const {
    return input.weights(i / n, true)[static_cast<int32_t>(i % n)];
  }
  // After the last bit (-1) every edge counts as a 0 and every query as a 1.
  TREEFILTER_HD bool edge_bit(int64_t i, int bit) const {
    return bit >= 0 && (weight_bits(weight(i)) >> bit & 1) != 0;
  }
  TREEFILTER_HD bool query_bit(int64_t i, int bit) const {
    return bit < 0 || (weight_bits(distance[i]) >> bit & 1) != 0;
  }

  TREEFILTER_PHASED template <class Group>
  TREEFILTER_HD void operator()(Group& group) const;
};

template <class T>
struct StartLabels {
  LowestSeed<T> p;

  TREEFILTER_HD void operator()(int64_t index) const {
    const int64_t i = p.edge(index);
    const int64_t n = p.n, id = p.base(i) + i % n;
    const int32_t v = static_cast<int32_t>(i % n), up = p.input.parent(i / n)[v];
    const bool edge = up != v && up >= 0 && up < n;
    p.lower[i] = edge ? v : p.kNone;
    p.upper[i] = edge ? up : p.kNone;
    p.query[i] = p.nearest[i] >= 0 ? v : p.kNone;
    p.label(p.kBits - 1)[id] = p.seeds[i] ? v : p.kNone;
    p.label(p.kBits - 1)[id - n] = p.kNone;
  }
};

// ---- contraction of the edges with a 0, as in mst.cu: every component takes its lowest edge ----

template <class T>
struct StartComponents {
  LowestSeed<T> p;
  int bit;

  TREEFILTER_HD void operator()(int64_t index) const {
    const int64_t i = p.id(index);
    p.component[i] = static_cast<int32_t>(i % (2 * p.n) - p.n);
    p.best[i] = p.label(bit - 1)[i] = p.all_label[i] = p.kNone;
  }
};

template <class T>
struct FindBest {
  LowestSeed<T> p;
  int bit;
  int32_t* more;

  TREEFILTER_HD void operator()(int64_t index) const {
    const int64_t i = p.edge(index);
    if (!p.is_edge(i) || p.edge_bit(i, bit)) return;
    const int64_t base = p.base(i);
    const int32_t a = p.component[base + p.lower[i]], b = p.component[base + p.upper[i]];
    if (a == b) return;
    const int32_t e = static_cast<int32_t>(i % p.n);
    lower(p.best + base + a, e);
    lower(p.best + base + b, e);
    set_flag(more);
  }
};

template <class T>
struct HookSets {
  LowestSeed<T> p;

  TREEFILTER_HD void operator()(int64_t index) const {
    const int64_t i = p.id(index);
    const int64_t b = i / (2 * p.n), base = b * 2 * p.n + p.n;
    const int32_t self = static_cast<int32_t>(i - base);
    int32_t to = self;
    if (p.component[i] == self && p.best[i] != p.kNone) {
      const int64_t e = b * p.n + p.best[i];
      const int32_t low = p.component[base + p.lower[e]], up = p.component[base + p.upper[e]];
      const int32_t other = low == self ? up : low;
      const bool mutual = p.best[base + other] == p.best[i];
      to = mutual && self < other ? self : other;
    }
    p.hook[i] = to;
  }
};

template <class T>
struct RelabelSets {
  LowestSeed<T> p;

  TREEFILTER_HD void operator()(int64_t index) const {
    const int64_t i = p.id(index);
    int32_t* const hook = p.hook + i / (2 * p.n) * 2 * p.n + p.n;
    int32_t x = p.component[i];
    // Path halving. Other threads may change the pointers meanwhile; all lead to the same root.
    for (int32_t above = load_relaxed(hook + x); above != x; above = load_relaxed(hook + x)) {
      const int32_t beyond = load_relaxed(hook + above);
      if (beyond != above) store_relaxed(hook + x, beyond);
      x = beyond;
    }
    p.component[i] = x;
    p.best[i] = p.kNone;
  }
};

// ---- the graphs of the next bit ----

template <class T>
struct ClearIds {
  LowestSeed<T> p;
  int bit;

  TREEFILTER_HD void operator()(int64_t index) const {
    const int64_t i = p.id(index);
    p.best[i] = p.hook[i] = p.kNone;
    const int32_t seed = p.label(bit)[i];
    if (seed == p.kNone) return;
    const int64_t base = i / (2 * p.n) * 2 * p.n + p.n;
    lower(p.all_label + base + p.component[i], seed);
  }
};

template <class T>
struct FindIds {
  LowestSeed<T> p;
  int bit;

  TREEFILTER_HD void operator()(int64_t index) const {
    const int64_t i = p.edge(index);
    if (!p.is_edge(i)) return;
    const int64_t base = p.base(i);
    const int32_t e = static_cast<int32_t>(i % p.n), a = p.lower[i], b = p.upper[i];
    const bool one = p.edge_bit(i, bit);
    lower(one ? p.hook + base + p.component[base + a] : p.best + base + a, e);
    lower(one ? p.hook + base + p.component[base + b] : p.best + base + b, -1 - e);
  }
};

template <class T>
struct AssignIds {
  LowestSeed<T> p;
  int bit;

  TREEFILTER_HD void operator()(int64_t index) const {
    const int64_t i = p.edge(index);
    const int64_t base = p.base(i);
    if (p.is_edge(i)) {
      const int32_t e = static_cast<int32_t>(i % p.n);
      const bool one = p.edge_bit(i, bit);
      p.lower[i] = new_id(base, p.lower[i], one, e);
      p.upper[i] = new_id(base, p.upper[i], one, -1 - e);
    }
    const int32_t vertex = p.query[i];
    if (vertex == p.kNone) return;
    const bool one = p.query_bit(i, bit);
    const int32_t x = one ? p.component[base + vertex] : vertex;
    p.query[i] = (one ? p.hook : p.best)[base + x];
    if (p.query[i] != p.kNone) return;
    const int32_t lowest = (one ? p.all_label : p.label(bit))[base + x];
    if (lowest != p.kNone) p.nearest[i] = lowest;
  }

  // The new id of x, an end of an edge. The end that gives the id moves the label along.
  TREEFILTER_HD int32_t new_id(int64_t base, int32_t x, bool one, int32_t end) const {
    if (one) x = p.component[base + x];
    const int32_t id = (one ? p.hook : p.best)[base + x];
    if (id == end) p.label(bit - 1)[base + id] = (one ? p.all_label : p.label(bit))[base + x];
    return id;
  }
};

template <class T>
TREEFILTER_PHASED template <class Group>
TREEFILTER_HD void LowestSeed<T>::operator()(Group& group) const {
  const LowestSeed& p = *this;
  group.each(images * (kBits + 1) * kMostRounds, SetZero<int32_t>{p.flags()});
  group.each(images * n, StartLabels<T>{p});
  for (int bit = kBits - 1; bit >= -1; --bit) {
    group.each(2 * images * n, StartComponents<T>{p, bit});
    for (int round = 0; round < rounds(n); ++round) {
      int32_t* const flag = flags() + (bit + 1) * kMostRounds + round;
      group.each(images * n, FindBest<T>{p, bit, flag});
      if (!group.more(flag)) break;
      group.each(2 * images * n, HookSets<T>{p});
      group.each(2 * images * n, RelabelSets<T>{p});
    }
    group.each(2 * images * n, ClearIds<T>{p, bit});
    group.each(images * n, FindIds<T>{p, bit});
    group.each(images * n, AssignIds<T>{p, bit});
  }
}

template <class T>
struct LowestSeedOf {
  LowestSeed<T> all;
  TREEFILTER_HD LowestSeed<T> operator()(int64_t b) const { return all.image(b); }
};

template <class T>
void name_lowest(const Cuda& cuda, const WeightedTrees<T>& input, int64_t batch, const T* distance,
                 const bool* seeds, int64_t* nearest) {
  const int64_t n = input.tree.nodes, all = batch * n;
  const auto [lower, upper, query, even, odd, all_label, component, best, hook, more] =
      cuda.arrays<int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t,
                  int32_t>(all, all, all, 2 * all, 2 * all, 2 * all, 2 * all, 2 * all, 2 * all,
                           batch * (LowestSeed<T>::kBits + 1) * LowestSeed<T>::kMostRounds);
  const LowestSeed<T> kernel{batch, n,    input, 0,         distance,  seeds, nearest, lower, upper,
                             query, even, odd,   all_label, component, best,  hook,    more};
  if (2 * n <= largest_for_a_block) {
    launch_blocks<kImageThreads>(cuda, "distance_transform", batch, 0,
                                 PerImage<LowestSeedOf<T>>{{kernel}});
  } else {
    launch_phased(cuda, "distance_transform", 2 * all, kernel);
  }
}

}  // namespace treefilter::cuda
