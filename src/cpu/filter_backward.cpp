// The fused derivative of the filter: per block of channels one filter of the gradient and one pass of
// x, which give the gradient in x and the block's part of that in the affinity; then, per group, the sum
// of the parts in the order of the blocks and the normaliser's part, one scalar channel.
#include <algorithm>

#include "../filter.h"
#include "filter_coefficients.h"
#include "filter_pack.h"

namespace treefilter {
namespace {

// One block's share of the gradients. Its rows hold, side by side for every vertex, the gradient g and
// the input x, which one pass takes up, the result y, and the gradient's filter h, which is made on the
// way down together with what the affinities get: a vertex is visited once for all of them.
template <int N, bool PerLane, class T>
class BlockGradient {
 public:
  static constexpr int kStride = 4 * N;

  BlockGradient(Pass pass, const Family& family, const Coefficients<T>& k, const Affinity<T>& affinity,
                int64_t used, T* rows)
      : mean_(pass == Pass::kMean),
        family_(family),
        k_(k),
        used_(used),
        nodes_(k.visits.size()),
        affinity_(affinity.values.data + (family.affinity * affinity.groups + family.group0) * nodes_),
        rows_(rows) {}

  T* g() const { return rows_; }
  T* x() const { return rows_ + N; }
  T* y() const { return rows_ + 2 * N; }
  T* h() const { return rows_ + 3 * N; }

  // mixed[group][v] = sum of m g y: what the normaliser's part starts from. Before up().
  void mix(T* mixed) const {
    for (int64_t v = 0; v < nodes_; ++v) {
      const T *gv = g() + v * kStride, *yv = y() + v * kStride;
      T row[N];
      for_vectors<T>(Lanes<N>{}, [&](int64_t l, auto size) {
        constexpr int kSize = decltype(size)::value;
        auto product = load_vector<kSize>(gv + l) * load_vector<kSize>(yv + l);
        if constexpr (PerLane) product *= load_vector<kSize>(k_.mass.data() + v * N + l);
        store_vector(row + l, product);
      });
      add_groups(row, PerLane ? T(1) : k_.mass[v], mixed + v);
    }
  }

  // The leaf-to-root sums of g and x.
  void up() const {
    using R = Rows<T, Lanes<N, kStride>, PerLane>;
    for (int64_t s = 0; s < nodes_; ++s) {
      prefetch(std::min(s + R::kAhead, nodes_ - 1));
      const auto [v, p] = k_.visits[s];
      if (v == p) continue;
      T *to = rows_ + int64_t{p} * kStride, *from = rows_ + int64_t{v} * kStride;
      for_vectors<T>(Lanes<N>{}, [&](int64_t l, auto size) {
        constexpr int kSize = decltype(size)::value;
        const auto a = R::coefficient(k_.up.data(), s, l, size);
        for (int64_t i : {l, N + l}) {
          store_vector(to + i, load_vector<kSize>(to + i) + a * load_vector<kSize>(from + i));
        }
      });
    }
  }

  // h from g, and dot[group][v]: the gradient in the affinities but for the normaliser's part.
  void down(T* dot) const {
    using R = Rows<T, Lanes<N, kStride>, PerLane>;
    for (int64_t s = nodes_; s-- > 0;) {
      prefetch(std::max<int64_t>(s - R::kAhead, 0));
      const auto [v, p] = k_.visits[s];
      T* self = rows_ + int64_t{v} * kStride;
      const T* above = rows_ + int64_t{p} * kStride;
      const bool root = v == p;
      T row[N];
      for_vectors<T>(Lanes<N>{}, [&](int64_t l, auto size) {
        constexpr int kSize = decltype(size)::value;
        const auto gv = load_vector<kSize>(self + l), xv = load_vector<kSize>(self + N + l);
        if (root) return store_vector(self + 3 * N + l, gv);
        const auto yp = load_vector<kSize>(above + 2 * N + l),
                   hp = load_vector<kSize>(above + 3 * N + l);
        store_vector(self + 3 * N + l, filtered(s, l, size, gv, hp));
        const auto n = total(p, l, size), am = share(v, l, size);
        auto gradient = gv * (n * yp - am * xv) + xv * (n * hp - am * gv);
        if constexpr (PerLane) gradient *= mass(v, l, size);
        store_vector(row + l, gradient);
      });
      if (!root) add_groups(row, PerLane || !mean_ ? T(1) : k_.mass[v], dot + v);
    }
  }

 private:
  template <class Size, class V>
  V filtered(int64_t s, int64_t l, Size size, V vertex, V parent) const {
    using R = Rows<T, Lanes<N, kStride>, PerLane>;
    if (mean_) {
      const auto b = R::coefficient(k_.from_vertex.data(), s, l, size);
      const auto g = R::coefficient(k_.from_parent.data(), s, l, size);
      if constexpr (!PerLane) {
        if (g == 0) return vertex;
      }
      return R::mix(b, g, vertex, parent);
    }
    const auto w = R::coefficient(k_.up.data(), s, l, size);
    return (1 - w) * (1 + w) * vertex + w * parent;
  }

  // m and n of filter.h, 1 where nothing is normalised; a vector of them if they differ by lane.
  template <class Size>
  auto mass(int64_t v, int64_t l, Size size) const {
    return per_vertex(k_.mass, v, l, size);
  }
  template <class Size>
  auto total(int64_t v, int64_t l, Size size) const {
    return per_vertex(k_.total, v, l, size);
  }
  template <class Size>
  auto per_vertex(const Buffer<T>& values, int64_t v, int64_t l, Size) const {
    if constexpr (PerLane) {
      using V = Vector<T, Size::value>;
      return mean_ ? load_vector<Size::value>(values.data() + v * N + l) : V{} + 1;
    } else {
      return mean_ ? values[v] : T(1);
    }
  }

  // The affinity times the mass.
  template <class Size>
  auto share(int64_t v, int64_t l, Size size) const {
    if constexpr (PerLane) {
      T a[Size::value];
      for (int i = 0; i < Size::value; ++i) {
        const int64_t group = l + i < used_ ? (l + i) / family_.group_channels : 0;
        a[i] = affinity_[group * nodes_ + v];
      }
      return load_vector<Size::value>(a) * mass(v, l, size);
    } else {
      return affinity_[v] * mass(v, l, size);
    }
  }

  // Adds the sums over the lanes of a row, one for each group that has a part in it.
  void add_groups(const T* row, T factor, T* sums) const {
    if constexpr (PerLane) {
      for (int64_t l = 0; l < used_; ++l) sums[l / family_.group_channels * nodes_] += row[l];
    } else {
      sums[0] += factor * sum_of<N>(row);
    }
  }

  void prefetch(int64_t s) const {
    const auto [v, p] = k_.visits[s];
    for (int64_t i = 0; i < kStride; i += 64 / static_cast<int64_t>(sizeof(T))) {
      __builtin_prefetch(rows_ + int64_t{v} * kStride + i, 1);
      __builtin_prefetch(rows_ + int64_t{p} * kStride + i, 1);
    }
  }

  bool mean_;
  const Family& family_;
  const Coefficients<T>& k_;
  int64_t used_, nodes_;
  const T* affinity_;
  T* rows_;
};

template <bool PerLane, class X, class T>
void backward_block(Pass pass, const Family& family, const Coefficients<T>& k,
                    const Affinity<T>& affinity, const T* inverse, const Block& block, T* rows,
                    const Strided<const X>& x, const Strided<const X>& y, const Strided<const X>& grad,
                    const Strided<X>& grad_x, T* dot, T* mixed) {
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
    const BlockGradient<N, PerLane, T> block_gradient(pass, family, k, affinity, block.used, rows);
    constexpr int kStride = BlockGradient<N, PerLane, T>::kStride;
    pack<T, N, PerLane, kStride>(of(grad), before, block_gradient.g());
    pack<T, N, PerLane, kStride>(of(y), static_cast<const T*>(nullptr), block_gradient.y());
    if (mean) block_gradient.mix(mixed);
    pack<T, N, PerLane, kStride>(of(x), mean ? k.scale.data() : nullptr, block_gradient.x());
    block_gradient.up();
    block_gradient.down(dot);
    unpack<T, N, PerLane, kStride>(block_gradient.h(), after, of(grad_x));
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
  const std::vector<Block> all = blocks(family, kMaxLanes<T>);
  const int64_t count = static_cast<int64_t>(all.size());
  const int64_t part = wanted ? groups * nodes : 0;  // of a block, summed in their order afterwards
  Buffer<T> dots(count * part), mixes(pass == Pass::kMean ? count * part : 0);
  parallel_for(count, 8 * nodes * kMaxLanes<T>, cpu.threads, [&] {
    const int64_t lanes = std::min<int64_t>(kMaxLanes<T>, 2 * family.channels());
    return [&, rows = Buffer<T>(nodes * lanes * (wanted ? 4 : 1))](int64_t i) {
      T *dot = nullptr, *mixed = nullptr;
      if (wanted) std::fill_n(dot = dots.data() + i * part, part, T(0));
      if (mixes.size() > 0) std::fill_n(mixed = mixes.data() + i * part, part, T(0));
      const auto run = family.per_lane() ? backward_block<true, X, T> : backward_block<false, X, T>;
      run(pass, family, k, affinity, inverse.data(), all[i], rows.data(), x, y, grad, grad_x, dot,
          mixed);
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
