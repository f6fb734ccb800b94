// The coefficients of means and sums on CUDA (coefficients.cuh): one launch.
#include "channels_large.cuh"
#include "coefficients.cuh"

namespace treefilter {
using namespace cuda;

namespace {

// Copies the affinity in the order of slots.
template <class T>
struct OrderAffinity {
  Families<T> families;
  FamilyCoefficients<T, false> to;
  TREEFILTER_HD void operator()(int64_t i) const {
    const Split at(i, families.nodes()), family(at.quotient, families.groups());
    const int64_t image = family.quotient, group = family.rest;
    const int32_t s = static_cast<int32_t>(at.rest);
    const PlanView plan = families.tree.plan_of(image);
    if (s >= plan.slots()) return;
    const T* const affinity = families.affinity_of(image, group);
    to.of(at.quotient).affinity[s] = affinity_of_slot(plan, affinity, s);
  }
};

// The filter of ones for a family, and the coefficients that follow from it.
template <class T>
struct FilterOnes {
  using Value = double;
  using Steps = SumSteps<double, T>;
  static constexpr int kLanes = 1;
  static constexpr bool kSharedOnly = false;
  static constexpr bool kTurns = false;
  using Own = Coefficients<T>;
  struct Arrays {
    Own k;
    const T* affinity;
  };

  Families<T> families;
  FamilyCoefficients<T, true> to;

  TREEFILTER_HD int64_t nodes() const { return families.nodes(); }
  TREEFILTER_HD bool up() const { return true; }
  TREEFILTER_HD bool down() const { return true; }
  TREEFILTER_HD ChannelSet<FilterOnes> channels(int64_t index, double* values) const {
    const Split family(index, families.groups());
    const Own own = to.of(index);
    return {families.tree.plan_of(family.quotient),
            {own.affinity, true},
            {own, families.affinity_of(family.quotient, family.rest)},
            values};
  }

  TREEFILTER_HD void fill(const ChannelSet<FilterOnes>&, int32_t) const {}
  TREEFILTER_HD T read(Start, const ChannelSet<FilterOnes>& set, int32_t s) const {
    return affinity_of_slot(set.plan, set.arrays.affinity, s);
  }
  TREEFILTER_HD void write(Start, const ChannelSet<FilterOnes>& set, int32_t s, T affinity) const {
    set.arrays.k.affinity[s] = affinity;
    set.at(0, s) = 1;
  }
  static TREEFILTER_HD void visit(const ChannelSet<FilterOnes>& set, int32_t s, const double* own,
                                  const double*) {
    set.arrays.k.mass[s] = *own;
  }
  struct Result {
    int32_t up;  // of the plan
    T affinity;
    double mass, mass_above;
  };
  TREEFILTER_HD Result read(End, const ChannelSet<FilterOnes>& set, int32_t s) const {
    const Own& k = set.arrays.k;
    const int32_t up = set.plan.up()[s];
    return {up, k.affinity[s], k.mass[s], k.mass[up < 0 ? ~up : up]};
  }
  TREEFILTER_HD void write(End, const ChannelSet<FilterOnes>& set, int32_t s, const Result& from) const {
    const Own& to = set.arrays.k;
    const bool top = from.up < 0;
    const int32_t p = top ? ~from.up : from.up;
    const bool root = p == s;
    to.total[s] = set.at(0, s);
    to.scale[s] = static_cast<T>(1 / from.mass);
    to.down_weights[s] = down_weights_of<T>(from.affinity, from.mass, set.at(0, p), root);
    to.up_weight[s] = up_weight_of<T>(from.affinity, from.mass, from.mass_above, root, top);
  }
};

}  // namespace

namespace cuda {

template <class T>
FamilyCoefficients<const T, true> coefficients_of_mean(const Cuda& cuda, const char* name,
                                                       const Families<T>& families) {
  const int64_t nodes = families.nodes();
  const int64_t stride = coefficients_size<T>(nodes);
  if (families.affinity.coefficients.size > 0) {
    return {families.affinity.coefficients.data, nodes, stride};
  }
  const auto [to] = cuda.arrays<double>(families.count() * stride);
  run_channels(cuda, name, families.count(), FilterOnes<T>{families, {to, nodes, stride}});
  return {to, nodes, stride};
}

template <class T>
FamilyCoefficients<const T, false> coefficients_of_sum(const Cuda& cuda, const char* name,
                                                       const Families<T>& families) {
  const int64_t nodes = families.nodes();
  const int64_t stride = FamilyCoefficients<T, false>::least(nodes);
  const auto [to] = cuda.arrays<double>(families.count() * stride);
  launch_flat(cuda, name, families.count() * nodes, OrderAffinity<T>{families, {to, nodes, stride}});
  return {to, nodes, stride};
}

}  // namespace cuda

template <class T>
void coefficients(const Cuda& cuda, const TreeView& tree, const Affinity<T>& affinity,
                  Span<double> out) {
  const Families<T> families(tree, affinity, tree.batch == 1 ? affinity.batch : tree.batch);
  const int64_t nodes = families.nodes();
  if (nodes == 0) return;
  const FamilyCoefficients<T, true> to(out.data, nodes, coefficients_size<T>(nodes));
  run_channels(cuda, "filter", families.count(), FilterOnes<T>{families, to});
}

#define TREEFILTER_INSTANTIATE(T)                                                                 \
  template FamilyCoefficients<const T, true> cuda::coefficients_of_mean(const Cuda&, const char*, \
                                                                        const Families<T>&);      \
  template FamilyCoefficients<const T, false> cuda::coefficients_of_sum(const Cuda&, const char*, \
                                                                        const Families<T>&);      \
  template void coefficients(const Cuda&, const TreeView&, const Affinity<T>&, Span<double>);
TREEFILTER_INSTANTIATE(float)
TREEFILTER_INSTANTIATE(double)

}  // namespace treefilter
