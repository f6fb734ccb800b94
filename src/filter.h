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
//   Xbar_v = (x_v + sum over c of a_c m_c Xbar_c) / m_v
//   y_v    = (1 - b_v) y_parent + b_v Xbar_v,   b_v = (1 - a_v)(1 + a_v) m_v / n_v
//
// Values stay in the range of x whatever the size of the tree and nothing is divided per channel. m and
// n, sums over up to N terms, are kept in double. (On the CPU, where children join one after the other,
// each step is the mean of two values: a constant stays exactly what it is.)
//
// Derivatives. A is symmetric, so the gradient in x is the filter again: mean' = n mean(g / n). With p =
// parent(v), G the leaf-to-root sums of the incoming gradient and H its filtered sums, a_v weighs every
// pair of a vertex i below v and one j elsewhere by A_iv A_pj, for the sum:
//
//   dL/da_v = sum_c  G_v (F_p - a_v S_v) + S_v (H_p - a_v G_v)  =  P - 2 a_v Q
//   P = sum_c G_v F_p + S_v H_p,   Q = sum_c G_v S_v
//
// For the mean dy_i = (dF_i - y_i dn_i) / n_i, so that a pair gives g_i/n_i (x_j - y_i) + g_j/n_j
// (x_i - y_j): nothing that all x share. To lose nothing by it either, all is written as differences
// from y_p, and x is taken less its mean (Centre). Now let G be the sums of g/n, Gbar and Hbar their
// means G_v / m_v and H_v / n_v, and d = Xbar_v - y_p, of which y_v - y_p is b_v d. Summed over
// channels,
//
//   P   = sum_c d Hbar_p,   Q = sum_c d Gbar_v
//   T_v = sum over i below v of A_iv g_i/n_i (y_i - y_p) = R_v + b_v m_v Q,  R_v = sum over c of a_c T_c
//   W_v = sum over all j     of A_vj g_j/n_j (y_j - y_v) = R_v + a_v (O_v - b_v (n_p P - a_v m_v Q)),
//   O_v = W_p - a_v T_v, the part of W_p that is not below v (at a root, W = R)
//   dL/da_v = m_v (n_p P - 2 a_v m_v Q) - (n_p - a_v m_v) T_v - m_v O_v
//
// P and Q fall out of the one filter of g and x together; T, R and W are numbers, not rows of channels.
//
// Channels are taken in blocks, one row of 1 to 32 values per vertex, in raster order, so that a visit
// to a vertex is a load of a cache line or two and a short vector operation. Planar tensors are
// transposed into rows and back; where a vertex's channels lie side by side anyway (channels last), the
// result is filtered in place. One to three channels are filtered in double, as sums
// (cpu/filter/filter.cpp says why).
#pragma once

#include "tree.h"

namespace treefilter {

enum class Pass { kLeafToRoot, kRootToLeaf, kSum, kMean };

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

// The derivative of kSum or kMean: grad is that of the loss in the filter's result.
// grad_affinity [B, groups, nodes] may be empty; then only grad_x is computed.
template <class X, class T>
void filter_backward(Cpu, Pass, const TreeView&, const Affinity<T>&, Strided<const X> grad,
                     Strided<const X> x, Strided<X> grad_x, Span<T> grad_affinity);
template <class X, class T>
void filter_backward(const Cuda&, Pass, const TreeView&, const Affinity<T>&, Strided<const X> grad,
                     Strided<const X> x, Strided<X> grad_x, Span<T> grad_affinity);

// What x is taken less of for the mean's derivative: about the mean of a channel, from as many vertices
// as cost nothing. Neighbours along a row or a column of an image are not all of them: the step is odd.
struct Centre {
  static constexpr int64_t kSamples = 1024;

  static TREEFILTER_HD int64_t step(int64_t nodes) { return nodes / kSamples | 1; }
  static TREEFILTER_HD int64_t samples(int64_t nodes) { return (nodes + step(nodes) - 1) / step(nodes); }
  static TREEFILTER_HD int64_t vertex(int64_t i, int64_t nodes) { return i * step(nodes); }
  template <class T>
  static TREEFILTER_HD T of(double sum, int64_t nodes) {
    const double mean = sum / static_cast<double>(samples(nodes));
    return mean - mean == 0 ? static_cast<T>(mean) : T(0);  // 0 where it is not finite
  }
};

// out[b, g, v] = sum over the group's channels of p[b, c, parent(v)] q[b, c, v]; 0 at roots:
// the derivative of a pass in the affinity. out [B, groups, nodes].
template <class X, class T>
void parent_dot(Cpu, const TreeView&, int64_t groups, Strided<const X> p, Strided<const X> q,
                Span<T> out);
template <class X, class T>
void parent_dot(const Cuda&, const TreeView&, int64_t groups, Strided<const X> p, Strided<const X> q,
                Span<T> out);

}  // namespace treefilter
