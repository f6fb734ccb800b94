// The driver of the MST stage: solves the parts of every graph, joins them and roots the tree.
//
// A grid is divided into tiles of about 256 x 256 vertices (grid_tile.h), whose working set stays in the
// second-level cache; all tiles of the batch run in parallel. The edges that tiles cannot decide, about
// 3 %, go through Kruskal's algorithm, once per image. An edge list is one part.
#include "../../mst.h"

#include <algorithm>
#include <string>

#include "../support/parallel.h"
#include "../support/radix_sort.h"
#include "../support/union_find.h"
#include "../support/workspace.h"
#include "boruvka.h"
#include "grid_tile.h"
#include "kruskal.h"
#include "peel.h"

namespace treefilter {

namespace {

// Light edges of an edge list, for each vertex.
constexpr int64_t kLight = 2;

void check_roots(Span<const int64_t> root, int64_t num_nodes) {
  for (int64_t b = 0; b < root.size; ++b) {
    if (root[b] < 0 || root[b] >= num_nodes) {
      throw std::invalid_argument("root must be in [0, " + std::to_string(num_nodes) + "), got " +
                                  std::to_string(root[b]));
    }
  }
}

// Throws for NaN. Returns for each graph whether all of its edges exist.
std::vector<uint8_t> check_weights(Cpu cpu, Span<const float> weight, int64_t batch) {
  constexpr int64_t kChunk = 1 << 16;
  const int64_t num_edges = batch == 0 ? 0 : weight.size / batch,
                chunks = (num_edges + kChunk - 1) / kChunk;
  std::vector<uint8_t> complete_part(batch * chunks), complete(batch, 1);
  parallel_for(batch * chunks, kChunk, cpu, [&] {
    return [&](int64_t item) {
      const int64_t begin = item % chunks * kChunk, end = std::min(begin + kChunk, num_edges);
      const Weight* w = weight.data + item / chunks * num_edges;
      int32_t largest = 0;
      for (int64_t e = begin; e < end; ++e) largest = std::max(largest, magnitude_bits(w[e]));
      if (largest > kInfinityMagnitude) throw std::invalid_argument("weight must not be NaN, got NaN");
      complete_part[item] = largest < kInfinityMagnitude;
    };
  });
  for (int64_t i = 0; i < batch * chunks; ++i) complete[i / chunks] &= complete_part[i];
  return complete;
}

// Sets component[v], after Kruskal's algorithm, to the lowest vertex of v's component.
void flatten(Span<int32_t> component) {
  for (int64_t v = 0; v < component.size; ++v) component[v] = component[component[v]];
}

Span<const int32_t> components_if(bool several, Span<int32_t> component) {
  return {component.data, several ? component.size : 0};
}

// Solves a batch of grids. Calls write(b, solver) for every tile, then add(b, edge) for every tree edge
// that no tile could decide, then finish(b). `component` [B, N] is set for graphs that are not complete.
template <class Write, class Add, class Finish>
void solve_grids(Cpu cpu, const Grid& grid, Span<const float> weight,
                 const std::vector<uint8_t>& complete, Span<int32_t> component, const Write& write,
                 const Add& add, const Finish& finish) {
  const int64_t batch = static_cast<int64_t>(complete.size());
  const int64_t n = grid.num_nodes(), num_edges = grid.num_edges();
  const Tiling tiling(grid);
  const int64_t tiles = tiling.count();
  std::vector<std::vector<OrderedEdge>> undecided(batch * tiles);
  parallel_for(batch * tiles, 8 * n / tiles, cpu, [&] {
    return [&, solver = TileSolver(grid, tiling)](int64_t item) mutable {
      const int64_t b = item / tiles;
      solver.solve(tiling.tile(item % tiles), weight.sub(b * num_edges, num_edges), !complete[b],
                   component.sub(b * n, n), undecided[item]);
      write(b, solver);
    };
  });
  parallel_for(batch, 4 * n, cpu, [&] {
    return [&](int64_t b) {
      std::vector<OrderedEdge> edges;
      for (int64_t i = b * tiles; i < (b + 1) * tiles; ++i) {
        edges.insert(edges.end(), undecided[i].begin(), undecided[i].end());
        std::vector<OrderedEdge>().swap(undecided[i]);
      }
      kruskal(cpu, edges, component.sub(b * n, n), [&](const OrderedEdge& e) { add(b, e); });
      if (tiles > 1 && !complete[b]) flatten(component.sub(b * n, n));
      finish(b);
    };
  });
}

// A key that about `count` of the edges are not above; kAbsent if the graph has hardly more edges.
WeightKey light_key(Span<const float> weight, int64_t count) {
  if (weight.size == 0 || weight.size < 2 * count) return kAbsent;
  WeightKey keys[1024];
  const int64_t samples = std::min<int64_t>(1024, weight.size);
  for (int64_t i = 0; i < samples; ++i) keys[i] = weight_key(weight[i * weight.size / samples]);
  WeightKey* const light = keys + samples * count / weight.size;
  std::nth_element(keys, light, keys + samples);
  return *light;
}

// Calls add(edge) for every tree edge. The result's sets() are the components.
//
// Where there are many more edges than vertices, the light ones join nearly all vertices; then most of
// the others are inside a component and need no more than one visit (filter-Kruskal, Osipov, Sanders,
// Singler 2009).
template <class Add>
Boruvka solve_edge_list(const Cpu& cpu, const EdgeList& graph, Span<const float> weight,
                        const Add& add) {
  const WeightKey light = light_key(weight, kLight * graph.num_nodes);
  Boruvka boruvka(weight.size, graph.num_nodes);
  boruvka.start(graph.num_nodes, false);
  const auto run = [&] {
    boruvka.run(
        cpu, [](int32_t number) { return number; },
        [&](int32_t e, bool taken) {
          if (taken) add(e);
        });
  };
  for (int64_t e = 0; e < weight.size; ++e) {
    const WeightKey key = weight_key(weight[e]);
    boruvka.append(key <= light ? key : kAbsent, graph.first[e], graph.second[e],
                   static_cast<int32_t>(e));
  }
  run();
  if (light == kAbsent || boruvka.components() == 1) return boruvka;
  const Buffer<int32_t> component(graph.num_nodes);
  boruvka.name(component.span());
  for (int64_t e = 0; e < weight.size; ++e) {
    const WeightKey key = weight_key(weight[e]);
    boruvka.append(key > light ? key : kAbsent, component[graph.first[e]], component[graph.second[e]],
                   static_cast<int32_t>(e));
  }
  run();
  return boruvka;
}

// Sets component[v] to the lowest vertex of v's component; the sets may have any vertex as root.
void name_components(const Boruvka& boruvka, Span<int32_t> component) {
  Buffer<int32_t> lowest(component.size, -1);
  for (int32_t v = 0; v < component.size; ++v) {
    int32_t& name = lowest[find(boruvka.sets(), v)];
    if (name < 0) name = v;
    component[v] = name;
  }
}

// `trees.order` is also workspace: it holds the components until the peel overwrites them.
template <class Mask>
void grid_trees(Cpu cpu, const Grid& grid, Span<const float> weight, Span<const int64_t> root,
                const RootedTree& trees) {
  const int64_t batch = root.size, n = grid.num_nodes();
  const std::vector<uint8_t> complete = check_weights(cpu, weight, batch);
  const Buffer<Mask> masks(batch * n);
  const auto forest = [&](int64_t b) { return MaskForest<Mask>(grid, masks.span().sub(b * n, n)); };
  solve_grids(
      cpu, grid, weight, complete, trees.order,
      [&](int64_t b, const TileSolver& solver) { solver.write_masks(masks.span().sub(b * n, n)); },
      [&](int64_t b, const OrderedEdge& e) { forest(b).add_edge(e.a, e.b, e.number()); },
      [&](int64_t b) {
        root_and_order(cpu, forest(b), components_if(!complete[b], trees.order.sub(b * n, n)), root[b],
                       trees.sub(b * n, n));
      });
}

}  // namespace

void mst(Cpu cpu, const Grid& grid, Span<const float> weight, Span<const int64_t> root,
         Span<int32_t> parent, Span<int32_t> edge, Span<int32_t> order) {
  check_roots(root, grid.num_nodes());
  const RootedTree trees{parent, edge, order};
  if (grid.num_directions <= MaskForest<uint8_t>::kMostDirections) {
    grid_trees<uint8_t>(cpu, grid, weight, root, trees);
  } else if (grid.num_directions <= MaskForest<uint16_t>::kMostDirections) {
    grid_trees<uint16_t>(cpu, grid, weight, root, trees);
  } else {
    grid_trees<uint32_t>(cpu, grid, weight, root, trees);
  }
}

void mst(Cpu cpu, const EdgeList& graph, Span<const float> weight, Span<const int64_t> root,
         Span<int32_t> parent, Span<int32_t> edge, Span<int32_t> order) {
  const int64_t batch = root.size, n = graph.num_nodes, num_edges = graph.first.size;
  check_roots(root, n);
  check_weights(cpu, weight, batch);
  parallel_for(batch, 4 * n, cpu, [&] {
    return [&, degree = Buffer<int32_t>(n), link = Buffer<LinkedForest::Link>(n)](int64_t b) mutable {
      const LinkedForest forest(degree.span(), link.span());
      const RootedTree tree = RootedTree{parent, edge, order}.sub(b * n, n);
      degree.fill(0);
      link.fill({0, 0});
      int64_t count = 0;
      const Boruvka boruvka =
          solve_edge_list(cpu, graph, weight.sub(b * num_edges, num_edges), [&](int32_t e) {
            forest.add_edge(graph.first[e], graph.second[e], e);
            ++count;
          });
      const bool connected = count == n - 1;
      if (!connected) name_components(boruvka, tree.order);
      root_and_order(cpu, forest, components_if(!connected, tree.order), root[b], tree);
    };
  });
}

void mst_edges(Cpu cpu, const Grid& grid, int64_t batch, Span<const float> weight, Span<bool> mask) {
  const int64_t num_edges = grid.num_edges();
  const std::vector<uint8_t> complete = check_weights(cpu, weight, batch);
  const Buffer<int32_t> component(batch * grid.num_nodes());
  solve_grids(
      cpu, grid, weight, complete, component.span(),
      [&](int64_t b, const TileSolver& solver) {
        solver.write_edges(mask.sub(b * num_edges, num_edges));
      },
      [&](int64_t b, const OrderedEdge& e) { mask[b * num_edges + e.number()] = true; }, [](int64_t) {});
}

void mst_edges(Cpu cpu, const EdgeList& graph, int64_t batch, Span<const float> weight,
               Span<bool> mask) {
  const int64_t num_edges = graph.first.size;
  check_weights(cpu, weight, batch);
  parallel_for(batch, 4 * num_edges, cpu, [&] {
    return [&](int64_t b) {
      const Span<bool> taken = mask.sub(b * num_edges, num_edges);
      std::fill_n(taken.data, num_edges, false);
      solve_edge_list(cpu, graph, weight.sub(b * num_edges, num_edges),
                      [&](int32_t e) { taken[e] = true; });
    };
  });
}

}  // namespace treefilter
