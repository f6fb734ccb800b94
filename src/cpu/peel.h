// The peel: from an unrooted forest to a rooted tree in the order of plan.h.
#pragma once

#include "unrooted.h"

namespace treefilter {

// Roots one forest at `root` and every further component at its lowest vertex, and uses it up.
// component[v]: the lowest vertex of v's component; empty where there is one only. It may be the same
// memory as `tree.order`.
template <class Forest>
void root_and_order(const Forest& forest, Span<const int32_t> component, int64_t root,
                    const RootedTree& tree);

}  // namespace treefilter
