// Pairs of labels on the CPU (malis.h): images in parallel, each of them on one thread.
#include "../malis.h"

#include "support/parallel.h"
#include "support/workspace.h"

namespace treefilter {

void count_pairs(Cpu cpu, int64_t batch, int64_t nodes, Span<const int32_t> parent,
                 Span<const int32_t> children, Span<const int32_t> label, Span<double> equal,
                 Span<double> different) {
  const int64_t all = batch * (2 * nodes - 1);
  const Buffer<int32_t> size(all), first(all), leaf(batch * nodes), count(batch * nodes);
  const PairCounts pairs{nodes,          parent.data, children.data, label.data,  equal.data,
                         different.data, size.data(), first.data(),  leaf.data(), count.data()};
  parallel_for(batch, 64 * nodes, cpu, [&] {
    return [&](int64_t b) {
      int64_t visits = 0;
      pairs(b, [&] {
        if (++visits % kVisitsPerCheck == 0) cpu.check();
      });
    };
  });
}

}  // namespace treefilter
