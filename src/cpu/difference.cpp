// The L1 difference (difference.h), some thousand vertices at a time: their sums, or their gradients,
// stay in the first-level cache while the channels are visited. Loops over vertices are vectorised.
#include "../difference.h"

#include <algorithm>
#include <cmath>

#include "support/parallel.h"

namespace treefilter {
namespace {

constexpr int64_t kBlock = 4096;

// Calls visit(b, v0, v1) for blocks v0 … v1 - 1 of the vertices of every image b.
template <class Visit>
void for_blocks(Cpu cpu, int64_t batch, int64_t channels, int64_t num_nodes, const Visit& visit) {
  const int64_t blocks = (num_nodes + kBlock - 1) / kBlock;
  parallel_for(batch * blocks, std::min(kBlock, num_nodes) * channels, cpu, [&] {
    return [&](int64_t item) {
      const int64_t v0 = item % blocks * kBlock;
      visit(item / blocks, v0, std::min(v0 + kBlock, num_nodes));
    };
  });
}

}  // namespace

template <class T>
void l1_difference(Cpu cpu, int64_t batch, int64_t channels, int64_t num_nodes, Span<const T> x,
                   Span<const T> y, Span<T> out, Span<int8_t> sign) {
  for_blocks(cpu, batch, channels, num_nodes, [&](int64_t b, int64_t v0, int64_t v1) {
    T* __restrict sums = out.data + b * num_nodes;
    std::fill(sums + v0, sums + v1, T(0));
    for (int64_t c = b * channels; c < (b + 1) * channels; ++c) {
      const T *xs = x.data + c * num_nodes, *ys = y.data + c * num_nodes;
      for (int64_t v = v0; v < v1; ++v) sums[v] += std::abs(xs[v] - ys[v]);
      if (sign.size == 0) continue;
      int8_t* __restrict signs = sign.data + c * num_nodes;
      for (int64_t v = v0; v < v1; ++v) signs[v] = static_cast<int8_t>(sign_of(xs[v] - ys[v]));
    }
  });
}

template <class T>
void l1_difference_backward(Cpu cpu, int64_t batch, int64_t channels, int64_t num_nodes,
                            Span<const T> grad, Span<const int8_t> sign, Span<T> grad_x,
                            Span<T> grad_y) {
  for_blocks(cpu, batch, channels, num_nodes, [&](int64_t b, int64_t v0, int64_t v1) {
    const T* grads = grad.data + b * num_nodes;
    for (int64_t c = b * channels; c < (b + 1) * channels; ++c) {
      const int8_t* signs = sign.data + c * num_nodes;
      T* __restrict to_x = grad_x.data + c * num_nodes;
      for (int64_t v = v0; v < v1; ++v) to_x[v] = grads[v] * static_cast<T>(signs[v]);
      if (grad_y.size == 0) continue;
      T* __restrict to_y = grad_y.data + c * num_nodes;
      for (int64_t v = v0; v < v1; ++v) to_y[v] = -to_x[v];
    }
  });
}

#define TREEFILTER_INSTANTIATE(T)                                                                    \
  template void l1_difference(Cpu, int64_t, int64_t, int64_t, Span<const T>, Span<const T>, Span<T>, \
                              Span<int8_t>);                                                         \
  template void l1_difference_backward(Cpu, int64_t, int64_t, int64_t, Span<const T>,                \
                                       Span<const int8_t>, Span<T>, Span<T>);
TREEFILTER_INSTANTIATE(float)
TREEFILTER_INSTANTIATE(double)

}  // namespace treefilter
