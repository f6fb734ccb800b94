// Rooting and the order of the passes on CUDA in one go: the Strahler decomposition of a tree into
// paths. (The CPU's order is that of cpu/mst/peel.h.)
//
// Round k takes away every maximal chain that ends in a leaf of what is left; the root is never taken.
// Chains are laid out one after the other, each from its leaf upwards, so
//   - children come before their parents,
//   - a vertex is mostly followed by its parent (about 75 % on photographs),
//   - there are at most log2(leaves) + 1 rounds, whatever the depth of the tree (Horton, Strahler).
// Inside a round the chains are independent and ascend by their leaf, which keeps memory accesses
// local and makes the order a function of the tree alone.
//
#pragma once

#include "core.h"
#include "cuda/runtime/call.h"

namespace treefilter {

// What the passes on CUDA read besides, int32 values of one tree. A "slot" is a place in the order.
struct PlanView {
  // Rounds, the roots' own included, and one more bound.
  static constexpr int64_t kRounds = 34;

  const int32_t* values;
  int64_t nodes;

  static TREEFILTER_HD int64_t size(int64_t nodes) { return 4 * nodes + 1 + kRounds; }

  // order[slot]: the vertex, as in Tree.order.
  TREEFILTER_HD const int32_t* order() const { return values; }
  // up[slot]: slot + 1 where the parent follows in the same chain; at a chain's top ~(parent's slot),
  // at a root ~slot. So up[slot - 1] < 0, or slot 0, is the lower end of a chain.
  TREEFILTER_HD const int32_t* up() const { return values + nodes; }
  // light[light_begin[slot] … light_begin[slot + 1] - 1]: the tops whose parent is in this slot, by
  // ascending slot. (A child that precedes its parent in a chain is none of these.)
  TREEFILTER_HD const int32_t* light_begin() const { return values + 2 * nodes; }
  TREEFILTER_HD const int32_t* light() const { return values + 3 * nodes + 1; }
  // rounds[k]: the first slot of round k; from the number of rounds on: the number of slots.
  TREEFILTER_HD const int32_t* rounds() const { return values + 4 * nodes + 1; }
};

// The plans of trees that were not made on CUDA: parent [B, N], plan [B, PlanView::size(N)]. A parent
// outside of [0, N) makes a root. Vertices of a cycle, which is no tree, get no slot.
void plan(const Cuda&, int64_t batch, int64_t nodes, Span<const int32_t> parent, Span<int32_t> plan);

}  // namespace treefilter
