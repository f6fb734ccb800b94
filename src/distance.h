// Distances along the paths of a tree: the sum or the maximum of the weights between a vertex and a
// source, or the nearest one of many sources ("seeds").
//
// There are two passes. From the leaves to the root, every vertex learns of the best source below it;
// from the root to the leaves, of the best one above it. `via[v]` is the neighbour that v's distance
// came from (v itself at a source, -1 where no source is reached). So the paths to the sources form a
// forest. Values can be found along it again (path_sums), and derivatives flow along it
// (accumulate_sums); each of these two is the transpose of the other.
//
// A path never turns back. So with one source every vertex is reached by one path, and weights may be
// negative. With many seeds a smaller value from above replaces one from below, which needs weights >=
// 0. Among equal distances the lowest seed wins; for maxima, where equal distances are the rule, that
// takes a radix sort of the weights besides. Cost: O(N) for each source, or image.
#pragma once

#include "tree.h"

namespace treefilter {

enum class Path { kSum, kMax };

// weight [B, N]: of the edge from each vertex to its parent. (A batch of 1 serves any; so does that of a
// tree.) source [B, S]; on CUDA one outside of [0, N) reaches nothing. distance, via, bottleneck [B, S,
// N]. bottleneck[v], for kMax only: the vertex whose parent edge is the heaviest on the path, among
// equals the nearest to the source; -1 for an empty path.
template <class T>
void distance(Cpu, Path, const TreeView&, int64_t batch, int64_t sources, Span<const T> weight,
              Span<const int64_t> source, Span<T> distance, Span<int32_t> via, Span<int32_t> bottleneck);
template <class T>
void distance(const Cuda&, Path, const TreeView&, int64_t batch, int64_t sources, Span<const T> weight,
              Span<const int64_t> source, Span<T> distance, Span<int32_t> via, Span<int32_t> bottleneck);

// seeds [B, N]; distance, nearest, via, bottleneck [B, N].
// Throws std::invalid_argument for a negative weight. (On CUDA its sign is dropped, since finding one
// would mean to wait for the device.)
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
