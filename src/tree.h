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

}  // namespace treefilter
