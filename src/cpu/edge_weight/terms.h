// What the sums towards edges (edge_inner.cpp) and towards vertices (edge_scatter.cpp) have in common.
//
// A sum over channels is loaded and stored once for kAtOnce channels; once for every channel would take
// as long as the arithmetic. For the same reason a sum over the edges of a vertex takes up to kAtOnce
// edges at a time.
//
// All inner loops run over neighbouring edges or vertices, each with a sum of its own: the compiler
// vectorises them, and the width of vectors does not change the order of additions.
//
// What a channel has of a tile is too short for the hardware to foresee where it goes on in the next
// channel: it is prefetched.
#pragma once

#include <type_traits>

#include "../../edge_range.h"
#include "../../edge_weight.h"

namespace treefilter {

// The distance of planes is often a power of two, so that they map to the same few sets of the cache.
// Two rows of 4 planes still fit into such a set.
constexpr int kAtOnce = 4;

template <Psi psi, class T>
T apply(T difference) {
  return psi == Psi::kSign ? sign_of(difference) : difference;
}

// Loads so many values into the cache, to be written if Write.
// always_inline: GCC removes calls of functions that only prefetch, as if they had no effect.
template <bool Write = false, class X>
inline __attribute__((always_inline)) void prefetch_values(const X* values, int64_t count) {
  constexpr int64_t kLine = 64 / sizeof(X);
  for (int64_t i = 0; i < count; i += kLine) __builtin_prefetch(values + i, Write);
}

// An integer type of the size of T, so that vectors of both have the same number of values.
template <class T>
using IndexLike = std::conditional_t<sizeof(T) == 8, int64_t, int32_t>;

// Whether a value may be the largest number, beyond it or NaN: four at a time, of which the sum then is.
// The values are not negative.
template <class T>
bool any_largest(int64_t count, const T* values) {
  const int64_t quarter = count / 4;
  const T *a = values, *b = a + quarter, *c = b + quarter, *d = c + quarter;
  IndexLike<T> mask = 0;
  for (int64_t i = 0; i < quarter; ++i) {
    mask |= (a[i] + b[i]) + (c[i] + d[i]) < EdgeRange<T>::kLargest ? 0 : -1;
  }
  for (int64_t i = 4 * quarter; i < count; ++i) mask |= values[i] < EdgeRange<T>::kLargest ? 0 : -1;
  return mask != 0;
}

}  // namespace treefilter
