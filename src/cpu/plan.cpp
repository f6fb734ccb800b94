// The Strahler peel of plan.h, round by round, on the forests of unrooted.h.
//
// An edge is taken away at a junction only between rounds: a chain must not run through a junction that
// a neighbouring chain of the same round has just reduced. The leaves of the next round are collected in
// a bit set, which sorts them.
#include "../plan.h"

#include <algorithm>

#include "bit_words.h"
#include "peel.h"

namespace treefilter {
namespace {

// A set of vertices that is read in ascending order and emptied on the way.
class VertexSet {
 public:
  explicit VertexSet(int64_t num_nodes) : words_((num_nodes + kWord - 1) / kWord, 0) {}

  // Whether a vertex belongs to it is no branch.
  void insert_if(bool wanted, int64_t v) {
    words_[v / kWord] |= static_cast<uint64_t>(wanted) << (v % kWord);
  }

  void insert_word(uint64_t word, int64_t v) { words_[v / kWord] = word; }

  template <class Visit>
  void drain(const Visit& visit) {
    for (int64_t w = 0; w < words_.size(); ++w) {
      for_bits(words_[w], [&](int64_t i) { visit(w * kWord + i); });
      words_[w] = 0;
    }
  }

 private:
  Buffer<uint64_t> words_;
};

template <class Forest>
class Peel {
 public:
  Peel(const Forest& forest, Span<int32_t> order)
      : forest_(forest),
        order_(order),
        leaves_(order.size),
        tops_(order.size),
        chain_starts_(order.size) {}

  void run(const std::vector<int32_t>& roots) {
    forest_.start(roots);
    for (int64_t v = 0; v < order_.size; v += kWord) {
      uint8_t is_leaf[kWord] = {};
      forest_.mark_leaves(v, std::min(kWord, order_.size - v), is_leaf);
      leaves_.insert_word(word_of(is_leaf), v);
    }
    while (take_leaves()) detach();
    for (int32_t root : roots) {
      order_[slot_++] = root;
      forest_.finish(root);
    }
  }

 private:
  // What leads upwards stays in a register: from step to step a chain waits for one load.
  void take_chain(int32_t v) {
    auto way = forest_.way(v);
    int32_t top;
    bool passes;
    do {
      order_[slot_++] = top = v;
      v = forest_.above(v, way);
      passes = forest_.pass(v, top, way);
    } while (passes);
    tops_[num_tops_++] = top;
  }

  TREEFILTER_PHASE void detach() {
    for (int64_t i = 0; i < num_tops_; ++i) {
      const auto [junction, is_leaf] = forest_.detach(tops_[i]);
      leaves_.insert_if(is_leaf, junction);
    }
    num_tops_ = 0;
  }

  // The leaves are known in advance while what belongs to them lies anywhere.
  TREEFILTER_PHASE bool take_leaves() {
    constexpr int64_t kAhead = 8;
    int64_t count = 0;
    leaves_.drain([&](int64_t v) { chain_starts_[count++] = static_cast<int32_t>(v); });
    for (int64_t i = 0; i < count; ++i) {
      forest_.prefetch(chain_starts_[std::min(i + 2 * kAhead, count - 1)]);
      const int32_t soon = chain_starts_[std::min(i + kAhead, count - 1)];
      forest_.prefetch(forest_.above(soon, forest_.way(soon)));
      take_chain(chain_starts_[i]);
    }
    return count > 0;
  }

  const Forest& forest_;
  Span<int32_t> order_;
  VertexSet leaves_;
  Buffer<int32_t> tops_;          // the upper ends of this round's chains
  Buffer<int32_t> chain_starts_;  // this round's leaves
  int64_t num_tops_ = 0, slot_ = 0;
};

}  // namespace

template <class Forest>
void root_and_order(const Forest& forest, Span<const int32_t> component, int64_t root,
                    const RootedTree& tree) {
  std::vector<int32_t> roots;
  if (component.size > 0) {  // read before the order, which may share its memory, is written
    const int32_t home = component[root];
    for (int64_t v = 0; v < component.size; ++v) {
      if (component[v] == v && v != home) roots.push_back(static_cast<int32_t>(v));
    }
  }
  const auto place = std::lower_bound(roots.begin(), roots.end(), static_cast<int32_t>(root));
  roots.insert(place, static_cast<int32_t>(root));
  Peel<Forest>(forest, tree.order).run(roots);
  forest.write(tree);
}

#define TREEFILTER_INSTANTIATE(Forest) \
  template void root_and_order(const Forest&, Span<const int32_t>, int64_t, const RootedTree&);
TREEFILTER_INSTANTIATE(LinkedForest)
TREEFILTER_INSTANTIATE(MaskForest<uint8_t>)
TREEFILTER_INSTANTIATE(MaskForest<uint16_t>)
TREEFILTER_INSTANTIATE(MaskForest<uint32_t>)

}  // namespace treefilter
