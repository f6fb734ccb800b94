// The candidates of distance_transform.cuh, and the two passes in which they spread: up from the seeds,
// and down again (steps 1 and 2 there).
#pragma once

#include "paths.cuh"

namespace treefilter::cuda {

// A seed and the distance from it. `passed`: whether it came from the slot before in the chain.
template <Path path, class T>
struct Candidate {
  T distance;
  int32_t seed, passed;  // seed < 0: there is none

  TREEFILTER_HD Candidate over(T length) const { return {add(distance, length), seed, 1}; }
  TREEFILTER_HD bool better_than(const Candidate& other) const {
    if (seed < 0 || other.seed < 0) return seed >= 0;
    return distance < other.distance || (distance == other.distance && seed < other.seed);
  }
  static TREEFILTER_HD T add(T a, T b) {
    return path == Path::kSum ? joined_length(a, b) : b > a || b != b ? b : a;
  }
};

// The map of a slot or a segment: the better one of its own candidate and of the one that enters, made
// longer by `length`.
template <Path path, class T>
struct CandidateMap {
  Candidate<path, T> value;
  T length;
  int32_t open;

  TREEFILTER_HD bool is_open() const { return open != 0; }
  static TREEFILTER_HD CandidateMap identity() { return {{0, -1, 0}, 0, 1}; }
  static TREEFILTER_HD CandidateMap compose(const CandidateMap& earlier, const CandidateMap& later) {
    if (!later.open) return later;
    const Candidate<path, T> through = earlier.value.over(later.length);
    return {through.better_than(later.value) ? through : later.value,
            Candidate<path, T>::add(earlier.length, later.length), earlier.open};
  }
};

// The candidates of the vertices of one image.
template <Path path, class T>
struct Candidates {
  // Added to nearest[v] where v is offered a seed from above, or takes it.
  static constexpr int64_t kFromAbove = int64_t{1} << 40;

  Weights<T> weight;
  T* distance;
  int64_t* nearest;
  int32_t* via;

  template <class Channel>
  TREEFILTER_HD explicit Candidates(const Channel& channel)
      : weight(channel.weight), distance(channel.values), nearest(channel.nearest), via(channel.via) {}

  TREEFILTER_HD Candidate<path, T> of(int32_t v) const {
    const int64_t seed = nearest[v] >= kFromAbove ? nearest[v] - kFromAbove : nearest[v];
    return {distance[v], static_cast<int32_t>(seed), 0};
  }
  TREEFILTER_HD void set(int32_t v, const Candidate<path, T>& candidate, int64_t mark = 0) const {
    distance[v] = candidate.distance;
    nearest[v] = candidate.seed + mark;
  }
};

template <Path path, class T>
struct CandidatesUp {
  static constexpr bool kUp = true, kGathers = true;
  using Map = CandidateMap<path, T>;
  struct Gathered {
    Candidate<path, T> best;
    int32_t child;  // the vertex that it came from; -1: from none

    static TREEFILTER_HD Gathered identity() { return {{0, -1, 0}, -1}; }
    static TREEFILTER_HD Gathered combine(const Gathered& earlier, const Gathered& later) {
      return later.best.better_than(earlier.best) ? later : earlier;
    }
  };

  PlanView plan;
  Candidates<path, T> candidates;

  template <class Channel>
  TREEFILTER_HD explicit CandidatesUp(const Channel& channel)
      : plan(channel.plan), candidates(channel) {}

  TREEFILTER_HD void gather(int32_t s) const {
    const int32_t v = plan.vertex(s), last = plan.light_begin()[s + 1];
    Candidate<path, T> best = candidates.of(v);
    for (int32_t i = plan.light_begin()[s]; i < last; ++i) {
      dependent_step();
      const int32_t child = plan.vertex(plan.light_children()[i]);
      const Candidate<path, T> candidate = candidates.of(child).over(candidates.weight[child]);
      if (candidates.weight.is_cut(child) || !candidate.better_than(best)) continue;
      best = candidate;
      candidates.via[v] = child;
    }
    candidates.set(v, best);
  }
  // Of hubs.
  TREEFILTER_HD Gathered light_child(int32_t i) const {
    const int32_t child = plan.vertex(plan.light_children()[i]);
    if (candidates.weight.is_cut(child)) return Gathered::identity();
    return {candidates.of(child).over(candidates.weight[child]), child};
  }
  TREEFILTER_HD Gathered own(int32_t s) const { return {candidates.of(plan.vertex(s)), -1}; }
  TREEFILTER_HD void take(int32_t s, const Gathered& all) const {
    const int32_t v = plan.vertex(s);
    candidates.set(v, all.best);
    if (all.child >= 0) candidates.via[v] = all.child;
  }

  TREEFILTER_HD Map step(int32_t s) const {
    const Candidate<path, T> own = candidates.of(plan.vertex(s));
    if (plan.is_bottom(s)) return {own, 0, 0};
    const int32_t child = plan.vertex(s - 1);
    return {own, candidates.weight[child], !candidates.weight.is_cut(child)};
  }
  TREEFILTER_HD void put(int32_t s, const Candidate<path, T>& candidate) const {
    if (!candidate.passed) return;
    const int32_t v = plan.vertex(s);
    candidates.set(v, candidate);
    candidates.via[v] = plan.vertex(s - 1);
  }
};

template <Path path, class T>
struct CandidatesDown {
  static constexpr bool kUp = false, kGathers = false;
  using Map = CandidateMap<path, T>;

  PlanView plan;
  Candidates<path, T> candidates;

  template <class Channel>
  TREEFILTER_HD explicit CandidatesDown(const Channel& channel)
      : plan(channel.plan), candidates(channel) {}

  TREEFILTER_HD Map step(int32_t s) const {
    const int32_t v = plan.vertex(s);
    const Candidate<path, T> own = candidates.of(v);
    const T w = candidates.weight[v];
    if (plan.is_root(s) || candidates.weight.is_cut(v)) return {own, 0, 0};
    if (!plan.is_top(s)) return {own, w, 1};
    const Candidate<path, T> above = candidates.of(plan.vertex(plan.parent(s))).over(w);
    return {above.better_than(own) ? above : own, 0, 0};
  }
  TREEFILTER_HD void put(int32_t s, const Candidate<path, T>& candidate) const {
    if (candidate.passed) candidates.set(plan.vertex(s), candidate, candidates.kFromAbove);
  }
};

}  // namespace treefilter::cuda
