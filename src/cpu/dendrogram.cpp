// Dendrograms on the CPU (dendrogram.h): images in parallel, each of them on one thread.
#include "../dendrogram.h"

#include <algorithm>
#include <type_traits>

#include "support/edge_sort.h"
#include "support/parallel.h"
#include "support/union_find.h"
#include "support/workspace.h"

namespace treefilter {
namespace {

// The merges of a tree, one step after the other.
struct Merging {
  // A set's element and what is known of its vertex, which a merge reads together.
  struct Vertex : SetElement {
    int32_t parent, edge;
  };

  TreeEdges tree;
  const int32_t* sorted;  // [B, N]
  Merges out;
  Vertex* vertices;  // [B, N]

  int64_t nodes() const { return tree.nodes; }
  int64_t merges() const { return tree.nodes - 1; }

  void start(int64_t b, int64_t v) const {
    const int32_t own = static_cast<int32_t>(v);
    out.parent[b * (2 * tree.nodes - 1) + v] = own;
    Vertex& vertex = vertices[b * tree.nodes + v];
    vertex.up = vertex.node = own;
    vertex.parent = tree.has_parent(b, v) ? tree.parent_of(b)[v] : own;
    vertex.edge = tree.edge_of(b)[v];
  }

  // Merges 0 … k - 1 are made already. The edge of v is not among them, so v is the root of its set.
  void step(int64_t b, int64_t k) const {
    const int64_t n = tree.nodes;
    const int32_t v = sorted[b * n + k];
    Vertex* const vertex = vertices + b * n;
    int32_t* const parent = out.parent.data + b * (2 * n - 1);
    const int32_t node = static_cast<int32_t>(n + k);
    parent[node] = node;
    const int32_t top = v < 0 ? v : find(vertex, vertex[v].parent);
    if (v == top) {  // no edge, or a cycle: then the input is not a tree
      set_children(b, k, -1, -1);
      out.edge[b * (n - 1) + k] = -1;
      return;
    }
    const int32_t a = vertex[v].node, c = vertex[top].node;
    parent[a] = parent[c] = node;
    set_children(b, k, a < c ? a : c, a < c ? c : a);
    out.edge[b * (n - 1) + k] = vertex[v].edge;
    vertex[v].up = top;
    vertex[top].node = node;
  }

 private:
  void set_children(int64_t b, int64_t k, int32_t lower, int32_t higher) const {
    if (out.children.size == 0) return;
    int32_t* const pair = out.children.data + 2 * (b * merges() + k);
    pair[0] = lower;
    pair[1] = higher;
  }
};

// Merges read what is far apart, in an order that is known: first the vertex, then what it leads to.
// always_inline: GCC removes calls of functions that only prefetch, as if they had no effect.
inline __attribute__((always_inline)) void prefetch(const Merging& pass, int64_t b, int64_t k) {
  constexpr int64_t kAhead = 8;
  const int64_t n = pass.nodes();
  const int32_t* const sorted = pass.sorted + b * n;
  const Merging::Vertex* const vertex = pass.vertices + b * n;
  const int32_t* const parent = pass.out.parent.data + b * (2 * n - 1);
  if (k + 3 * kAhead >= n || sorted[k + 3 * kAhead] < 0) return;
  const Merging::Vertex &next = vertex[sorted[k + kAhead]], &above = vertex[next.parent];
  __builtin_prefetch(vertex + sorted[k + 3 * kAhead], 1);
  __builtin_prefetch(parent + sorted[k + 3 * kAhead], 1);
  __builtin_prefetch(vertex + vertex[sorted[k + 2 * kAhead]].parent, 1);
  __builtin_prefetch(parent + next.node, 1);
  __builtin_prefetch(vertex + above.up, 1);
  __builtin_prefetch(parent + above.node, 1);
}

void merge_image(const Cpu& cpu, const Merging& pass, int64_t b) {
  constexpr int64_t kSmall = 1 << 18;  // nodes whose merges need no prefetch: measured
  const int64_t n = pass.nodes();
  for (int64_t v = 0; v < n; ++v) pass.start(b, v);
  const auto run_steps = [&](auto large) {
    for_ascending(cpu, 0, pass.merges(), [&](int64_t k) {
      if (large) prefetch(pass, b, k);
      pass.step(b, k);
    });
  };
  n > kSmall ? run_steps(std::true_type()) : run_steps(std::false_type());
}

}  // namespace

void sort_edges(Cpu cpu, int64_t batch, const TreeEdges& tree, Span<const Weight> weight,
                Span<int32_t> sorted) {
  const int64_t n = tree.nodes, num_edges = batch == 0 ? 0 : weight.size / batch;
  parallel_for(batch, 16 * n, cpu, [&] {
    return [&](int64_t b) {
      sort_tree_edges(cpu, weight.sub(b * num_edges, num_edges), {tree.edge_of(b), n},
                      sorted.data + b * n);
    };
  });
}

void merge(Cpu cpu, int64_t batch, const TreeEdges& tree, Span<const int32_t> sorted,
           const Merges& out) {
  const Buffer<Merging::Vertex> vertices(batch * tree.nodes);
  const Merging pass{tree, sorted.data, out, vertices.data()};
  parallel_for(batch, 16 * tree.nodes, cpu,
               [&] { return [&](int64_t b) { merge_image(cpu, pass, b); }; });
}

void lowest_leaf(Cpu cpu, int64_t batch, int64_t nodes, Span<const int32_t> value,
                 Span<const int32_t> parent, Span<int32_t> to) {
  const int64_t all = 2 * nodes - 1;
  parallel_for(batch, 16 * nodes, cpu, [&] {
    return [&](int64_t b) {
      const int32_t* const up = parent.data + b * all;
      int32_t* const least = to.data + b * all;
      std::copy_n(value.data + b * nodes, nodes, least);
      std::fill_n(least + nodes, nodes - 1, INT32_MAX);
      // A node's number is lower than that of its parent.
      for_ascending(cpu, 0, all, [&](int64_t x) { least[up[x]] = std::min(least[up[x]], least[x]); });
    };
  });
}

}  // namespace treefilter
