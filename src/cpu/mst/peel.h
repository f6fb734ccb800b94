// The peel: roots an unrooted forest and computes the CPU's order of visits, in one traversal.
//
// The peel removes leaves. It follows the path from a leaf towards the root, and removes each vertex,
// until it comes to a vertex that still has another child. The path of the child that comes last goes on
// from there. kPaths paths are followed at the same time, interleaved vertex by vertex; when one ends,
// the path of the next leaf, in ascending order, takes its turn. The roots come last. So
//   - children come before their parents,
//   - consecutive visits are independent, so that no visit of a pass waits for the result of the one
//     before; yet they are near each other in memory, because the leaves are,
//   - the order is a function of the tree alone.
// (In the order of plan.h, which CUDA needs, most vertices are followed by their parents: there a pass
// on a CPU waits for the result of each visit, and the ends of chains are mispredicted branches.)
//
// Cost: O(N), one visit per vertex; no recursion. Workspace: 4 bytes per vertex besides the forest's.
#pragma once

#include "unrooted.h"

namespace treefilter {

constexpr int64_t kPaths = 8;

// Roots the forest: the component of `root` at `root`, every other component at its lowest vertex. The
// forest is consumed. component[v]: the lowest vertex of v's component; empty if there is one component.
// It may be the same memory as `tree.order`.
template <class Forest>
void root_and_order(const Cpu& cpu, const Forest& forest, Span<const int32_t> component, int64_t root,
                    const RootedTree& tree);

}  // namespace treefilter
