// The derivative of the filter on CUDA. The gradient and x of a channel go up and down together, as two
// lanes of one channel set, and the channel's dot products (P and Q of filter.h) are found in the pass
// down. These, two values a slot, are then summed over the channels of a group in their order. What
// follows from the sums for the affinities of a mean is a channel for each group of an image, in double:
// one pass up and one down. Without a gradient in the affinities it is the filter alone, on one lane.
//
// Launches: coefficients, if they are not given; channels; sums, if groups have several channels; for
// the mean also the centres and a channel in double. Where each channel has an affinity of its own, it
// makes its coefficients (own_weights.cuh). Workspace: two values for each vertex of each channel, and
// the coefficients.
#include "../../filter.h"
#include "mean_gradient.cuh"
#include "own_weights.cuh"

namespace treefilter {
using namespace cuda;

namespace {

// The samples of a channel (Centre) are added in kStrands sums.
constexpr int64_t kStrands = 32;

template <class X>
struct SumSamples {
  Strided<const X> x;
  double* sums;  // [image][channel][strand]

  TREEFILTER_HD void operator()(int64_t i) const {
    const Split at(i, kStrands), channel(at.quotient, x.channels);
    const X* values = x.at(channel.quotient, channel.rest);
    const int64_t samples = Centre::samples(x.nodes);
    double sum = 0;
    for (int64_t k = at.rest; k < samples; k += kStrands) {
      sum += load<double>(values[Centre::vertex(k, x.nodes) * x.node_stride]);
    }
    sums[i] = sum;
  }
};

template <class T>
struct SetCentres {
  int64_t nodes;
  const double* sums;  // [image][channel][strand]
  T* centre;           // [image][channel]

  TREEFILTER_HD void operator()(int64_t i) const {
    double sum = 0;
    for (int64_t k = 0; k < kStrands; ++k) sum += sums[i * kStrands + k];
    centre[i] = Centre::of<T>(sum, nodes);
  }
};

template <class X, class T, bool kMean, bool kWanted>
struct BackwardTask {
  using Value = T;
  using Steps = std::conditional_t<kMean, MeanSteps<T>, SumSteps<T, T>>;
  static constexpr int kLanes = kWanted ? 2 : 1;  // the gradient, x
  static constexpr bool kSharedOnly = false;
  static constexpr bool kTurns = false;
  struct Arrays {
    Coefficients<const T> k;
    const X *x, *grad;
    X* grad_x;
    T centre;
    Dots<T>* dots;
  };

  Families<T> families;
  FamilyCoefficients<const T, kMean> k;
  Strided<const X> grad, x;
  Strided<X> grad_x;
  const T* centre;  // [image][channel], kMean and kWanted only
  Dots<T>* dots;    // [image][channel][slot], kWanted only

  TREEFILTER_HD int64_t nodes() const { return families.nodes(); }
  TREEFILTER_HD bool up() const { return true; }
  TREEFILTER_HD bool down() const { return true; }
  TREEFILTER_HD ChannelSet<BackwardTask> channels(int64_t index, T* values) const {
    const Split at(index, grad.channels);
    const int64_t group = at.rest / (grad.channels / families.groups());
    return channels(index, values, k.of(families.index(at.quotient, group)));
  }
  TREEFILTER_HD ChannelSet<BackwardTask> channels(int64_t index, T* values,
                                                  const Coefficients<const T>& own) const {
    const Split at(index, grad.channels);
    const int64_t image = at.quotient;
    ChannelSet<BackwardTask> set{families.tree.plan_of(image), {}, {}, values};
    set.arrays = {own,
                  kWanted ? x.at(image, at.rest) : nullptr,
                  grad.at(image, at.rest),
                  grad_x.at(image, at.rest),
                  kMean && kWanted ? centre[index] : T(0),
                  kWanted ? dots + index * nodes() : nullptr};
    own.steps(set.steps, true);
    return set;
  }

  TREEFILTER_HD void fill(const ChannelSet<BackwardTask>& set, int32_t v) const {
    treefilter::store(set.arrays.grad_x[v * grad_x.node_stride], not_a_number());
  }
  struct Loaded {
    T grad, x, scale, total;
  };
  TREEFILTER_HD Loaded read(Start, const ChannelSet<BackwardTask>& set, int32_t s) const {
    const Arrays& at = set.arrays;
    const int64_t v = set.plan.vertex(s);
    return {treefilter::load<T>(at.grad[v * grad.node_stride]),
            kWanted ? treefilter::load<T>(at.x[v * x.node_stride]) : T(0), kMean ? at.k.scale[s] : T(1),
            kMean ? static_cast<T>(at.k.total[s]) : T(1)};
  }
  TREEFILTER_HD void write(Start, const ChannelSet<BackwardTask>& set, int32_t s,
                           const Loaded& from) const {
    set.at(0, s) = from.grad * (kMean ? from.scale / from.total : T(1));
    if constexpr (kWanted) set.at(1, s) = (from.x - set.arrays.centre) * from.scale;
  }
  static TREEFILTER_HD void visit(const ChannelSet<BackwardTask>& set, int32_t s, const T* own,
                                  const T* linked) {
    if constexpr (kWanted) {
      const T g = own[0], x = own[1], h = linked[0], y = linked[1];
      // 0 + …, as the first sum: also where there is nothing to add, a zero has no sign.
      set.arrays.dots[s] =
          kMean ? Dots<T>{0 + (x - y) * h, 0 + (x - y) * g} : Dots<T>{g * y + x * h, g * x};
    }
  }
  struct Result {
    int32_t vertex;
    T total;
  };
  TREEFILTER_HD Result read(End, const ChannelSet<BackwardTask>& set, int32_t s) const {
    return {set.plan.vertex(s), kMean ? static_cast<T>(set.arrays.k.total[s]) : T(1)};
  }
  TREEFILTER_HD void write(End, const ChannelSet<BackwardTask>& set, int32_t s, const Result& at) const {
    treefilter::store(set.arrays.grad_x[at.vertex * grad_x.node_stride], set.at(0, s) * at.total);
  }
};

// Sums the channels' dot products. For kSum the gradient in the affinities follows from them at once.
template <class T, bool kMean>
struct SumDots {
  Families<T> families;
  FamilyCoefficients<const T, kMean> k;
  int64_t channels;     // of a group
  const Dots<T>* dots;  // [image][channel][slot]
  Dots<T>* sums;        // [image][group][slot], kMean only
  T* grad_affinity;     // [image][group][vertex]; 0 at roots

  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t nodes = families.nodes();
    const Split at(i, nodes), family(at.quotient, families.groups());
    const PlanView plan = families.tree.plan_of(family.quotient);
    const int32_t s = static_cast<int32_t>(at.rest);
    if (s >= plan.slots()) return;
    const Dots<T>* of_group = dots + at.quotient * channels * nodes + s;
    Dots<T> sum{0, 0};
    for (int64_t c = 0; c < channels; ++c) {
      sum.above += of_group[c * nodes].above, sum.below += of_group[c * nodes].below;
    }
    if (kMean) {
      sums[i] = sum;
    } else {
      const bool root = plan.is_root(s);
      const T a = k.of(families.index(family.quotient, family.rest)).affinity[s];
      grad_affinity[at.quotient * nodes + plan.vertex(s)] = root ? T(0) : sum.above - 2 * a * sum.below;
    }
  }
};

constexpr const char* kName = "filter_backward";

// Runs the channels of a task that has no coefficients yet, and returns those.
template <class X, class T, bool kMean, bool kWanted>
FamilyCoefficients<const T, kMean> run(const Cuda& cuda, BackwardTask<X, T, kMean, kWanted> task) {
  const Families<T>& families = task.families;
  const int64_t channels = task.grad.batch * task.grad.channels, nodes = families.nodes();
  if constexpr (kMean && std::is_same_v<T, float>) {
    constexpr Kept kKept = kWanted ? Kept::kAll : Kept::kTotals;
    if (own_weights_fit<kKept>(task, channels)) {
      const int64_t stride = FamilyCoefficients<T, true>::least(nodes);
      const auto [kept] = cuda.arrays<double>(channels * stride);
      run_own_weights<kKept>(cuda, kName, channels, task, kept);
      return {kept, nodes, stride};
    }
  }
  task.k = coefficients_of<kMean>(cuda, kName, families);
  run_channels(cuda, kName, channels, task);
  return task.k;
}

template <bool kMean, class X, class T>
void backward(const Cuda& cuda, const Families<T>& families, const Strided<const X>& grad,
              const Strided<const X>& x, const Strided<X>& grad_x, Span<T> grad_affinity) {
  if (grad_affinity.size == 0) {
    run(cuda, BackwardTask<X, T, kMean, false>{families, {}, grad, x, grad_x, nullptr, nullptr});
    return;
  }
  const int64_t channels = grad.batch * grad.channels, groups = grad.batch * families.groups();
  const int64_t nodes = families.nodes(), mean_size = kMean ? groups * nodes : 0;
  const int64_t centres = kMean ? channels : 0;
  // The products of a single channel are the sums of its group.
  const bool summed = kMean && channels == groups;
  const auto [samples, group_sums, dots, centre] = cuda.arrays<double, Dots<T>, Dots<T>, T>(
      centres * kStrands, summed ? 0 : mean_size, channels * nodes, centres);
  Dots<T>* const sums = summed ? dots : group_sums;
  if constexpr (kMean) {
    launch_flat(cuda, kName, channels * kStrands, SumSamples<X>{x, samples});
    launch_flat(cuda, kName, channels, SetCentres<T>{nodes, samples, centre});
  }
  const FamilyCoefficients<const T, kMean> k =
      run(cuda, BackwardTask<X, T, kMean, true>{families, {}, grad, x, grad_x, centre, dots});
  if (!summed) {
    launch_flat(cuda, kName, groups * nodes,
                SumDots<T, kMean>{families, k, channels / groups, dots, sums, grad_affinity.data});
  }
  if constexpr (kMean) {
    run_mean_gradient(cuda, kName, families, k, sums, groups, grad_affinity.data);
  }
}

}  // namespace

template <class X, class T>
void filter_backward(const Cuda& cuda, Pass pass, const TreeView& tree, const Affinity<T>& affinity,
                     Strided<const X> grad, Strided<const X> x, Strided<X> grad_x,
                     Span<T> grad_affinity) {
  if (grad.batch == 0 || grad.nodes == 0) return;
  const Families<T> families(tree, affinity, grad.batch);
  if (pass == Pass::kMean) {
    backward<true>(cuda, families, grad, x, grad_x, grad_affinity);
  } else {
    backward<false>(cuda, families, grad, x, grad_x, grad_affinity);
  }
}

#define TREEFILTER_INSTANTIATE(X, T)                                                    \
  template void filter_backward(const Cuda&, Pass, const TreeView&, const Affinity<T>&, \
                                Strided<const X>, Strided<const X>, Strided<X>, Span<T>);
TREEFILTER_INSTANTIATE(float, float)
TREEFILTER_INSTANTIATE(double, double)
TREEFILTER_INSTANTIATE(BFloat16, float)
TREEFILTER_INSTANTIATE(Half, float)

}  // namespace treefilter
