// Plans by the definition in src/plan.h, for tests of the code that makes plans and of the code that
// reads them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../../src/plan.h"

// `order` is any order with children before their parents.
inline std::vector<int32_t> plan_by_definition(const std::vector<int32_t>& parent,
                                               const std::vector<int32_t>& order) {
  using treefilter::PlanView;
  struct Position {
    int32_t round, leaf, position;  // the leaf of the vertex's chain, and the distance from it
    bool operator<(const Position& other) const {
      if (round != other.round) return round < other.round;
      return leaf != other.leaf ? leaf < other.leaf : position < other.position;
    }
  };
  const int64_t n = static_cast<int64_t>(order.size());
  std::vector<Position> position_of(n);
  std::vector<int32_t> most(n, 0), ties(n, 0), below(n);  // the highest round of a vertex's children
  int32_t last = 0;
  for (int32_t v : order) {
    const int32_t p = parent[v];
    if (ties[v] == 1) {
      position_of[v] = {most[v], position_of[below[v]].leaf, position_of[below[v]].position + 1};
    } else {
      position_of[v] = {most[v] + 1, v, 0};
    }
    if (p == v) continue;
    last = std::max(last, position_of[v].round);
    if (position_of[v].round > most[p]) most[p] = position_of[v].round, ties[p] = 0;
    if (position_of[v].round == most[p]) ++ties[p], below[p] = v;
  }
  for (int32_t v : order) {
    if (parent[v] == v) position_of[v] = {last + 1, v, 0};
  }
  std::vector<int32_t> plan(PlanView::size(n), 0), slot(n);
  std::copy(order.begin(), order.end(), plan.begin());
  std::sort(plan.begin(), plan.begin() + n,
            [&](int32_t a, int32_t b) { return position_of[a] < position_of[b]; });
  for (int64_t s = 0; s < n; ++s) slot[plan[s]] = static_cast<int32_t>(s);
  std::vector<std::vector<int32_t>> light(n);
  for (int64_t s = 0; s < n; ++s) {
    const int32_t v = plan[s], p = parent[v];
    const bool follows = p != v && position_of[p].round == position_of[v].round;
    plan[n + s] = follows ? slot[p] : ~slot[p];
    if (p != v && !follows) light[slot[p]].push_back(static_cast<int32_t>(s));
  }
  int32_t *begin = &plan[2 * n], *tops = begin + n + 1, *hubs = tops + n, *rounds = hubs + 1, count = 0;
  for (int64_t s = 0; s < n; ++s) {
    begin[s] = count;
    for (int32_t top : light[s]) tops[count++] = top;
    if (light[s].size() >= PlanView::kHub) *hubs = 1;
  }
  begin[n] = count;
  for (int64_t k = 0, s = 0; k < PlanView::kRounds; ++k) {
    while (s < n && position_of[plan[s]].round <= k) ++s;
    rounds[k] = static_cast<int32_t>(s);
  }
  return plan;
}
