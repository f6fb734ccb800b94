// Two linear passes over a tree, and the filter that consists of them.
//
//   leaf_to_root   S_v = x_v + sum over children c of a_c S_c
//   root_to_leaf   R_v = x_v + a_v R_parent
//   sum            F_v = (1 - a_v^2) S_v + a_v F_parent          = sum_j A_vj x_j
//   mean           y_v = F_v / n_v,  n = F of ones               (Yang 2012; Song et al. 2019)
//
// where A_vj is the product of the affinities a on the path from v to j, and A_vv = 1. This is exact,
// and costs O(N) for each channel.
//
// The mean is computed from means throughout. Let m_v, the mass, be S of ones, and Xbar_v = S_v / m_v.
// Then
//
//   Xbar_v = (x_v + sum over c of a_c m_c Xbar_c) / m_v
//   y_v    = (1 - b_v) y_parent + b_v Xbar_v,   b_v = (1 - a_v)(1 + a_v) m_v / n_v
//
// Values stay in the range of x however large the tree is, and no channel needs a division. m and n,
// which are sums of up to N terms, are kept in double. (On the CPU children join one after the other,
// and each step is the mean of two values: a constant stays exactly what it is.)
//
// Derivatives. A is symmetric, so the gradient in x is the filter again: mean' = n mean(g / n). Let p be
// parent(v), G the leaf-to-root sums of the incoming gradient and H its filtered sums. a_v is a factor
// of A_ij for every i below v and j elsewhere, so that the sum has
//
//   dL/da_v = sum_c  G_v (F_p - a_v S_v) + S_v (H_p - a_v G_v)  =  P - 2 a_v Q
//   P = sum_c G_v F_p + S_v H_p,   Q = sum_c G_v S_v
//
// For the mean, dy_i = (dF_i - y_i dn_i) / n_i, so that a pair (i, j) contributes g_i/n_i (x_j - y_i) +
// g_j/n_j (x_i - y_j): a value that all x have in common cancels. So that it costs no accuracy either,
// everything is written in differences from y_p, and the mean of x (Centre) is subtracted from x first.
// Now let G be the sums of g/n, Gbar and Hbar their means G_v / m_v and H_v / n_v, and d = Xbar_v - y_p,
// where b_v d = y_v - y_p. Summed over channels,
//
//   P   = sum_c d Hbar_p,   Q = sum_c d Gbar_v
//   T_v = sum over i below v of A_iv g_i/n_i (y_i - y_p) = R_v + b_v m_v Q,  R_v = sum over c of a_c T_c
//   W_v = sum over all j     of A_vj g_j/n_j (y_j - y_v) = R_v + a_v (O_v - b_v (n_p P - a_v m_v Q)),
//   O_v = W_p - a_v T_v, the part of W_p that is not below v (at a root, W = R)
//   dL/da_v = m_v (n_p P - 2 a_v m_v Q) - (n_p - a_v m_v) T_v - m_v O_v
//
// P and Q come out of one filter of g and x together. T, R and W are one number for each vertex, not one
// for each channel.
//
// The CPU takes channels in blocks of 1 to 32, which lie side by side for each vertex, in raster order,
// so that the visit to a vertex is a load of one or two cache lines and a short vector operation. Planar
// tensors are transposed into this form and back. Where the channels of a vertex lie side by side anyway
// (channels last), the result is filtered in place. One to three channels are filtered in double, as
// sums (cpu/filter/filter.cpp says why). CUDA takes channels one by one, or a
// few that share their coefficients (cuda/filter/channels.cuh).
#pragma once

#include "tree.h"

namespace treefilter {

enum class Pass { kLeafToRoot, kRootToLeaf, kSum, kMean };

// affinity [batch, groups, nodes]; a batch of 1 serves any. Group g has channels g C/G … (g + 1) C/G
// - 1. coefficients: empty, or those of `values` and the tree, for kMean on CUDA (below).
template <class T>
struct Affinity {
  int64_t batch, groups;
  Span<const T> values;
  Span<const double> coefficients = {};
};

template <class X, class T>
void propagate(Cpu, Pass, const TreeView&, const Affinity<T>&, Strided<const X> x, Strided<X> out);
template <class X, class T>
void propagate(const Cuda&, Pass, const TreeView&, const Affinity<T>&, Strided<const X> x,
               Strided<X> out);

// What the mean on CUDA multiplies with: masses, totals, and what follows from them
// (cuda/filter/coefficients.cuh). It depends on the tree and the affinity alone, so that the derivative
// need not make it again. out [batch, groups, coefficients_size<T>(nodes)], where batch is 1 if those of
// the tree and the affinity are.
template <class T>
TREEFILTER_HD int64_t coefficients_size(int64_t nodes) {
  constexpr int64_t kOf = sizeof(double) / sizeof(T);
  return 2 * nodes + (5 * nodes + kOf - 1) / kOf;
}
template <class T>
void coefficients(const Cuda&, const TreeView&, const Affinity<T>&, Span<double> out);

// The derivative of kSum or kMean. grad is the gradient of the loss in the filter's result.
// grad_affinity [B, groups, nodes] may be empty; then only grad_x is computed.
template <class X, class T>
void filter_backward(Cpu, Pass, const TreeView&, const Affinity<T>&, Strided<const X> grad,
                     Strided<const X> x, Strided<X> grad_x, Span<T> grad_affinity);
template <class X, class T>
void filter_backward(const Cuda&, Pass, const TreeView&, const Affinity<T>&, Strided<const X> grad,
                     Strided<const X> x, Strided<X> grad_x, Span<T> grad_affinity);

// The value subtracted from x in the mean's derivative: about the mean of a channel, taken over so few
// vertices that it costs nothing. The step between them is odd, so that they are not all in one column
// of an image.
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

// The derivative of a pass in the affinity: out[b, g, v] = sum over the channels c of group g of
// p[b, c, parent(v)] q[b, c, v], and 0 at roots. out [B, groups, nodes].
template <class X, class T>
void parent_dot(Cpu, const TreeView&, int64_t groups, Strided<const X> p, Strided<const X> q,
                Span<T> out);
template <class X, class T>
void parent_dot(const Cuda&, const TreeView&, int64_t groups, Strided<const X> p, Strided<const X> q,
                Span<T> out);

}  // namespace treefilter
