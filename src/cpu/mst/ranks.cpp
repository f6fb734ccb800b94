// Trees in the order of ranks.
#include <algorithm>

#include "../../tree.h"
#include "../support/parallel.h"
#include "../support/workspace.h"

namespace treefilter {

void rank_trees(Cpu cpu, int64_t nodes, int64_t most, Span<const int32_t> parent,
                Span<const int32_t> order, Span<int32_t> index, Span<int32_t> above,
                Span<int32_t> children, Span<int64_t> needed) {
  parallel_for(needed.size, 4 * nodes, cpu.threads, [&] {
    return [&, rank = Buffer<int32_t>(nodes), count = Buffer<int32_t>(nodes)](int64_t b) {
      const int64_t first = b * nodes;
      const int32_t* const up = parent.data + first;
      int32_t* const lists = children.data + first * most;
      std::fill_n(lists, nodes * most, 0);
      std::fill_n(rank.data(), nodes, 0);
      std::fill_n(count.data(), nodes, 0);
      for (int64_t r = 0; r < nodes; ++r) {
        const int32_t v = order[first + nodes - 1 - r];
        index[first + r] = v;
        rank[v] = static_cast<int32_t>(r);
      }
      int32_t largest = 0;
      for (int64_t r = 0; r < nodes; ++r) {
        const int32_t v = index[first + r], p = rank[up[v]];
        above[first + r] = p;
        if (up[v] == v) continue;
        if (count[p] < most) lists[p * most + count[p]] = static_cast<int32_t>(r);
        largest = std::max(largest, ++count[p]);
      }
      needed[b] = largest;
    };
  });
}

}  // namespace treefilter
