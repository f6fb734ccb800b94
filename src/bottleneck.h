// Sums over a dendrogram, weighted by bottlenecks: with k_p the affinity of merge p, and S the sums of x
// over the leaves of every node,
//   y_i = x_i + sum of k_p S_s over the ancestors p of leaf i, where s is the child of p without i.
//
// Two passes in the order of the merges, up and down, over up to eight channels at a time, whose values
// at a node follow each other; the pass down overwrites the sums. Everything is float64, since a leaf
// may have as many ancestors as there are leaves. Blocks of channels in parallel; the order of additions
// is that of the merges. On CUDA the passes of filter.h do the same (_ops.py).
#pragma once

#include "core.h"

namespace treefilter {

// x, y [B, C, N]; children [1 or B, N - 1, 2], -1 where there is no merge; k [1 or B, N - 1].
void bottleneck_sums(Cpu, int64_t batch, int64_t channels, int64_t nodes, Span<const double> x,
                     Span<const int32_t> children, Span<const double> k, Span<double> y);

}  // namespace treefilter
