// Dendrograms on the CPU (dendrogram.h): images in parallel, each of them on one thread.
#include "../dendrogram.h"

#include "../merging.h"
#include "support/edge_sort.h"
#include "support/parallel.h"
#include "support/workspace.h"

namespace treefilter {
namespace {

template <class Pass>
void run(const Cpu& cpu, int64_t batch, const Pass& pass) {
  const int64_t n = pass.nodes();
  parallel_for(batch, 16 * n, cpu, [&] {
    return [&](int64_t b) {
      for (int64_t x = 0; x < 2 * n - 1; ++x) pass.start(b, x);
      for_ascending(cpu, 0, pass.merges(), [&](int64_t k) { pass.step(b, k); });
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
  const Buffer<SetElement> sets(batch * tree.nodes);
  run(cpu, batch, Merging{tree, sorted.data, out, sets.data()});
}

void lowest_leaf(Cpu cpu, int64_t batch, int64_t nodes, Span<const int32_t> value,
                 Span<const int32_t> children, Span<int32_t> to) {
  run(cpu, batch, LowestLeaf{nodes, value.data, children.data, to.data});
}

}  // namespace treefilter
