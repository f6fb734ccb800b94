// The derivative of the filter on CUDA. One row is a channel: the gradient and x go up and down
// together, as two lanes, and what the channel gives to the affinities falls out on the way down. These
// parts, one value a slot, are summed in the order of the channels afterwards, together with what the
// normaliser passes on, which is a row of its own for each group of an image, in double. Without a
// gradient in the affinities it is the filter alone, on one lane.
//
// Launches: coefficients, rows, and for the mean the products, the normaliser's rows; the sums.
// Workspace: a value for each channel's vertex beside the coefficients.
#include "../filter.h"
#include "filter_coefficients.cuh"

namespace treefilter {
using namespace cuda;

namespace {

template <class X, class T, bool kMean, bool kWanted>
struct BackwardRow {
  using Value = T;
  using Steps = std::conditional_t<kMean, MeanSteps<T>, SumSteps<T, T>>;
  static constexpr int kLanes = kWanted ? 2 : 1;  // the gradient, x
  static constexpr bool kSharedOnly = false;
  struct Place {
    Coefficients<T> k;
    const X *x, *grad;
    X* grad_x;
    T* part;
  };

  Families<T> families;
  Coefficients<T> k;
  Strided<const X> x, grad;
  Strided<X> grad_x;
  T* parts;  // [image][channel][slot]

  TREEFILTER_HD int64_t nodes() const { return families.nodes(); }
  TREEFILTER_HD bool up() const { return true; }
  TREEFILTER_HD bool down() const { return true; }
  TREEFILTER_HD Row<BackwardRow> row(int64_t index, T* values) const {
    const Split at(index, grad.channels);
    const int64_t image = at.quotient, group = at.rest / (grad.channels / families.groups());
    const Coefficients<T> own = k.of(families.index(image, group), nodes());
    Row<BackwardRow> row{families.tree.plan_of(image), {}, {}, values};
    row.place = {own, kWanted ? x.at(image, at.rest) : nullptr, grad.at(image, at.rest),
                 grad_x.at(image, at.rest), kWanted ? parts + index * nodes() : nullptr};
    own.steps(row.steps, true);
    return row;
  }

  TREEFILTER_HD void fill(const Row<BackwardRow>& row, int32_t v) const {
    treefilter::store(row.place.grad_x[v * grad_x.node_stride], not_a_number());
  }
  TREEFILTER_HD void load(const Row<BackwardRow>& row, int32_t s) const {
    const Place& at = row.place;
    const int64_t v = row.plan.order()[s];
    const T scale = kMean ? at.k.scale[s] : T(1);
    const T inverse = kMean ? scale / static_cast<T>(at.k.total[s]) : T(1);
    row.at(0, s) = treefilter::load<T>(at.grad[v * grad.node_stride]) * inverse;
    if constexpr (kWanted) {
      row.at(1, s) = treefilter::load<T>(at.x[v * x.node_stride]) * scale;
    }
  }
  TREEFILTER_HD void visit(const Row<BackwardRow>& row, int32_t s, int32_t p, const T* own,
                           const T* linked) const {
    if constexpr (kWanted) {
      const Coefficients<T>& c = row.place.k;
      const T m = kMean ? static_cast<T>(c.mass[s]) : T(1),
              n = kMean ? static_cast<T>(c.total[p]) : T(1);
      const T am = c.affinity[s] * m;
      const T part =
          m * (own[0] * (n * linked[1] - am * own[1]) + own[1] * (n * linked[0] - am * own[0]));
      row.place.part[s] = s == p ? T(0) : part;
    }
  }
  TREEFILTER_HD void store(const Row<BackwardRow>& row, int32_t s) const {
    const Place& at = row.place;
    const int64_t v = row.plan.order()[s];
    const T n = kMean ? static_cast<T>(at.k.total[s]) : T(1);
    treefilter::store(at.grad_x[v * grad_x.node_stride], row.at(0, s) * n);
  }
};

// The results' part of the normaliser's gradient: mixed[image][group][v] = sum over channels of g y.
template <class X, class T>
struct Products {
  int64_t groups;
  Strided<const X> grad, y;
  T* mixed;

  TREEFILTER_HD void operator()(int64_t i) const {
    const Split at(i, grad.nodes), row(at.quotient, groups);
    const int64_t v = at.rest, b = row.quotient, channels = grad.channels / groups;
    T sum = 0;
    for (int64_t c = row.rest * channels; c < (row.rest + 1) * channels; ++c) {
      sum += load<T>(grad.at(b, c)[v * grad.node_stride]) * load<T>(y.at(b, c)[v * y.node_stride]);
    }
    mixed[i] = sum;
  }
};

// The normaliser's part of the gradient: one channel x = 1 with the gradient -mixed / n (see filter.h).
template <class T>
struct Normaliser {
  using Value = double;
  using Steps = SumSteps<double, T>;
  static constexpr int kLanes = 1;
  static constexpr bool kSharedOnly = false;
  struct Place {
    Coefficients<T> k;
    const T* mixed;
    double* part;
  };

  Families<T> families;
  Coefficients<T> k;
  const T* mixed;  // [image][group][vertex]
  double* parts;   // [image][group][slot]

  TREEFILTER_HD int64_t nodes() const { return families.nodes(); }
  TREEFILTER_HD bool up() const { return true; }
  TREEFILTER_HD bool down() const { return true; }
  TREEFILTER_HD Row<Normaliser> row(int64_t index, double* values) const {
    const Split at(index, families.groups());
    const Coefficients<T> own = k.of(families.index(at.quotient, at.rest), nodes());
    return {families.tree.plan_of(at.quotient),
            {own.affinity, true},
            {own, mixed + index * nodes(), parts + index * nodes()},
            values};
  }

  TREEFILTER_HD void fill(const Row<Normaliser>&, int32_t) const {}
  TREEFILTER_HD void load(const Row<Normaliser>& row, int32_t s) const {
    row.at(0, s) = -static_cast<double>(row.place.mixed[row.plan.order()[s]]) / row.place.k.total[s];
  }
  TREEFILTER_HD void visit(const Row<Normaliser>& row, int32_t s, int32_t p, const double* own,
                           const double* linked) const {
    const Coefficients<T>& c = row.place.k;
    const double a = c.affinity[s], m = c.mass[s], n = c.total[p];
    row.place.part[s] = *own * (n - a * m) + m * (*linked - a * *own);
  }
  TREEFILTER_HD void store(const Row<Normaliser>&, int32_t) const {}
};

// The gradient in the affinities: the channels' parts and the normaliser's; 0 at roots.
template <class T>
struct SumParts {
  Families<T> families;
  int64_t channels;      // in a group
  const T* parts;        // [image][channel][slot]
  const double* normal;  // [image][group][slot], or null
  T* grad_affinity;      // [image][group][vertex]

  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t nodes = families.nodes();
    const Split at(i, nodes);
    const PlanView plan = families.tree.plan_of(at.quotient / families.groups());
    const int64_t s = at.rest;
    if (s >= plan.rounds()[PlanView::kRounds - 1]) return;
    T sum = 0;
    if (plan.up()[s] != ~static_cast<int32_t>(s)) {
      const T* of_group = parts + at.quotient * channels * nodes;
      for (int64_t c = 0; c < channels; ++c) sum += of_group[c * nodes + s];
      if (normal != nullptr) sum += static_cast<T>(normal[i]);
    }
    grad_affinity[at.quotient * nodes + plan.order()[s]] = sum;
  }
};

template <bool kMean, class X, class T>
void backward(const Cuda& cuda, const Families<T>& families, const Strided<const X>& x,
              const Strided<const X>& y, const Strided<const X>& grad, const Strided<X>& grad_x,
              Span<T> grad_affinity) {
  const char* name = "filter_backward";
  const Coefficients<T> k = coefficients(cuda, name, kMean, families);
  const int64_t channels = grad.batch * grad.channels, groups = grad.batch * families.groups();
  if (grad_affinity.size == 0) {
    return run_rows(cuda, name, channels,
                    BackwardRow<X, T, kMean, false>{families, k, x, grad, grad_x, nullptr});
  }
  const int64_t nodes = families.nodes(), of_mean = kMean ? groups * nodes : 0;
  const auto [normal, parts, mixed] = cuda.arrays<double, T, T>(of_mean, channels * nodes, of_mean);
  run_rows(cuda, name, channels, BackwardRow<X, T, kMean, true>{families, k, x, grad, grad_x, parts});
  if constexpr (kMean) {
    launch_flat(cuda, name, of_mean, Products<X, T>{families.groups(), grad, y, mixed});
    run_rows(cuda, name, groups, Normaliser<T>{families, k, mixed, normal});
  }
  launch_flat(cuda, name, groups * nodes,
              SumParts<T>{families, grad.channels / families.groups(), parts, kMean ? normal : nullptr,
                          grad_affinity.data});
}

}  // namespace

template <class X, class T>
void filter_backward(const Cuda& cuda, Pass pass, const TreeView& tree, const Affinity<T>& affinity,
                     Strided<const X> x, Strided<const X> y, Strided<const X> grad, Strided<X> grad_x,
                     Span<T> grad_affinity) {
  if (grad.batch == 0 || grad.nodes == 0) return;
  const Families<T> families(tree, affinity, grad.batch);
  if (pass == Pass::kMean) {
    backward<true>(cuda, families, x, y, grad, grad_x, grad_affinity);
  } else {
    backward<false>(cuda, families, x, y, grad, grad_x, grad_affinity);
  }
}

#define TREEFILTER_INSTANTIATE(X, T)                                                              \
  template void filter_backward(const Cuda&, Pass, const TreeView&, const Affinity<T>&,           \
                                Strided<const X>, Strided<const X>, Strided<const X>, Strided<X>, \
                                Span<T>);
TREEFILTER_INSTANTIATE(float, float)
TREEFILTER_INSTANTIATE(double, double)
TREEFILTER_INSTANTIATE(BFloat16, float)
TREEFILTER_INSTANTIATE(Half, float)

}  // namespace treefilter
