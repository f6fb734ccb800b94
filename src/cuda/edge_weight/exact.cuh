// Weights and derivatives that leave the range of the fast loops (edge_range.h). The thread that has
// computed them checks its results. It computes those that are out of range again, edge by edge. This is
// rare, and its loops are not unrolled, so that they take no registers from the fast loops.
#pragma once

#include "../../edge_range.h"
#include "grid.cuh"

namespace treefilter::cuda {

// Turns the sums of squares into distances for kEuclidean, and -0, which a largest difference may be,
// into 0. Returns whether any result is out of range. (Loops are unrolled, so that arrays are
// registers.)
template <class T, size_t Count>
TREEFILTER_HD bool finish(Psi psi, T (&sums)[Count]) {
  bool out_of_range = false;
  TREEFILTER_UNROLL
  for (size_t i = 0; i < Count; ++i) {
    sums[i] = psi == Psi::kEuclidean ? sqrt(sums[i]) : sums[i] + T(0);
    out_of_range = out_of_range || !in_range(psi, sums[i]);
  }
  return out_of_range;
}

template <class T, size_t Outer, size_t Count>
TREEFILTER_HD bool finish(Psi psi, T (&sums)[Outer][Count]) {
  bool out_of_range = false;
  TREEFILTER_UNROLL
  for (size_t i = 0; i < Outer; ++i) out_of_range = finish(psi, sums[i]) || out_of_range;
  return out_of_range;
}

// For the edges that start at vertex v of image b. weight [B, E].
template <int Count, class X, class T>
TREEFILTER_HD void repair_weights(const Directions<Count>& grid, Psi psi, int64_t channels, const X* f,
                                  T* weight, int64_t b, int32_t v) {
  const auto at = grid.position(v);
  const X* const u = f + b * channels * grid.nodes() + v;
  TREEFILTER_ONE_BY_ONE
  for (int d = 0; d < Count; ++d) {
    const int32_t edge = grid.starting(d, at);
    if (edge < 0) continue;
    T& value = weight[b * grid.edges() + edge];
    if (in_range(psi, value)) continue;
    value = exact_weight<T>(psi, channels, grid.nodes(), u, u + grid.offset(d));
  }
}

// The same for edge_argmax().
template <int Count, class X, class T>
TREEFILTER_HD void repair_largest(const Directions<Count>& grid, int64_t channels, const X* f,
                                  int64_t* argmax, T* distance, int64_t b, int32_t v) {
  const auto at = grid.position(v);
  const X* const u = f + b * channels * grid.nodes() + v;
  TREEFILTER_ONE_BY_ONE
  for (int d = 0; d < Count; ++d) {
    const int32_t edge = grid.starting(d, at);
    if (edge < 0) continue;
    const int64_t e = b * grid.edges() + edge;
    if (in_range(Psi::kSign, distance[e])) continue;
    distance[e] = exact_largest<T>(channels, grid.nodes(), u, u + grid.offset(d), argmax[e]);
  }
}

// The scales by which edge_scatter() multiplies where distances are given.
template <class T>
struct SetScales {
  Psi psi;
  const T *gradient, *distance;
  T* scale;

  TREEFILTER_HD void operator()(int64_t e) const {
    scale[e] = edge_scale(psi, gradient[e], distance[e]);
  }
};

// The scales, gradients and distances [B, E] of kEuclidean; null for others.
template <class T>
struct EuclideanEdges {
  const T *scale, *gradient, *distance;

  template <class X>
  TREEFILTER_HD T term(int64_t e, X u, X v) const {
    return edge_term(scale[e], gradient[e], distance[e], u, v);
  }
};

// The sums of vertex v of image b in channels first … last - 1. f, out [B, C, N].
template <int Count, class X, class T>
TREEFILTER_HD void repair_sums(const Directions<Count>& grid, const EuclideanEdges<T>& edges,
                               int64_t channels, int64_t first, int64_t last, const X* f, X* out,
                               int64_t b, int32_t v) {
  const auto at = grid.position(v);
  TREEFILTER_ONE_BY_ONE
  for (int64_t c = first; c < last; ++c) {
    const int64_t i = (b * channels + c) * grid.nodes() + v;
    T sum = 0;
    TREEFILTER_ONE_BY_ONE
    for (int n = 0; n < 2 * Count; ++n) {
      const int32_t edge = n % 2 == 0 ? grid.starting(n / 2, at) : grid.ending(n / 2, at);
      if (edge < 0) continue;
      const int32_t offset = n % 2 == 0 ? grid.offset(n / 2) : -grid.offset(n / 2);
      sum += edges.term(b * grid.edges() + edge, f[i], f[i + offset]);
    }
    store(out[i], sum);
  }
}

}  // namespace treefilter::cuda
