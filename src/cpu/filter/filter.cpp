// The passes and the filter over blocks of channels: pack (pack.h), leaf to root, root to leaf
// (passes.h), unpack, with the coefficients of each family of channels computed once (coefficients.h).
#include "../../filter.h"

#include <algorithm>

#include "../support/parallel.h"
#include "../support/workspace.h"
#include "coefficients.h"
#include "pack.h"

namespace treefilter {
namespace {

template <bool PerLane, class X, class T>
void propagate_block(Pass pass, const Coefficients<T>& k, const Block& block, T* packed,
                     const Strided<const X>& x, const Strided<X>& out) {
  with_lanes<T, PerLane>(block.used, [&](auto lanes) {
    constexpr int kLanes = lanes_of(lanes);
    pack<T, kLanes, PerLane, kLanes>(Channels<const X>{x, block.batch, block.channel, block.used},
                                     nullptr, {}, packed);
    run_pass<PerLane>(pass, k, lanes, packed);
    unpack<T, kLanes, PerLane, kLanes>(packed, nullptr,
                                       Channels<X>{out, block.batch, block.channel, block.used});
  });
}

// Whether the result itself is packed: its channels are the fastest axis and fill a block.
template <class X, class T>
bool is_packed(const Family& family, const Strided<X>& out) {
  return std::is_same_v<X, T> && out.channel_stride == 1 && !family.per_lane() &&
         family.channels() >= kMaxLanes<T>;
}

// The passes in place in a packed result, on the channels of a block at a time.
template <class T>
void propagate_in_place(Pass pass, const Coefficients<T>& k, const Block& block,
                        const Strided<const T>& x, const Strided<T>& out) {
  const T* from = x.at(block.batch, block.channel);
  T* to = out.at(block.batch, block.channel);
  for (int64_t v = 0; v < x.nodes; ++v) {
    for (int64_t l = 0; l < block.used; ++l) {
      to[v * out.node_stride + l] = from[v * x.node_stride + l * x.channel_stride];
    }
  }
  run_pass<false>(pass, k, AnyLanes{block.used, out.node_stride}, to);
}

// The mean of few channels: the sums of the channels and of ones, in double, with the affinities as the
// only coefficients, and a division at the end. For one channel this takes half the time of the means,
// whose coefficients pay from four channels on. In double the sums lose no precision against the means,
// which float needs.
constexpr int64_t kFewChannels = 3;

template <int C, class X, class T>
void filter_few(Cpu cpu, const TreeView& tree, const Affinity<T>& affinity, const Family& family,
                const Strided<const X>& x, const Strided<X>& out) {
  constexpr int N = C == 1 ? 2 : 4;
  const int64_t nodes = tree.nodes;
  const Buffer<Visit> visits = visits_of(cpu, tree, family);
  const int64_t group = family.affinity * affinity.groups + family.group0;
  const Buffer<T> up = in_order(cpu, visits, affinity.values.data + group * nodes);
  parallel_for(family.batch1 - family.batch0, 4 * nodes, cpu, [&] {
    return [&, packed = Buffer<double>(nodes * N)](int64_t i) {
      const X* from = x.at(family.batch0 + i, family.channel0());
      X* to = out.at(family.batch0 + i, family.channel0());
      for (int64_t v = 0; v < nodes; ++v) {
        double* values = &packed[v * N];
        for (int l = 0; l < C; ++l)
          values[l] = load<double>(from[l * x.channel_stride + v * x.node_stride]);
        values[C] = 1;
        for (int l = C + 1; l < N; ++l) values[l] = 0;
      }
      const Passes<double, Lanes<N>> passes(cpu, {}, {visits.data(), nodes}, packed.data());
      passes.template up<AddStep<double, N, false>>(up.data());
      passes.template down<SumStep<double, N, false>>(up.data());
      for (int64_t v = 0; v < nodes; ++v) {
        const double* values = &packed[v * N];
        const double inverse = 1 / values[C];
        for (int l = 0; l < C; ++l) {
          store(to[l * out.channel_stride + v * out.node_stride], values[l] * inverse);
        }
      }
    };
  });
}

template <class X, class T>
void propagate_family(Cpu cpu, Pass pass, const TreeView& tree, const Affinity<T>& affinity,
                      const Family& family, Strided<const X> x, Strided<X> out) {
  if (sizeof(T) < sizeof(double) && pass == Pass::kMean && family.channels() <= kFewChannels &&
      !family.per_lane()) {
    static_assert(kFewChannels == 3);
    const auto run = family.channels() == 1   ? filter_few<1, X, T>
                     : family.channels() == 2 ? filter_few<2, X, T>
                                              : filter_few<3, X, T>;
    return run(cpu, tree, affinity, family, x, out);
  }
  const Coefficients<T> k(cpu, pass, tree, affinity, family, coefficient_stride<T>(family), false);
  if constexpr (std::is_same_v<X, T>) {
    if (is_packed<X, T>(family, out)) {
      // All channels of a vertex in one block, unless there are fewer images than threads.
      const int64_t images = family.batch1 - family.batch0;
      const int64_t parts = (cpu.threads + images - 1) / images;
      const int64_t lanes = (family.channels() / parts + kMaxLanes<T> - 1) / kMaxLanes<T> * kMaxLanes<T>;
      const std::vector<Block> all = blocks(family, lanes);
      parallel_for(static_cast<int64_t>(all.size()), 4 * tree.nodes * lanes, cpu,
                   [&] { return [&](int64_t i) { propagate_in_place(pass, k, all[i], x, out); }; });
      return;
    }
  }
  const int64_t most = family.per_lane() ? kMaxLanes<T> : block_lanes<T>(tree.nodes);
  const std::vector<Block> all = blocks(family, most);
  parallel_for(static_cast<int64_t>(all.size()), 4 * tree.nodes * most, cpu, [&] {
    const int64_t lanes = std::min<int64_t>(most, 2 * family.channels());
    return [&, packed = Buffer<T>(tree.nodes * lanes)](int64_t i) {
      const auto run = family.per_lane() ? propagate_block<true, X, T> : propagate_block<false, X, T>;
      run(pass, k, all[i], packed.data(), x, out);
    };
  });
}

}  // namespace

template <class X, class T>
void propagate(Cpu cpu, Pass pass, const TreeView& tree, const Affinity<T>& affinity, Strided<const X> x,
               Strided<X> out) {
  for_families<T>(cpu, families(tree, affinity, x.batch, x.channels), tree.nodes,
                  [&](const Family& family, Cpu inside) {
                    propagate_family(inside, pass, tree, affinity, family, x, out);
                  });
}

template <class X, class T>
void parent_dot(Cpu cpu, const TreeView& tree, int64_t groups, Strided<const X> p, Strided<const X> q,
                Span<T> out) {
  const int64_t nodes = tree.nodes, group_channels = p.channels / groups;
  parallel_for(p.batch * groups, nodes * group_channels, cpu, [&] {
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
