// Two linear passes over a tree, and the filter made of them.
//
//   leaf_to_root   S_v = x_v + sum over children c of a_c S_c
//   root_to_leaf   R_v = x_v + a_v R_parent
//   sum            F_v = (1 - a_v^2) S_v + a_v F_parent          = sum_j A_vj x_j
//   mean           y_v = F_v / n_v,  n = F of ones               (Yang 2012; Song et al. 2019)
//
// with A_vj the product of the affinities a on the path from v to j, A_vv = 1: exact, O(N) a channel.
//
// The mean works on means all the way. With m_v the mass (S of ones) below v and Xbar_v = S_v / m_v,
//
//   Xbar_v = x_v / m_v + sum over c of (a_c m_c / m_v) Xbar_c
//   y_v    = (1 - b_v) y_parent + b_v Xbar_v,   b_v = (1 - a_v)(1 + a_v) m_v / n_v
//
// Values stay in the range of x whatever the size of the tree and nothing is divided per channel. m and
// n, sums over up to N terms, are kept in double.
//
// Derivatives. A is symmetric, so the gradient in x is the filter again: mean' = n mean(g / n). With
// capital letters for the leaf-to-root sums, p = parent(v) and G of the incoming gradient (over n),
//
//   dL/da_v = sum_c  G_v (F_p - a_v S_v) + S_v (H_p - a_v G_v)       (H = sum of G's x)
//
// and, for the mean, the same expression once more for one channel with x = 1 and the gradient
// -sum_c g_c y_c / n: what the normaliser n passes on, for all channels together.
//
// Channels are taken in blocks, one row of 1 to 32 values per vertex, in raster order, so that a visit
// to a vertex is a load of a cache line or two and a short vector operation. Planar tensors are
// transposed into rows and back; where a vertex's channels lie side by side anyway (channels last), the
// result is filtered in place. One to three channels are filtered in double, as sums (cpu/filter.cpp
// says why).
#pragma once

#include "mst.h"
#include "plan.h"

namespace treefilter {

enum class Pass { kLeafToRoot, kRootToLeaf, kSum, kMean };

// parent, order [batch, nodes]; a batch of 1 serves any. plan [batch, PlanView::size(nodes)], CUDA only.
struct TreeView {
  int64_t batch, nodes;
  Span<const int32_t> parent, order, plan;

  TREEFILTER_HD PlanView plan_of(int64_t b) const {
    return {plan.data + (batch == 1 ? 0 : b) * PlanView::size(nodes), nodes};
  }
};

// affinity [batch, groups, nodes]; a batch of 1 serves any. Group g weighs channels g C/G … (g+1) C/G
// - 1.
template <class T>
struct Affinity {
  int64_t batch, groups;
  Span<const T> values;
};

template <class X, class T>
void propagate(Cpu, Pass, const TreeView&, const Affinity<T>&, Strided<const X> x, Strided<X> out);
template <class X, class T>
void propagate(const Cuda&, Pass, const TreeView&, const Affinity<T>&, Strided<const X> x,
               Strided<X> out);

// The derivative of kSum or kMean: y is the filter's result, grad that of the loss in y.
// grad_affinity [B, groups, nodes] may be empty; then only grad_x is computed.
template <class X, class T>
void filter_backward(Cpu, Pass, const TreeView&, const Affinity<T>&, Strided<const X> x,
                     Strided<const X> y, Strided<const X> grad, Strided<X> grad_x,
                     Span<T> grad_affinity);
template <class X, class T>
void filter_backward(const Cuda&, Pass, const TreeView&, const Affinity<T>&, Strided<const X> x,
                     Strided<const X> y, Strided<const X> grad, Strided<X> grad_x,
                     Span<T> grad_affinity);

// out[b, g, v] = sum over the group's channels of p[b, c, parent(v)] q[b, c, v]; 0 at roots:
// the derivative of a pass in the affinity. out [B, groups, nodes].
template <class X, class T>
void parent_dot(Cpu, const TreeView&, int64_t groups, Strided<const X> p, Strided<const X> q,
                Span<T> out);
template <class X, class T>
void parent_dot(const Cuda&, const TreeView&, int64_t groups, Strided<const X> p, Strided<const X> q,
                Span<T> out);

}  // namespace treefilter
