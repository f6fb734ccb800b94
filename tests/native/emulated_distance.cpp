// Distances by the emulated CUDA code (src/cuda/runtime/emulation.h), compared with the CPU's and with
// brute force, on trees of all kinds and in every order of the threads, which must not change a bit.
#include <cmath>
#include <cstdio>
#include <functional>
#include <random>
#include <vector>

#include "../../src/cuda/runtime/emulation.h"
#include "../../src/cuda/runtime/per_image.cuh"
#include "../../src/distance.h"
#include "../../src/mst.h"
#include "../../src/watershed.h"
#include "device_memory.h"
#include "plans.h"
#include "vectors.h"

namespace {

using namespace treefilter;

constexpr Path kPaths[] = {Path::kSum, Path::kMax};
int failures = 0;
bool race = false;  // also on real threads, which takes long

void expect(bool holds, const char* what, const std::string& where) {
  if (holds) return;
  std::printf("FAILED: %s (%s)\n", what, where.c_str());
  if (++failures == 20) std::exit(1);
}

// A vector<bool> has no data().
struct Flags {
  explicit Flags(int64_t size) : values(static_cast<size_t>(size), 0) {}
  Span<const bool> view() const {
    return {reinterpret_cast<const bool*>(values.data()), static_cast<int64_t>(values.size())};
  }
  std::vector<char> values;
};

std::mt19937 engine(1);
int64_t below(int64_t bound) {
  return static_cast<int64_t>(engine() % static_cast<uint64_t>(bound));
}

// ---- trees ----

struct Trees {
  int64_t batch, nodes;
  std::vector<int32_t> parent, order, plan;

  TreeView view() const { return {batch, nodes, ::view(parent), ::view(order), ::view(plan)}; }
};

// Trees of one graph, each with new weights, a part of which is absent.
Trees trees_of(int64_t batch, int64_t nodes, const std::vector<int32_t>& a,
               const std::vector<int32_t>& b, const std::function<float(int64_t)>& weight_of) {
  Trees trees{batch, nodes, {}, {}, {}};
  trees.parent.resize(batch * nodes);
  trees.order.resize(batch * nodes);
  std::vector<int32_t> edge(batch * nodes);
  std::vector<int64_t> root(batch);
  for (int64_t& r : root) r = below(nodes);
  std::vector<float> weight(batch * a.size());
  for (size_t i = 0; i < weight.size(); ++i) weight[i] = weight_of(static_cast<int64_t>(i));
  mst(Cpu{1}, EdgeList{nodes, view(a), view(b)}, view(weight), view(root), span(trees.parent),
      span(edge), span(trees.order));
  for (int64_t i = 0; i < batch; ++i) {
    const auto from = trees.parent.begin() + i * nodes, order = trees.order.begin() + i * nodes;
    const auto plan = plan_by_definition({from, from + nodes}, {order, order + nodes});
    trees.plan.insert(trees.plan.end(), plan.begin(), plan.end());
  }
  return trees;
}

Trees grid_trees(int64_t batch, int64_t height, int64_t width,
                 const std::function<float(int64_t)>& weight) {
  std::vector<int32_t> a, b;
  const auto at = [&](int64_t y, int64_t x) { return static_cast<int32_t>(y * width + x); };
  for (int64_t y = 0; y + 1 < height; ++y) {
    for (int64_t x = 0; x < width; ++x) a.push_back(at(y, x)), b.push_back(at(y + 1, x));
  }
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x + 1 < width; ++x) a.push_back(at(y, x)), b.push_back(at(y, x + 1));
  }
  return trees_of(batch, height * width, a, b, weight);
}

// The tree in which vertex i has the parent parent(i) < i, with the numbers of the vertices permuted.
Trees shaped_tree(int64_t nodes, const std::function<int64_t(int64_t)>& parent, bool permuted) {
  std::vector<int32_t> name(nodes), a, b;
  for (int64_t i = 0; i < nodes; ++i) name[i] = static_cast<int32_t>(i);
  if (permuted) std::shuffle(name.begin(), name.end(), engine);
  for (int64_t i = 1; i < nodes; ++i) a.push_back(name[i]), b.push_back(name[parent(i)]);
  return trees_of(1, nodes, a, b, [](int64_t) { return 1.0f; });
}

float noise(int64_t) {
  return static_cast<float>(engine() % 1000003) / 1000003.0f;
}

// ---- results ----

template <class T>
struct Results {
  std::vector<T> distance, transform, sums, transform_sums, accumulated, transform_accumulated;
  std::vector<int32_t> via, bottleneck, transform_via, transform_bottleneck;
  std::vector<int64_t> nearest;
};

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

template <class T>
bool same_bits(const Results<T>& a, const Results<T>& b) {
  return same_bits(a.distance, b.distance) && same_bits(a.transform, b.transform) &&
         same_bits(a.sums, b.sums) && same_bits(a.transform_sums, b.transform_sums) &&
         same_bits(a.accumulated, b.accumulated) &&
         same_bits(a.transform_accumulated, b.transform_accumulated) && a.via == b.via &&
         a.bottleneck == b.bottleneck && a.transform_via == b.transform_via &&
         a.transform_bottleneck == b.transform_bottleneck && a.nearest == b.nearest;
}

template <class T>
struct Input {
  Trees trees;
  int64_t batch, sources;
  std::vector<T> weight, grad;  // grad [B, S, N]; the transform uses that of the first source
  std::vector<int64_t> source;
  Flags seeds;
  bool exact;      // whether no sum is rounded
  bool undefined;  // whether there is a NaN among the weights
  std::string name;
};

// The nearest seeds for maxima: a watershed, with a vertex's number as the number of its edge.
template <class T, class Device>
void name_seeds(const Device& device, const Input<T>& in, Span<int64_t> nearest) {
  const int64_t n = in.trees.nodes, own = static_cast<int64_t>(in.weight.size());
  std::vector<float> weight(in.batch * n);
  std::vector<int32_t> edge(in.trees.parent.size());
  std::vector<int64_t> marker(in.batch * n);
  for (int64_t i = 0; i < in.batch * n; ++i) {
    weight[i] = static_cast<float>(std::fabs(in.weight[own == n ? i % n : i]));
    marker[i] = in.seeds.values[i] ? i % n + 1 : 0;
  }
  for (size_t i = 0; i < edge.size(); ++i) {
    const int32_t v = static_cast<int32_t>(static_cast<int64_t>(i) % n);
    edge[i] = in.trees.parent[i] == v ? -1 : v;
  }
  const TreeEdges edges{n, view(in.trees.parent), view(edge)};
  watershed(device, in.batch, edges, view(weight), view(marker), nearest);
  for (int64_t i = 0; i < nearest.size; ++i) --nearest[i];
}

// Sums are taken along the paths of `paths`, by default along its own.
template <class T, class Device>
Results<T> run(const Device& device, Path path, const Input<T>& in, const Results<T>* paths = nullptr) {
  const int64_t n = in.trees.nodes, rows = in.batch * in.sources;
  const auto size = [&](int64_t count) { return static_cast<size_t>(count * n); };
  Results<T> r;
  for (auto* v : {&r.distance, &r.sums}) v->assign(size(rows), T(-77));
  for (auto* v : {&r.transform, &r.transform_sums, &r.accumulated, &r.transform_accumulated}) {
    v->assign(size(in.batch), T(-77));
  }
  r.via.assign(size(rows), -77);
  r.transform_via.assign(size(in.batch), -77);
  if (path == Path::kMax) {
    r.bottleneck.assign(size(rows), -77);
    r.transform_bottleneck.assign(size(in.batch), -77);
  }
  r.nearest.assign(size(in.batch), -77);
  const TreeView tree = in.trees.view();
  const auto weight = view(in.weight);
  distance(device, path, tree, in.batch, in.sources, weight, view(in.source), span(r.distance),
           span(r.via), span(r.bottleneck));
  // The CPU rejects NaN in a transform; its paths are then those of weights without.
  std::vector<T> defined;
  if (in.undefined && std::is_same_v<Device, Cpu>) {
    defined = in.weight;
    for (T& value : defined) value = value == value ? value : T(0);
  }
  if (path == Path::kMax) name_seeds(device, in, span(r.nearest));
  distance_transform(device, path, tree, in.batch, defined.empty() ? weight : view(defined),
                     in.seeds.view(), span(r.transform), span(r.nearest), span(r.transform_via),
                     span(r.transform_bottleneck));
  const Results<T>& w = paths == nullptr ? r : *paths;
  const auto grad = view(in.grad);
  path_sums(device, tree, in.batch, in.sources, weight, view(w.via), span(r.sums));
  path_sums(device, tree, in.batch, 1, weight, view(w.transform_via), span(r.transform_sums));
  accumulate_sums(device, tree, in.batch, in.sources, grad, view(w.via), span(r.accumulated));
  accumulate_sums(device, tree, in.batch, 1, grad.sub(0, in.batch * n), view(w.transform_via),
                  span(r.transform_accumulated));
  return r;
}

template <class T>
bool close(const std::vector<T>& a, const std::vector<T>& b, bool exact) {
  if (exact) return a == b;
  const double tolerance = sizeof(T) == 4 ? 2e-4 : 1e-11;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i] || (a[i] != a[i] && b[i] != b[i])) continue;
    if (!(std::fabs(double(a[i]) - double(b[i])) <= tolerance * (1 + std::fabs(double(b[i])))))
      return false;
  }
  return true;
}

// ---- checks ----

// Checks the paths of a transform: each ends at a seed, is as short as the distance, and `bottleneck` is
// its heaviest edge, among equals the nearest to the seed.
template <class T>
void check_paths(Path path, const Input<T>& in, const Results<T>& r) {
  const int64_t n = in.trees.nodes;
  for (int64_t i = 0; i < in.batch * n; ++i) {
    const int64_t b = i / n;
    const int32_t* via = &r.transform_via[b * n];
    const int32_t* parent = &in.trees.parent[(in.trees.batch == 1 ? 0 : b) * n];
    const T* weight = &in.weight[(static_cast<int64_t>(in.weight.size()) == n ? 0 : b) * n];
    int32_t v = static_cast<int32_t>(i % n), heaviest = -1;
    if (via[v] < 0) {
      expect(r.transform[i] == INFINITY && r.nearest[i] == -1, "no path, no seed", in.name);
      if (path == Path::kMax) expect(r.transform_bottleneck[i] == -1, "no path, no edge", in.name);
      continue;
    }
    double sum = 0;
    int64_t steps = 0;
    for (; via[v] != v && via[v] >= 0 && steps <= n; ++steps) {
      const int32_t u = via[v], edge = u == parent[v] ? v : u;
      expect(u == parent[v] || parent[u] == v, "a path goes to neighbours", in.name);
      sum += weight[edge];
      if (heaviest < 0 || weight[edge] >= weight[heaviest]) heaviest = edge;
      v = u;
    }
    expect(steps <= n && via[v] == v, "a path ends", in.name);
    if (via[v] != v || in.undefined) continue;
    expect(in.seeds.values[b * n + v] != 0, "a path ends at a seed", in.name);
    const T length = path == Path::kSum ? T(sum) : heaviest < 0 ? T(0) : weight[heaviest];
    expect(close<T>({r.transform[i]}, {length}, in.exact || path == Path::kMax), "a path's length",
           in.name);
    expect(r.nearest[i] == v, "a path ends at the nearest seed", in.name);
    if (path == Path::kMax) expect(r.transform_bottleneck[i] == heaviest, "a path's edge", in.name);
  }
}

// Calls test(what) with a block for each channel and image, and with the whole device for all of them
// (run_task in src/cuda/scan/chain_scan_large.cuh).
template <class Test>
void both_sizes(const Test& test) {
  const int64_t limit = emulation::shared_limit, largest = cuda::largest_for_a_block;
  test("");
  emulation::shared_limit = cuda::largest_for_a_block = 0;
  test(", by the whole device");
  emulation::shared_limit = limit;
  cuda::largest_for_a_block = largest;
}

template <class T>
void check(Path path, const Input<T>& in) {
  Memory memory;
  const Cuda cuda{nullptr, &memory};
  const Results<T> cpu = run(Cpu{1}, path, in);
  emulation::schedule = emulation::Schedule::kForward;
  const Results<T> own = run(cuda, path, in), r = run(cuda, path, in, &cpu);
  const bool exact = in.exact || path == Path::kMax;
  expect(r.via == cpu.via, "via", in.name);
  expect(close(r.distance, cpu.distance, exact && !in.undefined), "distance", in.name);
  expect(in.undefined || r.bottleneck == cpu.bottleneck, "bottleneck", in.name);
  expect(close(r.sums, cpu.sums, in.exact && !in.undefined), "path_sums", in.name);
  expect(close(r.accumulated, cpu.accumulated, in.exact), "accumulate_sums", in.name);
  expect(close(r.transform_sums, cpu.transform_sums, in.exact && !in.undefined), "path_sums", in.name);
  expect(close(r.transform_accumulated, cpu.transform_accumulated, in.exact), "accumulate_sums",
         in.name);
  check_paths(path, in, own);
  if (!in.undefined) {
    expect(close(r.transform, cpu.transform, exact), "distance_transform", in.name);
    if (exact) expect(r.nearest == cpu.nearest, "nearest", in.name);
    if (in.exact && path == Path::kSum) {
      expect(r.transform_via == cpu.transform_via, "a transform's via", in.name);
    }
  }
  using emulation::Schedule;
  for (const Schedule schedule : {Schedule::kReverse, Schedule::kShuffled, Schedule::kThreads}) {
    if (schedule == Schedule::kThreads && !race) continue;
    emulation::schedule = schedule;
    expect(same_bits(run(cuda, path, in), own), "the same bits in any order", in.name);
  }
  emulation::schedule = emulation::Schedule::kForward;
  emulation::blind = true;
  expect(same_bits(run(cuda, path, in), own), "the same bits when blind", in.name);
  emulation::blind = false;
}

template <class T>
void check(const Input<T>& given) {
  both_sizes([&](const char* size) {
    for (const Path path : kPaths) {
      Input<T> in = given;
      in.name += path == Path::kSum ? ", sum" : ", max";
      in.name += sizeof(T) == 4 ? ", float" : ", double";
      in.name += size;
      check(path, in);
    }
  });
}

// kTenths: weights with sums that are equal but for rounding.
enum class Kind { kNoise, kTenths, kFew, kConstant, kZero, kCut, kNaN };
constexpr const char* kKindNames[] = {"noise", "tenths", "few", "constant", "zero", "cut", "nan"};

template <class T>
Input<T> input_of(const std::string& name, const Trees& trees, Kind kind, int64_t batch, int64_t sources,
                  int64_t seeds_per_thousand, bool one_weight) {
  const int64_t n = trees.nodes;
  Input<T> in{trees,
              batch,
              sources,
              {},
              {},
              {},
              Flags(batch * n),
              kind > Kind::kTenths && kind != Kind::kNaN,
              kind == Kind::kNaN,
              name + ", " + kKindNames[static_cast<int>(kind)]};
  in.weight.resize((one_weight ? 1 : batch) * n);
  for (T& w : in.weight) {
    const T few = static_cast<T>(engine() % 4);
    w = kind == Kind::kNoise      ? static_cast<T>(noise(0))
        : kind == Kind::kTenths   ? T(0.1) * few
        : kind == Kind::kConstant ? T(2)
        : kind == Kind::kZero     ? T(0)
                                  : few;
    if (kind == Kind::kCut && below(10) == 0) w = INFINITY;
    if (kind == Kind::kNaN && below(10) == 0) w = NAN;
  }
  in.grad.resize(batch * std::max<int64_t>(sources, 1) * n);
  for (T& g : in.grad) g = in.exact ? static_cast<T>(below(7) - 3) : static_cast<T>(noise(0) - 0.5f);
  for (int64_t i = 0; i < batch * sources; ++i) in.source.push_back(below(n));
  for (char& seed : in.seeds.values) seed = below(1000) < seeds_per_thousand;
  return in;
}

void check_all_kinds(const std::string& name, const Trees& trees, int64_t batch, int64_t sources) {
  for (const Kind kind :
       {Kind::kNoise, Kind::kTenths, Kind::kFew, Kind::kConstant, Kind::kZero, Kind::kCut, Kind::kNaN}) {
    const int64_t share = kind == Kind::kConstant ? 500 : kind == Kind::kNoise ? 20 : 100;
    check(input_of<float>(name, trees, kind, batch, sources, share, below(2) == 0));
    check(input_of<double>(name, trees, kind, batch, sources, share, below(2) == 0));
  }
}

// ---- inputs that the CPU rejects ----

void check_garbage() {
  const Trees trees = grid_trees(1, 3, 4, noise);
  Memory memory;
  const Cuda cuda{nullptr, &memory};
  for (const Path path : kPaths) {
    Input<float> in = input_of<float>("garbage", trees, Kind::kFew, 1, 4, 300, true);
    in.source = {-1, 12, INT64_MAX, (int64_t{1} << 32) + 3};
    Results<float> r = run(cuda, path, in);
    for (float d : r.distance) expect(d == INFINITY, "a source that is none reaches nothing", in.name);
    for (int32_t v : r.via) expect(v == -1, "a source that is none leaves no path", in.name);
    // Signs are dropped.
    in.source = {0, 1, 2, 3};
    Input<float> negative = in;
    for (float& w : negative.weight) w = -w;
    const Results<float> cpu = run(Cpu{1}, path, in);
    r = run(cuda, path, negative, &cpu);
    expect(r.transform == cpu.transform && r.nearest == cpu.nearest, "a sign is dropped", in.name);
    // Whatever `via` holds, nothing is read out of bounds.
    Results<float> paths = cpu;
    for (int32_t& v : paths.via) v = static_cast<int32_t>(engine());
    for (int32_t& v : paths.transform_via) v = static_cast<int32_t>(below(14)) - 1;
    run(cuda, path, in, &paths);
  }
  // Vertices on a cycle have no slot.
  Trees cycle{1, 5, {0, 0, 3, 4, 2}, {1, 0, 2, 3, 4}, std::vector<int32_t>(PlanView::size(5), -99)};
  const int32_t up[] = {~1, ~1}, light_begin[] = {0, 0, 1}, rounds[] = {0, 1};
  std::fill_n(&cycle.plan[0], 2, 0);
  cycle.plan[0] = 1;
  std::copy_n(up, 2, &cycle.plan[5]);
  std::copy_n(light_begin, 3, &cycle.plan[10]);
  cycle.plan[16] = 0;
  cycle.plan[21] = 0;  // no hub
  std::fill_n(&cycle.plan[22], PlanView::kRounds, 2);
  std::copy_n(rounds, 2, &cycle.plan[22]);
  for (const Path path : kPaths) {
    Input<float> in = input_of<float>("cycle", cycle, Kind::kConstant, 1, 2, 0, true);
    in.source = {1, 3};
    in.seeds.values = {0, 1, 0, 1, 0};
    const Results<float> r = run(cuda, path, in);
    const std::vector<float> expected{2, 0, INFINITY, INFINITY, INFINITY};
    expect(std::equal(expected.begin(), expected.end(), r.distance.begin()), "cycle: distance", in.name);
    expect(r.transform[0] == 2 && r.transform[1] == 0 && r.transform[2] == INFINITY &&
               r.transform[4] == INFINITY,
           "cycle: transform", in.name);
    expect(r.distance[5 + 3] == 0 && r.via[5 + 3] == 3 && r.distance[5 + 1] == INFINITY &&
               r.transform[3] == 0 && r.nearest[3] == 3,
           "cycle: a source on it", in.name);
  }
}

// More vertices than a block takes by default, and segments of many slots.
void check_large() {
  const Trees trees = grid_trees(2, 190, 350, [](int64_t i) { return static_cast<float>(i % 5); });
  Memory memory;
  const Cuda cuda{nullptr, &memory};
  for (const Path path : kPaths) {
    const Input<float> in = input_of<float>("large", trees, Kind::kFew, 2, 1, 20, false);
    const Results<float> cpu = run(Cpu{1}, path, in), own = run(cuda, path, in);
    expect(own.distance == cpu.distance && own.via == cpu.via && own.bottleneck == cpu.bottleneck &&
               own.sums == cpu.sums && own.accumulated == cpu.accumulated,
           "large", in.name);
    expect(own.transform == cpu.transform && own.nearest == cpu.nearest, "large: transform", in.name);
    check_paths(path, in, own);
    emulation::schedule = emulation::Schedule::kShuffled;
    expect(same_bits(run(cuda, path, in), own), "large: the same bits in any order", in.name);
    emulation::schedule = emulation::Schedule::kForward;
  }
}

}  // namespace

// With the argument "race": only the tests that also run on real threads, for a race detector.
int main(int argc, char**) {
  race = true;
  check_all_kinds("race", grid_trees(1, 6, 7, noise), 2, 1);
  if (argc > 1) {
    check_all_kinds("race, path", shaped_tree(1100, [](int64_t i) { return i - 1; }, true), 1, 1);
    return failures > 0;
  }
  race = false;
  check_all_kinds("one vertex", grid_trees(1, 1, 1, noise), 1, 2);
  check_all_kinds("two", grid_trees(2, 1, 2, noise), 2, 2);
  check_all_kinds("row", grid_trees(1, 1, 37, noise), 3, 2);
  check_all_kinds("column", grid_trees(2, 40, 1, noise), 2, 1);
  check_all_kinds("image", grid_trees(3, 9, 11, noise), 3, 2);
  check_all_kinds("shared tree", grid_trees(1, 13, 17, noise), 2, 3);
  check_all_kinds("forest",
                  grid_trees(2, 12, 15, [](int64_t i) { return below(3) == 0 ? INFINITY : noise(i); }),
                  2, 2);
  check_all_kinds("empty batch", grid_trees(1, 3, 3, noise), 0, 2);
  check_all_kinds("no sources", grid_trees(2, 3, 3, noise), 2, 0);
  check_all_kinds("constant", grid_trees(1, 20, 21, [](int64_t) { return 1.0f; }), 1, 2);
  check_all_kinds("ramp", grid_trees(1, 40, 30, [](int64_t i) { return static_cast<float>(i % 7); }), 1,
                  1);
  check_all_kinds("path", shaped_tree(3000, [](int64_t i) { return i - 1; }, false), 1, 1);
  check_all_kinds("permuted path", shaped_tree(2500, [](int64_t i) { return i - 1; }, true), 1, 1);
  check_all_kinds("star", shaped_tree(60, [](int64_t) { return 0; }, true), 2, 2);
  // Hubs (src/cuda/scan/bunches.cuh).
  for (int64_t n : {64, 128, 129, 300}) {
    check_all_kinds("star of " + std::to_string(n),
                    shaped_tree(n + 1, [](int64_t) { return 0; }, true), 1, 1);
  }
  check_all_kinds("hubs",
                  shaped_tree(
                      2000,
                      [](int64_t i) {
                        const int64_t hub = i - i % 170;
                        return i % 170 == 0 ? i - 170 : hub;
                      },
                      true),
                  1, 2);
  const Trees broom = shaped_tree(10000, [](int64_t i) { return i < 500 ? i - 1 : 499; }, true);
  check(input_of<float>("broom", broom, Kind::kFew, 1, 1, 3, true));
  check(input_of<double>("broom", broom, Kind::kTenths, 1, 1, 3, true));
  check_all_kinds(
      "caterpillar",
      shaped_tree(2600, [](int64_t i) { return i % 2   ? i - 1
                                               : i > 1 ? i - 2
                                                       : 0; }, true), 1, 1);
  check_all_kinds("random tree", shaped_tree(2000, [](int64_t i) { return below(i); }, true), 1, 1);
  check_all_kinds("binary", shaped_tree(511, [](int64_t i) { return (i - 1) / 2; }, true), 1, 2);
  both_sizes([](const char*) { check_garbage(); });
  both_sizes([](const char*) { check_large(); });
  // Several bundles of segments in one chain.
  const Trees path = shaped_tree(13000, [](int64_t i) { return i - 1; }, true);
  check(input_of<float>("long path", path, Kind::kFew, 1, 1, 1, true));
  check(input_of<double>("long path", path, Kind::kTenths, 1, 1, 1, true));
  for (int trial = 0; trial < 10; ++trial) {
    const int64_t near = 1 + below(6);
    const Trees tree =
        shaped_tree(1 + below(40), [&](int64_t i) { return i - 1 - below(std::min(i, near)); }, true);
    check_all_kinds("small " + std::to_string(trial), tree, 2, 1);
  }
  if (failures > 0) {
    std::printf("%d failures\n", failures);
    return 1;
  }
  std::printf("distances: the same as on the CPU, in every order\n");
  return 0;
}
