// A batch of rooted trees as the passes over them see it.
#pragma once

#include "plan.h"

namespace treefilter {

// parent, order [batch, nodes]; a batch of 1 serves any. plan [batch, PlanView::size(nodes)], CUDA only.
struct TreeView {
  int64_t batch, nodes;
  Span<const int32_t> parent, order, plan;

  TREEFILTER_HD PlanView plan_of(int64_t b) const {
    return {plan.data + (batch == 1 ? 0 : b) * PlanView::size(nodes), nodes};
  }
};

// On the CPU, the order of visits (cpu/mst/peel.h) of trees that mst() did not make. parent, order
// [batch, nodes], every parent in [0, nodes). ordered [batch]: how many vertices are in the
// order. Fewer than all mean that the others are on cycles. O(nodes) a tree, no recursion; the same at
// any number of threads. (On CUDA the plan has the order.)
void order_trees(Cpu cpu, int64_t nodes, Span<const int32_t> parent, Span<int32_t> order,
                 Span<int64_t> ordered);

// On the CPU, trees in the order of ranks: the reverse of an order in which children come first, so that
// vertex 0, the root, has rank 0. parent, order [batch, nodes]. index, above [batch, nodes]: the vertex
// of each rank and the rank of its parent. children [batch, nodes, most]: the ranks of the children,
// ascending, and 0 after the last. needed [batch]: the largest number of children; if it exceeds `most`,
// some are in no list. O(nodes most) a tree.
void rank_trees(Cpu cpu, int64_t nodes, int64_t most, Span<const int32_t> parent,
                Span<const int32_t> order, Span<int32_t> index, Span<int32_t> above,
                Span<int32_t> children, Span<int64_t> needed);

}  // namespace treefilter
