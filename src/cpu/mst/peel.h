// The peel: from an unrooted forest to rooted trees and the CPU's order of visits, in one go.
//
// From each leaf a way leads up, which ends at a vertex that still has to wait for another child; the
// child that comes last goes on from there. kWays such ways are followed by turns, a vertex each; where
// one ends, the next leaf's begins, in ascending order. The roots come last. So
//   - children come before their parents,
//   - what is visited one after the other is independent, so that no visit of a pass has to wait for
//     the one before; but it lies no further apart than some leaves do,
//   - the order is a function of the tree alone.
// (In the order of plan.h, which CUDA needs, a vertex is mostly followed by its parent: a pass waits for
// each visit's result, and chains end where no branch predictor expects it.)
//
// Cost: O(N), one visit a vertex; no recursion. Workspace: 4 bytes a vertex besides the forest's.
#pragma once

#include "unrooted.h"

namespace treefilter {

constexpr int64_t kWays = 8;

// Roots one forest at `root` and every further component at its lowest vertex, and uses it up.
// component[v]: the lowest vertex of v's component; empty where there is one only. It may be the same
// memory as `tree.order`.
template <class Forest>
void root_and_order(const Forest& forest, Span<const int32_t> component, int64_t root,
                    const RootedTree& tree);

}  // namespace treefilter
