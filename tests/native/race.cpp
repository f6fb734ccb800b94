// Every threaded kernel on four std::threads, for ThreadSanitizer, and compared bit by bit with one
// thread. Built by `make test-tsan`.
#include <cstdio>
#include <random>
#include <vector>

#include "../../src/affinity.h"
#include "../../src/dendrogram.h"
#include "../../src/distance.h"
#include "../../src/edge_weight.h"
#include "../../src/filter.h"
#include "../../src/malis.h"
#include "../../src/mst.h"
#include "../../src/persistence.h"
#include "../../src/watershed.h"
#include "vectors.h"

namespace {

using namespace treefilter;

constexpr int64_t kBatch = 2, kHeight = 260, kWidth = 257, kNodes = kHeight * kWidth;
constexpr int64_t kChannels = 20, kSources = 2;

template <class T>
Strided<T> planes(T* data) {
  return {data, kBatch, kChannels, kNodes, kChannels * kNodes, kNodes, 1};
}

std::vector<float> noise(int64_t size, int seed, float levels) {
  std::mt19937 engine(seed);
  std::vector<float> values(size);
  // Few different weights, hence many ties.
  for (float& v : values) v = static_cast<float>(engine() % static_cast<unsigned>(levels)) / levels;
  return values;
}

struct Results {
  std::vector<float> weight, scattered, tree_weight, graph_weight, a, y, grad_x, grad_a, dot, distance;
  std::vector<float> transform, sums, accumulated, largest;
  std::vector<int32_t> parent, edge, order, order_again, via, bottleneck;
  std::vector<int32_t> sorted, node, merged, children, lowest, rank_index, rank_parent, rank_children;
  std::vector<double> equal, different;
  std::vector<int64_t> argmax, nearest, ordered, birth, death;

  bool operator==(const Results& o) const {
    return weight == o.weight && scattered == o.scattered && tree_weight == o.tree_weight &&
           graph_weight == o.graph_weight && a == o.a && y == o.y && grad_x == o.grad_x &&
           grad_a == o.grad_a && dot == o.dot && distance == o.distance && transform == o.transform &&
           sums == o.sums && accumulated == o.accumulated && parent == o.parent && edge == o.edge &&
           order == o.order && order_again == o.order && ordered == o.ordered && via == o.via &&
           bottleneck == o.bottleneck && argmax == o.argmax && largest == o.largest &&
           nearest == o.nearest && sorted == o.sorted && node == o.node && merged == o.merged &&
           children == o.children && lowest == o.lowest && rank_index == o.rank_index &&
           rank_parent == o.rank_parent && rank_children == o.rank_children && equal == o.equal &&
           different == o.different && birth == o.birth && death == o.death;
  }
};

template <class AnyGraph>
Results run(const AnyGraph& graph, int64_t num_edges, int threads, int64_t groups) {
  const Cpu cpu{threads};
  const std::vector<float> f = noise(kBatch * kChannels * kNodes, 1, 50);
  const std::vector<float> g = noise(kBatch * kChannels * kNodes, 2, 1000);
  const int64_t rows = kBatch * kSources * kNodes;
  Results r;
  r.weight.resize(kBatch * num_edges);
  edge_inner(cpu, graph, Psi::kIdentity, kBatch, kChannels, view(f), view(f), span(r.weight));
  r.scattered.resize(f.size());
  edge_scatter(cpu, graph, Psi::kSign, kBatch, kChannels, view(r.weight), {}, view(f),
               span(r.scattered));
  r.argmax.resize(r.weight.size());
  r.largest.resize(r.weight.size());
  edge_argmax<AnyGraph, float, float>(cpu, graph, kBatch, kChannels, view(f), span(r.argmax),
                                      span(r.largest));

  const std::vector<int64_t> root{5, kNodes - 1};
  for (auto* v : {&r.parent, &r.edge, &r.order}) v->resize(kBatch * kNodes);
  mst(cpu, graph, view(r.weight), view(root), span(r.parent), span(r.edge), span(r.order));
  r.ordered.resize(kBatch);
  r.order_again.resize(kBatch * kNodes);
  order_trees(cpu, kNodes, view(r.parent), span(r.order_again), span(r.ordered));

  for (auto* v : {&r.rank_index, &r.rank_parent}) v->resize(kBatch * kNodes);
  r.rank_children.resize(kBatch * kNodes * 4);
  std::vector<int64_t> needed(kBatch);
  rank_trees(cpu, kNodes, 4, view(r.parent), view(r.order), span(r.rank_index), span(r.rank_parent),
             span(r.rank_children), span(needed));

  r.tree_weight.resize(kBatch * kNodes);
  r.graph_weight.resize(r.weight.size());
  tree_weight(cpu, kBatch, 1, view(r.weight), view(r.edge), kNodes, span(r.tree_weight));
  tree_weight_backward(cpu, kBatch, 1, view(r.tree_weight), view(r.edge), kNodes, span(r.graph_weight));

  const TreeView tree{kBatch, kNodes, view(r.parent), view(r.order), {}};
  r.a = noise(kBatch * groups * kNodes, 3, 1000);
  const Affinity<float> affinity{kBatch, groups, view(r.a)};
  r.y.resize(f.size());
  r.grad_x.resize(f.size());
  r.grad_a.resize(r.a.size());
  r.dot.resize(r.a.size());
  propagate(cpu, Pass::kMean, tree, affinity, planes(f.data()), planes(r.y.data()));
  filter_backward(cpu, Pass::kMean, tree, affinity, planes(g.data()), planes(f.data()),
                  planes(r.grad_x.data()), span(r.grad_a));
  parent_dot(cpu, tree, groups, planes(f.data()), planes(g.data()), span(r.dot));

  const std::vector<int64_t> source{0, kNodes - 1, 3, 500};
  r.distance.resize(rows);
  r.via.resize(rows);
  r.bottleneck.resize(rows);
  distance(cpu, Path::kMax, tree, kBatch, kSources, view(r.tree_weight), view(source), span(r.distance),
           span(r.via), span(r.bottleneck));
  r.sums.resize(rows);
  r.accumulated.resize(kBatch * kNodes);
  path_sums(cpu, tree, kBatch, kSources, view(r.tree_weight), view(r.via), span(r.sums));
  accumulate_sums(cpu, tree, kBatch, kSources, view(r.sums), view(r.via), span(r.accumulated));

  std::vector<char> seed_bytes(kBatch * kNodes);
  for (size_t i = 0; i < seed_bytes.size(); ++i) seed_bytes[i] = i % 997 == 0;
  const Span<const bool> seeds{reinterpret_cast<const bool*>(seed_bytes.data()), kBatch * kNodes};
  r.transform.resize(kBatch * kNodes);
  r.nearest.resize(kBatch * kNodes);
  const TreeEdges edges{kNodes, view(r.parent), view(r.edge)};
  std::vector<int64_t> marker(kBatch * kNodes);
  for (size_t i = 0; i < marker.size(); ++i) marker[i] = seeds[i] ? i % kNodes + 1 : 0;
  watershed(cpu, kBatch, edges, view(r.weight), view(marker), span(r.nearest));
  for (int64_t& v : r.nearest) --v;

  r.sorted.resize(kBatch * kNodes);
  r.node.resize(kBatch * (2 * kNodes - 1));
  r.lowest.resize(r.node.size());
  r.merged.resize(kBatch * (kNodes - 1));
  r.children.resize(2 * r.merged.size());
  sort_edges(cpu, kBatch, edges, view(r.weight), span(r.sorted));
  merge(cpu, kBatch, edges, view(r.sorted), {span(r.node), span(r.merged), span(r.children)});
  lowest_leaf(cpu, kBatch, kNodes, view(r.order), view(r.node), span(r.lowest));
  r.birth.resize(kBatch * kNodes);
  r.death.resize(kBatch * kNodes);
  const std::vector<float> height = noise(kBatch * kNodes, 4, 1000);
  const bool holes = std::is_same_v<AnyGraph, Grid>;
  persistence(cpu, kBatch, graph, {false, holes}, view(height), span(r.birth), span(r.death));
  std::vector<int32_t> label(kBatch * kNodes);
  for (size_t i = 0; i < label.size(); ++i) label[i] = static_cast<int32_t>(i % 5) - 1;
  r.equal.resize(r.merged.size());
  r.different.resize(r.merged.size());
  count_pairs(cpu, kBatch, kNodes, view(r.node), view(r.children), view(label), span(r.equal),
              span(r.different));
  std::vector<int32_t> via(kBatch * kNodes), bottleneck(kBatch * kNodes);
  distance_transform(cpu, Path::kMax, tree, kBatch, view(r.tree_weight), seeds, span(r.transform),
                     span(r.nearest), span(via), span(bottleneck));
  return r;
}

template <class AnyGraph>
bool same(const char* name, const AnyGraph& graph, int64_t num_edges, int64_t groups) {
  const bool equal = run(graph, num_edges, 4, groups) == run(graph, num_edges, 1, groups);
  std::printf("%s, %d groups: %s\n", name, static_cast<int>(groups), equal ? "same bits" : "DIFFERENT");
  return equal;
}

}  // namespace

int main() {
  const int64_t steps[] = {0, 1, 0, 0, 0, 1, 0, 1, 1, 0, 1, -1};
  const Grid grid(1, kHeight, kWidth, 4, steps);
  std::mt19937 engine(9);
  std::vector<int32_t> first(2 * kNodes), second(2 * kNodes);
  for (auto* ends : {&first, &second}) {
    for (int32_t& v : *ends) v = static_cast<int32_t>(engine() % kNodes);
  }
  const EdgeList list{kNodes, view(first), view(second)};
  bool ok = same("grid", grid, grid.num_edges(), 1);
  ok &= same("grid", grid, grid.num_edges(), kChannels);
  ok &= same("edge list", list, 2 * kNodes, 2);
  return ok ? 0 : 1;
}
