// Distances along the paths of a tree: the sum or the maximum of the weights between a vertex and a
// source, or the nearest of many sources ("seeds").
//
// Two passes. Leaf to root, every vertex learns of the best source below it; root to leaf, of the best
// one above. `via[v]` keeps the neighbour that v's distance came through (v itself at a source, -1
// where no source can be reached): the paths to the sources are a forest, along which derivatives
// flow (accumulate_sums) and values are taken again (path_sums), each the other's transpose.
//
// A path never turns back to where it came from. So with one source every vertex is reached once, and
// weights may be negative; with many seeds a smaller value from above replaces one from below, which
// needs weights >= 0. Equal sums go to the lowest seed. Equal maxima are the rule; which seed is nearest
// is decided by the strict order of edges before (watershed.h), so that every vertex is connected to its
// seed inside of the seed's region, and each region has one source. Cost: O(N) a source.
//
// +inf means "no edge" or "out of reach". So a sum of finite weights beyond the largest number of its
// type is that number. (Where weights have both signs, what it then becomes depends on the order of
// addition.)
#pragma once

#include <limits>

#include "tree.h"

namespace treefilter {

enum class Path { kSum, kMax };

// Outside of the function, because device code must not call max().
template <class T>
constexpr T kLargestLength = std::numeric_limits<T>::max();

template <class T>
TREEFILTER_HD bool is_finite_length(T length) {
  return length >= -kLargestLength<T> && length <= kLargestLength<T>;
}

// The length of two paths, one after the other.
template <class T>
TREEFILTER_HD T joined_length(T a, T b) {
  const T sum = a + b;
  if (is_finite_length(sum) || !is_finite_length(a) || !is_finite_length(b)) return sum;
  return sum > 0 ? kLargestLength<T> : -kLargestLength<T>;
}

// weight [B, N]: of the edge from each vertex to its parent (B = 1 serves any; so does a tree's batch).
// source [B, S], of which one outside of [0, N) on CUDA reaches nothing; distance, via, bottleneck [B,
// S, N]. bottleneck[v], for kMax only: the vertex whose parent edge is the heaviest on the path, the
// nearest to the source among equals; -1: empty path.
template <class T>
void distance(Cpu, Path, const TreeView&, int64_t batch, int64_t sources, Span<const T> weight,
              Span<const int64_t> source, Span<T> distance, Span<int32_t> via, Span<int32_t> bottleneck);
template <class T>
void distance(const Cuda&, Path, const TreeView&, int64_t batch, int64_t sources, Span<const T> weight,
              Span<const int64_t> source, Span<T> distance, Span<int32_t> via, Span<int32_t> bottleneck);

// seeds [B, N]; distance, nearest, via, bottleneck [B, N]. For kMax `nearest` is given: the seed of the
// region of each vertex, -1 where there is none.
// Throws std::invalid_argument for a negative weight or NaN. (On CUDA, which may not wait to find one,
// its sign is dropped.)
template <class T>
void distance_transform(Cpu, Path, const TreeView&, int64_t batch, Span<const T> weight,
                        Span<const bool> seeds, Span<T> distance, Span<int64_t> nearest,
                        Span<int32_t> via, Span<int32_t> bottleneck);
template <class T>
void distance_transform(const Cuda&, Path, const TreeView&, int64_t batch, Span<const T> weight,
                        Span<const bool> seeds, Span<T> distance, Span<int64_t> nearest,
                        Span<int32_t> via, Span<int32_t> bottleneck);

// out[b, s, v] = the sum of weight over the path from v along via; 0 where via is -1.
template <class T>
void path_sums(Cpu, const TreeView&, int64_t batch, int64_t sources, Span<const T> weight,
               Span<const int32_t> via, Span<T> out);
template <class T>
void path_sums(const Cuda&, const TreeView&, int64_t batch, int64_t sources, Span<const T> weight,
               Span<const int32_t> via, Span<T> out);

// The transpose: out[b, v] = the sum of grad[b, s, u] over all s and u whose path uses v's parent edge.
template <class T>
void accumulate_sums(Cpu, const TreeView&, int64_t batch, int64_t sources, Span<const T> grad,
                     Span<const int32_t> via, Span<T> out);
template <class T>
void accumulate_sums(const Cuda&, const TreeView&, int64_t batch, int64_t sources, Span<const T> grad,
                     Span<const int32_t> via, Span<T> out);

}  // namespace treefilter
