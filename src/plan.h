// Rooting and the order of the passes in one go: the Strahler decomposition of a tree into paths.
//
// Round k takes away every maximal chain that ends in a leaf of what is left; the root is never taken.
// Chains are laid out one after the other, each from its leaf upwards, so
//   - children come before their parents,
//   - a vertex is mostly followed by its parent (about 75 % on photographs),
//   - there are at most log2(leaves) + 1 rounds, whatever the depth of the tree (Horton, Strahler).
// Inside a round the chains are independent and ascend by their leaf, which keeps memory accesses
// local and makes the order a function of the tree alone.
//
// Cost: O(N), one visit a vertex; no recursion. Workspace: 8 1/8 bytes a vertex.
#pragma once

#include "mst.h"

namespace treefilter {

struct RootedTree {
  Span<int32_t> parent, edge, order;
};

// Roots one forest at `root` and, unless it is connected, every further component at its lowest vertex.
// Uses up the forest. `forest.component` is read only if the forest is not connected, and may be the
// same memory as `tree.order`.
template <class Degree>
void root_and_order(const Unrooted<Degree>& forest, bool connected, int64_t root,
                    const RootedTree& tree);

}  // namespace treefilter
