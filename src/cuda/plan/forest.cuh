// Unrooted forests: what mst.cu and plan() make, and the peel (peel.cuh, plan.cu) takes apart.
#pragma once

#include "../../plan.h"
#include "../runtime/divisor.cuh"

namespace treefilter::cuda {

// For each vertex, as on the CPU, the number of its edges and the exclusive-or of its neighbours;
// besides, the edges themselves. Arrays are [batch, nodes].
struct Forest {
  static constexpr int8_t kRoot = 64, kNotYet = -1;

  int64_t batch;
  Divisor nodes;
  int32_t* degree;     // of a root, kRootBoost more
  int32_t* neighbour;  // the exclusive-or
  int8_t* round;       // in which the peel takes it (at first kRoot or kNotYet)
  uint64_t* branch;    // the ends of one edge, or kNoBranch; any vertex may hold any edge

  // Added to the degree of a root, so that it is never taken for a leaf or for the inside of a chain: it
  // is at least 3 when a chain arrives.
  static constexpr int32_t kRootBoost = 2;
  static constexpr uint64_t kNoBranch = UINT64_MAX;

  TREEFILTER_HD void clear(int64_t i) const {
    degree[i] = 0;
    neighbour[i] = 0;
    round[i] = kNotYet;
  }
  struct Ends {
    int32_t a, b;
  };
  static TREEFILTER_HD Ends ends(uint64_t branch) {
    return {static_cast<int32_t>(branch >> 32), static_cast<int32_t>(branch & 0xffffffffu)};
  }

  // These two may be called for several vertices of a graph at the same time. i: the vertex that holds
  // the edge.
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

// The phase before anything is added. `branch` is left alone, since it may share memory with its source.
struct ClearForest {
  Forest forest;
  TREEFILTER_HD void operator()(int64_t i) const { forest.clear(i); }
};

// Roots the forests, and destroys them except for `branch`. parent and order [batch, nodes];
// plan [batch, PlanView::size(nodes)].
void root_and_order(const Cuda& cuda, const Forest& forest, int32_t* parent, int32_t* order,
                    int32_t* plan);

// A thread climbs at most this many steps up a chain; the rest of the chain is found by pointer jumping.
// The result is the same. A step waits for L2, about 0.15 µs (in shared memory 0.03); the phases of
// pointer jumping cost some microseconds a round, however long its chains are. (The emulation's tests
// change the limit.)
#ifdef __CUDACC__
constexpr int32_t longest_climb = 32;
#else
inline int32_t longest_climb = 32;
#endif

}  // namespace treefilter::cuda
