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
// Cost: O(N), one visit a vertex; no recursion. Workspace: N/8 bytes and 4 bytes a chain.
#pragma once

#include "mst.h"

namespace treefilter {

// Roots one forest at `root` (and every further component at its lowest vertex). The exclusive-ors in
// forest.neighbour and forest.edge turn into parent and edge to the parent in place; `order` receives
// the paths. `forest.component` may be the same memory as `order`.
template <class Degree>
void root_and_order(const Unrooted<Degree>& forest, int64_t root, Span<int32_t> order);

}  // namespace treefilter
