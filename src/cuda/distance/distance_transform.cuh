// The distance to the nearest of many seeds, on CUDA.
//
// As on the CPU, every vertex learns of the nearest seed below it in the pass from the leaves to the
// root, and of the nearest seed above it in the pass back. A candidate is a pair (distance, seed);
// candidates compare by distance, then by seed. What leaves a segment of a chain is the better one of
// the segment's own candidate and of the candidate that enters, made longer by the segment: scans
// (scan/chain_scan.cuh) compose these maps.
//
// A scan adds in another order than a loop over the chain, so that two candidates that are equal but for
// rounding may compare one way at one vertex and the other way at the next. So candidates decide about
// paths only:
//   1. in the pass up, whether a vertex's candidate comes from the vertex below it in its chain, from
//      another child, or from the vertex itself;
//   2. in the pass down, whether a candidate from above is better than that (`offered`).
// Whether a vertex is reached at all depends on the topology and on edges of weight +inf alone. Then
//   3. v takes the candidate from above if it is offered one and its parent, whose own may come from
//      v, does not have it from v: taken(v) = offered(v) and (taken(parent) or via(parent) != v).
//      These are booleans, hence exact.
// So no two vertices have their seed from each other, and every path ends at a seed, however sums are
// rounded. Finally
//   4. seeds and distances are found along these paths, as in path_sums.
// Where nothing is rounded (integers) this is the CPU's result. Otherwise the seed may be another one
// that is equally near but for rounding; it is always the one at the end of the path.
//
// For maxima the seeds are given, and so the regions in which there is a single one (distance.cu).
//
// Cost: seven passes.
#pragma once

#include "candidates.cuh"

namespace treefilter::cuda {

// Step 3: turns `offered` into `taken`.
template <Path path, class T>
struct TakeDown {
  static constexpr bool kUp = false, kGathers = false;
  using Map = ChainMap<Carried>;

  PlanView plan;
  int64_t* nearest;
  const int32_t* via;

  template <class Channel>
  TREEFILTER_HD explicit TakeDown(const Channel& channel)
      : plan(channel.plan), nearest(channel.nearest), via(channel.via) {}

  TREEFILTER_HD bool marked(int32_t v) const { return nearest[v] >= Candidates<path, T>::kFromAbove; }
  TREEFILTER_HD Map step(int32_t s) const {
    const int32_t v = plan.vertex(s), p = plan.vertex(plan.parent(s));
    if (!marked(v)) return {{0}, 0};
    if (via[p] != v) return {{1}, 0};
    if (plan.is_top(s)) return {{marked(p)}, 0};
    return {{0}, 1};
  }
  TREEFILTER_HD void put(int32_t s, const Carried& taken) const {
    nearest[plan.vertex(s)] = taken.value == 1 ? Candidates<path, T>::kFromAbove : 0;
  }
};

// The vertex where a path ends.
struct SeedAlong {
  using Value = Carried;

  int64_t* nearest;

  template <class Channel>
  TREEFILTER_HD explicit SeedAlong(const Channel& channel) : nearest(channel.nearest) {}

  TREEFILTER_HD Value edge(int32_t) const { return Value::identity(); }
  TREEFILTER_HD Value start(int32_t v) const { return {v}; }
  TREEFILTER_HD Value get(int32_t v) const { return {static_cast<int32_t>(nearest[v])}; }
  TREEFILTER_HD void put(int32_t v, const Value& seed) const { nearest[v] = seed.value; }
};

// ---- channels ----

template <class T>
struct SeedsChannel : PathsChannel<T, int32_t> {
  const bool* seeds;
  int64_t* nearest;
};

template <Path path, class T>
struct StartCandidates {
  const bool* seeds;
  Candidates<path, T> candidates;

  template <class Channel>
  TREEFILTER_HD explicit StartCandidates(const Channel& channel)
      : seeds(channel.seeds), candidates(channel) {}

  TREEFILTER_HD void operator()(int32_t v) const {
    const int32_t seed = seeds[v] ? v : -1;
    candidates.via[v] = seed;
    candidates.set(v, {0, seed, 0});
  }
};

// Lets paths lead to the parent where its candidate was taken. `nearest` starts anew: a seed has itself
// (also if it has no slot), other vertices have none yet.
template <Path path, class T>
struct SetPaths {
  const int32_t* parent;
  const bool* seeds;
  int64_t* nearest;
  int32_t* via;

  template <class Channel>
  TREEFILTER_HD explicit SetPaths(const Channel& channel)
      : parent(channel.parent), seeds(channel.seeds), nearest(channel.nearest), via(channel.via) {}

  TREEFILTER_HD void operator()(int32_t v) const {
    if (nearest[v] == Candidates<path, T>::kFromAbove) via[v] = parent[v];
    nearest[v] = seeds[v] ? v : -1;
  }
};

template <class T>
struct SeedsTask : WeightedTrees<T> {
  const bool* seeds;
  T* distance;
  int64_t* nearest;
  int32_t *via, *bottleneck;

  TREEFILTER_HD SeedsChannel<T> channel(int64_t index) const {
    const int64_t at = index * this->nodes();
    return {PathsChannel<T, int32_t>(*this, index, true, via, distance, bottleneck), seeds + at,
            nearest + at};
  }
};

// Steps 1 to 3. (One kernel for all four would need more registers.)
template <Path path, class T>
struct FindPaths : SeedsTask<T> {
  using LargestMap = CandidateMap<path, T>;
  static constexpr bool kGathers = true;

  TREEFILTER_PHASED template <class Runner>
  TREEFILTER_HD void run(const Runner& runner) const {
    runner.template vertices<StartCandidates<path, T>>();
    runner.template pass<CandidatesUp<path, T>>();
    runner.template pass<CandidatesDown<path, T>>();
    runner.template pass<TakeDown<path, T>>();
  }
};

// ChainMap 4.
template <Path path, class T>
struct FollowPaths : SeedsTask<T> {
  using LargestMap = ChainMap<typename LengthAlong<path, T>::Value>;

  TREEFILTER_PHASED template <class Runner>
  TREEFILTER_HD void run(const Runner& runner) const {
    runner.template vertices<SetPaths<path, T>>();
    run_along<SeedAlong>(runner);
    run_distances<path, T>(runner);
  }
};

template <class T>
void transforms(const Cuda& cuda, const WeightedTrees<T>& input, int64_t batch, const bool* seeds,
                T* distance, int64_t* nearest, int32_t* via) {
  const SeedsTask<T> task{input, seeds, distance, nearest, via, nullptr};
  run_task(cuda, "distance_transform", batch, FindPaths<Path::kSum, T>{task});
  run_task(cuda, "distance_transform", batch, FollowPaths<Path::kSum, T>{task});
}

}  // namespace treefilter::cuda
