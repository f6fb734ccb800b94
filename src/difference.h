// The L1 difference of two maps, which the tree energy loss sums up (Eq. 9 of Liang et al., CVPR 2022):
// for every vertex the sum over channels of |x - y|, added in the order of the channels. Its derivatives
// need the signs of the differences only: a byte for each value is kept for them, neither map.
#pragma once

#include "core.h"
#include "cuda/runtime/call.h"

namespace treefilter {

// x, y [B, C, N]; out [B, N]; sign [B, C, N], that of x - y, 0 for NaN; or empty, if it is not wanted.
template <class T>
void l1_difference(Cpu, int64_t batch, int64_t channels, int64_t num_nodes, Span<const T> x,
                   Span<const T> y, Span<T> out, Span<int8_t> sign);
template <class T>
void l1_difference(const Cuda&, int64_t batch, int64_t channels, int64_t num_nodes, Span<const T> x,
                   Span<const T> y, Span<T> out, Span<int8_t> sign);

// grad [B, N]; grad_x, grad_y [B, C, N], of which grad_y = -grad_x may be left out (empty).
template <class T>
void l1_difference_backward(Cpu, int64_t batch, int64_t channels, int64_t num_nodes, Span<const T> grad,
                            Span<const int8_t> sign, Span<T> grad_x, Span<T> grad_y);
template <class T>
void l1_difference_backward(const Cuda&, int64_t batch, int64_t channels, int64_t num_nodes,
                            Span<const T> grad, Span<const int8_t> sign, Span<T> grad_x, Span<T> grad_y);

}  // namespace treefilter
