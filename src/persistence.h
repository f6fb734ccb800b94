// Persistence pairs of a function on the vertices of a graph (H. Edelsbrunner, D. Letscher and
// A. Zomorodian, Topological persistence and simplification, DCG 28, 2002), in dimension 0.
//
// Vertices enter in the order (value, number), an edge as soon as both of its ends are there. A
// component is born at a vertex that has no neighbour before it; where components meet, the eldest
// goes on and each other dies. Edges of one vertex join in the order of their numbers.
//
// The holes of a two-dimensional image are the components of what is not there yet: the same for
// the grid of the other connectivity in the opposite order, after one vertex outside that is a
// neighbour of the whole border (duality). Turned by 180° and negated, the image has that order, so
// the code knows one order only.
//
// On the CPU a vertex is joined at once to the first of its neighbours that are before it, which merges
// nothing: so each vertex belongs to a minimum. Components can merge only where a vertex has neighbours
// before it that do not hang together yet. Inside an image a table tells which hang together by the
// vertices around: of eight pixels each is before it or not. These places, a seventh of a photograph's
// vertices, are listed, except where all minima are the same, then sorted, and joined by disjoint sets
// (union-find) with halved paths. O(E) and a sort; images in parallel, each on one thread. The result
// is a function of values and graph: nothing depends on the number of threads.
// On CUDA it is made of trees and dendrograms, by torch's operators (_ops.py).
#pragma once

#include "graph.h"

namespace treefilter {

struct Filtration {
  bool superlevel;  // the order (-value, number)
  bool holes;       // of a grid whose complement has the connectivity of the graph
};

// value [B, N] -> birth, death [B, N]: vertices in the order of deaths (holes: births), then the births
// of what never dies (not of holes) with death -1, then -1. Pairs of equal values are left out. NaN is
// +inf.
template <class AnyGraph, class X>
void persistence(Cpu, int64_t batch, const AnyGraph&, const Filtration&, Span<const X> value,
                 Span<int64_t> birth, Span<int64_t> death);

}  // namespace treefilter
