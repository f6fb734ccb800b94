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
template <class T, class Double = std::conditional_t<std::is_const_v<T>, const double, double>>
struct Coefficients {
  using Value = std::remove_const_t<T>;

  Double *mass, *total;                     // m and n of filter.h
  T* affinity;                              // 0 at roots; all that the passes other than the mean need
  T *up_weight, *own_weight, *link_weight;  // of MeanSteps
  T* scale;                                 // 1/m

  TREEFILTER_HD void steps(SumSteps<Value, Value>& to, bool damped) const { to = {affinity, damped}; }
  TREEFILTER_HD void steps(MeanSteps<Value>& to, bool) const {
    to = {up_weight, own_weight, link_weight};
  }
};

// Those of all families, one family after the other.
template <class T, bool kMean>
struct FamilyCoefficients {
  const double* values;  // [family][size(nodes)]
  int64_t nodes;

  // What a family takes, in doubles.
  static TREEFILTER_HD int64_t size(int64_t nodes) {
    constexpr int64_t kOf = sizeof(double) / sizeof(T);
    return kMean ? coefficients_size<T>(nodes) : (nodes + kOf - 1) / kOf;
  }
  TREEFILTER_HD Coefficients<const T> of(int64_t family) const {
    return cut<const T>(values + family * size(nodes), nodes);
  }
  template <class U, class Double>
  static TREEFILTER_HD Coefficients<U> cut(Double* first, int64_t nodes) {
    if constexpr (kMean) {
      U* const rest = reinterpret_cast<U*>(first + 2 * nodes);
      return {first,           first + nodes, rest, rest + nodes, rest + 2 * nodes, rest + 3 * nodes,
              rest + 4 * nodes};
    } else {
      return {nullptr, nullptr, reinterpret_cast<U*>(first), nullptr, nullptr, nullptr, nullptr};
    }
  }
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

// The coefficients of the families: those that the affinity comes with, or new ones. `name` is that of
// the launch. In coefficients.cu.
template <class T>
FamilyCoefficients<T, true> coefficients_of_mean(const Cuda& cuda, const char* name,
                                                 const Families<T>& families);
template <class T>
FamilyCoefficients<T, false> coefficients_of_sum(const Cuda& cuda, const char* name,
                                                 const Families<T>& families);

template <bool kMean, class T>
FamilyCoefficients<T, kMean> coefficients_of(const Cuda& cuda, const char* name,
                                             const Families<T>& families) {
  if constexpr (kMean) {
    return coefficients_of_mean(cuda, name, families);
  } else {
    return coefficients_of_sum(cuda, name, families);
  }
}

}  // namespace treefilter::cuda
