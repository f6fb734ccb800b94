// Edge weights outside of the range in which the fast loops are right (edge_weight.h), for the CPU and
// CUDA.
//
// The fast loops add the terms of an edge in the type T of the sum. That fails where a square or a sum
// overflows, and, for Euclidean distances, where squares are so small that they lose digits or vanish.
// It also does not tell a sum that overflows from one of infinite features. So an edge whose sum is out
// of range is computed once more, here, in a way that is slow and always right:
//   - a finite weight beyond the largest finite T is that largest value ("no edge" is +inf),
//   - a Euclidean distance is right to rounding, as that of hypot(),
//   - an edge with an infinite feature or a NaN weighs NaN.
//
// The derivative of a Euclidean distance d is the unit vector of the difference times the gradient. The
// fast loops multiply differences by gradient / d, which overflows, vanishes or loses digits where d is
// very small or very large. Then edge_scale() is NaN, and so is the sum of the vertex, which is computed
// once more from edge_term().
#pragma once

#include <cfloat>
#include <cmath>

#include "edge_weight.h"

namespace treefilter {

// kLeastDistance: a smaller Euclidean distance may have lost digits. A scale is precise if it is at
// least kLeastScale, or if it is small because of the gradient and not because of the distance
// (kLargeDistance); beyond kHugeDistance differences may overflow.
template <class T>
struct EdgeRange;
template <>
struct EdgeRange<float> {
  static constexpr float kLargest = FLT_MAX, kLeastDistance = 0x1p-50f;
  static constexpr float kLeastScale = 0x1p-116f, kLargeDistance = 0x1p20f, kHugeDistance = 0x1p120f;
};
template <>
struct EdgeRange<double> {
  static constexpr double kLargest = DBL_MAX, kLeastDistance = 0x1p-500;
  static constexpr double kLeastScale = 0x1p-980, kLargeDistance = 0x1p100, kHugeDistance = 0x1p1000;
};

// Whether a weight from a fast loop is right.
template <class T>
TREEFILTER_HD bool in_range(Psi psi, T weight) {
  return weight <= EdgeRange<T>::kLargest &&
         (psi != Psi::kEuclidean || weight >= EdgeRange<T>::kLeastDistance);
}

// The weight of an edge. u, v: the first channel of its ends; further channels are `stride` apart.
template <class T, class X>
TREEFILTER_HD T exact_weight(Psi psi, int64_t channels, int64_t stride, const X* u, const X* v) {
  double largest = 0;  // half of the largest difference
  for (int64_t c = 0; c < channels; ++c) {
    const double a = load<double>(u[c * stride]), b = load<double>(v[c * stride]);
    const double nan = (a - a) + (b - b);  // 0 if both are finite
    if (nan != 0) return static_cast<T>(nan);
    const double half = a / 2 - b / 2, size = half < 0 ? -half : half;
    if (size > largest) largest = size;
  }
  // Only float64 needs a scale: squares of float32 are far from the limits of double.
  double scale = 1;
  if (psi == Psi::kEuclidean && largest > 0x1p400) scale = 0x1p-600;
  if (psi == Psi::kEuclidean && largest < 0x1p-400) scale = 0x1p600;
  double sum = 0;
  for (int64_t c = 0; c < channels; ++c) {
    const double a = load<double>(u[c * stride]), b = load<double>(v[c * stride]);
    const double d = scale < 1 ? a * scale - b * scale : (a - b) * scale;
    sum += psi == Psi::kSign ? (d < 0 ? -d : d) : d * d;
  }
  const double weight = psi == Psi::kEuclidean ? sqrt(sum) / scale : sum;
  constexpr T kLargest = EdgeRange<T>::kLargest;
  return weight < static_cast<double>(kLargest) ? static_cast<T>(weight) : kLargest;
}

// The first channel with the largest |f_u - f_v|, and that distance.
template <class T, class X>
TREEFILTER_HD T exact_largest(int64_t channels, int64_t stride, const X* u, const X* v,
                              int64_t& channel) {
  double largest = -1;  // half of it
  channel = 0;
  for (int64_t c = 0; c < channels; ++c) {
    const double a = load<double>(u[c * stride]), b = load<double>(v[c * stride]);
    const double nan = (a - a) + (b - b);
    if (nan != 0) {
      channel = c;
      return static_cast<T>(nan);
    }
    const double half = a / 2 - b / 2, size = half < 0 ? -half : half;
    if (size > largest) {
      largest = size;
      channel = c;
    }
  }
  constexpr T kLargest = EdgeRange<T>::kLargest;
  return 2 * largest < static_cast<double>(kLargest) ? static_cast<T>(2 * largest) : kLargest;
}

// What the derivative of a distance multiplies differences by, or their signs: 0 at the largest
// distance, which stands for all that lies beyond. For Euclidean distances also 0 at distance 0, and NaN
// where the product would not be precise.
template <class T>
TREEFILTER_HD T edge_scale(Psi psi, T gradient, T distance) {
  using Range = EdgeRange<T>;
  if (distance == Range::kLargest) return T(0);
  if (psi != Psi::kEuclidean) return gradient;
  if (distance == 0) return T(0);
  if (gradient == 0 && distance == distance) return T(0);
  const T scale = gradient / distance, size = scale < 0 ? -scale : scale;
  const bool precise = distance <= Range::kHugeDistance && size <= Range::kLargest &&
                       (size >= Range::kLeastScale || distance <= Range::kLargeDistance);
  return precise ? scale : static_cast<T>(NAN);
}

// The derivative's term of one edge and channel at u: gradient * (f_u - f_v) / distance.
template <class X, class T>
TREEFILTER_HD T edge_term(T scale, T gradient, T distance, X u, X v) {
  if (scale == 0) return T(0);
  if (scale == scale) return scale * (load<T>(u) - load<T>(v));
  const double part = distance > 0x1p1000 ? 0x1p-8 : 1;  // a difference may be twice the largest double
  const double difference = load<double>(u) * part - load<double>(v) * part;
  const double unit = difference / (static_cast<double>(distance) * part);
  return static_cast<T>(unit * static_cast<double>(gradient));
}

}  // namespace treefilter
