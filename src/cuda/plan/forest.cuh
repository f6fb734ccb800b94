// What the two makers of trees, mst.cu and plan(), hand to the peel (plan.cu).
#pragma once

#include "../../plan.h"
#include "../runtime/divisor.cuh"

namespace treefilter::cuda {

// Forests without direction: for each vertex the number of its edges and the exclusive-or of its
// neighbours, as on the CPU, and besides a list of the edges. [batch, nodes] each.
struct Forest {
  static constexpr int8_t kRoot = 64, kNotYet = -1;

  int64_t batch;
  Divisor nodes;
  int32_t* degree;     // of a root kRootBoost more
  int32_t* neighbour;  // the exclusive-or
  int8_t* round;       // kRoot, or kNotYet
  uint64_t* branch;    // the ends of an edge, or kNoBranch: any vertex may hold any one edge

  // Keeps a root from ever looking like a leaf or like the inside of a chain: it has at least 3 when a
  // chain arrives.
  static constexpr int32_t kRootBoost = 2;
  static constexpr uint64_t kNoBranch = UINT64_MAX;

  TREEFILTER_HD void clear(int64_t i) const {
    degree[i] = 0;
    neighbour[i] = 0;
    round[i] = kNotYet;
  }
  // Both may be called for several vertices of a graph at once. i: the vertex that holds the edge.
  TREEFILTER_HD void add_branch(int64_t i, int32_t a, int32_t b) const {
    const int64_t first = nodes.floor(i);
    branch[i] = static_cast<uint64_t>(static_cast<uint32_t>(a)) << 32 | static_cast<uint32_t>(b);
    atomic_add(degree + first + a, 1);
    atomic_add(degree + first + b, 1);
    atomic_xor(neighbour + first + a, b);
    atomic_xor(neighbour + first + b, a);
  }
  TREEFILTER_HD void add_root(int64_t i) const {
    atomic_add(degree + i, kRootBoost);
    round[i] = kRoot;
  }
};

// Before anything is added. `branch` may still hold what it is made from.
struct ClearForest {
  Forest forest;
  TREEFILTER_HD void operator()(int64_t i) const { forest.clear(i); }
};

// Roots the forests; uses them up, except for `branch`. parent and order [batch, nodes];
// plan [batch, PlanView::size(nodes)].
void root_and_order(const Cuda& cuda, const Forest& forest, int32_t* parent, int32_t* order,
                    int32_t* plan);

// A walk up a chain ends after so many steps; what is left of the chain is found by pointer jumping. The
// result is the same. (An emulation's tests change it.)
#ifdef __CUDACC__
constexpr int32_t longest_walk = 256;
#else
inline int32_t longest_walk = 256;
#endif

}  // namespace treefilter::cuda
