// The coefficients of a pass on CUDA: one to four values for each slot of a family. A family is one
// group of channels of one image; where one tree and one affinity serve a whole batch, it is that group
// of all images.
//
// For means they follow from the filter of ones, which is a channel of its own, in double: once for each
// family, whatever the number of channels.
#pragma once

#include "channels_large.cuh"

namespace treefilter::cuda {

// [family][slot]
template <class T>
struct Coefficients {
  T* affinity;                              // 0 at roots; all that the passes other than the mean need
  T *up_weight, *own_weight, *link_weight;  // of MeanSteps
  T* scale;                                 // 1/m
  double *mass, *total;                     // m and n of filter.h

  TREEFILTER_HD Coefficients of(int64_t family, int64_t nodes) const {
    const int64_t at = family * nodes;
    return {affinity + at, up_weight + at, own_weight + at, link_weight + at,
            scale + at,    mass + at,      total + at};
  }
  TREEFILTER_HD void steps(SumSteps<T, T>& to, bool damped) const { to = {affinity, damped}; }
  TREEFILTER_HD void steps(MeanSteps<T>& to, bool) const { to = {up_weight, own_weight, link_weight}; }
};

template <class T>
struct Families {
  TreeView tree;
  Affinity<T> affinity;
  int64_t batch;  // 1 if all images share each family

  Families(const TreeView& tree, const Affinity<T>& affinity, int64_t images)
      : tree(tree),
        affinity(affinity),
        batch(tree.batch == 1 && affinity.batch == 1 && images > 0 ? 1 : images) {}

  TREEFILTER_HD int64_t nodes() const { return tree.nodes; }
  TREEFILTER_HD int64_t groups() const { return affinity.groups; }
  TREEFILTER_HD int64_t count() const { return batch * groups(); }
  TREEFILTER_HD int64_t index(int64_t image, int64_t group) const {
    return (batch == 1 ? 0 : image) * groups() + group;
  }
  TREEFILTER_HD const T* affinity_of(int64_t image, int64_t group) const {
    return affinity.values.data + ((affinity.batch == 1 ? 0 : image) * groups() + group) * tree.nodes;
  }
};

// Copies the affinity in the order of slots.
template <class T>
struct OrderAffinity {
  Families<T> families;
  T* to;
  TREEFILTER_HD void operator()(int64_t i) const {
    const Split at(i, families.nodes()), family(at.quotient, families.groups());
    const int64_t image = family.quotient, group = family.rest, s = at.rest;
    const PlanView plan = families.tree.plan_of(image);
    if (s >= plan.slots()) return;
    const bool root = plan.is_root(static_cast<int32_t>(s));
    to[i] = root ? T(0) : families.affinity_of(image, group)[plan.order()[s]];
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
  struct Arrays {
    Coefficients<T> k;
    const T* affinity;
  };

  Families<T> families;
  Coefficients<T> k;

  TREEFILTER_HD int64_t nodes() const { return families.nodes(); }
  TREEFILTER_HD bool up() const { return true; }
  TREEFILTER_HD bool down() const { return true; }
  TREEFILTER_HD ChannelSet<FilterOnes> channels(int64_t index, double* values) const {
    const Split family(index, families.groups());
    const Coefficients<T> own = k.of(index, nodes());
    return {families.tree.plan_of(family.quotient),
            {own.affinity, true},
            {own, families.affinity_of(family.quotient, family.rest)},
            values};
  }

  TREEFILTER_HD void fill(const ChannelSet<FilterOnes>&, int32_t) const {}
  TREEFILTER_HD T load(const ChannelSet<FilterOnes>& set, int32_t s) const {
    const T affinity = set.arrays.affinity[set.plan.vertex(s)];
    return set.plan.is_root(s) ? T(0) : affinity;
  }
  TREEFILTER_HD void start(const ChannelSet<FilterOnes>& set, int32_t s, T affinity) const {
    set.arrays.k.affinity[s] = affinity;
    set.at(0, s) = 1;
  }
  TREEFILTER_HD void visit(const ChannelSet<FilterOnes>& set, int32_t s, int32_t, const double* own,
                           const double*) const {
    set.arrays.k.mass[s] = *own;
  }
  struct Result {
    int32_t up;  // of the plan
    T affinity;
    double mass, mass_above;
  };
  TREEFILTER_HD Result result(const ChannelSet<FilterOnes>& set, int32_t s) const {
    const Coefficients<T>& k = set.arrays.k;
    const int32_t up = set.plan.up()[s];
    return {up, k.affinity[s], k.mass[s], k.mass[up < 0 ? ~up : up]};
  }
  TREEFILTER_HD void store(const ChannelSet<FilterOnes>& set, int32_t s, const Result& from) const {
    const Coefficients<T>& to = set.arrays.k;
    const bool top = from.up < 0;
    const int32_t p = top ? ~from.up : from.up;
    const bool root = p == s;
    const double a = from.affinity, m = from.mass, above = from.mass_above;
    const double own = (1 - a) * (1 + a) * m, from_above = root ? 0 : a * set.at(0, p);
    const double n = own + from_above;
    to.total[s] = set.at(0, s);
    to.scale[s] = static_cast<T>(1 / m);
    to.own_weight[s] = static_cast<T>(own / n);
    to.link_weight[s] = static_cast<T>(root ? 0 : own < n / 2 ? 1 : from_above / n);
    // `rest` is negative by rounding only, where affinities beyond 1 make masses of 1e16.
    const double up = a * m / above, rest = above > a * m ? (above - a * m) / above : 0;
    to.up_weight[s] = static_cast<T>(root ? 0 : top ? up : up >= 0.5 ? rest : -up);
  }
};

template <class T>
Coefficients<T> coefficients(const Cuda& cuda, const char* name, bool mean,
                             const Families<T>& families) {
  const int64_t size = families.count() * families.nodes(), mean_size = mean ? size : 0;
  const auto [mass, total, affinity, up_weight, own_weight, link_weight, scale] =
      cuda.arrays<double, double, T, T, T, T, T>(mean_size, mean_size, size, mean_size, mean_size,
                                                 mean_size, mean_size);
  const Coefficients<T> k{affinity, up_weight, own_weight, link_weight, scale, mass, total};
  if (mean) {
    run_channels(cuda, name, families.count(), FilterOnes<T>{families, k});
  } else {
    launch_flat(cuda, name, size, OrderAffinity<T>{families, affinity});
  }
  return k;
}

}  // namespace treefilter::cuda
