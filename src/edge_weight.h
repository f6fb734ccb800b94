// Dissimilarities of the feature vectors of neighbours, without storing a difference for each channel.
//
// These are two bilinear sums over the edges e = {u, v} of a graph, where psi is the identity or the
// sign:
//
//   edge_inner    w_e    = sum_c psi(f_cu - f_cv) (t_cu - t_cv)
//   edge_scatter  g_cv   = s sum_{e = {v, u}} w_e psi(f_cv - f_cu)        (a weighted graph Laplacian)
//
// f = t gives the squared Euclidean and the city-block distance. With s = 2 for the identity and s = 1
// for the sign, edge_scatter is the derivative of edge_inner for f = t. But for the factor, each of the
// two is the derivative of the other, so that together they give derivatives of any order.
//
// On a grid, a few rows of vertices are read once for each channel and stay in cache for all directions.
// Sums run over channels in ascending order, and over the edges of a vertex in the order of directions,
// so that results do not depend on the number of threads or on how the grid is cut. Cost: O(C E). Values
// are read in their own type and summed in float (or double).
#pragma once

#include "cuda/runtime/call.h"
#include "graph.h"

namespace treefilter {

// kEuclidean: the identity, and w is the root of the sum; in edge_inner with f = t only.
enum class Psi { kIdentity, kSign, kEuclidean };

// AnyGraph is Grid or EdgeList; X is the type of the values, T that of the sums.

// f, t [B, C, N]; weight [B, E]. f and t may be the same: then the sums are distances, and those that
// leave the range of T are treated as edge_range.h says.
template <class AnyGraph, class X, class T>
void edge_inner(Cpu, const AnyGraph&, Psi, int64_t batch, int64_t channels, Span<const X> f,
                Span<const X> t, Span<T> weight);
template <class AnyGraph, class X, class T>
void edge_inner(const Cuda&, const AnyGraph&, Psi, int64_t batch, int64_t channels, Span<const X> f,
                Span<const X> t, Span<T> weight);

// weight [B, E]; f, out [B, C, N]. A term of weight 0 is 0, whatever f is.
//
// distance [B, E] is edge_inner of f where the derivative of that is wanted, else empty. A term whose
// distance is the largest T, which stands for all that lies beyond, is 0. For kEuclidean there must be
// distances: s = 1, each term is divided by its distance, and a term with distance 0 is 0.
template <class AnyGraph, class X, class T>
void edge_scatter(Cpu, const AnyGraph&, Psi, int64_t batch, int64_t channels, Span<const T> weight,
                  Span<const T> distance, Span<const X> f, Span<X> out);
template <class AnyGraph, class X, class T>
void edge_scatter(const Cuda&, const AnyGraph&, Psi, int64_t batch, int64_t channels,
                  Span<const T> weight, Span<const T> distance, Span<const X> f, Span<X> out);

// argmax[b, e] = the first channel with the largest |f_cu - f_cv|, and distance[b, e] that difference,
// with the same range as sums. f [B, C, N]; argmax, distance [B, E]. There is at least one channel.
template <class AnyGraph, class X, class T>
void edge_argmax(Cpu, const AnyGraph&, int64_t batch, int64_t channels, Span<const X> f,
                 Span<int64_t> argmax, Span<T> distance);
template <class AnyGraph, class X, class T>
void edge_argmax(const Cuda&, const AnyGraph&, int64_t batch, int64_t channels, Span<const X> f,
                 Span<int64_t> argmax, Span<T> distance);

}  // namespace treefilter
