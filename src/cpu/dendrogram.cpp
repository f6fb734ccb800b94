// Dendrograms on the CPU (dendrogram.h): images in parallel, each of them on one thread.
#include "../dendrogram.h"

#include <type_traits>

#include "../merging.h"
#include "support/edge_sort.h"
#include "support/parallel.h"
#include "support/workspace.h"

namespace treefilter {
namespace {

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
void prefetch(const LowestLeaf&, int64_t, int64_t) {}

template <class Pass>
void run(const Cpu& cpu, int64_t batch, const Pass& pass) {
  constexpr int64_t kSmall = 1 << 18;  // nodes whose merges need no prefetch: measured
  const int64_t n = pass.nodes();
  parallel_for(batch, 16 * n, cpu, [&] {
    return [&](int64_t b) {
      for (int64_t v = 0; v < n; ++v) pass.start(b, v);
      const auto run_steps = [&](auto large) {
        for_ascending(cpu, 0, pass.merges(), [&](int64_t k) {
          if (large) prefetch(pass, b, k);
          pass.step(b, k);
        });
      };
      n > kSmall ? run_steps(std::true_type()) : run_steps(std::false_type());
    };
  });
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
  run(cpu, batch, Merging{tree, sorted.data, out, vertices.data()});
}

void lowest_leaf(Cpu cpu, int64_t batch, int64_t nodes, Span<const int32_t> value,
                 Span<const int32_t> children, Span<int32_t> to) {
  run(cpu, batch, LowestLeaf{nodes, value.data, children.data, to.data});
}

}  // namespace treefilter
