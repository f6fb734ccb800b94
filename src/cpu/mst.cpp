// The driver of the MST stage: solves each graph's parts, joins them, roots the tree.
//
// A grid is cut into tiles of about 256 x 256 vertices (grid_tile.h), whose working set stays in the
// second-level cache, in parallel over all tiles of the batch. What the tiles cannot decide, about 3 %
// of the edges, goes through one Kruskal per image. An edge list is one part.
#include "../mst.h"

#include <string>

#include "../plan.h"
#include "boruvka.h"
#include "grid_tile.h"
#include "parallel.h"

namespace treefilter {

Grid::Grid(int64_t depth, int64_t height, int64_t width, int num_directions, const int64_t* steps)
    : depth(depth), height(height), width(width) {
  int64_t first_edge = 0;
  for (int i = 0; i < num_directions; ++i) {
    Direction d;
    d.dz = steps[3 * i];
    d.dy = steps[3 * i + 1];
    d.dx = steps[3 * i + 2];
    d.y0 = std::max<int64_t>(0, -d.dy);
    d.x0 = std::max<int64_t>(0, -d.dx);
    d.depth = std::max<int64_t>(0, depth - d.dz);
    d.height = std::max<int64_t>(0, height - std::abs(d.dy));
    d.width = std::max<int64_t>(0, width - std::abs(d.dx));
    d.first_edge = first_edge;
    const int64_t count = d.depth * d.height * d.width;
    if (count == 0) continue;  // a missing axis: no stage has to think of it again
    first_edge += count;
    directions[this->num_directions++] = d;
  }
}

int64_t Grid::num_edges() const {
  if (num_directions == 0) return 0;
  const Direction& last = directions[num_directions - 1];
  return last.first_edge + last.depth * last.height * last.width;
}

namespace {

void check_arguments(Cpu cpu, Span<const float> weight, Span<const int64_t> root, int64_t num_nodes) {
  const int64_t batch = root.size;
  for (int64_t b = 0; b < batch; ++b) {
    if (root[b] < 0 || root[b] >= num_nodes) {
      throw std::invalid_argument("mst: root must be in [0, " + std::to_string(num_nodes) + "), got " +
                                  std::to_string(root[b]));
    }
  }
  constexpr int64_t kChunk = 1 << 16;
  parallel_for((weight.size + kChunk - 1) / kChunk, kChunk, cpu.threads, [&] {
    return [&](int64_t chunk) {
      const int64_t begin = chunk * kChunk, end = std::min(begin + kChunk, weight.size);
      bool nan = false;
      for (int64_t e = begin; e < end; ++e) nan |= weight[e] != weight[e];
      if (nan) throw std::invalid_argument("mst: weight must not be NaN, got NaN");
    };
  });
}

template <class Degree>
void add_edge(const Unrooted<Degree>& forest, int32_t a, int32_t b, int32_t edge) {
  ++forest.degree[a];
  ++forest.degree[b];
  forest.neighbour[a] ^= b;
  forest.neighbour[b] ^= a;
  forest.edge[a] ^= edge;
  forest.edge[b] ^= edge;
}

// Makes component[v] the lowest vertex of v's component: a union-find whose roots are the lowest.
void flatten(Span<int32_t> component) {
  for (int64_t v = 0; v < component.size; ++v) component[v] = component[component[v]];
}

void solve_edge_list(const EdgeList& graph, Span<const float> weight, const Unrooted<int32_t>& forest) {
  const int64_t n = graph.num_nodes;
  for (int64_t v = 0; v < n; ++v) {
    forest.degree[v] = 0;
    forest.neighbour[v] = 0;
    forest.edge[v] = 0;
  }
  Buffer<ListEdge> edges(weight.size);
  int64_t count = 0;
  for (int64_t e = 0; e < weight.size; ++e) {
    const int32_t key = weight_key(weight[e]);
    edges[count] = {key, graph.first[e], graph.second[e], static_cast<int32_t>(e)};
    count += key != kAbsent && graph.first[e] != graph.second[e];
  }
  Buffer<uint64_t> crossing(n, kNoEdge);
  Boruvka boruvka(edges.span().sub(0, count), n, crossing.span(), forest.component);
  boruvka.run([](int32_t number) { return number; },
              [&](int32_t e) { add_edge(forest, graph.first[e], graph.second[e], e); });
  // Boruvka's sets are rooted anywhere; components are named by their lowest vertex.
  Buffer<int32_t> lowest(n, -1);
  for (int32_t v = 0; v < n; ++v) {
    forest.component[v] = find(forest.component, v);
    int32_t& name = lowest[forest.component[v]];
    if (name < 0) name = v;
  }
  for (int32_t v = 0; v < n; ++v) forest.component[v] = lowest[forest.component[v]];
}

// The outputs double as workspace: parent and edge hold the exclusive-ors, order the components.
template <class Degree>
Unrooted<Degree> forest_of(int64_t b, int64_t n, const Buffer<Degree>& degree, Span<int32_t> parent,
                           Span<int32_t> edge, Span<int32_t> order) {
  return {degree.span().sub(b * n, n), parent.sub(b * n, n), edge.sub(b * n, n), order.sub(b * n, n)};
}

}  // namespace

void mst(Cpu cpu, const Grid& grid, Span<const float> weight, Span<const int64_t> root,
         Span<int32_t> parent, Span<int32_t> edge, Span<int32_t> order) {
  const int64_t batch = root.size, n = grid.num_nodes(), num_edges = grid.num_edges();
  check_arguments(cpu, weight, root, n);
  const Tiling tiling(grid);
  Buffer<uint8_t> degree(batch * n);
  std::vector<std::vector<OrderedEdge>> undecided(batch * tiling.count());

  parallel_for(batch * tiling.count(), 8 * n / tiling.count(), cpu.threads, [&] {
    return [&, solver = TileSolver(grid, tiling)](int64_t item) mutable {
      const int64_t b = item / tiling.count();
      solver.solve(tiling.tile(item % tiling.count()), weight.sub(b * num_edges, num_edges),
                   forest_of(b, n, degree, parent, edge, order), undecided[item]);
    };
  });
  parallel_for(batch, 4 * n, cpu.threads, [&] {
    return [&](int64_t b) {
      const auto forest = forest_of(b, n, degree, parent, edge, order);
      if (tiling.count() > 1) {
        std::vector<OrderedEdge> edges;
        for (int64_t t = 0; t < tiling.count(); ++t) {
          auto& part = undecided[b * tiling.count() + t];
          edges.insert(edges.end(), part.begin(), part.end());
          std::vector<OrderedEdge>().swap(part);
        }
        kruskal(edges, forest.component,
                [&](const OrderedEdge& e) { add_edge(forest, e.a, e.b, e.number()); });
        flatten(forest.component);
      }
      root_and_order(forest, root[b], order.sub(b * n, n));
    };
  });
}

void mst(Cpu cpu, const EdgeList& graph, Span<const float> weight, Span<const int64_t> root,
         Span<int32_t> parent, Span<int32_t> edge, Span<int32_t> order) {
  const int64_t batch = root.size, n = graph.num_nodes, num_edges = graph.first.size;
  check_arguments(cpu, weight, root, n);
  Buffer<int32_t> degree(batch * n);
  parallel_for(batch, 4 * n, cpu.threads, [&] {
    return [&](int64_t b) {
      const auto forest = forest_of(b, n, degree, parent, edge, order);
      solve_edge_list(graph, weight.sub(b * num_edges, num_edges), forest);
      root_and_order(forest, root[b], order.sub(b * n, n));
    };
  });
}

}  // namespace treefilter
