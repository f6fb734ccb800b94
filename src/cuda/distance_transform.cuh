// The distance to the nearest of many seeds, on CUDA: a block for an image.
#pragma once

#include "distance_scan.cuh"
#include "lowest_seed.cuh"

namespace treefilter {

// The CPU's Search: in a round every chain is walked by one thread.
template <Path path, class T>
struct Search {
  Slots slots;
  Weights<T> weight;
  T* distance;
  int64_t* nearest;
  int32_t *via, *bottleneck;

  // Lets `to` reach a seed through its neighbour `from`, over the parent edge of `edge`.
  TREEFILTER_HD void offer(int32_t from, int32_t to, int32_t edge) const {
    const T w = weight[edge];
    const bool heavier = path == Path::kMax && (via[from] == from || w > distance[from] || w != w);
    const T candidate = path == Path::kSum ? distance[from] + w : heavier ? w : distance[from];
    if (candidate == static_cast<T>(INFINITY)) return;
    if (via[to] >= 0) {
      const bool better =
          candidate < distance[to] || (candidate == distance[to] && nearest[from] < nearest[to]);
      if (!better) return;
    }
    distance[to] = candidate;
    via[to] = from;
    if (path == Path::kMax) bottleneck[to] = heavier ? edge : bottleneck[from];
    nearest[to] = nearest[from];
  }

  TREEFILTER_HD void up(int32_t bottom) const {
    for (int32_t s = bottom;; ++s) {
      const int32_t v = slots.vertex(s), last = slots.plan.light_begin()[s + 1];
      for (int32_t i = slots.plan.light_begin()[s]; i < last; ++i) {
        const int32_t child = slots.vertex(slots.plan.light()[i]);
        if (via[child] >= 0) offer(child, v, child);
      }
      if (s > bottom) {
        const int32_t child = slots.vertex(s - 1);
        if (via[child] >= 0) offer(child, v, child);
      }
      if (slots.is_top(s)) break;
    }
  }

  TREEFILTER_HD void down(int32_t top) const {
    for (int32_t s = top;; --s) {
      const int32_t v = slots.vertex(s), p = slots.vertex(slots.parent(s));
      if (p != v && via[p] >= 0 && via[p] != v) offer(p, v, v);
      if (slots.is_bottom(s)) break;
    }
  }
};

template <Path path, class T>
struct TransformRow {
  RowInput<T> input;
  const bool* seeds;
  T* distance;
  int64_t* nearest;
  int32_t *via, *bottleneck;

  TREEFILTER_HD void operator()(const Block& block) const {
    const int64_t n = input.tree.nodes, at = block.index * n;
    const Slots slots = input.slots(block.index);
    const Search<path, T> search{slots,         input.weights(block.index, true),
                                 distance + at, nearest + at,
                                 via + at,      path == Path::kMax ? bottleneck + at : nullptr};
    each_vertex(block, n, [&](int32_t v) {
      const bool seed = seeds[at + v];
      search.distance[v] = path == Path::kSum ? T(0) : -static_cast<T>(INFINITY);
      search.via[v] = seed ? v : -1;
      search.nearest[v] = seed ? v : -1;
      if (path == Path::kMax) search.bottleneck[v] = -1;
    });
    const int32_t* rounds = slots.plan.rounds();
    for (int k = 0; k + 1 < PlanView::kRounds && rounds[k] < rounds[k + 1]; ++k) {
      block.each([&](int t) {
        for (int64_t s = rounds[k] + int64_t{t}; s < rounds[k + 1]; s += block.threads) {
          if (slots.is_bottom(static_cast<int32_t>(s))) search.up(static_cast<int32_t>(s));
        }
      });
    }
    for (int k = PlanView::kRounds - 1; k-- > 0;) {
      if (rounds[k] == rounds[k + 1]) continue;
      block.each([&](int t) {
        for (int64_t s = rounds[k] + int64_t{t}; s < rounds[k + 1]; s += block.threads) {
          if (slots.is_top(static_cast<int32_t>(s))) search.down(static_cast<int32_t>(s));
        }
      });
    }
    each_vertex(block, n, [&](int32_t v) {
      if (search.via[v] == v) search.distance[v] = 0;
      if (search.via[v] < 0) search.distance[v] = static_cast<T>(INFINITY);
    });
  }
};

template <Path path, class T>
void transforms(const Cuda& cuda, const RowInput<T>& input, int64_t batch, const bool* seeds,
                T* distance, int64_t* nearest, int32_t* via, int32_t* bottleneck) {
  launch_blocks<kRowThreads>(cuda, "distance_transform", batch, 0,
                             TransformRow<path, T>{input, seeds, distance, nearest, via, bottleneck});
  if (path == Path::kMax) name_lowest(cuda, input, batch, distance, seeds, nearest);
}

}  // namespace treefilter
