// The fused derivative of the filter: per block of channels one filter of the gradient and one pass of
// x, which give the gradient in x and the block's part of that in the affinity; then, per group, the sum
// of the parts in the order of the blocks and the normaliser's part, one scalar channel.
#include <algorithm>

#include "../filter.h"
#include "filter_coefficients.h"

namespace treefilter {
namespace {

// Sums over the lanes of a row, one sum for each group that has a part in it.
template <int Lanes, bool PerLane, class T>
void add_groups(const T* row, int64_t group_channels, int64_t used, int64_t stride, T* sums) {
  if (!PerLane) {
    T sum = 0;
    for (int l = 0; l < Lanes; ++l) sum += row[l];
    sums[0] += sum;
    return;
  }
  for (int64_t l = 0; l < used; ++l) sums[l / group_channels * stride] += row[l];
}

// What one block gives to the gradient of the affinity. dot and mixed are [groups of the family][N]:
// the channels' part, and sum_c g_c y_c / n_v, which the normaliser's part starts from.
template <int Lanes, bool PerLane, class T>
struct BlockGradient {
  const Family& family;
  const Coefficients<T>& k;
  int64_t used, nodes;

  void mix(const T* g, const T* y, T* mixed) const {
    for (int64_t v = 0; v < nodes; ++v) {
      T row[Lanes];
      for (int l = 0; l < Lanes; ++l) {
        row[l] = k.mass[PerLane ? v * Lanes + l : v] * g[v * Lanes + l] * y[v * Lanes + l];
      }
      add_groups<Lanes, PerLane>(row, family.group_channels, used, nodes, mixed + v);
    }
  }

  // x, g: after the leaf-to-root pass; y, h: results of the filter on x and on g.
  void dot(const Affinity<T>& affinity, const T* x, const T* y, const T* g, const T* h, T* out) const {
    const bool means = k.mass.size() > 0;
    const T* a = affinity.values.data + (family.affinity * affinity.groups + family.group0) * nodes;
    for (int64_t s = 0; s < nodes; ++s) {
      const int64_t v = k.visits[s].vertex, p = k.visits[s].parent;
      if (v == p) continue;
      T row[Lanes];
      for (int l = 0; l < Lanes; ++l) {
        const int64_t lane = PerLane ? l : 0;
        const int64_t group = PerLane && l < used ? l / family.group_channels : 0;
        const T m = means ? k.mass[PerLane ? v * Lanes + lane : v] : T(1);
        const T n = means ? k.total[PerLane ? p * Lanes + lane : p] : T(1);
        const T am = a[group * nodes + v] * m;
        const T xv = x[v * Lanes + l], gv = g[v * Lanes + l];
        row[l] = m * (gv * (n * y[p * Lanes + l] - am * xv) + xv * (n * h[p * Lanes + l] - am * gv));
      }
      add_groups<Lanes, PerLane>(row, family.group_channels, used, nodes, out + v);
    }
  }
};

template <class T>
struct GradientBuffers {
  Buffer<T> x, y, g, h;
};

template <bool PerLane, class X, class T>
void backward_block(Pass pass, const Family& family, const Coefficients<T>& k,
                    const Affinity<T>& affinity, const T* inverse, const Block& block,
                    GradientBuffers<T>& rows, const Strided<const X>& x, const Strided<const X>& y,
                    const Strided<const X>& grad, const Strided<X>& grad_x, T* dot, T* mixed) {
  with_lanes<T>(block.used, [&](auto lanes) {
    constexpr int kLanes = lanes;
    using R = Rows<T, kLanes, PerLane>;
    const bool mean = pass == Pass::kMean;
    const int64_t b = block.batch, c = block.channel, used = block.used, nodes = x.nodes;
    const Span<const Visit> visits{k.visits.data(), nodes};
    T *xr = rows.x.data(), *yr = rows.y.data(), *gr = rows.g.data(), *hr = rows.h.data();
    pack<T, kLanes, PerLane>(grad, b, c, used, mean ? inverse : nullptr, dot ? gr : hr);
    if (dot) {
      const BlockGradient<kLanes, PerLane, T> gradient{family, k, used, nodes};
      pack<T, kLanes, PerLane>(y, b, c, used, static_cast<const T*>(nullptr), yr);
      if (mean) gradient.mix(gr, yr, mixed);
      R::leaf_to_root(visits, k.up.data(), gr);
      std::copy_n(gr, nodes * kLanes, hr);
      run_down<T, kLanes, PerLane>(pass, k, hr);
      pack<T, kLanes, PerLane>(x, b, c, used, mean ? k.scale.data() : nullptr, xr);
      R::leaf_to_root(visits, k.up.data(), xr);
      gradient.dot(affinity, xr, yr, gr, hr, dot);
    } else {
      run_pass<T, kLanes, PerLane>(pass, k, hr);
    }
    unpack<T, kLanes, PerLane>(hr, mean ? k.total.data() : nullptr, b, c, used, grad_x);
  });
}

// The normaliser's part of the gradient: one channel x = 1 with gradient -mixed (see filter.h).
template <class T>
void add_normaliser(const Coefficients<T>& k, int64_t lane, int64_t stride, const T* a, const T* mixed,
                    T* grad) {
  const int64_t nodes = k.visits.size();
  Buffer<double> up(nodes), full(nodes);
  for (int64_t v = 0; v < nodes; ++v) up[v] = -static_cast<double>(mixed[v]);
  for (int64_t s = 0; s < nodes; ++s) {
    const Visit v = k.visits[s];
    if (v.vertex != v.parent) up[v.parent] += static_cast<double>(a[v.vertex]) * up[v.vertex];
  }
  for (int64_t s = nodes; s-- > 0;) {
    const int64_t v = k.visits[s].vertex, p = k.visits[s].parent;
    full[v] = up[v];
    if (v == p) continue;
    const double w = a[v], m = k.mass[v * stride + lane], n = k.total[p * stride + lane];
    full[v] = (1 - w) * (1 + w) * up[v] + w * full[p];
    grad[v] += static_cast<T>(up[v] * (n - w * m) + m * (full[p] - w * up[v]));
  }
}

template <class T>
Buffer<T> inverse_mass_and_total(const Coefficients<T>& k) {
  Buffer<T> inverse(k.mass.size());
  for (int64_t i = 0; i < inverse.size(); ++i) {
    inverse[i] = k.mass[i] == 0 ? T(0) : 1 / (k.mass[i] * k.total[i]);  // 0: a lane without a channel
  }
  return inverse;
}

template <class X, class T>
void backward_family(Cpu cpu, Pass pass, const TreeView& tree, const Affinity<T>& affinity,
                     const Family& family, Strided<const X> x, Strided<const X> y, Strided<const X> grad,
                     Strided<X> grad_x, Span<T> grad_affinity) {
  const int64_t nodes = tree.nodes, groups = family.group1 - family.group0;
  const int64_t stride = row_stride<T>(family);
  const bool wanted = grad_affinity.size > 0;
  const Coefficients<T> k(pass, tree, affinity, family, stride, true);
  const Buffer<T> inverse = inverse_mass_and_total(k);
  const std::vector<Block> all = blocks<T>(family);
  const int64_t count = static_cast<int64_t>(all.size());
  const int64_t part = wanted ? groups * nodes : 0;  // of a block, summed in their order afterwards
  Buffer<T> dots(count * part), mixes(pass == Pass::kMean ? count * part : 0);
  parallel_for(count, 8 * nodes * kMaxLanes<T>, cpu.threads, [&] {
    const int64_t size = nodes * std::min<int64_t>(kMaxLanes<T>, 2 * family.channels());
    GradientBuffers<T> rows{Buffer<T>(wanted ? size : 0), Buffer<T>(wanted ? size : 0),
                            Buffer<T>(wanted ? size : 0), Buffer<T>(size)};
    return [&, rows = std::move(rows)](int64_t i) mutable {
      T *dot = nullptr, *mixed = nullptr;
      if (wanted) std::fill_n(dot = dots.data() + i * part, part, T(0));
      if (mixes.size() > 0) std::fill_n(mixed = mixes.data() + i * part, part, T(0));
      const auto run = family.per_lane() ? backward_block<true, X, T> : backward_block<false, X, T>;
      run(pass, family, k, affinity, inverse.data(), all[i], rows, x, y, grad, grad_x, dot, mixed);
    };
  });
  if (!wanted) return;
  const int64_t images = family.batch1 - family.batch0, blocks_each = count / images;
  parallel_for(images * groups, 4 * nodes, cpu.threads, [&] {
    return [&](int64_t item) {
      const int64_t image = item / groups, group = item % groups;
      T* to = grad_affinity.data +
              ((family.batch0 + image) * affinity.groups + family.group0 + group) * nodes;
      Buffer<T> mixed(pass == Pass::kMean ? nodes : 0, 0);
      std::fill_n(to, nodes, T(0));
      for (int64_t i = image * blocks_each; i < (image + 1) * blocks_each; ++i) {
        for (int64_t v = 0; v < nodes; ++v) to[v] += dots[i * part + group * nodes + v];
        for (int64_t v = 0; v < mixed.size(); ++v) mixed[v] += mixes[i * part + group * nodes + v];
      }
      if (pass != Pass::kMean) return;
      const T* a =
          affinity.values.data + (family.affinity * affinity.groups + family.group0 + group) * nodes;
      add_normaliser(k, stride == 1 ? 0 : group * family.group_channels, stride, a, mixed.data(), to);
    };
  });
}

}  // namespace

template <class X, class T>
void filter_backward(Cpu cpu, Pass pass, const TreeView& tree, const Affinity<T>& affinity,
                     Strided<const X> x, Strided<const X> y, Strided<const X> grad, Strided<X> grad_x,
                     Span<T> grad_affinity) {
  for_families<T>(cpu, families(tree, affinity, x.batch, x.channels), tree.nodes,
                  [&](const Family& family, Cpu inside) {
                    backward_family(inside, pass, tree, affinity, family, x, y, grad, grad_x,
                                    grad_affinity);
                  });
}

#define TREEFILTER_INSTANTIATE(X, T)                                                              \
  template void filter_backward(Cpu, Pass, const TreeView&, const Affinity<T>&, Strided<const X>, \
                                Strided<const X>, Strided<const X>, Strided<X>, Span<T>);
TREEFILTER_INSTANTIATE(float, float)
TREEFILTER_INSTANTIATE(double, double)
TREEFILTER_INSTANTIATE(BFloat16, float)
TREEFILTER_INSTANTIATE(Half, float)

}  // namespace treefilter
