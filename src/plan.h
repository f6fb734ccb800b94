// The plan of a rooted tree: the order in which CUDA visits its vertices. (The CPU's order is that of
// cpu/mst/peel.h.)
//
// The plan decomposes the tree into chains, round by round (Horton 1945, Strahler 1957). A chain is a
// path that ascends from vertex to parent. Round k takes away every maximal chain that starts at a leaf
// of what rounds 0 … k - 1 have left; the roots, chains of one vertex each, form the last round. Slots
// number the vertices by round, then by the number of the chain's leaf, then from the leaf upwards:
//
//            0               order        slot 0  1  2  3  4  5  6  7  8  9
//           / \                         vertex 4  6  3  7  9  8  1  5  2  0
//          1   2             up               ~6  2 ~6 ~7  5 ~7 ~9  8 ~9 ~9
//         / \  ||            rounds            |     round 0     | round 1 | 2   rounds = 0 6 9 10 10 …
//        3   4 5             chains            |4 |6  3 |7 |9  8 |1 |5  2  |0 |
//       ||    / \            light children    of slot 6: 0 2;  of slot 7: 3 5;  of slot 9: 6 8
//        6   7   8
//                ||          A double line joins a vertex to its parent in the same chain.
//                 9
//
//   - Children come before their parents.
//   - A vertex is mostly followed by its parent: about 75 % on photographs.
//   - There are at most log2(leaves) + 1 rounds besides that of the roots, however deep the tree is.
//   - A slot with very many light children, the centre of a star say, is a hub. Its light children are
//     gathered by many threads (cuda/scan/bunches.cuh).
//   - The chains of a round are independent of each other, and a pass over a round is a scan
//     (cuda/scan/chain_scan.cuh). Chains ascend by their leaf, which keeps memory accesses local and
//     makes the order a function of the tree alone.
#pragma once

#include "core.h"
#include "cuda/runtime/call.h"

namespace treefilter {

// A plan: int32 values of one tree.
struct PlanView {
  // Rounds, that of the roots included, and one more bound.
  static constexpr int64_t kRounds = 34;
  // A slot with at least this many light children is a hub.
  static constexpr int32_t kHub = 128;

  const int32_t* values;
  int64_t nodes;

  static TREEFILTER_HD int64_t size(int64_t nodes) { return 4 * nodes + 2 + kRounds; }

  // order[slot]: the vertex, as in Tree.order.
  TREEFILTER_HD const int32_t* order() const { return values; }
  // up[slot]: slot + 1 where the parent follows in the same chain; ~(the parent's slot) at the top of a
  // chain; ~slot at a root. So slot 0, and each slot after an up < 0, is the bottom of a chain.
  TREEFILTER_HD const int32_t* up() const { return values + nodes; }
  // light_children[light_begin[slot] … light_begin[slot + 1] - 1]: the slots of the light children, i.e.
  // those that are the top of a chain of their own, ascending. (The other child, if there is one, is in
  // slot - 1.)
  TREEFILTER_HD const int32_t* light_begin() const { return values + 2 * nodes; }
  TREEFILTER_HD const int32_t* light_children() const { return values + 3 * nodes + 1; }
  // Whether there is a hub.
  TREEFILTER_HD bool has_hubs() const { return values[4 * nodes + 1] != 0; }
  // rounds[k]: the first slot of round k; for k from the number of rounds on, the number of slots.
  TREEFILTER_HD const int32_t* rounds() const { return values + 4 * nodes + 2; }

  // The number of slots: fewer than vertices where some are on a cycle, so that this is no tree.
  TREEFILTER_HD int32_t slots() const { return rounds()[kRounds - 1]; }
  TREEFILTER_HD int32_t vertex(int32_t slot) const { return order()[slot]; }
  TREEFILTER_HD bool is_top(int32_t slot) const { return up()[slot] < 0; }
  TREEFILTER_HD bool is_bottom(int32_t slot) const { return slot == 0 || up()[slot - 1] < 0; }
  TREEFILTER_HD bool is_hub(int32_t slot) const {
    return light_begin()[slot + 1] - light_begin()[slot] >= kHub;
  }
  TREEFILTER_HD bool is_root(int32_t slot) const { return up()[slot] == ~slot; }
  // The parent's slot; at a root its own.
  TREEFILTER_HD int32_t parent(int32_t slot) const {
    const int32_t above = up()[slot];
    return above < 0 ? ~above : above;
  }
};

// Makes the plans of trees that were not made on CUDA: parent [B, N], plan [B, PlanView::size(N)]. A
// parent outside of [0, N) makes a root. Vertices on a cycle, which is no tree, get no slot.
void plan(const Cuda&, int64_t batch, int64_t nodes, Span<const int32_t> parent, Span<int32_t> plan);

}  // namespace treefilter
