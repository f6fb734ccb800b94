// The lowest of all seeds that are equally near, for maxima (name_lowest of the CPU).
//
// For a maximum equal distances are the rule: the seeds nearest to a vertex v are all those in the
// component of v by edges no heavier than its distance d(v). The CPU goes through the edges in ascending
// order with one union-find. Here all thresholds are searched at once, bit by bit from the highest, as a
// radix sort would: what has a leading part of its bits in common forms a graph of its own,
//   edges      whose weights begin with these bits,
//   vertices   what all lighter edges have made one, each with its lowest seed,
//   questions  "the lowest seed in my component?" of the v whose d(v) begins with these bits.
// The next bit halves it. Edges and questions with a 0 stay among themselves; those with a 1 go on
// in the graph in which the edges with a 0 are contracted. No edge and no question is in two graphs, so
// the graphs of a bit are together as large as the tree, and are worked on at once. When the bits are
// used up, a graph's edges are all as heavy as its questions ask, and are contracted.
//
// A vertex of a graph goes by one end of one of its edges, the lowest: e at a vertex e, or -1 - e at its
// parent. One without edges has no more to learn: questions there are answered.
//
// Cost: 31 bits (63 for double) times 4 phases over the tree and 4 for each round of the contraction, of
// which there are up to log2(N), mostly few. Workspace: 60 bytes a vertex.
#pragma once

#include "../runtime/per_image.cuh"
#include "paths.cuh"

namespace treefilter::cuda {

inline TREEFILTER_HD uint64_t magnitude_bits(float value) {
  return float_to_bits(value) & (UINT32_MAX >> 1);
}
inline TREEFILTER_HD uint64_t magnitude_bits(double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits & (UINT64_MAX >> 1);
}

template <class T>
struct LowestSeed {
  static constexpr int32_t kNone = INT32_MAX;
  static constexpr int kBits = 8 * sizeof(T) - 1;

  int64_t images, n;
  RowInput<T> input;
  int64_t first_image;
  const T* distance;  // [B, n], as the next two
  const bool* seeds;
  int64_t* nearest;

  // Workspaces; by ids [B, 2 n], of which id x has place n + x.
  int32_t *lower, *upper, *question;  // [B, n]: ends of edge e, and where v asks
  int32_t *even_label, *odd_label;    // the lowest seed in a vertex of the graph, by turns of the bits
  int32_t* all_label;                 // and in a component
  int32_t* component;
  int32_t *best, *hook;  // of the contraction; then the vertices' new ids, on the side of 0 and of 1
  int32_t* more;         // [B, kBits + 1, kMostRounds]

  static constexpr int kMostRounds = 34;
  static TREEFILTER_HD int rounds(int64_t nodes) {
    int rounds = 2;  // components at least halve; ids are twice as many as vertices
    while ((int64_t{1} << (rounds - 2)) < nodes) ++rounds;
    return rounds < kMostRounds ? rounds : kMostRounds;
  }

  // The program of one image alone.
  TREEFILTER_HD LowestSeed image(int64_t b) const {
    LowestSeed one = *this;
    one.images = 1;
    one.first_image = b;
    return one;
  }

  // Of the programs' own counts: the places in the arrays.
  TREEFILTER_HD int64_t edge(int64_t i) const { return first_image * n + i; }
  TREEFILTER_HD int64_t id(int64_t i) const { return 2 * first_image * n + i; }
  TREEFILTER_HD int32_t* flags() const { return more + first_image * (kBits + 1) * kMostRounds; }

  // i: of an edge or a question.
  TREEFILTER_HD int64_t base(int64_t i) const { return i / n * 2 * n + n; }
  TREEFILTER_HD int32_t* label(int bit) const { return (bit & 1) == 0 ? even_label : odd_label; }
  TREEFILTER_HD bool is_edge(int64_t i) const { return lower[i] != kNone; }
  TREEFILTER_HD T weight(int64_t i) const {
    return input.weights(i / n, true)[static_cast<int32_t>(i % n)];
  }
  // After the last bit all edges count as 0 and all questions as 1.
  TREEFILTER_HD bool edge_bit(int64_t i, int bit) const {
    return bit >= 0 && (magnitude_bits(weight(i)) >> bit & 1) != 0;
  }
  TREEFILTER_HD bool question_bit(int64_t i, int bit) const {
    return bit < 0 || (magnitude_bits(distance[i]) >> bit & 1) != 0;
  }

  TREEFILTER_PROGRAM template <class Team>
  TREEFILTER_HD void operator()(Team& team) const;
};

template <class T>
struct StartLabels {
  LowestSeed<T> p;

  TREEFILTER_HD void operator()(int64_t index) const {
    const int64_t i = p.edge(index);
    const int64_t n = p.n, place = p.base(i) + i % n;
    const int32_t v = static_cast<int32_t>(i % n), up = p.input.parent(i / n)[v];
    const bool edge = up != v && up >= 0 && up < n;
    p.lower[i] = edge ? v : p.kNone;
    p.upper[i] = edge ? up : p.kNone;
    p.question[i] = p.nearest[i] >= 0 ? v : p.kNone;
    p.label(p.kBits - 1)[place] = p.seeds[i] ? v : p.kNone;
    p.label(p.kBits - 1)[place - n] = p.kNone;
  }
};

// ---- contraction of the edges with a 0, as in mst: every component takes its lowest edge ----

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
    atomic_min(p.best + base + a, e);
    atomic_min(p.best + base + b, e);
    store_relaxed(more, 1);
  }
};

template <class T>
struct HookSets {
  LowestSeed<T> p;

  TREEFILTER_HD void operator()(int64_t index) const {
    const int64_t i = p.id(index);
    const int64_t row = i / (2 * p.n), base = row * 2 * p.n + p.n;
    const int32_t self = static_cast<int32_t>(i - base);
    int32_t to = self;
    if (p.component[i] == self && p.best[i] != p.kNone) {
      const int64_t e = row * p.n + p.best[i];
      const int32_t a = p.component[base + p.lower[e]], b = p.component[base + p.upper[e]];
      const int32_t other = a == self ? b : a;
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
    // Paths are halved on the way: whoever is first, they end at the same root.
    for (int32_t above = load_relaxed(hook + x); above != x; above = load_relaxed(hook + x)) {
      const int32_t beyond = load_relaxed(hook + above);
      if (beyond != above) store_relaxed(hook + x, beyond);
      x = beyond;
    }
    p.component[i] = x;
    p.best[i] = p.kNone;
  }
};

// ---- the next bit's graphs ----

template <class T>
struct ClearNames {
  LowestSeed<T> p;
  int bit;

  TREEFILTER_HD void operator()(int64_t index) const {
    const int64_t i = p.id(index);
    p.best[i] = p.hook[i] = p.kNone;
    const int32_t seed = p.label(bit)[i];
    if (seed == p.kNone) return;
    const int64_t base = i / (2 * p.n) * 2 * p.n + p.n;
    atomic_min(p.all_label + base + p.component[i], seed);
  }
};

template <class T>
struct FindNames {
  LowestSeed<T> p;
  int bit;

  TREEFILTER_HD void operator()(int64_t index) const {
    const int64_t i = p.edge(index);
    if (!p.is_edge(i)) return;
    const int64_t base = p.base(i);
    const int32_t e = static_cast<int32_t>(i % p.n), a = p.lower[i], b = p.upper[i];
    const bool one = p.edge_bit(i, bit);
    atomic_min(one ? p.hook + base + p.component[base + a] : p.best + base + a, e);
    atomic_min(one ? p.hook + base + p.component[base + b] : p.best + base + b, -1 - e);
  }
};

template <class T>
struct Rename {
  LowestSeed<T> p;
  int bit;

  TREEFILTER_HD void operator()(int64_t index) const {
    const int64_t i = p.edge(index);
    const int64_t base = p.base(i);
    if (p.is_edge(i)) {
      const int32_t e = static_cast<int32_t>(i % p.n);
      const bool one = p.edge_bit(i, bit);
      p.lower[i] = renamed(base, p.lower[i], one, e);
      p.upper[i] = renamed(base, p.upper[i], one, -1 - e);
    }
    const int32_t asked = p.question[i];
    if (asked == p.kNone) return;
    const bool one = p.question_bit(i, bit);
    const int32_t x = one ? p.component[base + asked] : asked;
    p.question[i] = (one ? p.hook : p.best)[base + x];
    if (p.question[i] != p.kNone) return;
    const int32_t lowest = (one ? p.all_label : p.label(bit))[base + x];
    if (lowest != p.kNone) p.nearest[i] = lowest;
  }

  // The new id of x, one end of an edge; if it is that very end, it brings the label along.
  TREEFILTER_HD int32_t renamed(int64_t base, int32_t x, bool one, int32_t end) const {
    if (one) x = p.component[base + x];
    const int32_t name = (one ? p.hook : p.best)[base + x];
    if (name == end) p.label(bit - 1)[base + name] = (one ? p.all_label : p.label(bit))[base + x];
    return name;
  }
};

template <class T>
TREEFILTER_PROGRAM template <class Team>
TREEFILTER_HD void LowestSeed<T>::operator()(Team& team) const {
  const LowestSeed& p = *this;
  team.each(images * (kBits + 1) * kMostRounds, SetZero<int32_t>{p.flags()});
  team.each(images * n, StartLabels<T>{p});
  for (int bit = kBits - 1; bit >= -1; --bit) {
    team.each(2 * images * n, StartComponents<T>{p, bit});
    for (int round = 0; round < rounds(n); ++round) {
      int32_t* const flag = flags() + (bit + 1) * kMostRounds + round;
      team.each(images * n, FindBest<T>{p, bit, flag});
      if (!team.more(flag)) break;
      team.each(2 * images * n, HookSets<T>{p});
      team.each(2 * images * n, RelabelSets<T>{p});
    }
    team.each(2 * images * n, ClearNames<T>{p, bit});
    team.each(images * n, FindNames<T>{p, bit});
    team.each(images * n, Rename<T>{p, bit});
  }
}

template <class T>
struct LowestSeedOf {
  LowestSeed<T> all;
  TREEFILTER_HD LowestSeed<T> operator()(int64_t b) const { return all.image(b); }
};

template <class T>
void name_lowest(const Cuda& cuda, const RowInput<T>& input, int64_t batch, const T* distance,
                 const bool* seeds, int64_t* nearest) {
  const int64_t n = input.tree.nodes, all = batch * n;
  const auto [lower, upper, question, even, odd, all_label, component, best, hook, more] =
      cuda.arrays<int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t,
                  int32_t>(all, all, all, 2 * all, 2 * all, 2 * all, 2 * all, 2 * all, 2 * all,
                           batch * (LowestSeed<T>::kBits + 1) * LowestSeed<T>::kMostRounds);
  const LowestSeed<T> program{batch,    n,    input, 0,         distance,  seeds, nearest, lower, upper,
                              question, even, odd,   all_label, component, best,  hook,    more};
  if (2 * n <= largest_for_a_block) {
    launch_blocks<kImageThreads>(cuda, "distance_transform", batch, 0,
                                 PerImage<LowestSeedOf<T>>{{program}});
  } else {
    run_program(cuda, "distance_transform", 2 * all, program);
  }
}

}  // namespace treefilter::cuda
