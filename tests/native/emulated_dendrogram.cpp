// Dendrograms, watersheds and pairs of labels by the emulated CUDA code, compared with the CPU's, in
// every order of the threads, which must not change a bit.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "../../src/cuda/runtime/per_image.cuh"
#include "../../src/dendrogram.h"
#include "../../src/malis.h"
#include "../../src/watershed.h"
#include "device_memory.h"
#include "plans.h"
#include "vectors.h"

namespace {

using namespace treefilter;

int failures = 0;
bool race = false;  // also on real threads, which takes long

void expect(bool holds, const char* what, const std::string& where) {
  if (holds) return;
  std::printf("FAILED: %s (%s)\n", what, where.c_str());
  if (++failures == 20) std::exit(1);
}

std::mt19937 engine(1);
int64_t below(int64_t bound) {
  return static_cast<int64_t>(engine() % static_cast<uint64_t>(bound));
}

struct Input {
  int64_t batch, nodes, edges;
  std::vector<int32_t> parent, edge, sorted, label;  // of one tree, or of `batch`
  std::vector<float> weight;
  std::vector<int64_t> marker;
  std::string name;

  TreeEdges tree() const { return {nodes, view(parent), view(edge)}; }
};

struct Results {
  std::vector<int32_t> node, merged, children, lowest;
  std::vector<int64_t> labels;
  std::vector<double> equal, different;

  bool operator==(const Results& o) const {
    return node == o.node && merged == o.merged && children == o.children && lowest == o.lowest &&
           labels == o.labels && equal == o.equal && different == o.different;
  }
};

// With the sort that is torch's elsewhere.
void merge_by_limbs(const Cuda& cuda, const Input& in, const Merges& out) {
  const int64_t merges = in.nodes - 1;
  std::vector<int32_t> limb(in.batch * merges, -77), sorted(limb);
  std::vector<int64_t> merge(limb.size(), -77);
  find_limbs(cuda, in.batch, in.tree(), view(in.sorted), out, span(limb));
  for (int64_t b = 0; b < in.batch; ++b) {
    const auto begin = merge.begin() + b * merges, end = begin + merges;
    std::iota(begin, end, 0);
    std::stable_sort(begin, end,
                     [&](int64_t i, int64_t j) { return limb[b * merges + i] < limb[b * merges + j]; });
    for (int64_t i = b * merges; i < (b + 1) * merges; ++i) sorted[i] = limb[b * merges + merge[i]];
  }
  join_limbs(cuda, in.batch, in.nodes, view(sorted), view(merge), out);
}

// Of dendrograms: a node's number is lower than that of its parent.
std::vector<int32_t> plans_of(const Input& in, const std::vector<int32_t>& node) {
  const int64_t nodes = 2 * in.nodes - 1;
  std::vector<int32_t> order(nodes), plans;
  std::iota(order.begin(), order.end(), 0);
  for (int64_t b = 0; b < in.batch; ++b) {
    const auto plan =
        plan_by_definition({node.begin() + b * nodes, node.begin() + (b + 1) * nodes}, order);
    plans.insert(plans.end(), plan.begin(), plan.end());
  }
  return plans;
}

template <class Device>
Results run(const Device& device, const Input& in) {
  const size_t merges = static_cast<size_t>(in.batch * (in.nodes - 1));
  const size_t nodes = static_cast<size_t>(in.batch * (2 * in.nodes - 1));
  Results r;
  r.node.assign(nodes, -77);
  r.lowest.assign(nodes, -77);
  r.merged.assign(merges, -77);
  r.children.assign(2 * merges, -77);
  r.labels.assign(static_cast<size_t>(in.batch * in.nodes), -77);
  r.equal.assign(merges, -77);
  r.different.assign(merges, -77);
  const Merges made{span(r.node), span(r.merged), span(r.children)};
  if constexpr (std::is_same_v<Device, Cpu>) {
    merge(device, in.batch, in.tree(), view(in.sorted), made);
    lowest_leaf(device, in.batch, in.nodes, view(in.label), view(r.node), span(r.lowest));
  } else {
    merge_by_limbs(device, in, made);
    const std::vector<int32_t> plan = plans_of(in, r.node);
    const TreeView dendrogram{in.batch, 2 * in.nodes - 1, view(r.node), view(r.node), view(plan)};
    lowest_leaf(device, in.batch, dendrogram, view(in.label), span(r.lowest));
  }
  watershed(device, in.batch, in.tree(), view(in.weight), view(in.marker), span(r.labels));
  count_pairs(device, in.batch, in.nodes, view(r.node), view(r.children), view(in.label), span(r.equal),
              span(r.different));
  return r;
}

// Who works on an image, or on all of them, with how much shared memory.
struct Way {
  const char* name;
  int64_t for_a_block, for_a_cluster, shared;
};

void check(const Input& in) {
  using emulation::Schedule;
  const Results cpu = run(Cpu{1}, in);
  Memory memory;
  const Cuda cuda{nullptr, &memory};
  const Way usual{"usual", cuda::largest_for_a_block, cuda::largest_for_a_cluster,
                  emulation::shared_limit};
  for (const Way& way : {usual, Way{"clusters", 0, INT64_MAX, usual.shared}, Way{"device", 0, 0, 0}}) {
    cuda::largest_for_a_block = way.for_a_block;
    cuda::largest_for_a_cluster = way.for_a_cluster;
    emulation::shared_limit = way.shared;
    const std::string where = in.name + ", " + way.name;
    for (const Schedule schedule :
         {Schedule::kForward, Schedule::kReverse, Schedule::kShuffled, Schedule::kThreads}) {
      if (schedule == Schedule::kThreads && !race) continue;
      emulation::schedule = schedule;
      expect(run(cuda, in) == cpu, "the bits of the CPU in any order", where);
    }
    emulation::schedule = Schedule::kForward;
  }
  emulation::blind = true;
  expect(run(cuda, in) == cpu, "the bits of the CPU when blind", in.name);
  emulation::blind = false;
  cuda::largest_for_a_block = usual.for_a_block;
  cuda::largest_for_a_cluster = usual.for_a_cluster;
  emulation::shared_limit = usual.shared;
}

// `trees` trees (1 or batch) in which vertex i has the parent parent_of(i) < i, with permuted numbers of
// vertices and of edges; of weights in `levels` levels, a part of which is absent.
Input input_of(const std::string& name, int64_t batch, int64_t trees, int64_t nodes,
               const std::function<int64_t(int64_t)>& parent_of, int64_t levels, int64_t absent) {
  Input in{batch, nodes, 2 * nodes, {}, {}, {}, {}, {}, {}, name + ", " + std::to_string(levels)};
  std::vector<int32_t> number(in.edges), vertex(nodes);
  for (size_t i = 0; i < number.size(); ++i) number[i] = static_cast<int32_t>(i);
  for (size_t i = 0; i < vertex.size(); ++i) vertex[i] = static_cast<int32_t>(i);
  for (int64_t t = 0; t < trees; ++t) {
    std::shuffle(number.begin(), number.end(), engine);
    std::shuffle(vertex.begin(), vertex.end(), engine);
    std::vector<int32_t> parent(nodes), edge(nodes);
    for (int64_t i = 0; i < nodes; ++i) {
      parent[vertex[i]] = vertex[i == 0 ? 0 : parent_of(i)];
      edge[vertex[i]] = i == 0 ? -1 : number[i];
    }
    in.parent.insert(in.parent.end(), parent.begin(), parent.end());
    in.edge.insert(in.edge.end(), edge.begin(), edge.end());
  }
  for (int64_t i = 0; i < batch * in.edges; ++i) {
    in.weight.push_back(below(100) < absent ? INFINITY : static_cast<float>(below(levels)));
  }
  for (int64_t i = 0; i < batch * nodes; ++i) {
    in.marker.push_back(below(10) == 0 ? below(4) - 1 : 0);
    in.label.push_back(static_cast<int32_t>(below(std::min<int64_t>(nodes, 5)) - 1));
  }
  in.sorted.assign(batch * nodes, -77);
  sort_edges(Cpu{1}, batch, in.tree(), view(in.weight), span(in.sorted));
  return in;
}

// Weights that ascend along a path: each vertex joins the one before, in one round.
Input ramp(int64_t nodes) {
  Input in = input_of("ramp", 1, 1, nodes, [](int64_t i) { return i - 1; }, 1, 0);
  int32_t v = -1;
  for (int64_t i = 0; i < nodes; ++i) {
    if (in.edge[i] < 0) v = static_cast<int32_t>(i);
  }
  std::vector<int32_t> child(nodes, -1);
  for (int64_t i = 0; i < nodes; ++i) {
    if (in.edge[i] >= 0) child[in.parent[i]] = static_cast<int32_t>(i);
  }
  for (int64_t i = 1; i < nodes; ++i) {
    v = child[v];
    in.weight[in.edge[v]] = static_cast<float>(i);
  }
  sort_edges(Cpu{1}, 1, in.tree(), view(in.weight), span(in.sorted));
  return in;
}

// Where the input is not a tree, because its root has a parent and an edge too: one edge closes the
// cycle, and the others make a dendrogram.
void check_cycle(int64_t nodes) {
  Input in = input_of("cycle", 1, 1, nodes, [](int64_t i) { return i - 1; }, 1000, 0);
  for (int64_t i = 0; i < nodes; ++i) {
    if (in.edge[i] < 0) in.edge[i] = static_cast<int32_t>(in.edges - 1), in.parent[i] = below(nodes);
  }
  sort_edges(Cpu{1}, 1, in.tree(), view(in.weight), span(in.sorted));
  std::vector<int32_t> node(2 * nodes - 1, -77), merged(nodes - 1, -77),
      children(2 * merged.size(), -77);
  Memory memory;
  merge_by_limbs(Cuda{nullptr, &memory}, in, {span(node), span(merged), span(children)});
  int64_t roots = 0;
  for (int64_t k = 0; k + 1 < nodes; ++k) {
    const int32_t up = static_cast<int32_t>(nodes + k), a = children[2 * k], c = children[2 * k + 1];
    roots += node[up] == up;
    expect(
        merged[k] < 0 ? a == -1 && c == -1 : a >= 0 && a < c && c < up && node[a] == up && node[c] == up,
        "children are of their parents, also beside a cycle", in.name);
  }
  expect(roots >= 1, "a root beside a cycle", in.name);
}

void check_all(const std::string& name, int64_t nodes,
               const std::function<int64_t(int64_t)>& parent_of) {
  for (const int64_t levels : {1, 4, 1000000}) {
    check(input_of(name, 1, 1, nodes, parent_of, levels, 0));
    check(input_of(name + ", forest", 2, 2, nodes, parent_of, levels, 20));
    check(input_of(name + ", shared", 2, 1, nodes, parent_of, levels, 0));
  }
}

}  // namespace

// With the argument "race": only the tests that also run on real threads, for a race detector.
int main(int argc, char**) {
  race = true;
  check_all("race", 50, [](int64_t i) { return below(i); });
  if (argc > 1) return failures > 0;
  race = false;
  check_all("one vertex", 1, [](int64_t) { return 0; });
  check_all("two", 2, [](int64_t) { return 0; });
  check_all("path", 1500, [](int64_t i) { return i - 1; });
  check_all("star", 300, [](int64_t) { return 0; });
  check_all("random tree", 1200, [](int64_t i) { return below(i); });
  check_all("binary", 511, [](int64_t i) { return (i - 1) / 2; });
  check(input_of(
      "large", 2, 2, 20000, [](int64_t i) { return i - 1 - below(std::min<int64_t>(i, 9)); }, 1000, 1));
  check(ramp(20000));
  for (int trial = 0; trial < 20; ++trial) check_cycle(3 + below(40));
  check(input_of("empty batch", 0, 1, 5, [](int64_t i) { return i - 1; }, 3, 0));
  for (int trial = 0; trial < 30; ++trial) {
    check_all("small " + std::to_string(trial), 1 + below(30), [](int64_t i) { return below(i); });
  }
  if (failures > 0) {
    std::printf("%d failures\n", failures);
    return 1;
  }
  std::printf("dendrograms, watersheds and pairs: the same as on the CPU, in every order\n");
  return 0;
}
