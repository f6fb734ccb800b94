// Seeded watersheds on the CPU (watershed.h): images in parallel, each of them on one thread.
#include "../watershed.h"

#include "support/edge_sort.h"
#include "support/parallel.h"
#include "support/union_find.h"
#include "support/workspace.h"

namespace treefilter {

void watershed(Cpu cpu, int64_t batch, const TreeEdges& tree, Span<const Weight> weight,
               Span<const int64_t> markers, Span<int64_t> labels) {
  const int64_t n = tree.nodes, num_edges = batch == 0 ? 0 : weight.size / batch;
  parallel_for(batch, 16 * n, cpu, [&] {
    return [&, sorted = Buffer<int32_t>(n), sets = Buffer<SetElement>(n)](int64_t b) mutable {
      SetElement* const set = sets.data();
      const int64_t* const marker = markers.data + b * n;
      const int32_t* const parent = tree.parent_of(b);
      sort_tree_edges(cpu, weight.sub(b * num_edges, num_edges), {tree.edge_of(b), n}, sorted.data());
      // `node` is a vertex of the set with a marker, or -1.
      for (int32_t v = 0; v < n; ++v) set[v] = {v, marker[v] != 0 ? v : -1};
      for_ascending(cpu, 0, n, [&](int64_t i) {
        const int32_t v = sorted[i];
        if (v < 0) return;
        const int32_t top = find(set, parent[v]), marked = set[v].node;
        if (v == top || (marked >= 0 && set[top].node >= 0)) return;
        set[v].up = top;
        if (marked >= 0) set[top].node = marked;
      });
      for_ascending(cpu, 0, n, [&](int64_t v) {
        const int32_t source = set[find(set, static_cast<int32_t>(v))].node;
        labels[b * n + v] = source < 0 ? 0 : marker[source];
      });
    };
  });
}

}  // namespace treefilter
