// The fused derivative of the filter: per block of channels one filter of the gradient and one pass of
// x, which give the gradient in x and the block's part of that in the affinity; then, per group, the sum
// of the parts in the order of the blocks and the normaliser's part, one scalar channel.
#include <algorithm>

#include "../filter.h"
#include "filter_coefficients.h"
#include "filter_pack.h"

namespace treefilter {
namespace {

// One block's share of the gradients. Its rows hold, side by side for every vertex, the incoming
// gradient g and the input x. One pass takes both up; on the way down they turn into their filtered
// values h and y, and what the affinities get falls out on the way: a vertex is visited twice for all of
// it.
template <int N, bool PerLane, class T>
class BlockGradient {
 public:
  static constexpr int kStride = 2 * N;

  BlockGradient(const Family& family, const Coefficients<T>& k, int64_t used, T* rows)
      : family_(family),
        k_(k),
        used_(used),
        nodes_(k.visits.size()),
        both_({}, {k.visits.data(), nodes_}, rows) {}

  // The leaf-to-root sums. (A row's two halves share their coefficients.)
  TREEFILTER_PHASE void up() const {
    for (int64_t s = 0; s < nodes_; ++s) {
      both_.prefetch(std::min(s + kAhead, nodes_ - 1));
      const auto [v, p] = k_.visits[s];
      if (v == p) continue;
      const AddStep<T, N, PerLane> step(k_.up.data(), s);
      T* to = both_.row(p);
      const T* from = both_.row(v);
      for_vectors<T>(Lanes<N>{}, [&](int64_t l, auto size) {
        constexpr int kSize = decltype(size)::value;
        for (int64_t i : {l, N + l}) {
          store_vector(to + i, step(l, size, load_vector<kSize>(to + i), load_vector<kSize>(from + i)));
        }
      });
    }
  }

  // dot[group][slot]: the gradient in the affinities but for the normaliser's part. (Roots have none,
  // and are their own results.) Step is that of the filter's way down.
  template <class Step>
  TREEFILTER_PHASE void down(const typename Step::Values& values, T* dot) const {
    for (int64_t s = nodes_; s-- > 0;) {
      both_.prefetch(std::max<int64_t>(s - kAhead, 0));
      const auto [v, p] = k_.visits[s];
      if (v == p) continue;
      const Step step(values, s);
      const Coefficient<T, N, PerLane> a(k_.affinity.data(), s), m(k_.mass.data(), s),
          n(k_.total_above.data(), s);
      const bool keep = step.leaves_alone();
      T* self = both_.row(v);
      const T* above = both_.row(p);
      T row[N];
      for_vectors<T>(Lanes<N>{}, [&](int64_t l, auto size) {
        constexpr int kSize = decltype(size)::value;
        const auto gv = load_vector<kSize>(self + l), xv = load_vector<kSize>(self + N + l);
        const auto hp = load_vector<kSize>(above + l), yp = load_vector<kSize>(above + N + l);
        if (!keep) {
          store_vector(self + l, step(l, size, gv, hp));
          store_vector(self + N + l, step(l, size, xv, yp));
        }
        const auto ns = n(l, size), ms = m(l, size), am = a(l, size) * ms;
        store_vector(row + l, ms * (gv * (ns * yp - am * xv) + xv * (ns * hp - am * gv)));
      });
      add_groups(row, dot + s);
    }
  }

 private:
  using Both = Rows<T, Lanes<2 * N>>;

  // Adds the sums over the lanes of a row, one for each group that has a part in it.
  void add_groups(const T* row, T* sums) const {
    if constexpr (PerLane) {
      for (int64_t l = 0; l < used_; ++l) sums[l / family_.group_channels * nodes_] += row[l];
    } else {
      sums[0] += sum_of<N>(row);
    }
  }

  const Family& family_;
  const Coefficients<T>& k_;
  int64_t used_, nodes_;
  Both both_;
};

// mixed[group][v] = sum over a block's channels of g y, the results' part of the normaliser's gradient.
template <class X, class T>
TREEFILTER_PHASE void add_products(const Family& family, const Block& block, const Strided<const X>& g,
                                   const Strided<const X>& y, T* mixed) {
  for_values(g, 0, g.nodes, 0, block.used, [&](int64_t v, int64_t l) {
    const int64_t c = block.channel + l, group = c / family.group_channels - family.group0;
    mixed[group * g.nodes + v] += load<T>(g.at(block.batch, c)[v * g.node_stride]) *
                                  load<T>(y.at(block.batch, c)[v * y.node_stride]);
  });
}

template <bool PerLane, class X, class T>
void backward_block(Pass pass, const Family& family, const Coefficients<T>& k, const T* inverse,
                    const Block& block, T* rows, const Strided<const X>& x, const Strided<const X>& y,
                    const Strided<const X>& grad, const Strided<X>& grad_x, T* dot, T* mixed) {
  with_lanes<T, true>(block.used, [&](auto lanes) {
    constexpr int N = lanes_of(lanes);
    const bool mean = pass == Pass::kMean;
    const auto of = [&](auto& tensor) {
      return Channels<std::remove_pointer_t<decltype(tensor.data)>>{tensor, block.batch, block.channel,
                                                                    block.used};
    };
    const T *before = mean ? inverse : nullptr, *after = mean ? k.total.data() : nullptr;
    if (dot == nullptr) {
      pack<T, N, PerLane, N>(of(grad), before, rows);
      run_pass<PerLane>(pass, k, lanes, rows);
      unpack<T, N, PerLane, N>(rows, after, of(grad_x));
      return;
    }
    const BlockGradient<N, PerLane, T> gradient(family, k, block.used, rows);
    constexpr int kStride = BlockGradient<N, PerLane, T>::kStride;
    pack<T, N, PerLane, kStride>(of(grad), before, rows);
    pack<T, N, PerLane, kStride>(of(x), mean ? k.scale.data() : nullptr, rows + N);
    gradient.up();
    if (mean) {
      gradient.template down<MixStep<T, N, PerLane>>(k.down(), dot);
    } else {
      gradient.template down<SumStep<T, N, PerLane>>(k.up.data(), dot);
    }
    unpack<T, N, PerLane, kStride>(rows, after, of(grad_x));
    if (mean) add_products(family, block, grad, y, mixed);
  });
}

// The normaliser's part of the gradient: one channel x = 1 with gradient -mixed / n (see filter.h).
template <class T>
TREEFILTER_PHASE void add_normaliser(const Coefficients<T>& k, int64_t lane, int64_t stride,
                                     const T* mixed, T* grad) {
  const int64_t nodes = k.visits.size();
  struct Sums {
    double up, full;
  };
  Buffer<Sums> sums(nodes);
  for (int64_t v = 0; v < nodes; ++v) {
    sums[v].up = -static_cast<double>(mixed[v]) / k.total[v * stride + lane];
  }
  for (int64_t s = 0; s < nodes; ++s) {
    const auto [v, p] = k.visits[s];
    if (v != p) sums[p].up += static_cast<double>(k.affinity[s * stride + lane]) * sums[v].up;
  }
  for (int64_t s = nodes; s-- > 0;) {
    const auto [v, p] = k.visits[s];
    Sums& self = sums[v];
    const Sums& above = sums[p];
    const int64_t at = s * stride + lane;
    const double w = k.affinity[at], m = k.mass[at], n = k.total_above[at];
    if (v == p) {
      self.full = self.up;
      continue;
    }
    self.full = (1 - w) * (1 + w) * self.up + w * above.full;
    grad[v] += static_cast<T>(self.up * (n - w * m) + m * (above.full - w * self.up));
  }
}

// 1 / (m n) per vertex, what the incoming gradient is multiplied by; 0 for a lane without a channel.
template <class T>
Buffer<T> inverse_mass_and_total(const Coefficients<T>& k) {
  Buffer<T> inverse(k.total.size());
  for (int64_t i = 0; i < inverse.size(); ++i) {
    inverse[i] = k.total[i] == 0 ? T(0) : k.scale[i] / k.total[i];
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
  // g and x of one vertex fill a cache line.
  const int64_t most = family.per_lane() || !wanted ? kMaxLanes<T> : kMaxLanes<T> / 2;
  const std::vector<Block> all = blocks(family, most);
  const int64_t count = static_cast<int64_t>(all.size());
  const int64_t part = wanted ? groups * nodes : 0;  // of a block, summed in their order afterwards
  Buffer<T> dots(count * part), mixes(pass == Pass::kMean ? count * part : 0);
  parallel_for(count, 8 * nodes * most, cpu.threads, [&] {
    const int64_t lanes = std::min<int64_t>(most, 2 * family.channels());
    return [&, rows = Buffer<T>(nodes * lanes * (wanted ? 2 : 1))](int64_t i) {
      T *dot = nullptr, *mixed = nullptr;
      if (wanted) std::fill_n(dot = dots.data() + i * part, part, T(0));
      if (mixes.size() > 0) std::fill_n(mixed = mixes.data() + i * part, part, T(0));
      const auto run = family.per_lane() ? backward_block<true, X, T> : backward_block<false, X, T>;
      run(pass, family, k, inverse.data(), all[i], rows.data(), x, y, grad, grad_x, dot, mixed);
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
      Buffer<T> sum(nodes, 0);  // [slot]
      for (int64_t i = image * blocks_each; i < (image + 1) * blocks_each; ++i) {
        for (int64_t s = 0; s < nodes; ++s) sum[s] += dots[i * part + group * nodes + s];
        for (int64_t v = 0; v < mixed.size(); ++v) mixed[v] += mixes[i * part + group * nodes + v];
      }
      for (int64_t s = 0; s < nodes; ++s) to[k.visits[s].vertex] = sum[s];
      if (pass != Pass::kMean) return;
      add_normaliser(k, stride == 1 ? 0 : group * family.group_channels, stride, mixed.data(), to);
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
