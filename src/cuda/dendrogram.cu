// Dendrograms on CUDA (dendrogram.h), plainly: one thread for each image makes its merges, one after
// the other. The result is the CPU's by construction; the time is that of N dependent reads of memory.
#include "../dendrogram.h"
#include "../merging.h"
#include "runtime/launch.cuh"

namespace treefilter {
using namespace cuda;

namespace {

template <class Pass>
struct Start {
  Pass pass;
  TREEFILTER_HD void operator()(int64_t i) const { pass.start(i / pass.nodes(), i % pass.nodes()); }
};

template <class Pass>
struct OneByOne {
  Pass pass;
  TREEFILTER_HD void operator()(int64_t b) const {
    TREEFILTER_ONE_BY_ONE
    for (int64_t k = 0; k < pass.merges(); ++k) {
      dependent_step();
      pass.step(b, k);
    }
  }
};

template <class Pass>
void run(const Cuda& cuda, const char* name, int64_t batch, const Pass& pass) {
  launch_flat(cuda, name, batch * pass.nodes(), Start<Pass>{pass});
  launch_flat(cuda, name, batch, OneByOne<Pass>{pass});
}

}  // namespace

void merge(const Cuda& cuda, int64_t batch, const TreeEdges& tree, Span<const int32_t> sorted,
           const Merges& out) {
  if (batch == 0) return;
  const auto [vertices] = cuda.arrays<Merging::Vertex>(batch * tree.nodes);
  run(cuda, "dendrogram", batch, Merging{tree, sorted.data, out, vertices});
}

void lowest_leaf(const Cuda& cuda, int64_t batch, int64_t nodes, Span<const int32_t> value,
                 Span<const int32_t> children, Span<int32_t> to) {
  run(cuda, "lowest_leaf", batch, LowestLeaf{nodes, value.data, children.data, to.data});
}

}  // namespace treefilter
