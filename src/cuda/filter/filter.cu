// The passes and the filter on CUDA: the coefficients, once for each family (coefficients.cuh), then the
// channels, each in the order of the plan (channels.cuh, channels_large.cuh): two launches. Or one,
// where a channel with an affinity of its own makes its coefficients (own_weights.cuh).
//
// The cost of a channel is one permuted read and one permuted write of the tensor (in the plan's order,
// 32 vertices of a photograph touch 12 to 20 sectors of memory; 4 would be ideal), and some 40 bytes of
// plan and coefficients a vertex, which come from the L2 cache. Sets of kMostLanes channels share them
// where there are so many sets that the device is busy anyway.
#include "../../filter.h"
#include "own_weights.cuh"

namespace treefilter {
using namespace cuda;

namespace {

// Reads X, computes in Value, writes X, by the steps of sums or of means.
template <class X, class T, bool kMean, int kMost>
struct FilterTask {
  using Value = T;
  using Steps = std::conditional_t<kMean, MeanSteps<T>, SumSteps<T, T>>;
  static constexpr int kLanes = kMost;
  static constexpr bool kSharedOnly = kMost > 1;
  static constexpr bool kTurns = false;
  struct Arrays {
    const X* from;
    X* to;
    int used;  // of the lanes
    const T* scale;
  };

  Pass pass;
  Families<T> families;
  FamilyCoefficients<const T, kMean> k;
  Strided<const X> x;
  Strided<X> out;

  TREEFILTER_HD int64_t nodes() const { return families.nodes(); }
  TREEFILTER_HD bool up() const { return pass != Pass::kRootToLeaf; }
  TREEFILTER_HD bool down() const { return pass != Pass::kLeafToRoot; }

  TREEFILTER_HD int64_t group_channels() const { return x.channels / families.groups(); }
  TREEFILTER_HD int64_t group_sets() const { return (group_channels() + kLanes - 1) / kLanes; }
  TREEFILTER_HD ChannelSet<FilterTask> channels(int64_t index, T* values) const {
    const Split at(index, group_sets()), family(at.quotient, families.groups());
    return channels(index, values, k.of(families.index(family.quotient, family.rest)));
  }
  TREEFILTER_HD ChannelSet<FilterTask> channels(int64_t index, T* values,
                                                const Coefficients<const T>& own) const {
    const Split at(index, group_sets()), family(at.quotient, families.groups());
    const int64_t image = family.quotient, group = family.rest, inside = at.rest * kLanes;
    const int64_t rest = group_channels() - inside;
    ChannelSet<FilterTask> set{families.tree.plan_of(image), {}, {}, values};
    own.steps(set.steps, pass == Pass::kSum);
    const int64_t channel = group * group_channels() + inside;
    set.arrays = {x.at(image, channel), out.at(image, channel),
                  rest < kLanes ? static_cast<int>(rest) : kLanes, own.scale};
    return set;
  }

  TREEFILTER_HD void fill(const ChannelSet<FilterTask>& set, int32_t v) const {
    X* const to = set.arrays.to + v * out.node_stride;
    for (int l = 0; l < set.arrays.used; ++l) {
      treefilter::store(to[l * out.channel_stride], not_a_number());
    }
  }
  struct Loaded {
    T values[kLanes];
  };
  TREEFILTER_HD Loaded read(Start, const ChannelSet<FilterTask>& set, int32_t s) const {
    const X* const from = set.arrays.from + set.plan.vertex(s) * x.node_stride;
    const T scale = kMean ? set.arrays.scale[s] : T(1);
    Loaded to;
    for (int l = 0; l < kLanes; ++l) {
      const bool used = kLanes == 1 || l < set.arrays.used;
      to.values[l] = used ? treefilter::load<T>(from[l * x.channel_stride]) * scale : T(0);
    }
    return to;
  }
  TREEFILTER_HD void write(Start, const ChannelSet<FilterTask>& set, int32_t s,
                           const Loaded& loaded) const {
    for (int l = 0; l < kLanes; ++l) set.at(l, s) = loaded.values[l];
  }
  static TREEFILTER_HD void visit(const ChannelSet<FilterTask>&, int32_t, const T*, const T*) {}
  TREEFILTER_HD int32_t read(End, const ChannelSet<FilterTask>& set, int32_t s) const {
    return set.plan.vertex(s);
  }
  TREEFILTER_HD void write(End, const ChannelSet<FilterTask>& set, int32_t s, int32_t vertex) const {
    X* const to = set.arrays.to + vertex * out.node_stride;
    for (int l = 0; l < kLanes; ++l) {
      if (kLanes > 1 && l >= set.arrays.used) break;
      treefilter::store(to[l * out.channel_stride], set.at(l, s));
    }
  }
};

}  // namespace

#ifdef __CUDACC__
template <class X, bool kMean>
constexpr bool cuda::kShares<FilterTask<X, double, kMean, 1>> = true;
#endif

namespace {

// Sets have one channel each, unless there are several sets for every multiprocessor of any GPU.
constexpr int kMostLanes = 3;
constexpr int64_t kManySets = 1024;

template <bool kMean, class X, class T>
void propagate_channels(const Cuda& cuda, Pass pass, const Families<T>& families,
                        const Strided<const X>& x, const Strided<X>& out) {
  using Narrow = FilterTask<X, T, kMean, 1>;
  using Wide = FilterTask<X, T, kMean, kMostLanes>;
  if constexpr (kMean && std::is_same_v<T, float>) {
    const Narrow narrow{pass, families, {}, x, out};
    const int64_t channels = x.batch * x.channels;
    if (own_weights_fit<Kept::kNothing>(narrow, channels)) {
      return run_own_weights<Kept::kNothing>(cuda, "filter", channels, narrow, nullptr);
    }
  }
  const FamilyCoefficients<const T, kMean> k = coefficients_of<kMean>(cuda, "filter", families);
  const Wide wide{pass, families, k, x, out};
  const bool fits = shared_bytes<Wide>(x.nodes) <= shared_limit();
  if (fits && x.batch * x.channels >= kManySets && wide.group_channels() >= kMostLanes) {
    run_channels(cuda, "filter", x.batch * families.groups() * wide.group_sets(), wide);
  } else {
    run_channels(cuda, "filter", x.batch * x.channels, Narrow{pass, families, k, x, out});
  }
}

// out[b, g, v] of parent_dot.
template <class X, class T>
struct ParentDot {
  TreeView tree;
  int64_t groups;
  Strided<const X> p, q;
  T* out;

  TREEFILTER_HD void operator()(int64_t i) const {
    const Split at(i, tree.nodes), image(at.quotient, groups);
    const int64_t nodes = tree.nodes, v = at.rest, b = image.quotient, group = image.rest;
    const int64_t channels = p.channels / groups;
    const int64_t above = tree.parent[(tree.batch == 1 ? 0 : b) * nodes + v];
    T sum = 0;
    if (above != v && above >= 0 && above < nodes) {
      for (int64_t c = group * channels; c < (group + 1) * channels; ++c) {
        sum += load<T>(p.at(b, c)[above * p.node_stride]) * load<T>(q.at(b, c)[v * q.node_stride]);
      }
    }
    out[i] = sum;
  }
};

}  // namespace

template <class X, class T>
void propagate(const Cuda& cuda, Pass pass, const TreeView& tree, const Affinity<T>& affinity,
               Strided<const X> x, Strided<X> out) {
  if (x.batch == 0 || x.channels == 0 || x.nodes == 0) return;
  const Families<T> families(tree, affinity, x.batch);
  if (pass == Pass::kMean) {
    propagate_channels<true>(cuda, pass, families, x, out);
  } else {
    propagate_channels<false>(cuda, pass, families, x, out);
  }
}

template <class X, class T>
void parent_dot(const Cuda& cuda, const TreeView& tree, int64_t groups, Strided<const X> p,
                Strided<const X> q, Span<T> out) {
  launch_flat(cuda, "parent_dot", p.batch * groups * tree.nodes,
              ParentDot<X, T>{tree, groups, p, q, out.data});
}

#define TREEFILTER_INSTANTIATE(X, T)                                                                  \
  template void propagate(const Cuda&, Pass, const TreeView&, const Affinity<T>&, Strided<const X>,   \
                          Strided<X>);                                                                \
  template void parent_dot(const Cuda&, const TreeView&, int64_t, Strided<const X>, Strided<const X>, \
                           Span<T>);
TREEFILTER_INSTANTIATE(float, float)
TREEFILTER_INSTANTIATE(double, double)
TREEFILTER_INSTANTIATE(BFloat16, float)
TREEFILTER_INSTANTIATE(Half, float)

}  // namespace treefilter
