// The first pass over an image: which minimum every vertex belongs to, and where components may meet.
#pragma once

#include <utility>

#include "../../graph.h"
#include "../support/parallel.h"
#include "../support/workspace.h"
#include "lower_link.h"

namespace treefilter {

// The vertex outside of an image: before all others, in arrays whose element -1 is its own. It has the
// minimum of number 0.
constexpr int32_t kOutside = -1;

// Components that meet at a vertex, as in Descent::to.
struct Meeting {
  int32_t later, a, b;
};

// One image, whose vertices enter in the order (value, number). Every vertex that is no minimum is
// joined to the first of its neighbours that are before it.
template <class T>
struct Descent {
  const T* value;
  int32_t* to;        // ~number of the vertex's minimum, or a vertex that has the same
  int32_t* minima;    // the vertices of minima, ascending
  Meeting* meetings;  // with the other neighbours before a vertex: those of one vertex in their order
  int64_t num_minima = 0, num_meetings = 0;

  bool precedes(int32_t u, int32_t v) const {
    return value[u] < value[v] || (value[u] == value[v] && u < v);
  }

  void add_minimum(int32_t v) {
    to[v] = ~static_cast<int32_t>(num_minima);
    minima[num_minima++] = v;
  }

  // Vertex v and its neighbour u, which is before it.
  void meet(int32_t v, int32_t u) { meetings[num_meetings++] = {v, to[v], to[u]}; }

  // The number of the minimum that `next` leads to. Shortens the path that it follows.
  int32_t minimum_of(int32_t next) const {
    while (next >= 0) {
      const int32_t beyond = to[next];
      if (beyond >= 0) to[next] = to[beyond];
      next = beyond;
    }
    return ~next;
  }
};

template <class T>
void descend(const Cpu& cpu, const EdgeList& graph, Descent<T>& descent) {
  const int32_t n = static_cast<int32_t>(graph.num_nodes);
  for (int32_t v = 0; v < n; ++v) descent.to[v] = v;
  for_ascending(cpu, 0, graph.first.size, [&](int64_t e) {
    int32_t earlier = graph.first[e], later = graph.second[e];
    if (earlier == later) return;
    if (descent.precedes(later, earlier)) std::swap(earlier, later);
    if (descent.to[later] == later) {
      descent.to[later] = earlier;
    } else {
      descent.meet(later, earlier);
    }
  });
  for (int32_t v = 0; v < n; ++v) {
    if (descent.to[v] == v) descent.add_minimum(v);
  }
}

// The same in a grid. For holes (persistence.h) the image was turned by 180 degrees, and its border has
// the neighbour kOutside.
template <class T>
class GridDescent {
 public:
  GridDescent(const Grid& grid, bool holes, Descent<T>& descent)
      : grid_(grid), holes_(holes), descent_(descent) {
    if (!has_links()) return;
    const int64_t w = grid.width;
    const int64_t steps[8] = {-w, w, -1, 1, -w - 1, w + 1, 1 - w, w - 1};
    const LowerLinks& links = lower_links(grid.num_directions == 4, holes);
    for (int set = 0; set < 256; ++set) {
      const auto step = [&](int i) {
        return links[set][i] < 0 ? 0 : static_cast<int32_t>(steps[links[set][i]]);
      };
      steps_[set] = {step(0), step(1), step(2), step(3)};
    }
  }

  void run(const Cpu& cpu) {
    const int64_t width = grid_.width, rows = grid_.depth * grid_.height;
    const Buffer<uint8_t> set(width);
    const Buffer<int32_t> minima(width), meetings(width);
    // What is not known yet of a vertex is that of the vertex itself: so to[v] = to[u] is right for all
    // u.
    for (int64_t v = 0; v < grid_.num_nodes(); ++v) descent_.to[v] = static_cast<int32_t>(v);
    if (holes_) descent_.add_minimum(kOutside);
    Checks checks(cpu, 4 * width);
    for (int64_t row = 0; row < rows; ++row, checks.after_item()) {
      const bool inside = has_links() && row > 0 && row < rows - 1;
      visit(row, 0);
      if (inside) visit_inside(row, set, minima.data(), meetings.data());
      for (int64_t x = inside ? width - 1 : 1; x < width; ++x) visit(row, x);
    }
  }

 private:
  // Whether the eight pixels around one tell how its neighbours hang together.
  bool has_links() const {
    const bool plane = grid_.depth == 1 && grid_.height > 2 && grid_.width > 2;
    return plane && (grid_.num_directions == 2 || grid_.num_directions == 4);
  }

  // Which vertices are minima, and where components may meet, cannot be predicted: they are listed
  // without branches, row by row.
  void visit_inside(int64_t row, const Buffer<uint8_t>& set, int32_t* minima, int32_t* meetings) {
    const int64_t width = grid_.width, first = row * width;
    const T* const own = descent_.value + first + 1;
    lower_sets(own - width, own, own + width, width - 2, set.data() + 1);
    int64_t num_minima = 0, num_meetings = 0;
    for (int64_t x = 1; x < width - 1; ++x) {
      const Steps& step = steps_[set[x]];
      minima[num_minima] = meetings[num_meetings] = static_cast<int32_t>(first + x);
      num_minima += step.first == 0;
      num_meetings += step.second != 0;
    }
    for (int64_t i = 0; i < num_minima; ++i) descent_.add_minimum(minima[i]);
    int32_t* const to = descent_.to + first;
    for (int64_t x = 1; x < width - 1; ++x) to[x] = to[x + steps_[set[x]].first];
    for (int64_t i = 0; i < num_meetings; ++i) {
      const int32_t v = meetings[i];
      const Steps& step = steps_[set[v - first]];
      descent_.meet(v, v + step.second);
      if (step.third == 0) continue;
      descent_.meet(v, v + step.third);
      if (step.fourth != 0) descent_.meet(v, v + step.fourth);
    }
  }

  // Looks at all neighbours.
  void visit(int64_t row, int64_t x) {
    const int64_t z = row / grid_.height, y = row % grid_.height;
    const int32_t v = static_cast<int32_t>(row * grid_.width + x);
    bool is_minimum = true;
    const auto meet = [&](int64_t other) {
      const int32_t u = static_cast<int32_t>(other);
      if (!descent_.precedes(u, v)) return;
      if (is_minimum) {
        descent_.to[v] = descent_.to[u];
      } else {
        descent_.meet(v, u);
      }
      is_minimum = false;
    };
    for (int i = 0; i < grid_.num_directions; ++i) {
      const Direction& d = grid_.directions[i];
      const int64_t step = (d.dz * grid_.height + d.dy) * grid_.width + d.dx;
      for (const bool forward : {holes_, !holes_}) {
        if (forward && d.starts_at(z, y, x)) meet(v + step);
        if (!forward && d.starts_at(z - d.dz, y - d.dy, x - d.dx)) meet(v - step);
      }
    }
    const bool border = y == 0 || y == grid_.height - 1 || x == 0 || x == grid_.width - 1;
    if (holes_ && border) meet(kOutside);
    if (is_minimum) descent_.add_minimum(v);
  }

  const Grid& grid_;
  bool holes_;
  Descent<T>& descent_;
  struct Steps {
    int32_t first, second, third, fourth;
  } steps_[256];
};

}  // namespace treefilter
