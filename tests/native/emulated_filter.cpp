// The emulated CUDA code of the filter (src/cuda/runtime/launch.cuh), compared with the CPU back end in
// double and with dense matrices: trees of all shapes, every pass and type, the three variants for a
// channel's size, and every order of the threads, which must not change a bit.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "../../src/cuda/runtime/emulation.h"
#include "../../src/filter.h"
#include "../../src/mst.h"
#include "device_memory.h"
#include "plans.h"
#include "vectors.h"

namespace {

using namespace treefilter;

int failures = 0;
void check(bool ok, const std::string& what) {
  if (ok) return;
  if (++failures <= 30) std::printf("FAILED: %s\n", what.c_str());
}

std::mt19937 engine(1);
double uniform(double low = 0, double high = 1) {
  return low + (high - low) * (static_cast<double>(engine()) / 4294967296.0);
}
int64_t below(int64_t n) {
  return static_cast<int64_t>(engine() % static_cast<uint64_t>(n));
}

// ---- trees ----

struct Trees {
  std::string name;
  int64_t batch, nodes;
  std::vector<int32_t> parent, order, plan;
  TreeView view_() const { return {batch, nodes, view(parent), view(order), view(plan)}; }
};

// Trees that the CPU makes of an edge list, with weights drawn by `weight`.
template <class Weight>
Trees from_edges(const std::string& name, int64_t batch, int64_t nodes,
                 const std::vector<int32_t>& first, const std::vector<int32_t>& second,
                 const Weight& weight) {
  Trees t{name + " N=" + std::to_string(nodes), batch, nodes, {}, {}, {}};
  t.parent.resize(batch * nodes);
  t.order.resize(batch * nodes);
  std::vector<int32_t> edge(batch * nodes);
  std::vector<float> weights(batch * first.size());
  for (float& w : weights) w = static_cast<float>(weight());
  std::vector<int64_t> root(batch);
  for (int64_t& r : root) r = below(nodes);
  mst(Cpu{1}, EdgeList{nodes, view(first), view(second)}, view(weights), view(root), span(t.parent),
      span(edge), span(t.order));
  for (int64_t b = 0; b < batch; ++b) {
    const auto of = [&](const std::vector<int32_t>& all) {
      return std::vector<int32_t>(all.begin() + b * nodes, all.begin() + (b + 1) * nodes);
    };
    const auto plan = plan_by_definition(of(t.parent), of(t.order));
    t.plan.insert(t.plan.end(), plan.begin(), plan.end());
  }
  return t;
}

Trees grid(const std::string& name, int64_t batch, int64_t h, int64_t w, bool diagonals,
           const std::function<double(int64_t, int64_t)>& weight) {
  std::vector<int32_t> first, second;
  std::vector<double> weights;
  const auto add = [&](int64_t y, int64_t x, int64_t y2, int64_t x2) {
    if (y2 >= h || x2 >= w || x2 < 0) return;
    first.push_back(static_cast<int32_t>(y * w + x));
    second.push_back(static_cast<int32_t>(y2 * w + x2));
    weights.push_back(weight(y * w + x, y2 * w + x2));
  };
  for (int64_t y = 0; y < h; ++y) {
    for (int64_t x = 0; x < w; ++x) {
      add(y, x, y + 1, x), add(y, x, y, x + 1);
      if (diagonals) add(y, x, y + 1, x + 1), add(y, x, y + 1, x - 1);
    }
  }
  size_t next = 0;
  return from_edges(name, batch, h * w, first, second, [&] { return weights[next++ % weights.size()]; });
}

// A tree whose vertex i > 0 has the neighbour above(i) < i, with the numbers of the vertices shuffled.
Trees grown(const std::string& name, int64_t batch, int64_t nodes,
            const std::function<int64_t(int64_t)>& above, double absent = 0) {
  std::vector<int32_t> names(nodes), first, second;
  for (int64_t v = 0; v < nodes; ++v) names[v] = static_cast<int32_t>(v);
  std::shuffle(names.begin(), names.end(), engine);
  for (int64_t i = 1; i < nodes; ++i) {
    first.push_back(names[i]);
    second.push_back(names[above(i)]);
  }
  return from_edges(name, batch, nodes, first, second,
                    [&] { return uniform() < absent ? static_cast<double>(INFINITY) : uniform(); });
}

Trees path(int64_t batch, int64_t nodes) {
  return grown("path", batch, nodes, [](int64_t i) { return i - 1; });
}
Trees random_tree(int64_t batch, int64_t nodes, double absent = 0) {
  return grown(
      absent > 0 ? "forest" : "random tree", batch, nodes, [](int64_t i) { return below(i); }, absent);
}
Trees noise_grid(int64_t batch, int64_t h, int64_t w, double absent = 0) {
  return grid(absent > 0 ? "grid forest" : "grid", batch, h, w, false, [&](int64_t, int64_t) {
    return uniform() < absent ? static_cast<double>(INFINITY) : uniform();
  });
}

std::vector<Trees> small_trees() {
  std::vector<Trees> all;
  for (int64_t n : {1, 2, 3, 4, 7, 33}) all.push_back(path(2, n)), all.push_back(random_tree(2, n));
  all.push_back(grown("star", 2, 40, [](int64_t) { return 0; }));
  all.push_back(grown("binary", 1, 63, [](int64_t i) { return (i - 1) / 2; }));
  all.push_back(grown("caterpillar", 2, 41,
                      [](int64_t i) { return i % 2 ? std::max<int64_t>(i - 2, 0) : i - 1; }));
  all.push_back(random_tree(3, 50, 0.3));
  all.push_back(random_tree(2, 20, 1));  // no edge at all
  all.push_back(noise_grid(2, 1, 37));
  all.push_back(noise_grid(2, 37, 1));
  all.push_back(noise_grid(2, 6, 7, 0.4));
  all.push_back(grid("8-connected", 2, 7, 8, true, [](int64_t, int64_t) { return uniform(); }));
  all.push_back(grid("all ties", 1, 7, 8, false, [](int64_t, int64_t) { return 1; }));
  return all;
}

std::vector<Trees> medium_trees() {
  std::vector<Trees> all;
  all.push_back(noise_grid(2, 30, 31));
  all.push_back(noise_grid(1, 70, 71));  // more than kSmallImage
  all.push_back(path(1, 5003));
  all.push_back(path(2, 700));
  all.push_back(random_tree(2, 600, 0.1));
  all.push_back(grown("star", 1, 500, [](int64_t) { return 0; }));
  all.push_back(
      grown("brush", 1, 900, [](int64_t i) { return i % 30 ? i - 1 : std::max<int64_t>(i - 30, 0); }));
  all.push_back(grid("ramp", 1, 30, 33, false, [](int64_t u, int64_t v) {
    return std::abs(std::sqrt(double(u)) - std::sqrt(double(v)));
  }));
  return all;
}

// ---- inputs ----

template <class X, class T>
struct Inputs {
  int64_t batch, channels, groups, affinity_batch;
  std::vector<T> affinity;
  std::vector<X> x, grad;  // [B][C][N]
  Affinity<T> a() const { return {affinity_batch, groups, view(affinity)}; }
};

enum class Levels { kAny, kNearOne, kEnds, kBeyondOne, kOne };

template <class X, class T>
Inputs<X, T> draw(const Trees& trees, int64_t batch, int64_t channels, int64_t groups,
                  int64_t affinity_batch, Levels levels) {
  Inputs<X, T> in{batch, channels, groups, affinity_batch, {}, {}, {}};
  in.affinity.resize(affinity_batch * groups * trees.nodes);
  for (T& a : in.affinity) {
    const double u = uniform();
    a = static_cast<T>(levels == Levels::kAny       ? u
                       : levels == Levels::kNearOne ? 1 - 1e-3 * u
                       : levels == Levels::kEnds    ? static_cast<double>(u < 0.5)
                       : levels == Levels::kOne     ? 1
                                                    : 1.2 * u);
  }
  for (int64_t b = 0; b < trees.batch && trees.batch == affinity_batch;
       ++b) {  // those of roots are ignored
    for (int64_t v = 0; v < trees.nodes; ++v) {
      if (trees.parent[b * trees.nodes + v] == v) in.affinity[b * groups * trees.nodes + v] = NAN;
    }
  }
  in.x.resize(batch * channels * trees.nodes);
  in.grad.resize(in.x.size());
  for (auto* values : {&in.x, &in.grad}) {
    for (X& value : *values) store(value, uniform(-1, 1));
  }
  return in;
}

// A copy in another type.
template <class To, class S, class X, class T>
Inputs<To, S> as(const Inputs<X, T>& in) {
  Inputs<To, S> out{in.batch, in.channels, in.groups, in.affinity_batch, {}, {}, {}};
  for (T a : in.affinity) out.affinity.push_back(static_cast<S>(a));
  for (X value : in.x) out.x.emplace_back(), store(out.x.back(), load<double>(value));
  for (X value : in.grad) out.grad.emplace_back(), store(out.grad.back(), load<double>(value));
  return out;
}

enum class Layout { kPlanes, kLast, kEverySecond };

// [B][C][N] values in another layout.
template <class X>
struct Tensor {
  std::vector<X> memory;
  Strided<X> strided;

  Tensor(int64_t b, int64_t c, int64_t n, Layout layout) {
    const int64_t step = layout == Layout::kEverySecond ? 2 : 1;
    memory.resize(b * c * n * step + 1);
    std::memset(memory.data(), 0x41, memory.size() * sizeof(X));  // neither a result nor NaN
    strided = {memory.data(), b, c, n, c * n * step, n * step, step};
    if (layout == Layout::kLast) strided.channel_stride = 1, strided.node_stride = c;
  }
  Tensor(const std::vector<X>& values, int64_t b, int64_t c, int64_t n, Layout layout)
      : Tensor(b, c, n, layout) {
    visit([&](int64_t i, X& value) { value = values[i]; });
  }
  template <class Visit>
  void visit(const Visit& call) {
    int64_t i = 0;
    for (int64_t b = 0; b < strided.batch; ++b) {
      for (int64_t c = 0; c < strided.channels; ++c) {
        for (int64_t v = 0; v < strided.nodes; ++v) call(i++, strided.at(b, c)[v * strided.node_stride]);
      }
    }
  }
  std::vector<X> values() {
    std::vector<X> all(strided.batch * strided.channels * strided.nodes);
    visit([&](int64_t i, X& value) { all[i] = value; });
    return all;
  }
  operator Strided<const X>() const {
    return {strided.data,         strided.batch,          strided.channels,   strided.nodes,
            strided.batch_stride, strided.channel_stride, strided.node_stride};
  }
};

// ---- everything that the stage computes ----

constexpr Pass kPasses_[] = {Pass::kLeafToRoot, Pass::kRootToLeaf, Pass::kSum, Pass::kMean};
const char* name_of(Pass pass) {
  return pass == Pass::kLeafToRoot   ? "leaf to root"
         : pass == Pass::kRootToLeaf ? "root to leaf"
         : pass == Pass::kSum        ? "sum"
                                     : "mean";
}

template <class X, class T>
struct Results {
  std::vector<X> y, grad_x, grad_x_alone;
  std::vector<T> grad_a, dot;
};

// With `a`, which may have the mean's coefficients.
template <class X, class T, class Device>
Results<X, T> run_with(const Device& device, Pass pass, const Trees& trees, const Inputs<X, T>& in,
                       const Affinity<T>& a, Layout layout, bool derivatives) {
  const int64_t b = in.batch, c = in.channels, n = trees.nodes;
  const Tensor<X> x(in.x, b, c, n, layout), grad(in.grad, b, c, n, Layout::kPlanes);
  Tensor<X> y(b, c, n, layout), grad_x(b, c, n, layout);
  Results<X, T> r;
  propagate(device, pass, trees.view_(), a, Strided<const X>(x), y.strided);
  r.y = y.values();
  if (!derivatives) return r;
  r.dot.assign(b * in.groups * n, NAN);
  parent_dot(device, trees.view_(), in.groups, Strided<const X>(x), Strided<const X>(y), span(r.dot));
  if (pass != Pass::kSum && pass != Pass::kMean) return r;
  r.grad_a.assign(b * in.groups * n, 0);
  filter_backward(device, pass, trees.view_(), a, Strided<const X>(grad), Strided<const X>(x),
                  grad_x.strided, span(r.grad_a));
  r.grad_x = grad_x.values();
  filter_backward(device, pass, trees.view_(), a, Strided<const X>(grad), Strided<const X>(x),
                  grad_x.strided, Span<T>{});
  r.grad_x_alone = grad_x.values();
  return r;
}

template <class V>
bool same_bits(const std::vector<V>& a, const std::vector<V>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(V)) == 0);
}
template <class X, class T>
bool same_bits(const Results<X, T>& a, const Results<X, T>& b) {
  return same_bits(a.y, b.y) && same_bits(a.grad_x, b.grad_x) &&
         same_bits(a.grad_x_alone, b.grad_x_alone) && same_bits(a.grad_a, b.grad_a) &&
         same_bits(a.dot, b.dot);
}

template <class X, class T, class Device>
Results<X, T> run(const Device& device, Pass pass, const Trees& trees, const Inputs<X, T>& in,
                  Layout layout, bool derivatives) {
  const auto results = run_with(device, pass, trees, in, in.a(), layout, derivatives);
  if constexpr (std::is_same_v<Device, Cuda>) {
    if (pass != Pass::kMean) return results;
    const int64_t families = std::max(trees.batch, in.affinity_batch) * in.groups;
    std::vector<double> made(families * coefficients_size<T>(trees.nodes), NAN);
    coefficients(device, trees.view_(), in.a(), span(made));
    Affinity<T> with = in.a();
    with.coefficients = view(made);
    const auto given = run_with(device, pass, trees, in, with, layout, derivatives);
    check(same_bits(results, given), trees.name + ": coefficients that are given");
  }
  return results;
}

// The largest difference relative to the largest value; NaN counts as infinite.
template <class V, class W>
double difference(const std::vector<V>& a, const std::vector<W>& b) {
  double most = 0, scale = 1e-30;
  for (size_t i = 0; i < b.size(); ++i) scale = std::max(scale, std::abs(load<double>(b[i])));
  if (a.size() != b.size()) return INFINITY;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = std::abs(load<double>(a[i]) - load<double>(b[i]));
    if (!(d <= most)) most = d <= INFINITY ? d : static_cast<double>(INFINITY);
  }
  return most / scale;
}

// A_ij (filter.h) along the paths.
std::vector<double> dense(const Trees& trees, const Inputs<double, double>& in, int64_t image,
                          int64_t group) {
  const int64_t n = trees.nodes;
  const int32_t* parent = trees.parent.data() + (trees.batch == 1 ? 0 : image * n);
  const double* a = in.affinity.data() + ((in.affinity_batch == 1 ? 0 : image) * in.groups + group) * n;
  const auto chain = [&](int64_t v) {
    std::vector<int64_t> all{v};
    while (parent[all.back()] != all.back()) all.push_back(parent[all.back()]);
    std::reverse(all.begin(), all.end());
    return all;
  };
  std::vector<double> matrix(n * n, 0);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      const auto one = chain(i), other = chain(j);
      if (one[0] != other[0]) continue;
      size_t common = 0;
      while (common < std::min(one.size(), other.size()) && one[common] == other[common]) ++common;
      double product = 1;
      for (size_t k = common; k < one.size(); ++k) product *= a[one[k]];
      for (size_t k = common; k < other.size(); ++k) product *= a[other[k]];
      matrix[i * n + j] = product;
    }
  }
  return matrix;
}

void check_dense(const Trees& trees, const Inputs<double, double>& in, Pass pass,
                 const std::vector<double>& y) {
  const int64_t n = trees.nodes;
  std::vector<double> expected;
  for (int64_t b = 0; b < in.batch; ++b) {
    for (int64_t c = 0; c < in.channels; ++c) {
      const auto matrix = dense(trees, in, b, c / (in.channels / in.groups));
      const double* x = in.x.data() + (b * in.channels + c) * n;
      for (int64_t i = 0; i < n; ++i) {
        double sum = 0, ones = 0;
        for (int64_t j = 0; j < n; ++j) sum += matrix[i * n + j] * x[j], ones += matrix[i * n + j];
        expected.push_back(pass == Pass::kMean ? sum / ones : sum);
      }
    }
  }
  check(difference(y, expected) < 1e-12, trees.name + ": the dense matrix");
}

// ---- the checks ----

const struct {
  const char* name;
  emulation::Schedule schedule;
  bool blind;
} kSchedules[] = {{"reverse", emulation::Schedule::kReverse, false},
                  {"shuffled", emulation::Schedule::kShuffled, false},
                  {"threads", emulation::Schedule::kThreads, false},
                  {"blind", emulation::Schedule::kForward, true}};

bool threads_too = true;

enum class Variant { kShared, kGlobal, kPhased };
constexpr Variant kVariants[] = {Variant::kShared, Variant::kGlobal, Variant::kPhased};

// Makes channels of this many vertices use that variant (run_channels in filter/channels_large.cuh).
void set_variant(Variant variant, int64_t nodes) {
  emulation::shared_limit = variant == Variant::kShared   ? 232448
                            : variant == Variant::kGlobal ? 800 + 2 * nodes
                                                          : 16;
}

template <class X, class T>
void compare(const Trees& trees, const Inputs<X, T>& in, Layout layout, bool schedules) {
  const auto wide_in = as<double, double>(in);
  const double unit = std::is_same_v<T, double> ? 2.3e-16 : 6e-8;
  const double rounding = sizeof(X) == 2 ? (std::is_same_v<X, Half> ? 5e-4 : 4e-3) : 0;
  for (Pass pass : kPasses_) {
    const auto wide = run(Cpu{1}, pass, trees, wide_in, Layout::kPlanes, true);
    const auto cpu = run(Cpu{1}, pass, trees, in, layout, true);
    for (Variant variant : kVariants) {
      set_variant(variant, trees.nodes);
      emulation::schedule = emulation::Schedule::kForward, emulation::blind = false;
      Memory memory;
      const Cuda cuda{nullptr, &memory};
      const auto first = run(cuda, pass, trees, in, layout, true);
      const std::string what = trees.name + ", " + name_of(pass) + ", variant " +
                               std::to_string(static_cast<int>(variant)) + ", " +
                               std::to_string(sizeof(X)) + " bytes: ";
      const auto close = [&](const auto& got, const auto& of_cpu, const auto& exact, const char* part,
                             int ulps = 40) {
        const double error = difference(got, exact), usual = difference(of_cpu, exact);
        check(error <= 3 * usual + ulps * unit + rounding,
              what + part + " error " + std::to_string(error / unit) + " ulp, of the CPU " +
                  std::to_string(usual / unit));
      };
      close(first.y, cpu.y, wide.y, "y");
      close(first.grad_x, cpu.grad_x, wide.grad_x, "grad_x");
      close(first.grad_x_alone, cpu.grad_x_alone, wide.grad_x_alone, "grad_x alone");
      close(first.grad_a, cpu.grad_a, wide.grad_a, "grad_a", 100);  // deep trees: both err
      if constexpr (std::is_same_v<X, double>) {
        if (trees.nodes <= 64 && (pass == Pass::kSum || pass == Pass::kMean)) {
          check_dense(trees, in, pass, first.y);
        }
      }
      if (!schedules) continue;
      for (const auto& s : kSchedules) {
        if (s.schedule == emulation::Schedule::kThreads && !threads_too) continue;
        emulation::schedule = s.schedule, emulation::blind = s.blind;
        Memory other;
        const auto again = run(Cuda{nullptr, &other}, pass, trees, in, layout, true);
        check(same_bits(first, again), what + "other bits in schedule " + s.name);
      }
      emulation::schedule = emulation::Schedule::kForward, emulation::blind = false;
    }
    // From the same products: channel after channel, as on the CPU.
    Memory memory;
    const Cuda cuda{nullptr, &memory};
    const int64_t b = in.batch, c = in.channels, n = trees.nodes;
    const Tensor<X> p(in.x, b, c, n, layout), q(in.grad, b, c, n, Layout::kPlanes);
    std::vector<T> one(b * in.groups * n, NAN), other(one);
    parent_dot(Cpu{1}, trees.view_(), in.groups, Strided<const X>(p), Strided<const X>(q), span(one));
    parent_dot(cuda, trees.view_(), in.groups, Strided<const X>(p), Strided<const X>(q), span(other));
    check(same_bits(one, other), trees.name + ": parent_dot is not the CPU's");
  }
}

void check_trees(const std::vector<Trees>& all, bool few) {
  int i = 0;
  for (const Trees& t : all) {
    const Levels levels[] = {Levels::kAny, Levels::kNearOne, Levels::kEnds, Levels::kBeyondOne,
                             Levels::kOne};
    const Levels level = levels[i % (t.nodes > 100 ? 3 : 5)];
    const Layout layout = static_cast<Layout>(i % 3);
    const int64_t batch = t.batch == 1 ? 1 + i % 3 : t.batch, groups = 1 + i % 3;
    const int64_t channels = groups * (1 + i / 2 % 2), affinity_batch = i % 2 ? batch : 1;
    compare(t, draw<float, float>(t, batch, channels, groups, affinity_batch, level), layout, true);
    compare(t, draw<double, double>(t, batch, channels, groups, affinity_batch, level), layout, !few);
    compare(t, draw<Half, float>(t, batch, channels, groups, affinity_batch, level), layout, false);
    compare(t, draw<BFloat16, float>(t, batch, channels, groups, affinity_batch, level), layout, false);
    ++i;
  }
}

// Every image of a batch must have the bits that it has alone, also where sets have more lanes.
void check_batches() {
  for (const auto& [batch, channels, groups] :
       {std::array<int64_t, 3>{6, 192, 1}, {6, 192, 4}, {4, 256, 256}, {8, 170, 17}}) {
    const Trees trees = random_tree(batch, 30, 0.1);
    const auto in = draw<float, float>(trees, batch, channels, groups, batch, Levels::kAny);
    for (Pass pass : kPasses_) {
      set_variant(Variant::kShared, trees.nodes);
      Memory memory;
      const auto all = run(Cuda{nullptr, &memory}, pass, trees, in, Layout::kPlanes, true);
      const auto cpu = run(Cpu{1}, pass, trees, in, Layout::kPlanes, true);
      check(difference(all.y, cpu.y) < 1e-5, "batch: not the CPU's values");
      check(difference(all.grad_a, cpu.grad_a) < 1e-5, "batch: not the CPU's gradient");
      for (int64_t b = 0; b < batch; b += 3) {
        const auto cut = [&](const auto& values, int64_t size) {
          const int64_t each = size / batch;
          return std::decay_t<decltype(values)>(values.begin() + b * each,
                                                values.begin() + (b + 1) * each);
        };
        Trees one{trees.name,
                  1,
                  trees.nodes,
                  cut(trees.parent, trees.parent.size()),
                  cut(trees.order, trees.order.size()),
                  cut(trees.plan, trees.plan.size())};
        Inputs<float, float> alone{1,
                                   channels,
                                   groups,
                                   1,
                                   cut(in.affinity, in.affinity.size()),
                                   cut(in.x, in.x.size()),
                                   cut(in.grad, in.grad.size())};
        const auto got = run(Cuda{nullptr, &memory}, pass, one, alone, Layout::kPlanes, true);
        check(same_bits(got.y, cut(all.y, all.y.size())), "batch: y depends on the batch");
        if (!got.grad_a.empty()) {
          check(same_bits(got.grad_a, cut(all.grad_a, all.grad_a.size())),
                "batch: grad_a depends on it");
          check(same_bits(got.grad_x, cut(all.grad_x, all.grad_x.size())),
                "batch: grad_x depends on it");
        }
      }
    }
  }
}

// Empty and nearly empty inputs.
void check_empty() {
  const Trees trees = path(1, 5);
  for (const auto& [batch, channels] : {std::array<int64_t, 2>{0, 3}, {2, 0}, {0, 0}}) {
    auto in = draw<float, float>(trees, batch, channels, 1, 1, Levels::kAny);
    for (Pass pass : kPasses_) {
      Memory memory;
      const auto r = run(Cuda{nullptr, &memory}, pass, trees, in, Layout::kPlanes, true);
      for (float value : r.grad_a) check(value == 0, "no channel: the gradient must be 0");
      for (float value : r.dot) check(value == 0, "no channel: parent_dot must be 0");
    }
  }
}

// Deep trees: constants stay constant, results stay within the range, and the error is at most the
// CPU's. On request it prints the errors in units in the last place of float, those of the CPU in
// brackets.
void check_accuracy(bool print) {
  std::vector<Trees> all;
  for (int64_t n : {1, 2, 3, 5, 17, 63, 64, 65, 127, 129, 511, 1000, 4097, 20000})
    all.push_back(path(1, n));
  all.push_back(noise_grid(1, 100, 120));
  all.push_back(grown("brush", 1, 20000,
                      [](int64_t i) { return i % 200 ? i - 1 : std::max<int64_t>(i - 200, 0); }));
  for (const Trees& t : all) {
    for (double a : {0.5, 0.9, 0.999, 1 - 1e-4, 1 - 1e-5, 1 - 3e-8, 1.0}) {
      auto in = draw<float, float>(t, 1, 4, 1, 1, Levels::kAny);
      for (float& value : in.affinity) value = static_cast<float>(a);
      auto plain = in;  // for gradients; an offset does not change that of the affinity
      for (int64_t v = 0; v < t.nodes; ++v) plain.x[v] += 1000;
      for (int64_t v = 0; v < t.nodes; ++v) {
        in.x[v] = 0.3f;                                            // constant
        in.x[t.nodes + v] = 1000 + static_cast<float>(uniform());  // far from 0
      }
      const auto wide = run(Cpu{1}, Pass::kMean, t, as<double, double>(in), Layout::kPlanes, false);
      const auto cpu = run(Cpu{1}, Pass::kMean, t, in, Layout::kPlanes, false);
      const auto wide_plain =
          run(Cpu{1}, Pass::kMean, t, as<double, double>(plain), Layout::kPlanes, true);
      const auto cpu_plain = run(Cpu{1}, Pass::kMean, t, plain, Layout::kPlanes, true);
      for (Variant variant : kVariants) {
        set_variant(variant, t.nodes);
        Memory memory;
        const auto got = run(Cuda{nullptr, &memory}, Pass::kMean, t, in, Layout::kPlanes, false);
        const auto got_plain = run(Cuda{nullptr, &memory}, Pass::kMean, t, plain, Layout::kPlanes, true);
        const std::string what = t.name + ", a = 1 - " + std::to_string(1 - a) + ", variant " +
                                 std::to_string(static_cast<int>(variant)) + ": ";
        const int64_t n = t.nodes;
        double worst[4] = {}, usual[4] = {};
        for (int64_t c = 0; c < 4; ++c) {
          const auto x = std::minmax_element(in.x.begin() + c * n, in.x.begin() + (c + 1) * n);
          const float slack = 1e-6f * std::max(std::abs(*x.first), std::abs(*x.second));
          for (int64_t i = c * n; i < (c + 1) * n; ++i) {
            worst[c] = std::max(worst[c], std::abs(got.y[i] - wide.y[i]));
            usual[c] = std::max(usual[c], std::abs(cpu.y[i] - wide.y[i]));
            check(got.y[i] >= *x.first - slack && got.y[i] <= *x.second + slack, what + "out of range");
          }
          const double size = c == 0 ? 0.3 : c == 1 ? 1000 : 1;
          check(worst[c] <= 1.5 * usual[c] + 8 * 6e-8 * size,
                what + "channel " + std::to_string(c) + " error " +
                    std::to_string(worst[c] / size / 6e-8) + " ulp, of the CPU " +
                    std::to_string(usual[c] / size / 6e-8));
        }
        const double a_error = difference(got_plain.grad_a, wide_plain.grad_a) / 6e-8;
        const double a_usual = difference(cpu_plain.grad_a, wide_plain.grad_a) / 6e-8;
        check(a_error <= 3 * a_usual + 20, what + "grad_a error " + std::to_string(a_error) +
                                               " ulp, of the CPU " + std::to_string(a_usual));
        check(difference(got_plain.grad_x, wide_plain.grad_x) <=
                  2 * difference(cpu_plain.grad_x, wide_plain.grad_x) + 20 * 6e-8,
              what + "grad_x");
        if (print) {
          std::printf("%-40s", what.c_str());
          for (int64_t c = 0; c < 3; ++c) {
            const double ulp = 6e-8 * (c == 0 ? 0.3 : c == 1 ? 1000 : 1);
            std::printf("  %6.2f (%6.2f)", worst[c] / ulp, usual[c] / ulp);
          }
          std::printf("  grad_a %6.2f (%6.2f)\n", a_error, a_usual);
        }
      }
    }
  }
}

// Channels with an affinity each make their coefficients themselves where they fit, with the same bits.
void check_own_weights(const Trees& trees) {
  const auto in = draw<float, float>(trees, 3, 4, 4, 3, Levels::kAny);
  emulation::take_counts();
  const auto launches = [&](int64_t shared_limit, Results<float, float>& results) {
    emulation::shared_limit = shared_limit;
    Memory memory;
    results = run_with(Cuda{nullptr, &memory}, Pass::kMean, trees, in, in.a(), Layout::kPlanes, true);
    return emulation::take_counts()["filter"].launches;
  };
  Results<float, float> own, made;
  check(launches(232448, own) == 1, "own weights: other launches than the filter's");
  check(launches(23 * trees.nodes, made) == 2, "own weights: they do not fit");
  check(same_bits(own, made), "own weights: other bits");
}

// ---- hubs (src/cuda/scan/bunches.cuh) ----

// Hubs along a path, each with `leaves()` leaves.
Trees hubs(const std::string& name, int64_t count, const std::function<int64_t()>& leaves) {
  std::vector<int64_t> above;  // of all vertices but the first
  for (int64_t hub = 0, last = 0; hub < count; ++hub) {
    if (hub > 0) above.push_back(last), last = static_cast<int64_t>(above.size());
    for (int64_t k = leaves(); k > 0; --k) above.push_back(last);
  }
  return grown(name, 1, static_cast<int64_t>(above.size()) + 1,
               [above](int64_t i) { return above[i - 1]; });
}

// Every number of light children around the sizes of bunches, and every position of a hub's list
// among bunches.
void check_hubs(bool quick) {
  for (int64_t n : {63, 64, 65, 127, 128, 129, 191, 5000}) {
    if (quick && n > 191) continue;
    const Trees star = grown("star", 1, n + 1, [](int64_t) { return 0; });
    const Levels levels = n % 2 == 0 ? Levels::kEnds : Levels::kAny;
    compare(star, draw<float, float>(star, 2, 2, 1 + n % 2, 1, levels), Layout::kPlanes, true);
    compare(star, draw<double, double>(star, 1, 2, 2, 1, levels), Layout::kLast, n < 200);
  }
  if (quick) return;
  threads_too = false;
  std::array<bool, 64> seen{};
  for (int i = 0; i < 4; ++i) {
    const Trees many = hubs("hubs", 150, [] { return 100 + below(130); });
    const PlanView plan = many.view_().plan_of(0);
    check(plan.has_hubs(), "hubs: there are none");
    for (int32_t s = 0; s < plan.slots(); ++s) {
      if (plan.is_hub(s)) seen[plan.light_begin()[s] % 64] = true;
    }
    compare(many, draw<float, float>(many, 1, 2, 1, 1, Levels::kAny), Layout::kPlanes, i == 0);
  }
  check(std::count(seen.begin(), seen.end(), true) == 64, "hubs: a position is missing");
  // With bunches of both sizes; and a broom, whose hub is at the end of a path.
  const Trees large = hubs("large hubs", 3, [] { return 9000 + below(500); });
  compare(large, draw<float, float>(large, 1, 1, 1, 1, Levels::kEnds), Layout::kPlanes, true);
  const Trees broom = grown("broom", 1, 700, [](int64_t i) { return i < 300 ? i - 1 : 299; });
  compare(broom, draw<float, float>(broom, 2, 3, 1, 1, Levels::kAny), Layout::kPlanes, true);
  threads_too = true;
}

// A hub's bits depend on its own tree alone, wherever its partials are.
void check_hub_partials() {
  const Trees star = grown("star", 1, 400, [](int64_t) { return 0; });
  Trees both = path(1, 400);
  for (auto [to, from] :
       {std::pair{&both.parent, &star.parent}, {&both.order, &star.order}, {&both.plan, &star.plan}}) {
    to->insert(to->end(), from->begin(), from->end());
  }
  both.batch = 2;
  const auto in = draw<float, float>(both, 2, 1, 1, 2, Levels::kAny);
  const auto last = [](const auto& values) {
    return std::decay_t<decltype(values)>(values.end() - 400, values.end());
  };
  const Inputs<float, float> alone{1, 1, 1, 1, last(in.affinity), last(in.x), last(in.grad)};
  for (Variant variant : kVariants) {
    set_variant(variant, 400);
    Memory memory;
    const Cuda cuda{nullptr, &memory};
    for (Pass pass : kPasses_) {
      const auto of_both = run(cuda, pass, both, in, Layout::kPlanes, true);
      const auto of_one = run(cuda, pass, star, alone, Layout::kPlanes, true);
      check(same_bits(last(of_both.y), of_one.y), "hub: y depends on the batch");
      if (of_one.grad_a.empty()) continue;
      check(same_bits(last(of_both.grad_a), of_one.grad_a), "hub: grad_a depends on the batch");
      check(same_bits(last(of_both.grad_x), of_one.grad_x), "hub: grad_x depends on the batch");
    }
  }
  // Without room behind the values, in the workspace.
  const auto sum = [&](int64_t shared_limit) {
    emulation::shared_limit = shared_limit;
    Memory memory;
    return run(Cuda{nullptr, &memory}, Pass::kLeafToRoot, star, alone, Layout::kPlanes, false).y;
  };
  const int64_t scratch = 32 * (8 + 4), exactly = scratch + 400 * 4;
  check(same_bits(sum(exactly), sum(232448)), "hub: other bits without room");
}

// A light child of affinity 0 gives a hub nothing, not even a NaN; others do.
void check_hub_closed() {
  const Trees star = grown("star", 1, 5000, [](int64_t) { return 0; });
  int32_t leaf = 0;
  const PlanView plan = star.view_().plan_of(0);
  while (plan.is_hub(leaf) || !plan.is_hub(plan.parent(leaf))) ++leaf;
  const int32_t child = plan.vertex(leaf), hub = plan.vertex(plan.parent(leaf));
  auto in = draw<float, float>(star, 1, 1, 1, 1, Levels::kAny);
  in.x[child] = NAN;
  for (Variant variant : kVariants) {
    set_variant(variant, star.nodes);
    Memory memory;
    const Cuda cuda{nullptr, &memory};
    for (Pass pass : {Pass::kLeafToRoot, Pass::kSum, Pass::kMean}) {
      in.affinity[child] = 0;
      const auto closed = run(cuda, pass, star, in, Layout::kPlanes, false);
      check(!std::isnan(closed.y[hub]), "hub: a closed NaN came through");
      in.affinity[child] = 0.5f;
      const auto open = run(cuda, pass, star, in, Layout::kPlanes, false);
      check(std::isnan(open.y[hub]), "hub: a NaN was lost");
    }
  }
}

// Small values that arrive from far away keep their digits; an affinity of 0 stops even a NaN.
void check_small_values() {
  const Trees t = path(1, 3000);
  auto in = draw<float, float>(t, 1, 2, 1, 1, Levels::kAny);
  for (float& a : in.affinity) a = 0.97f;
  std::fill(in.x.begin(), in.x.end(), 0.0f);
  in.x[17] = 1;
  for (Pass pass : kPasses_) {
    const auto wide = run(Cpu{1}, pass, t, as<double, double>(in), Layout::kPlanes, false);
    for (Variant variant : kVariants) {
      set_variant(variant, t.nodes);
      Memory memory;
      const auto got = run(Cuda{nullptr, &memory}, pass, t, in, Layout::kPlanes, false);
      for (int64_t i = 0; i < t.nodes; ++i) {
        if (wide.y[i] < 1e-36) continue;
        check(std::abs(got.y[i] - wide.y[i]) <= 2e-5 * wide.y[i],
              std::string("small values, ") + name_of(pass));
      }
    }
  }
  // Two trees share every segment: NaN stays in its tree.
  const Trees forest = random_tree(1, 3000, 0.02);
  auto poisoned = draw<float, float>(forest, 1, 1, 1, 1, Levels::kNearOne);
  std::vector<int32_t> top(forest.nodes);
  for (int64_t s = forest.nodes; s-- > 0;) {
    const int32_t v = forest.order[s], p = forest.parent[v];
    top[v] = p == v ? v : top[p];
  }
  poisoned.x[5] = NAN;
  for (Pass pass : kPasses_) {
    for (Variant variant : kVariants) {
      set_variant(variant, forest.nodes);
      Memory memory;
      const auto got = run(Cuda{nullptr, &memory}, pass, forest, poisoned, Layout::kPlanes, false);
      for (int64_t v = 0; v < forest.nodes; ++v) {
        if (top[v] != top[5]) check(!std::isnan(got.y[v]), "a NaN left its tree");
        const bool all = pass == Pass::kSum || pass == Pass::kMean;
        if (top[v] == top[5] && all) check(std::isnan(got.y[v]), "a NaN was lost");
      }
    }
  }
}

// Vertices on a cycle have no slot: they become NaN, and nothing else happens.
void check_cycles() {
  const int64_t n = 40, slots = 30;
  // A plan that lacks the last slots, as if they were a cycle; slot 29 becomes a root. It is the only
  // one whose parent is among them where the path's root is one of its ends.
  Trees t = path(1, n);
  const auto leads_on = [&] {
    const PlanView view{t.plan.data(), n};
    for (int32_t s = 0; s + 1 < slots; ++s) {
      if (view.parent(s) >= slots) return true;
    }
    return false;
  };
  while (leads_on()) t = path(1, n);
  int32_t* plan = t.plan.data();
  for (int64_t k = 0; k < PlanView::kRounds; ++k) {
    int32_t& first = plan[4 * n + 2 + k];
    first = std::min<int32_t>(first, slots);
  }
  plan[n + slots - 1] = ~static_cast<int32_t>(slots - 1);
  for (int64_t s = slots; s < n; ++s) plan[s] = plan[n + s] = -1;
  const auto in = draw<float, float>(t, 1, 2, 1, 1, Levels::kAny);
  for (Pass pass : kPasses_) {
    for (Variant variant : kVariants) {
      set_variant(variant, n);
      Memory memory;
      const auto got = run(Cuda{nullptr, &memory}, pass, t, in, Layout::kPlanes, true);
      std::vector<bool> has(n, false);
      for (int64_t s = 0; s < slots; ++s) has[plan[s]] = true;
      for (int64_t i = 0; i < 2 * n; ++i) check(std::isnan(got.y[i]) != has[i % n], "a cycle's value");
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bool quick = argc > 1 && std::string(argv[1]) == "race";
  check_empty();
  check_trees(small_trees(), quick);
  check_batches();
  check_own_weights(random_tree(3, 600, 0.1));
  check_own_weights(grown("star", 3, 600, [](int64_t) { return 0; }));
  check_hub_partials();
  check_hub_closed();
  check_hubs(quick);
  check_small_values();
  check_cycles();
  threads_too = false;
  if (!quick) {
    check_accuracy(argc > 1 && std::string(argv[1]) == "print");
    threads_too = true;
    check_trees(medium_trees(), true);
  }
  std::printf(failures == 0 ? "all as it should be\n" : "%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
