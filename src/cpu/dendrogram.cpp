// Dendrograms on the CPU (dendrogram.h): images in parallel, each of them on one thread.
#include "../dendrogram.h"

#include "../merging.h"
#include "support/edge_sort.h"
#include "support/parallel.h"
#include "support/workspace.h"

namespace treefilter {
namespace {

// Merges read what is far apart, in an order that is known.
void prefetch_ahead(const Merging& pass, int64_t b, int64_t k) {
  constexpr int64_t kAhead = 12;
  const int64_t n = pass.nodes();
  const int32_t *const sorted = pass.sorted + b * n, *const parent = pass.tree.parent_of(b);
  const SetElement* const set = pass.sets + b * n;
  if (k + 2 * kAhead < n) {
    const int32_t v = sorted[k + 2 * kAhead];
    __builtin_prefetch(parent + v);
    __builtin_prefetch(set + v);
    __builtin_prefetch(pass.tree.edge_of(b) + v);
    __builtin_prefetch(pass.out.parent.data + b * (2 * n - 1) + v);
  }
  if (k + kAhead < n && sorted[k + kAhead] >= 0) {
    const int32_t above = parent[sorted[k + kAhead]];
    __builtin_prefetch(set + above);
    __builtin_prefetch(pass.out.parent.data + b * (2 * n - 1) + above);
  }
}
void prefetch_ahead(const LowestLeaf&, int64_t, int64_t) {}

template <class Pass>
void run(const Cpu& cpu, int64_t batch, const Pass& pass) {
  const int64_t n = pass.nodes();
  parallel_for(batch, 16 * n, cpu, [&] {
    return [&](int64_t b) {
      for (int64_t x = 0; x < 2 * n - 1; ++x) pass.start(b, x);
      for_ascending(cpu, 0, pass.merges(), [&](int64_t k) {
        prefetch_ahead(pass, b, k);
        pass.step(b, k);
      });
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
