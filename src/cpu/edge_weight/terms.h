// What the sums towards edges (edge_inner.cpp) and towards vertices (edge_scatter.cpp) have in common.
//
// A sum over channels is loaded and stored once for kAtOnce channels; once for every channel would take
// as long as the arithmetic. For the same reason a sum over the edges of a vertex takes up to kAtOnce
// edges at a time.
//
// All inner loops run over neighbouring edges or vertices, each with a sum of its own: the compiler
// vectorises them, and the width of vectors does not change the order of additions.
#pragma once

#include "../../edge_range.h"
#include "../../edge_weight.h"

namespace treefilter {

// The distance of planes is often a power of two, so that they map to the same few sets of the cache.
// Two rows of 4 planes still fit into such a set.
constexpr int kAtOnce = 4;

template <Psi psi, class T>
T apply(T difference) {
  if (psi != Psi::kSign) return difference;
  return static_cast<T>((difference > 0) - (difference < 0));
}

}  // namespace treefilter
