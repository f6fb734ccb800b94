// The passes and the filter over blocks of channels: pack, up, down, unpack (filter_rows.h), with the
// coefficients of each family of channels made once (filter_coefficients.h).
#include "../filter.h"

#include <algorithm>

#include "filter_coefficients.h"

namespace treefilter {
namespace {

template <bool PerLane, class X, class T>
void propagate_block(Pass pass, const Coefficients<T>& k, const Block& block, T* rows,
                     const Strided<const X>& x, const Strided<X>& out) {
  with_lanes<T>(block.used, [&](auto lanes) {
    constexpr int kLanes = lanes;
    const T* scale = pass == Pass::kMean ? k.scale.data() : nullptr;
    pack<T, kLanes, PerLane>(x, block.batch, block.channel, block.used, scale, rows);
    run_pass<T, kLanes, PerLane>(pass, k, rows);
    unpack<T, kLanes, PerLane>(rows, nullptr, block.batch, block.channel, block.used, out);
  });
}

}  // namespace

template <class X, class T>
void propagate(Cpu cpu, Pass pass, const TreeView& tree, const Affinity<T>& affinity, Strided<const X> x,
               Strided<X> out) {
  for_families<T>(cpu, families(tree, affinity, x.batch, x.channels), tree.nodes,
                  [&](const Family& family, Cpu inside) {
                    const Coefficients<T> k(pass, tree, affinity, family, row_stride<T>(family), false);
                    const std::vector<Block> all = blocks<T>(family);
                    parallel_for(static_cast<int64_t>(all.size()), 4 * tree.nodes * kMaxLanes<T>,
                                 inside.threads, [&] {
                                   const int64_t lanes =
                                       std::min<int64_t>(kMaxLanes<T>, 2 * family.channels());
                                   return [&, rows = Buffer<T>(tree.nodes * lanes)](int64_t i) {
                                     const auto run = family.per_lane() ? propagate_block<true, X, T>
                                                                        : propagate_block<false, X, T>;
                                     run(pass, k, all[i], rows.data(), x, out);
                                   };
                                 });
                  });
}

template <class X, class T>
void parent_dot(Cpu cpu, const TreeView& tree, int64_t groups, Strided<const X> p, Strided<const X> q,
                Span<T> out) {
  const int64_t nodes = tree.nodes, group_channels = p.channels / groups;
  parallel_for(p.batch * groups, nodes * group_channels, cpu.threads, [&] {
    return [&](int64_t item) {
      const int64_t b = item / groups;
      const int32_t* parent = tree.parent.data + (tree.batch == 1 ? 0 : b) * nodes;
      T* to = out.data + item * nodes;
      std::fill_n(to, nodes, T(0));
      for (int64_t c = 0; c < group_channels; ++c) {
        const X* pc = p.at(b, item % groups * group_channels + c);
        const X* qc = q.at(b, item % groups * group_channels + c);
        for (int64_t v = 0; v < nodes; ++v) {
          if (parent[v] == v) continue;
          to[v] += load<T>(pc[parent[v] * p.node_stride]) * load<T>(qc[v * q.node_stride]);
        }
      }
    };
  });
}

#define TREEFILTER_INSTANTIATE(X, T)                                                        \
  template void propagate(Cpu, Pass, const TreeView&, const Affinity<T>&, Strided<const X>, \
                          Strided<X>);                                                      \
  template void parent_dot(Cpu, const TreeView&, int64_t, Strided<const X>, Strided<const X>, Span<T>);
TREEFILTER_INSTANTIATE(float, float)
TREEFILTER_INSTANTIATE(double, double)
TREEFILTER_INSTANTIATE(BFloat16, float)
TREEFILTER_INSTANTIATE(Half, float)

}  // namespace treefilter
