// The Strahler peel of plan.h, round by round.
//
// Degrees count down only between rounds (a chain must not run through a junction that a neighbouring
// chain of the same round has just reduced), the exclusive-ors at once (no chain of the round reads
// them at a junction). The leaves of the next round are collected in a bit set, which sorts them.
#include "../plan.h"

#include <vector>

namespace treefilter {
namespace {

// A set of vertices that is read in ascending order and emptied on the way.
class VertexSet {
 public:
  explicit VertexSet(int64_t num_nodes) : words_((num_nodes + 63) / 64, 0) {}

  void insert(int64_t v) { words_[v / 64] |= uint64_t{1} << (v % 64); }

  template <class Visit>
  void drain(const Visit& visit) {
    for (int64_t w = 0; w < words_.size(); ++w) {
      for (uint64_t word = words_[w]; word != 0; word &= word - 1) {
        visit(w * 64 + __builtin_ctzll(word));
      }
      words_[w] = 0;
    }
  }

 private:
  Buffer<uint64_t> words_;
};

// Calls visit(v) for every leaf, ascending. A quarter of the vertices are leaves, in no order that a
// branch predictor could learn: bytes are tested eight at a time.
template <class Visit>
void for_leaves(Span<uint8_t> degree, const Visit& visit) {
  constexpr uint64_t kOnes = 0x0101010101010101, kLow = 0x7f7f7f7f7f7f7f7f;
  int64_t v = 0;
  for (; v + 8 <= degree.size; v += 8) {
    uint64_t eight = 0;
    for (int i = 0; i < 8; ++i) eight |= static_cast<uint64_t>(degree[v + i]) << (8 * i);
    eight ^= kOnes;
    // The high bit of every byte that is zero.
    for (uint64_t is_leaf = ~(((eight & kLow) + kLow) | eight | kLow); is_leaf != 0;
         is_leaf &= is_leaf - 1) {
      visit(v + __builtin_ctzll(is_leaf) / 8);
    }
  }
  for (; v < degree.size; ++v) {
    if (degree[v] == 1) visit(v);
  }
}

template <class Visit>
void for_leaves(Span<int32_t> degree, const Visit& visit) {
  for (int64_t v = 0; v < degree.size; ++v) {
    if (degree[v] == 1) visit(v);
  }
}

template <class Degree>
class Peel {
 public:
  Peel(const Unrooted<Degree>& forest, const RootedTree& tree)
      : forest_(forest),
        tree_(tree),
        leaves_(tree.order.size),
        junctions_(tree.order.size),
        chain_starts_(tree.order.size) {}

  void run(const std::vector<int32_t>& roots) {
    for (int32_t root : roots) {
      forest_.degree[root] += kRootBoost;
      forest_.link[root].neighbour &= ~kPasses;
    }
    for_leaves(forest_.degree, [&](int64_t v) { take_chain(static_cast<int32_t>(v)); });
    while (num_junctions_ > 0) {
      detach();
      take_leaves();
    }
    for (int32_t root : roots) {
      tree_.order[slot_++] = root;
      forest_.link[root] = {root, -1};
    }
    for (int64_t v = 0; v < forest_.link.size; ++v) {
      tree_.parent[v] = forest_.link[v].neighbour;
      tree_.edge[v] = forest_.link[v].edge;
    }
  }

 private:
  // Keeps a root from ever looking like a leaf or like the inside of a chain: it has at least 3 when a
  // chain arrives.
  static constexpr int kRootBoost = 2;

  // What a vertex passes upwards stays in registers, and its parent and edge in its link: from step to
  // step a chain waits for one load and touches one cache line.
  void take_chain(int32_t v) {
    const Span<Link> links = forest_.link;
    Link up = links[v];
    bool passes = true;
    while (passes) {
      tree_.order[slot_++] = v;
      const int32_t above = up.neighbour;
      up = {links[above].neighbour ^ v, links[above].edge ^ up.edge};
      passes = up.neighbour < 0;
      up.neighbour &= ~kPasses;
      links[above] = up;
      v = above;
    }
    junctions_[num_junctions_++] = v;
  }

  TREEFILTER_PHASE void detach() {
    for (int64_t i = 0; i < num_junctions_; ++i) {
      const int32_t v = junctions_[i];
      const int degree = --forest_.degree[v];
      if (degree == 2) forest_.link[v].neighbour |= kPasses;
      if (degree == 1) {
        forest_.link[v].neighbour &= ~kPasses;
        leaves_.insert(v);
      }
    }
    num_junctions_ = 0;
  }

  // The leaves are known in advance while their links lie anywhere.
  TREEFILTER_PHASE void take_leaves() {
    constexpr int64_t kAhead = 8;
    int64_t count = 0;
    leaves_.drain([&](int64_t v) { chain_starts_[count++] = static_cast<int32_t>(v); });
    for (int64_t i = 0; i < count; ++i) {
      const Span<Link> links = forest_.link;
      __builtin_prefetch(&links[chain_starts_[std::min(i + 2 * kAhead, count - 1)]], 1);
      const Link soon = links[chain_starts_[std::min(i + kAhead, count - 1)]];
      __builtin_prefetch(&links[soon.neighbour & ~kPasses], 1);
      take_chain(chain_starts_[i]);
    }
  }

  const Unrooted<Degree>& forest_;
  const RootedTree& tree_;
  VertexSet leaves_;
  Buffer<int32_t> junctions_;     // where this round's chains hang
  Buffer<int32_t> chain_starts_;  // this round's leaves
  int64_t num_junctions_ = 0, slot_ = 0;
};

}  // namespace

template <class Degree>
void root_and_order(const Unrooted<Degree>& forest, bool connected, int64_t root,
                    const RootedTree& tree) {
  std::vector<int32_t> roots;
  if (!connected) {  // read the components before the order, which may share their memory, is written
    const int32_t home = forest.component[root];
    for (int64_t v = 0; v < tree.order.size; ++v) {
      if (forest.component[v] == v && v != home) roots.push_back(static_cast<int32_t>(v));
    }
  }
  const auto place = std::lower_bound(roots.begin(), roots.end(), static_cast<int32_t>(root));
  roots.insert(place, static_cast<int32_t>(root));
  Peel<Degree>(forest, tree).run(roots);
}

template void root_and_order(const Unrooted<uint8_t>&, bool, int64_t, const RootedTree&);
template void root_and_order(const Unrooted<int32_t>&, bool, int64_t, const RootedTree&);

}  // namespace treefilter
