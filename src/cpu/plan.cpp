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

template <class Degree>
class Peel {
 public:
  Peel(const Unrooted<Degree>& forest, Span<int32_t> order)
      : forest_(forest), order_(order), leaves_(order.size) {}

  void run(std::vector<int32_t>& roots) {
    for (int32_t root : roots) forest_.degree[root] += kRootBoost;
    const int64_t n = order_.size;
    for (int64_t v = 0; v < n; ++v) {
      if (forest_.degree[v] == 1) take_chain(static_cast<int32_t>(v));
    }
    while (!junctions_.empty()) {
      detach();
      leaves_.drain([&](int64_t v) { take_chain(static_cast<int32_t>(v)); });
    }
    for (int32_t root : roots) {
      order_[slot_++] = root;
      forest_.neighbour[root] = root;
      forest_.edge[root] = -1;
    }
  }

 private:
  // Keeps a root from ever looking like a leaf or like the inside of a chain.
  static constexpr int kRootBoost = 2;

  void take_chain(int32_t v) {
    for (;;) {
      order_[slot_++] = v;
      forest_.degree[v] = 0;
      const int32_t above = forest_.neighbour[v];
      forest_.neighbour[above] ^= v;
      forest_.edge[above] ^= forest_.edge[v];
      // A root has at least 3 here: its boost and the edge to v.
      if (forest_.degree[above] != 2) {
        junctions_.push_back(above);
        return;
      }
      v = above;
    }
  }

  void detach() {
    for (int32_t v : junctions_) {
      if (--forest_.degree[v] == 1) leaves_.insert(v);
    }
    junctions_.clear();
  }

  const Unrooted<Degree>& forest_;
  Span<int32_t> order_;
  VertexSet leaves_;
  std::vector<int32_t> junctions_;  // where this round's chains hang
  int64_t slot_ = 0;
};

}  // namespace

template <class Degree>
void root_and_order(const Unrooted<Degree>& forest, int64_t root, Span<int32_t> order) {
  // Read the components before `order`, which may share their memory, is written.
  std::vector<int32_t> roots;
  const int32_t home = forest.component[root];
  for (int64_t v = 0; v < order.size; ++v) {
    if (forest.component[v] == v && v != home) roots.push_back(static_cast<int32_t>(v));
  }
  const auto place = std::lower_bound(roots.begin(), roots.end(), static_cast<int32_t>(root));
  roots.insert(place, static_cast<int32_t>(root));
  Peel<Degree>(forest, order).run(roots);
}

template void root_and_order(const Unrooted<uint8_t>&, int64_t, Span<int32_t>);
template void root_and_order(const Unrooted<int32_t>&, int64_t, Span<int32_t>);

}  // namespace treefilter
