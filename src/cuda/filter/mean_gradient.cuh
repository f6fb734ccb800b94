// What the dot products of channels, summed, make of the mean's affinities: the last part of the
// derivative (filter_backward.cu).
#pragma once

#include "channels_large.cuh"
#include "coefficients.cuh"

namespace treefilter::cuda {

// P and Q of filter.h for a slot's parent edge.
template <class T>
struct alignas(2 * sizeof(T)) Dots {
  T above, below;
};

// The gradient of the mean in the affinities, from the sums: T of filter.h in the pass up, W in the one
// down.
template <class T>
struct MeanGradient {
  using Value = double;
  using Steps = SumSteps<double, T>;
  static constexpr int kLanes = 1;
  static constexpr bool kSharedOnly = false;
  static constexpr bool kTurns = true;
  struct Arrays {
    Coefficients<const T> k;
    const Dots<T>* sums;
    double* inside;
    T* grad;
  };

  Families<T> families;
  FamilyCoefficients<const T, true> k;
  const Dots<T>* sums;  // [image][group][slot]
  double* inside;       // [image][group][slot] T; R where the affinity is 0. Null: in the block
  T* grad_affinity;     // [image][group][vertex]

  TREEFILTER_HD int64_t nodes() const { return families.nodes(); }
  TREEFILTER_HD bool up() const { return true; }
  TREEFILTER_HD bool down() const { return true; }
  TREEFILTER_HD ChannelSet<MeanGradient> channels(int64_t index, double* values) const {
    const Split at(index, families.groups());
    const Coefficients<const T> own = k.of(families.index(at.quotient, at.rest));
    const int64_t first = index * nodes();
    return {
        families.tree.plan_of(at.quotient),
        {own.affinity, false},
        {own, sums + first, inside == nullptr ? values + nodes() + partials_of(nodes()) : inside + first,
         grad_affinity + first},
        values};
  }

  // b m Q of a slot, which is (y_v - y_p) G_v.
  static TREEFILTER_HD double own_part(const Arrays& at, int32_t s, double b) {
    return b * at.k.mass[s] * static_cast<double>(at.sums[s].below);
  }
  static TREEFILTER_HD double b_of(const Coefficients<const T>& k, int32_t s) {
    const double a = k.affinity[s];
    return (1 - a) * (1 + a) * k.mass[s] / k.total[s];
  }

  TREEFILTER_HD void fill(const ChannelSet<MeanGradient>&, int32_t) const {}
  TREEFILTER_HD double read(Start, const ChannelSet<MeanGradient>& set, int32_t s) const {
    const Arrays& at = set.arrays;
    const double own = own_part(at, s, b_of(at.k, s));
    return at.k.affinity[s] == 0 ? 0 : own;  // 0 at a root, or where nothing gets through
  }
  TREEFILTER_HD void write(Start, const ChannelSet<MeanGradient>& set, int32_t s, double value) const {
    set.at(0, s) = value;
  }
  TREEFILTER_HD double read(Turn, const ChannelSet<MeanGradient>& set, int32_t s) const {
    const Arrays& at = set.arrays;
    const double a = at.k.affinity[s], b = b_of(at.k, s), n = at.k.total[set.plan.parent(s)];
    const double inside = set.at(0, s), own = own_part(at, s, b);
    return a == 0
               ? inside
               : (1 - a) * (1 + a) * (inside - own) - a * b * n * static_cast<double>(at.sums[s].above);
  }
  TREEFILTER_HD void write(Turn, const ChannelSet<MeanGradient>& set, int32_t s, double value) const {
    set.arrays.inside[s] = set.at(0, s);
    set.at(0, s) = value;
  }
  static TREEFILTER_HD void visit(const ChannelSet<MeanGradient>&, int32_t, const double*,
                                  const double*) {}
  struct Result {
    int32_t vertex;
    T grad;
  };
  TREEFILTER_HD Result read(End, const ChannelSet<MeanGradient>& set, int32_t s) const {
    const Arrays& at = set.arrays;
    const int32_t p = set.plan.parent(s);
    const double a = at.k.affinity[s], m = at.k.mass[s], n = at.k.total[p];
    const double above = n * static_cast<double>(at.sums[s].above);
    const double below = m * static_cast<double>(at.sums[s].below);
    const double in = at.inside[s] + (a == 0 ? own_part(at, s, b_of(at.k, s)) : 0);
    const double linked = set.at(0, p);  // W of the parent
    const double grad = m * (above - 2 * a * below) - in * (n - a * m) - m * (linked - a * in);
    return {set.plan.vertex(s), s == p ? T(0) : static_cast<T>(grad)};
  }
  TREEFILTER_HD void write(End, const ChannelSet<MeanGradient>& set, int32_t,
                           const Result& result) const {
    set.arrays.grad[result.vertex] = result.grad;
  }
};

// Runs it. In a small channel T is in the block's shared memory too.
template <class T>
void run_mean_gradient(const Cuda& cuda, const char* name, const Families<T>& families,
                       const FamilyCoefficients<const T, true>& k, const Dots<T>* sums, int64_t groups,
                       T* grad_affinity) {
  using Task = MeanGradient<T>;
  constexpr int64_t kBytes = sizeof(double);
  const int64_t nodes = families.nodes(), inside_bytes = nodes * kBytes;
  const int64_t bytes = shared_bytes<Task>(nodes) + partials_of(nodes) * kBytes + inside_bytes;
  const bool in_block = nodes <= kSmallImage && bytes <= shared_limit();
  const auto [inside] = cuda.arrays<double>(in_block ? 0 : groups * nodes);
  run_channels(cuda, name, groups, Task{families, k, sums, in_block ? nullptr : inside, grad_affinity},
               in_block ? inside_bytes : 0);
}

}  // namespace treefilter::cuda
