// The coefficients of a pass on CUDA: one to seven values for each slot of a family. A family is one
// group of channels of one image; where one tree and one affinity serve a whole batch, it is that group
// of all images.
//
// For means they follow from the filter of ones, which is a channel of its own, in double: once for each
// family, whatever the number of channels.
#pragma once

#include <type_traits>

#include "../../filter.h"
#include "../runtime/call.h"
#include "steps.cuh"

namespace treefilter::cuda {

// Those of one family, [slot] each. T is const where they are only read.
template <class T>
struct Coefficients {
  using Value = std::remove_const_t<T>;
  template <class U>
  using Like = std::conditional_t<std::is_const_v<T>, const U, U>;

  Like<double>*mass, *total;                               // m and n of filter.h
  T* affinity;                                             // 0 at roots; all that sums need
  Like<typename MeanSteps<Value>::Weights>* down_weights;  // of MeanSteps, as is
  T* up_weight;
  T* scale;  // 1/m

  TREEFILTER_HD void steps(SumSteps<Value, Value>& to, bool damped) const { to = {affinity, damped}; }
  TREEFILTER_HD void steps(MeanSteps<Value>& to, bool) const { to = {up_weight, down_weights}; }
};

// Cuts an array of doubles into those of a family. kMean: mass, total, affinity, …; else the affinity.
template <class T, bool kMean>
TREEFILTER_HD Coefficients<T> cut(typename Coefficients<T>::template Like<double>* first,
                                  int64_t nodes) {
  using Weights = std::remove_pointer_t<decltype(Coefficients<T>::down_weights)>;
  constexpr int64_t kOf = sizeof(double) / sizeof(T);
  if constexpr (!kMean)
    return {nullptr, nullptr, reinterpret_cast<T*>(first), nullptr, nullptr, nullptr};
  auto* const affinity = first + 2 * nodes;
  auto* const weights = affinity + (nodes + kOf - 1) / kOf;
  T* const rest = reinterpret_cast<T*>(weights) + 2 * nodes;
  return {first, first + nodes, reinterpret_cast<T*>(affinity), reinterpret_cast<Weights*>(weights),
          rest,  rest + nodes};
}

// Those of all families, one family after the other.
template <class T, bool kMean>
struct FamilyCoefficients {
  Coefficients<T> first;  // of the first family: ready-made addresses, so that kernels need no registers
  int64_t stride;         // from one family to the next, in doubles

  FamilyCoefficients() = default;
  FamilyCoefficients(typename Coefficients<T>::template Like<double>* values, int64_t nodes,
                     int64_t stride)
      : first(cut<T, kMean>(values, nodes)), stride(stride) {}

  // What a family takes, in doubles; for the mean, without what follows from masses and totals.
  static TREEFILTER_HD int64_t least(int64_t nodes) {
    constexpr int64_t kOf = sizeof(double) / sizeof(T);
    return (kMean ? 2 * nodes : 0) + (nodes + kOf - 1) / kOf;
  }
  TREEFILTER_HD Coefficients<T> of(int64_t family) const {
    const int64_t bytes = family * stride * static_cast<int64_t>(sizeof(double));
    return {moved(first.mass, bytes),      moved(first.total, bytes),
            moved(first.affinity, bytes),  moved(first.down_weights, bytes),
            moved(first.up_weight, bytes), moved(first.scale, bytes)};
  }

 private:
  template <class Element>
  static TREEFILTER_HD Element* moved(Element* array, int64_t bytes) {
    using Byte = std::conditional_t<std::is_const_v<Element>, const char, char>;
    return reinterpret_cast<Element*>(reinterpret_cast<Byte*>(array) + bytes);
  }
};

// The affinity of a slot: its vertex's, and 0 at a root. (Both are read before they are needed.)
template <class T>
TREEFILTER_HD T affinity_of_slot(const PlanView& plan, const T* affinity, int32_t s) {
  const T own = affinity[plan.vertex(s)];
  return plan.is_root(s) ? T(0) : own;
}

// What follows from masses and totals for a slot: its weight in MeanSteps upwards, and its weights
// downwards. `above`: of its parent.
template <class T>
TREEFILTER_HD T up_weight_of(double a, double mass, double mass_above, bool root, bool top) {
  const double up = a * mass / mass_above;
  // `rest` is negative by rounding only, where affinities beyond 1 make masses of 1e16.
  const double rest = mass_above > a * mass ? (mass_above - a * mass) / mass_above : 0;
  return static_cast<T>(root ? 0 : top ? up : up >= 0.5 ? rest : -up);
}
template <class T>
TREEFILTER_HD typename MeanSteps<T>::Weights down_weights_of(double a, double mass, double total_above,
                                                             bool root) {
  const double own = (1 - a) * (1 + a) * mass, from_above = root ? 0 : a * total_above;
  const double n = own + from_above;
  return {static_cast<T>(own / n), static_cast<T>(root ? 0 : own < n / 2 ? 1 : from_above / n)};
}

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

// The coefficients of the families: those that the affinity comes with, or new ones. `name` is that of
// the launch. In coefficients.cu.
template <class T>
FamilyCoefficients<const T, true> coefficients_of_mean(const Cuda& cuda, const char* name,
                                                       const Families<T>& families);
template <class T>
FamilyCoefficients<const T, false> coefficients_of_sum(const Cuda& cuda, const char* name,
                                                       const Families<T>& families);

template <bool kMean, class T>
FamilyCoefficients<const T, kMean> coefficients_of(const Cuda& cuda, const char* name,
                                                   const Families<T>& families) {
  if constexpr (kMean) {
    return coefficients_of_mean(cuda, name, families);
  } else {
    return coefficients_of_sum(cuda, name, families);
  }
}

}  // namespace treefilter::cuda
