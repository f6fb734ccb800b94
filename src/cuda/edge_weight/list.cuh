// Sums over the edges of edge lists. edge_inner has a thread for each edge, which reads both ends.
// edge_scatter gathers, since there are no atomics on floats: each vertex needs the list of its edges,
// in ascending order. The lists are made in each call, once for the whole batch: the host cannot look at
// a graph that lives on the device, and sorting 2 E ends is cheap beside reading B C E features. A list
// of more than kPart edges is summed in parts, a thread for each.
//
// An edge with an end outside of [0, N) weighs 0 and contributes nothing.
#pragma once

#include "../runtime/prefix_sum.cuh"

namespace treefilter::cuda {

// An edge list, in which edges with an end outside of [0, N) do not exist.
struct ListedEdges {
  int64_t nodes, edges;
  const int32_t *first, *second;

  TREEFILTER_HD bool exists(int64_t e) const {
    return first[e] >= 0 && first[e] < nodes && second[e] >= 0 && second[e] < nodes;
  }
};

// The edges of each vertex, in two lists: those that it is the first end of, and those that it is the
// second end of. (One list would have 2 E ends, more than int32 numbers for the largest E.)
struct Adjacency {
  struct Keys {
    ListedEdges graph;
    int32_t* key;
    TREEFILTER_HD void operator()(int64_t e) const {
      const bool exists = graph.exists(e);
      key[e] = exists ? graph.first[e] : -1;
      key[graph.edges + e] = exists ? graph.second[e] : -1;
    }
  };

  ListedEdges graph;
  int32_t* key;
  Grouping lists;

  TREEFILTER_PHASED template <class Group>
  TREEFILTER_HD void operator()(Group& group) const {
    group.each(graph.edges, Keys{graph, key});
    lists(group);
  }
};

inline Adjacency make_adjacency(const Cuda& cuda, const ListedEdges& graph) {
  const int64_t nodes = graph.nodes, edges = graph.edges;
  const auto [key, begin, items, next, other, position, flags, sums] =
      cuda.arrays<int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t>(
          2 * edges, 2 * (nodes + 1), 2 * edges, 2 * nodes, 2 * edges, 2 * edges, Grouping::kLevels,
          PrefixSum::sums_size(2, nodes + 1));
  return {graph,
          key,
          {2, nodes, edges, key, begin, items, next, other, position, flags, sums, nodes + 1, edges}};
}

// One of the two lists of a vertex, first … last - 1; which = 0: the edges that it is the first end of.
struct Incident {
  const int32_t* edges;
  int32_t first, last;

  TREEFILTER_HD Incident(const Grouping& lists, int which, int64_t v)
      : edges(lists.items + which * lists.items_stride),
        first(lists.begin[which * lists.begin_stride + v]),
        last(lists.begin[which * lists.begin_stride + v + 1]) {}
  TREEFILTER_HD int32_t count() const { return last - first; }
};

// The lists of all first ends, one after the other, and those of all second ends are cut into parts of
// this many edges. A list with more edges is summed part by part, so that many threads share the edges
// of a hub. A part contains edges of at most two such lists.
constexpr int32_t kPart = 1024;

struct Parts {
  int64_t edges;

  // Of each of the two.
  TREEFILTER_HD int64_t of_each() const { return (edges + kPart - 1) / kPart; }
  TREEFILTER_HD int64_t count() const { return 2 * 2 * of_each(); }
  // side 1: for the list that starts inside of the part.
  TREEFILTER_HD int64_t number(int which, int64_t part, int side) const {
    return (which * of_each() + part) * 2 + side;
  }
};

}  // namespace treefilter::cuda
