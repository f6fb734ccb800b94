// The distance to the nearest of many seeds, on CUDA.
//
// As on the CPU, every vertex learns of the nearest seed below it on the way up and of the nearest one
// above it on the way down. An offer (distance, seed) that goes through a stretch of a chain comes out
// as the lesser of what the stretch has itself and of the offer that entered, over the stretch's length:
// the scans (chain_scan.cuh) join that. Offers compare by distance and then by seed.
//
// A scan adds in another order than a walk, so that two offers which are equal but for rounding may
// compare one way at one vertex and the other way at the next. So offers decide nothing but the ways:
//   1. on the way up, whether a vertex's offer comes from its chain's vertex below, from another child,
//      or from itself;
//   2. on the way down, whether an offer from above is better than that (`offered`).
// What has a seed at all is a matter of the topology and of edges of weight +inf alone. Then
//   3. v takes the offer from above if it is offered one and its parent, which may have its own from v,
//      has not: taken(v) = offered(v) and (taken(parent) or via(parent) != v). Booleans: exact.
// So no two vertices have their seed from each other, and every vertex's way ends at a seed, whatever
// the rounding. Along these ways then
//   4. the seeds and the distances are taken, as path_sums does.
// Where nothing is rounded (integers, and maxima always) this is the CPU's result. Else a seed may be
// another one that is as near but for rounding; it is the one at the end of the way all the same.
//
// Cost: seven passes.
#pragma once

#include "lowest_seed.cuh"
#include "paths.cuh"

namespace treefilter::cuda {

// Of a vertex: its distance from a seed. `passed`: by the slot before it in its chain.
template <Path path, class T>
struct Offer {
  T distance;
  int32_t seed, passed;  // seed < 0: none

  TREEFILTER_HD Offer over(T length) const { return {add(distance, length), seed, 1}; }
  TREEFILTER_HD bool better_than(const Offer& other) const {
    if (seed < 0 || other.seed < 0) return seed >= 0;
    return distance < other.distance || (distance == other.distance && seed < other.seed);
  }
  static TREEFILTER_HD T add(T a, T b) { return path == Path::kSum ? a + b : b > a || b != b ? b : a; }
};

// What becomes of an offer that enters a stretch: the better of it, over `length`, and of the stretch's.
template <Path path, class T>
struct Approach {
  Offer<path, T> value;
  T length;
  int32_t open;

  static TREEFILTER_HD Approach nothing() { return {{0, -1, 0}, 0, 1}; }
  static TREEFILTER_HD Approach join(const Approach& earlier, const Approach& later) {
    if (!later.open) return later;
    const Offer<path, T> through = earlier.value.over(later.length);
    return {through.better_than(later.value) ? through : later.value,
            Offer<path, T>::add(earlier.length, later.length), earlier.open};
  }
};

// The offers of one image.
template <Path path, class T>
struct Offers {
  // nearest[v], when v is offered a seed from above or takes it.
  static constexpr int64_t kFromAbove = int64_t{1} << 40;

  Weights<T> weight;
  T* distance;
  int64_t* nearest;
  int32_t* via;

  template <class Row>
  TREEFILTER_HD explicit Offers(const Row& row)
      : weight(row.weight), distance(row.values), nearest(row.nearest), via(row.via) {}

  TREEFILTER_HD Offer<path, T> of(int32_t v) const {
    const int64_t seed = nearest[v] >= kFromAbove ? nearest[v] - kFromAbove : nearest[v];
    return {distance[v], static_cast<int32_t>(seed), 0};
  }
  TREEFILTER_HD void set(int32_t v, const Offer<path, T>& offer, int64_t mark = 0) const {
    distance[v] = offer.distance;
    nearest[v] = offer.seed + mark;
  }
};

template <Path path, class T>
struct OffersUp {
  static constexpr bool kUp = true, kGathers = true;
  using Piece = Approach<path, T>;

  Slots slots;
  Offers<path, T> offers;

  template <class Row>
  TREEFILTER_HD explicit OffersUp(const Row& row) : slots(row.slots), offers(row) {}

  TREEFILTER_HD void gather(int32_t s) const {
    const int32_t v = slots.vertex(s), last = slots.plan.light_begin()[s + 1];
    Offer<path, T> best = offers.of(v);
    for (int32_t i = slots.plan.light_begin()[s]; i < last; ++i) {
      const int32_t child = slots.vertex(slots.plan.light()[i]);
      const Offer<path, T> offer = offers.of(child).over(offers.weight[child]);
      if (offers.weight.is_cut(child) || !offer.better_than(best)) continue;
      best = offer;
      offers.via[v] = child;
    }
    offers.set(v, best);
  }
  TREEFILTER_HD Piece link(int32_t s) const {
    const Offer<path, T> own = offers.of(slots.vertex(s));
    if (slots.is_bottom(s)) return {own, 0, 0};
    const int32_t child = slots.vertex(s - 1);
    return {own, offers.weight[child], !offers.weight.is_cut(child)};
  }
  TREEFILTER_HD void put(int32_t s, const Piece&, const Offer<path, T>& offer) const {
    if (!offer.passed) return;
    const int32_t v = slots.vertex(s);
    offers.set(v, offer);
    offers.via[v] = slots.vertex(s - 1);
  }
};

template <Path path, class T>
struct OffersDown {
  static constexpr bool kUp = false, kGathers = false;
  using Piece = Approach<path, T>;

  Slots slots;
  Offers<path, T> offers;

  template <class Row>
  TREEFILTER_HD explicit OffersDown(const Row& row) : slots(row.slots), offers(row) {}

  TREEFILTER_HD Piece link(int32_t s) const {
    const int32_t v = slots.vertex(s);
    const Offer<path, T> own = offers.of(v);
    const T w = offers.weight[v];
    if (slots.is_root(s) || offers.weight.is_cut(v)) return {own, 0, 0};
    if (!slots.is_top(s)) return {own, w, 1};
    const Offer<path, T> above = offers.of(slots.vertex(slots.parent(s))).over(w);
    return {above.better_than(own) ? above : own, 0, 0};
  }
  TREEFILTER_HD void put(int32_t s, const Piece&, const Offer<path, T>& offer) const {
    if (offer.passed) offers.set(slots.vertex(s), offer, offers.kFromAbove);
  }
};

// Turns `offered` into `taken`.
template <Path path, class T>
struct TakeDown {
  static constexpr bool kUp = false, kGathers = false;
  using Piece = Step<Carried>;

  Slots slots;
  int64_t* nearest;
  const int32_t* via;

  template <class Row>
  TREEFILTER_HD explicit TakeDown(const Row& row)
      : slots(row.slots), nearest(row.nearest), via(row.via) {}

  TREEFILTER_HD bool marked(int32_t v) const { return nearest[v] >= Offers<path, T>::kFromAbove; }
  TREEFILTER_HD Piece link(int32_t s) const {
    const int32_t v = slots.vertex(s), p = slots.vertex(slots.parent(s));
    if (!marked(v)) return {{0}, 0};
    if (via[p] != v) return {{1}, 0};
    if (slots.is_top(s)) return {{marked(p)}, 0};
    return {{0}, 1};
  }
  TREEFILTER_HD void put(int32_t s, const Piece&, const Carried& taken) const {
    nearest[slots.vertex(s)] = taken.value == 1 ? Offers<path, T>::kFromAbove : 0;
  }
};

// The vertex where a way ends.
struct SeedAlong {
  using Value = Carried;

  int64_t* nearest;

  template <class Row>
  TREEFILTER_HD explicit SeedAlong(const Row& row) : nearest(row.nearest) {}

  TREEFILTER_HD Value edge(int32_t) const { return Value::nothing(); }
  TREEFILTER_HD Value start(int32_t v) const { return {v}; }
  TREEFILTER_HD Value get(int32_t v) const { return {static_cast<int32_t>(nearest[v])}; }
  TREEFILTER_HD void put(int32_t v, const Value& seed) const { nearest[v] = seed.value; }
};

// ---- rows ----

template <class T>
struct SeedsRow : WaysRow<T, int32_t> {
  const bool* seeds;
  int64_t* nearest;
};

template <Path path, class T>
struct StartOffers {
  const bool* seeds;
  Offers<path, T> offers;

  template <class Row>
  TREEFILTER_HD explicit StartOffers(const Row& row) : seeds(row.seeds), offers(row) {}

  TREEFILTER_HD void operator()(int32_t v) const {
    const int32_t seed = seeds[v] ? v : -1;
    offers.via[v] = seed;
    offers.set(v, {0, seed, 0});
  }
};

// Ways to parents where they were taken; no vertex has a seed yet but the seeds, which keep it without a
// slot.
template <Path path, class T>
struct SetWays {
  const int32_t* parent;
  const bool* seeds;
  int64_t* nearest;
  int32_t* via;

  template <class Row>
  TREEFILTER_HD explicit SetWays(const Row& row)
      : parent(row.parent), seeds(row.seeds), nearest(row.nearest), via(row.via) {}

  TREEFILTER_HD void operator()(int32_t v) const {
    if (nearest[v] == Offers<path, T>::kFromAbove) via[v] = parent[v];
    nearest[v] = seeds[v] ? v : -1;
  }
};

// A sum may have overflowed.
template <class T>
struct DropInfinite {
  const T* distance;
  int64_t* nearest;

  template <class Row>
  TREEFILTER_HD explicit DropInfinite(const Row& row) : distance(row.values), nearest(row.nearest) {}

  TREEFILTER_HD void operator()(int32_t v) const {
    if (distance[v] == static_cast<T>(INFINITY)) nearest[v] = -1;
  }
};

template <class T>
struct SeedsTask : RowInput<T> {
  const bool* seeds;
  T* distance;
  int64_t* nearest;
  int32_t *via, *bottleneck;

  TREEFILTER_HD SeedsRow<T> row(int64_t index) const {
    const int64_t at = index * this->nodes();
    return {WaysRow<T, int32_t>(*this, index, true, via, distance, bottleneck), seeds + at,
            nearest + at};
  }
};

// Steps 1 to 3. (All steps in one kernel would need more registers.)
template <Path path, class T>
struct FindWays : SeedsTask<T> {
  using Widest = Approach<path, T>;

  TREEFILTER_PROGRAM template <class Stages>
  TREEFILTER_HD void stages(const Stages& stages) const {
    stages.template vertices<StartOffers<path, T>>();
    stages.template pass<OffersUp<path, T>>();
    stages.template pass<OffersDown<path, T>>();
    stages.template pass<TakeDown<path, T>>();
  }
};

// Step 4.
template <Path path, class T>
struct FollowWays : SeedsTask<T> {
  using Widest = Step<typename LengthAlong<path, T>::Value>;

  TREEFILTER_PROGRAM template <class Stages>
  TREEFILTER_HD void stages(const Stages& stages) const {
    stages.template vertices<SetWays<path, T>>();
    run_along<SeedAlong>(stages);
    run_distances<path, T>(stages);
    stages.template vertices<DropInfinite<T>>();
  }
};

template <Path path, class T>
void transforms(const Cuda& cuda, const RowInput<T>& input, int64_t batch, const bool* seeds,
                T* distance, int64_t* nearest, int32_t* via, int32_t* bottleneck) {
  int32_t* const edges = path == Path::kMax ? bottleneck : nullptr;
  const SeedsTask<T> task{input, seeds, distance, nearest, via, edges};
  run_stages(cuda, "distance_transform", batch, FindWays<path, T>{task});
  run_stages(cuda, "distance_transform", batch, FollowWays<path, T>{task});
  if (path == Path::kMax) name_lowest(cuda, input, batch, distance, seeds, nearest);
}

}  // namespace treefilter::cuda
