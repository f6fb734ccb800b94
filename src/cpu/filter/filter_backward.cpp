// The fused derivative of the filter.
//
//  1. Per block of channels: the filter of the incoming gradient, which is the gradient in x, together
//     with the filter of x. For every edge this gives two sums over the block's channels (Dots).
//  2. Per group: the dots are added in the order of the blocks; two scalar passes in double turn them
//     into the gradient in the affinities.
#include <algorithm>

#include "../../filter.h"
#include "../support/parallel.h"
#include "../support/workspace.h"
#include "coefficients.h"
#include "pack.h"

namespace treefilter {
namespace {

// P (above) and Q (below) of filter.h for the edge of a slot.
template <class T>
struct Dots {
  T above, below;
};

// The gradients of one block. For every vertex, the packed channels are those of the incoming gradient
// g, then those of the input x. One leaf-to-root pass sums both; the root-to-leaf pass turns them into
// their filtered values h and y and computes the dots: two visits per vertex in all.
template <int N, bool PerLane, class T>
class BlockGradient {
 public:
  static constexpr int kStride = 2 * N;

  BlockGradient(const Family& family, const Coefficients<T>& k, int64_t used, T* packed)
      : family_(family),
        used_(used),
        nodes_(k.visits.size()),
        both_(k.cpu, {}, {k.visits.data(), nodes_}, packed) {}

  template <class Step>
  TREEFILTER_PHASE void up(const T* values) const {
    both_.for_slots_up([values](const auto& both, int64_t s) {
      const auto [v, p] = both.visit(s);
      const Step step(values, s);
      if (v != p && !step.closed()) update(step, both.channels(p), both.channels(v));
    });
  }

  // dots[group][slot]. A root has no edge: its dots stay 0, its filtered values are its sums.
  template <bool Mean, class Step>
  TREEFILTER_PHASE void down(const T* values, Dots<T>* dots) const {
    both_.for_slots_down([this, values, dots](const auto& both, int64_t s) {
      const auto [v, p] = both.visit(s);
      if (v == p) return;
      T* self = both.channels(v);
      const T* parent = both.channels(p);
      T above[N], below[N];
      for_vectors<T>(Lanes<N>{}, [&](int64_t l, auto size) {
        constexpr int kSize = decltype(size)::value;
        const auto g = load_vector<kSize>(self + l), x = load_vector<kSize>(self + N + l);
        const auto h = load_vector<kSize>(parent + l), y = load_vector<kSize>(parent + N + l);
        if constexpr (Mean) {
          store_vector(above + l, (x - y) * h);
          store_vector(below + l, (x - y) * g);
        } else {
          store_vector(above + l, g * y + x * h);
          store_vector(below + l, g * x);
        }
      });
      add_groups(above, below, dots + s);
      const Step step(values, s);
      if (!step.closed()) update(step, self, parent);
    });
  }

 private:
  // Applies a step to g and to x, which have the same coefficients.
  template <class Step>
  static void update(const Step& step, T* self, const T* neighbour) {
    const T* base = step.base(self, neighbour);
    for_vectors<T>(Lanes<N>{}, [&](int64_t l, auto size) {
      constexpr int kSize = decltype(size)::value;
      for (int64_t i : {l, N + l}) {
        store_vector(self + i, step(l, size, load_vector<kSize>(base + i), load_vector<kSize>(self + i),
                                    load_vector<kSize>(neighbour + i)));
      }
    });
  }

  // Adds the sums over the lanes, one for each group that has lanes in this block.
  void add_groups(const T* above, const T* below, Dots<T>* sums) const {
    if constexpr (PerLane) {
      for (int64_t l = 0; l < used_; ++l) {
        Dots<T>& sum = sums[l / family_.group_channels * nodes_];
        sum.above += above[l], sum.below += below[l];
      }
    } else {
      *sums = {sum_of<N>(above), sum_of<N>(below)};
    }
  }

  const Family& family_;
  int64_t used_, nodes_;
  Passes<T, Lanes<2 * N>> both_;
};

template <int N, class X, class T>
void set_centre(const Channels<const X>& x, T (&centre)[N]) {
  for (int64_t l = 0; l < x.used; ++l) {
    double sum = 0;
    for (int64_t i = 0; i < Centre::samples(x.tensor.nodes); ++i) {
      sum += load<double>(x.plane(l)[Centre::vertex(i, x.tensor.nodes) * x.tensor.node_stride]);
    }
    centre[l] = Centre::of<T>(sum, x.tensor.nodes);
  }
}

template <bool PerLane, class X, class T>
void backward_block(Pass pass, const Family& family, const Coefficients<T>& k, const Block& block,
                    T* packed, const Strided<const X>& grad, const Strided<const X>& x,
                    const Strided<X>& grad_x, Dots<T>* dots) {
  with_lanes<T, true>(block.used, [&](auto lanes) {
    constexpr int N = lanes_of(lanes);
    const bool mean = pass == Pass::kMean;
    const auto of = [&](auto& tensor) {
      return Channels<std::remove_pointer_t<decltype(tensor.data)>>{tensor, block.batch, block.channel,
                                                                    block.used};
    };
    const T *before = mean ? k.inverse.data() : nullptr, *after = mean ? k.total.data() : nullptr;
    T centre[N] = {};
    if (dots == nullptr) {
      pack<T, N, PerLane, N>(of(grad), before, centre, packed);
      run_pass<PerLane>(pass, k, lanes, packed);
      unpack<T, N, PerLane, N>(packed, after, of(grad_x));
      return;
    }
    const BlockGradient<N, PerLane, T> gradient(family, k, block.used, packed);
    constexpr int kStride = BlockGradient<N, PerLane, T>::kStride;
    pack<T, N, PerLane, kStride>(of(grad), before, centre, packed);
    if (mean) set_centre(of(x), centre);
    pack<T, N, PerLane, kStride>(of(x), nullptr, centre, packed + N);
    if (mean) {
      gradient.template up<MixStep<T, N, PerLane>>(k.up.data());
      gradient.template down<true, MixStep<T, N, PerLane>>(k.down.data(), dots);
    } else {
      gradient.template up<AddStep<T, N, PerLane>>(k.up.data());
      gradient.template down<false, SumStep<T, N, PerLane>>(k.up.data(), dots);
    }
    unpack<T, N, PerLane, kStride>(packed, after, of(grad_x));
  });
}

template <class T>
TREEFILTER_PHASE void sum_gradient(const Buffer<Visit>& visits, const Buffer<Dots<double>>& dots,
                                   const T* a, T* grad) {
  for (int64_t s = 0; s < visits.size(); ++s) {
    const auto [v, p] = visits[s];
    grad[v] = v == p ? T(0) : static_cast<T>(dots[s].above - 2 * double{a[v]} * dots[s].below);
  }
}

// The gradient of a mean, with the names of filter.h. All that a visit needs of a vertex is in one cache
// line: m, n, a, and R, which becomes W in the root-to-leaf pass.
template <class T>
TREEFILTER_PHASE void mean_gradient(const Cpu& cpu, const Buffer<Visit>& visits, const Mass* of,
                                    const Buffer<Dots<double>>& dots, const T* a, T* grad) {
  struct Vertex {
    double m, n, a, sum;
  };
  struct Edge {
    double b, t;  // b_v and T_v
  };
  const int64_t nodes = visits.size();
  const Buffer<Vertex> vertices(nodes);
  for (int64_t v = 0; v < nodes; ++v) vertices[v] = {of[v].below, of[v].total, a[v], 0};
  const Buffer<Edge> edges(nodes);
  const Passes<Vertex, Lanes<1>> both(cpu, {}, {visits.data(), nodes}, vertices.data());
  both.for_slots_up([edges = edges.data(), dots = dots.data()](const auto& passes, int64_t s) {
    const auto [v, p] = passes.visit(s);
    if (v == p) return;
    const Vertex& self = *passes.channels(v);
    const double b = (1 - self.a) * (1 + self.a) * self.m / self.n;
    const double t = self.sum + b * self.m * dots[s].below;
    edges[s] = {b, t};
    if (self.a != 0) passes.channels(p)->sum += self.a * t;
  });
  both.for_slots_down([grad, edges = edges.data(), dots = dots.data()](const auto& passes, int64_t s) {
    const auto [v, p] = passes.visit(s);
    grad[v] = 0;
    if (v == p) return;
    Vertex& self = *passes.channels(v);
    const Vertex& parent = *passes.channels(p);
    const auto [b, t] = edges[s];
    const double above = parent.n * dots[s].above, below = self.m * dots[s].below;
    const double outside = parent.sum - self.a * t;
    grad[v] = static_cast<T>(self.m * (above - 2 * self.a * below) - t * (parent.n - self.a * self.m) -
                             self.m * outside);
    if (self.a != 0) self.sum += self.a * (outside - b * (above - self.a * below));
  });
}

template <class X, class T>
void backward_family(Cpu cpu, Pass pass, const TreeView& tree, const Affinity<T>& affinity,
                     const Family& family, Strided<const X> grad, Strided<const X> x, Strided<X> grad_x,
                     Span<T> grad_affinity) {
  const int64_t nodes = tree.nodes, groups = family.group1 - family.group0;
  const bool wanted = grad_affinity.size > 0;
  const Coefficients<T> k(cpu, pass, tree, affinity, family, coefficient_stride<T>(family), true);
  // With a gradient of the affinity, the channels of g and x are packed together.
  const bool far = is_far(2 * nodes * kMaxLanes<T> * static_cast<int64_t>(sizeof(T)));
  const int64_t both = far ? kMaxLanes<T> / 2 : kMaxLanes<T>;
  const int64_t alone = std::min<int64_t>(kMaxLanes<T>, block_lanes<T>(nodes));
  const int64_t most = family.per_lane() ? kMaxLanes<T> : wanted ? both : alone;
  const std::vector<Block> all = blocks(family, most);
  const int64_t count = static_cast<int64_t>(all.size());
  const int64_t part = wanted ? groups * nodes : 0;  // the dots of a block
  const Buffer<Dots<T>> dots(count * part);
  parallel_for(count, 8 * nodes * most, cpu, [&] {
    const int64_t lanes = std::min<int64_t>(most, 2 * family.channels());
    return [&, packed = Buffer<T>(nodes * lanes * (wanted ? 2 : 1))](int64_t i) {
      Dots<T>* const to = wanted ? dots.data() + i * part : nullptr;
      std::fill_n(to, part, Dots<T>{0, 0});
      const auto run = family.per_lane() ? backward_block<true, X, T> : backward_block<false, X, T>;
      run(pass, family, k, all[i], packed.data(), grad, x, grad_x, to);
    };
  });
  if (!wanted) return;
  const int64_t images = family.batch1 - family.batch0, blocks_each = count / images;
  parallel_for(images * groups, 4 * nodes, cpu, [&] {
    return [&, sum = Buffer<Dots<double>>(nodes)](int64_t item) {
      const int64_t image = item / groups, group = item % groups;
      const int64_t first = image * blocks_each;
      for (int64_t i = first; i < first + blocks_each; ++i) {
        const Dots<T>* of = dots.data() + i * part + group * nodes;
        for (int64_t s = 0; s < nodes; ++s) {
          const Dots<double> before = i == first ? Dots<double>{0, 0} : sum[s];
          sum[s] = {before.above + of[s].above, before.below + of[s].below};
        }
      }
      const T* a =
          affinity.values.data + (family.affinity * affinity.groups + family.group0 + group) * nodes;
      T* to = grad_affinity.data +
              ((family.batch0 + image) * affinity.groups + family.group0 + group) * nodes;
      if (pass == Pass::kMean) {
        mean_gradient(cpu, k.visits, k.masses.data() + group * nodes, sum, a, to);
      } else {
        sum_gradient(k.visits, sum, a, to);
      }
    };
  });
}

}  // namespace

template <class X, class T>
void filter_backward(Cpu cpu, Pass pass, const TreeView& tree, const Affinity<T>& affinity,
                     Strided<const X> grad, Strided<const X> x, Strided<X> grad_x,
                     Span<T> grad_affinity) {
  for_families<T>(cpu, families(tree, affinity, x.batch, x.channels), tree.nodes,
                  [&](const Family& family, Cpu inside) {
                    backward_family(inside, pass, tree, affinity, family, grad, x, grad_x,
                                    grad_affinity);
                  });
}

#define TREEFILTER_INSTANTIATE(X, T)                                                              \
  template void filter_backward(Cpu, Pass, const TreeView&, const Affinity<T>&, Strided<const X>, \
                                Strided<const X>, Strided<X>, Span<T>);
TREEFILTER_INSTANTIATE(float, float)
TREEFILTER_INSTANTIATE(double, double)
TREEFILTER_INSTANTIATE(BFloat16, float)
TREEFILTER_INSTANTIATE(Half, float)

}  // namespace treefilter
