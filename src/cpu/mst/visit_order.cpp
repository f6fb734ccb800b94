// The order of visits of trees that were made elsewhere: that of peel.h, from the parents alone.
#include <algorithm>

#include "../../tree.h"
#include "../support/parallel.h"
#include "../support/workspace.h"
#include "peel.h"

namespace treefilter {
namespace {

// One tree. Returns how many vertices are in the order: all but those on cycles.
int64_t order_tree(Span<const int32_t> parent, Span<int32_t> order, Span<int32_t> children,
                   Span<int32_t> leaves) {
  const int64_t n = parent.size;
  std::fill_n(children.data, n, 0);
  for (int64_t v = 0; v < n; ++v) ++children[parent[v]];
  for (int64_t v = 0; v < n; ++v) {
    if (parent[v] == v) children[v] = -1;  // never 0: roots are not taken here
  }
  int64_t count = 0, begun = 0, next = 0, paths = 0;
  for (int64_t v = 0; v < n; ++v) {
    if (children[v] == 0) leaves[count++] = static_cast<int32_t>(v);
  }
  // The current vertex of each of the interleaved paths.
  int32_t at[kPaths];
  while (paths < kPaths && begun < count) at[paths++] = leaves[begun++];
  while (paths > 0) {
    int64_t left = 0;
    for (int64_t i = 0; i < paths; ++i) {
      const int32_t v = at[i];
      order[next++] = v;
      if (--children[parent[v]] == 0) {
        at[left++] = parent[v];
      } else if (begun < count) {
        at[left++] = leaves[begun++];
      }
    }
    paths = left;
  }
  for (int64_t v = 0; v < n; ++v) {
    if (parent[v] == v) order[next++] = static_cast<int32_t>(v);
  }
  const int64_t ordered = next;
  while (next < n) order[next++] = 0;  // cycles: a defined value behind the order
  return ordered;
}

}  // namespace

void order_trees(Cpu cpu, int64_t nodes, Span<const int32_t> parent, Span<int32_t> order,
                 Span<int64_t> ordered) {
  parallel_for(ordered.size, 4 * nodes, cpu.threads, [&] {
    return [&, children = Buffer<int32_t>(nodes), leaves = Buffer<int32_t>(nodes)](int64_t b) {
      ordered[b] = order_tree(parent.sub(b * nodes, nodes), order.sub(b * nodes, nodes), children.span(),
                              leaves.span());
    };
  });
}

}  // namespace treefilter
