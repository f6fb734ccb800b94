// Pairs of labels on CUDA (malis.h), plainly: one thread for each image.
#include "../malis.h"
#include "runtime/launch.cuh"

namespace treefilter {
using namespace cuda;

namespace {

struct NoCheck {
  TREEFILTER_HD void operator()() const {}
};

struct CountPairs {
  PairCounts pairs;
  TREEFILTER_HD void operator()(int64_t b) const { pairs(b, NoCheck{}); }
};

}  // namespace

void count_pairs(const Cuda& cuda, int64_t batch, int64_t nodes, Span<const int32_t> parent,
                 Span<const int32_t> children, Span<const int32_t> label, Span<double> equal,
                 Span<double> different) {
  if (batch == 0) return;
  const int64_t all = batch * (2 * nodes - 1);
  const auto [size, first, leaf, count] =
      cuda.arrays<int32_t, int32_t, int32_t, int32_t>(all, all, batch * nodes, batch * nodes);
  launch_flat(cuda, "malis_pairs", batch,
              CountPairs{{nodes, parent.data, children.data, label.data, equal.data, different.data,
                          size, first, leaf, count}});
}

}  // namespace treefilter
