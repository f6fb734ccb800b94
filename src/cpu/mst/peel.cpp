// The peel (peel.h) on the forests of unrooted.h.
//
// As long as there are leaves, no branch depends on the forest, and a step does not need the result of
// the seven steps before it. A step reads and writes the forest's data of one vertex: for a grid, a
// byte.
#include "peel.h"

#include <algorithm>

#include "../support/bit_words.h"
#include "../support/parallel.h"
#include "../support/select.h"
#include "../support/workspace.h"

namespace treefilter {
namespace {

template <class Forest>
class Peel {
 public:
  Peel(const Cpu& cpu, const Forest& forest, Span<int32_t> order)
      : cpu_(cpu), forest_(forest), order_(order), next_(order.data), leaves_(order.size) {}

  void run(const std::vector<int32_t>& roots) {
    forest_.start(roots);
    find_leaves();
    follow_paths();
    for (int32_t root : roots) {
      *next_++ = root;
      forest_.finish(root);
    }
  }

 private:
  void find_leaves() {
    for (int64_t v = 0; v < order_.size; v += kWord) {
      uint8_t is_leaf[kWord] = {};
      forest_.mark_leaves(v, std::min(kWord, order_.size - v), is_leaf);
      for_bits(word_of(is_leaf), [&](int64_t i) { leaves_[count_++] = static_cast<int32_t>(v + i); });
    }
  }

  // All that a step reads is copied to local variables: a mask may be a byte, which may alias anything.
  TREEFILTER_PHASE void follow_paths() {
    const Forest forest = forest_;
    const int32_t* const leaves = leaves_.data();
    const int64_t count = count_;
    int32_t* next = next_;
    const auto take = [&](int32_t v) {
      *next++ = v;
      return forest.take(v);
    };
    int32_t at[kPaths];  // the next vertex of each path
    int64_t paths = std::min<int64_t>(kPaths, count), begun = paths;
    std::copy_n(leaves, paths, at);
    while (begun + kPaths <= count) {
      // A step begins at most one path, so the condition holds for all steps of this loop.
      const int64_t steps = std::min((count - begun) / kPaths, kVisitsPerCheck / kPaths);
      for (int64_t step = 0; step < steps; ++step) {
        for (int32_t& v : at) {
          const Above above = take(v);
          v = select(-static_cast<int32_t>(above.is_leaf), above.vertex, leaves[begun]);
          begun += !above.is_leaf;
        }
      }
      cpu_.check();
    }
    for (int64_t steps = 1; paths > 0; ++steps) {
      if (steps % (kVisitsPerCheck / kPaths) == 0) cpu_.check();
      int64_t left = 0;
      for (int64_t i = 0; i < paths; ++i) {
        const Above above = take(at[i]);
        if (above.is_leaf) {
          at[left++] = above.vertex;
        } else if (begun < count) {
          at[left++] = leaves[begun++];
        }
      }
      paths = left;
    }
    next_ = next;
  }

  const Cpu& cpu_;
  const Forest& forest_;
  Span<int32_t> order_;
  int32_t* next_;           // of the order
  Buffer<int32_t> leaves_;  // ascending
  int64_t count_ = 0;       // of leaves
};

}  // namespace

template <class Forest>
void root_and_order(const Cpu& cpu, const Forest& forest, Span<const int32_t> component, int64_t root,
                    const RootedTree& tree) {
  std::vector<int32_t> roots;
  if (component.size > 0) {  // read before the order, which may share its memory, is written
    const int32_t home = component[root];
    for (int64_t v = 0; v < component.size; ++v) {
      if (component[v] == v && v != home) roots.push_back(static_cast<int32_t>(v));
    }
  }
  const auto position = std::lower_bound(roots.begin(), roots.end(), static_cast<int32_t>(root));
  roots.insert(position, static_cast<int32_t>(root));
  Peel<Forest>(cpu, forest, tree.order).run(roots);
  forest.write(cpu, tree);
}

#define TREEFILTER_INSTANTIATE(Forest)                                                  \
  template void root_and_order(const Cpu&, const Forest&, Span<const int32_t>, int64_t, \
                               const RootedTree&);
TREEFILTER_INSTANTIATE(LinkedForest)
TREEFILTER_INSTANTIATE(MaskForest<uint8_t>)
TREEFILTER_INSTANTIATE(MaskForest<uint16_t>)
TREEFILTER_INSTANTIATE(MaskForest<uint32_t>)

}  // namespace treefilter
