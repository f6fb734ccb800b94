// The L1 difference (difference.h) on CUDA, with one thread for each vertex, which adds up its channels,
// and one for each value of the gradient. Neighbouring threads read and write neighbouring values. One
// launch each.
#include "../difference.h"
#include "runtime/launch.cuh"

namespace treefilter {
using namespace cuda;

namespace {

// i = b * nodes + v.
template <class T>
struct Difference {
  int64_t channels, nodes;
  const T *x, *y;
  T* out;
  int8_t* sign;

  TREEFILTER_HD void operator()(int64_t i) const {
    T sum = T(0);
    int64_t at = i + i / nodes * (channels - 1) * nodes;
    for (int64_t c = 0; c < channels; ++c, at += nodes) {
      const T difference = x[at] - y[at];
      sum += difference < 0 ? -difference : difference;
      if (sign != nullptr) sign[at] = static_cast<int8_t>(sign_of(difference));
    }
    out[i] = sum;
  }
};

// i = (b * channels + c) * nodes + v.
template <class T>
struct DifferenceBackward {
  int64_t channels, nodes;
  const T* grad;
  const int8_t* sign;
  T *grad_x, *grad_y;

  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t map = i / nodes, b = map / channels;
    const T value = grad[i + (b - map) * nodes] * static_cast<T>(sign[i]);
    grad_x[i] = value;
    if (grad_y != nullptr) grad_y[i] = -value;
  }
};

}  // namespace

template <class T>
void l1_difference(const Cuda& cuda, int64_t batch, int64_t channels, int64_t num_nodes, Span<const T> x,
                   Span<const T> y, Span<T> out, Span<int8_t> sign) {
  launch_flat(cuda, "l1_difference", batch * num_nodes,
              Difference<T>{channels, num_nodes, x.data, y.data, out.data,
                            sign.size == 0 ? nullptr : sign.data});
}

template <class T>
void l1_difference_backward(const Cuda& cuda, int64_t batch, int64_t channels, int64_t num_nodes,
                            Span<const T> grad, Span<const int8_t> sign, Span<T> grad_x,
                            Span<T> grad_y) {
  launch_flat(cuda, "l1_difference_backward", batch * channels * num_nodes,
              DifferenceBackward<T>{channels, num_nodes, grad.data, sign.data, grad_x.data,
                                    grad_y.size == 0 ? nullptr : grad_y.data});
}

#define TREEFILTER_INSTANTIATE(T)                                                                   \
  template void l1_difference(const Cuda&, int64_t, int64_t, int64_t, Span<const T>, Span<const T>, \
                              Span<T>, Span<int8_t>);                                               \
  template void l1_difference_backward(const Cuda&, int64_t, int64_t, int64_t, Span<const T>,       \
                                       Span<const int8_t>, Span<T>, Span<T>);
TREEFILTER_INSTANTIATE(float)
TREEFILTER_INSTANTIATE(double)

}  // namespace treefilter
