// Plans as src/plan.h defines them, for the tests of what makes them and of what reads them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../../src/plan.h"

// `order`: any that has children before parents.
inline std::vector<int32_t> plan_by_definition(const std::vector<int32_t>& parent,
                                               const std::vector<int32_t>& order) {
  using treefilter::PlanView;
  struct Place {
    int32_t round, leaf, position;  // the leaf that the vertex's chain begins with, and how far away
    bool operator<(const Place& other) const {
      if (round != other.round) return round < other.round;
      return leaf != other.leaf ? leaf < other.leaf : position < other.position;
    }
  };
  const int64_t n = static_cast<int64_t>(order.size());
  std::vector<Place> place(n);
  std::vector<int32_t> most(n, 0), ties(n, 0), below(n);  // of a vertex's children: the highest round
  int32_t last = 0;
  for (int32_t v : order) {
    const int32_t p = parent[v];
    if (ties[v] == 1) {
      place[v] = {most[v], place[below[v]].leaf, place[below[v]].position + 1};
    } else {
      place[v] = {most[v] + 1, v, 0};
    }
    if (p == v) continue;
    last = std::max(last, place[v].round);
    if (place[v].round > most[p]) most[p] = place[v].round, ties[p] = 0;
    if (place[v].round == most[p]) ++ties[p], below[p] = v;
  }
  for (int32_t v : order) {
    if (parent[v] == v) place[v] = {last + 1, v, 0};
  }
  std::vector<int32_t> plan(PlanView::size(n), 0), slot(n);
  std::copy(order.begin(), order.end(), plan.begin());
  std::sort(plan.begin(), plan.begin() + n, [&](int32_t a, int32_t b) { return place[a] < place[b]; });
  for (int64_t s = 0; s < n; ++s) slot[plan[s]] = static_cast<int32_t>(s);
  std::vector<std::vector<int32_t>> light(n);
  for (int64_t s = 0; s < n; ++s) {
    const int32_t v = plan[s], p = parent[v];
    const bool follows = p != v && place[p].round == place[v].round;
    plan[n + s] = follows ? slot[p] : ~slot[p];
    if (p != v && !follows) light[slot[p]].push_back(static_cast<int32_t>(s));
  }
  int32_t *begin = &plan[2 * n], *tops = begin + n + 1, *rounds = tops + n, count = 0;
  for (int64_t s = 0; s < n; ++s) {
    begin[s] = count;
    for (int32_t top : light[s]) tops[count++] = top;
  }
  begin[n] = count;
  for (int64_t k = 0, s = 0; k < PlanView::kRounds; ++k) {
    while (s < n && place[plan[s]].round <= k) ++s;
    rounds[k] = static_cast<int32_t>(s);
  }
  return plan;
}
