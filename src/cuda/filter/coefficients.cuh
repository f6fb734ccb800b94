// What a pass on CUDA needs besides the channels: a coefficient or four for each slot of a family, which
// is a group of one image, or, where one tree and one affinity serve a whole batch, that group of all
// images.
//
// For means these follow from the filter of ones, which is a row of its own, in double: once for each
// family, whatever the number of channels.
#pragma once

#include "channels_large.cuh"

namespace treefilter::cuda {

// [family][slot]
template <class T>
struct Coefficients {
  T* affinity;             // 0 at roots; the only one of all passes but the mean
  T *climb, *take, *keep;  // of MeanSteps
  T* scale;                // 1/m
  double *mass, *total;    // m and n of filter.h

  TREEFILTER_HD Coefficients of(int64_t family, int64_t nodes) const {
    const int64_t at = family * nodes;
    return {affinity + at, climb + at, take + at, keep + at, scale + at, mass + at, total + at};
  }
  TREEFILTER_HD void steps(SumSteps<T, T>& to, bool damped) const { to = {affinity, damped}; }
  TREEFILTER_HD void steps(MeanSteps<T>& to, bool) const { to = {climb, take, keep}; }
};

template <class T>
struct Families {
  TreeView tree;
  Affinity<T> affinity;
  int64_t batch;  // 1 if they are those of all images

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

// The affinity in the order of slots.
template <class T>
struct OrderAffinity {
  Families<T> families;
  T* to;
  TREEFILTER_HD void operator()(int64_t i) const {
    const Split at(i, families.nodes()), family(at.quotient, families.groups());
    const int64_t image = family.quotient, group = family.rest, s = at.rest;
    const PlanView plan = families.tree.plan_of(image);
    if (s >= plan.rounds()[PlanView::kRounds - 1]) return;
    const bool root = plan.up()[s] == ~static_cast<int32_t>(s);
    to[i] = root ? T(0) : families.affinity_of(image, group)[plan.order()[s]];
  }
};

// A family's filter of ones, and what follows from it.
template <class T>
struct Ones {
  using Value = double;
  using Steps = SumSteps<double, T>;
  static constexpr int kLanes = 1;
  static constexpr bool kSharedOnly = false;
  struct Place {
    Coefficients<T> k;
    const T* affinity;
  };

  Families<T> families;
  Coefficients<T> k;

  TREEFILTER_HD int64_t nodes() const { return families.nodes(); }
  TREEFILTER_HD bool up() const { return true; }
  TREEFILTER_HD bool down() const { return true; }
  TREEFILTER_HD Row<Ones> row(int64_t index, double* values) const {
    const Split family(index, families.groups());
    const Coefficients<T> own = k.of(index, nodes());
    return {families.tree.plan_of(family.quotient),
            {own.affinity, true},
            {own, families.affinity_of(family.quotient, family.rest)},
            values};
  }

  TREEFILTER_HD void fill(const Row<Ones>&, int32_t) const {}
  TREEFILTER_HD void load(const Row<Ones>& row, int32_t s) const {
    const bool root = row.parent(s) == s;
    row.place.k.affinity[s] = root ? T(0) : row.place.affinity[row.plan.order()[s]];
    row.at(0, s) = 1;
  }
  TREEFILTER_HD void visit(const Row<Ones>& row, int32_t s, int32_t, const double* own,
                           const double*) const {
    row.place.k.mass[s] = *own;
  }
  TREEFILTER_HD void store(const Row<Ones>& row, int32_t s) const {
    const Coefficients<T>& to = row.place.k;
    const int32_t p = row.parent(s);
    const bool root = p == s, top = row.plan.up()[s] < 0;
    const double a = to.affinity[s], m = to.mass[s], above = to.mass[p];
    const double share = (1 - a) * (1 + a) * m, from_above = root ? 0 : a * row.at(0, p);
    const double n = share + from_above;
    to.total[s] = row.at(0, s);
    to.scale[s] = static_cast<T>(1 / m);
    to.take[s] = static_cast<T>(share / n);
    to.keep[s] = static_cast<T>(root ? 0 : share < n / 2 ? 1 : from_above / n);
    // Never negative but for rounding, where affinities beyond 1 make masses of 1e16.
    const double up = a * m / above, rest = above > a * m ? (above - a * m) / above : 0;
    to.climb[s] = static_cast<T>(root ? 0 : top ? up : up >= 0.5 ? rest : -up);
  }
};

template <class T>
Coefficients<T> coefficients(const Cuda& cuda, const char* name, bool mean,
                             const Families<T>& families) {
  const int64_t size = families.count() * families.nodes(), of_mean = mean ? size : 0;
  const auto [mass, total, affinity, climb, take, keep, scale] =
      cuda.arrays<double, double, T, T, T, T, T>(of_mean, of_mean, size, of_mean, of_mean, of_mean,
                                                 of_mean);
  const Coefficients<T> k{affinity, climb, take, keep, scale, mass, total};
  if (mean) {
    run_rows(cuda, name, families.count(), Ones<T>{families, k});
  } else {
    launch_flat(cuda, name, size, OrderAffinity<T>{families, affinity});
  }
  return k;
}

}  // namespace treefilter::cuda
