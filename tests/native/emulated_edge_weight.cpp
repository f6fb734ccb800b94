// The emulated CUDA code of edge_weight and affinity, in every order of the threads: it must give the
// bits of the CPU back end, and of brute force over edges that are listed here independently.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "../../src/affinity.h"
#include "../../src/cuda/runtime/emulation.h"
#include "../../src/edge_weight.h"
#include "device_memory.h"
#include "vectors.h"

namespace {

using namespace treefilter;

int64_t failures = 0, checks = 0;

// Calls run(name, Cuda) in every order of threads.
template <class Run>
void for_schedules(const Run& run) {
  using emulation::Schedule;
  const struct {
    const char* name;
    Schedule schedule;
    bool blind;
  } all[] = {{"forward", Schedule::kForward, false},
             {"reverse", Schedule::kReverse, false},
             {"shuffled", Schedule::kShuffled, false},
             {"threads", Schedule::kThreads, false},
             {"blind", Schedule::kForward, true}};
  for (const auto& one : all) {
    emulation::schedule = one.schedule;
    emulation::blind = one.blind;
    Memory memory;
    run(one.name, Cuda{nullptr, &memory});
  }
}

// An array of exactly its length, so that a sanitizer notices accesses beyond it.

template <class X>
constexpr const char* kName = "";
template <>
constexpr const char* kName<float> = "float";
template <>
constexpr const char* kName<double> = "double";
template <>
constexpr const char* kName<BFloat16> = "bfloat16";
template <>
constexpr const char* kName<Half> = "half";

template <class X>
bool same_value(X a, X b) {
  if constexpr (std::is_integral_v<X>) return a == b;
  if constexpr (!std::is_integral_v<X>) {
    const double p = load<double>(a), q = load<double>(b);
    return (std::isnan(p) && std::isnan(q)) || std::memcmp(&a, &b, sizeof a) == 0;
  }
}

template <class X>
void expect_same(const std::vector<X>& got, const std::vector<X>& wanted, const std::string& what) {
  ++checks;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (got.size() == wanted.size() && same_value(got[i], wanted[i])) continue;
    std::printf("FAILED %s: value %zu of %zu\n", what.c_str(), i, wanted.size());
    ++failures;
    return;
  }
}

void expect(bool right, const std::string& what) {
  ++checks;
  if (right) return;
  std::printf("FAILED %s\n", what.c_str());
  ++failures;
}

// NaN, for memory that has not been written.
template <class X>
std::vector<X> unwritten(int64_t size) {
  std::vector<X> v(size);
  if (size > 0) std::memset(static_cast<void*>(v.data()), 0xff, size * sizeof(X));
  return v;
}

// ---- graphs, with their edges as graph.py defines them ----

struct Edge {
  int64_t u, v;
};

struct Listed {
  int64_t nodes = 0;
  std::vector<Edge> edges;
  // The edges of each vertex in the order of summation; `out` where the vertex is the first end.
  struct Half {
    int64_t edge, other;
  };
  std::vector<std::vector<Half>> of;

  bool exists(int64_t e) const {
    return edges[e].u >= 0 && edges[e].u < nodes && edges[e].v >= 0 && edges[e].v < nodes;
  }
};

struct GridCase {
  std::string name;
  Grid graph;
  Listed listed;

  GridCase(const std::string& name, int64_t depth, int64_t height, int64_t width,
           const std::vector<int64_t>& steps)
      : name(name), graph(depth, height, width, static_cast<int>(steps.size() / 3), steps.data()) {
    listed.nodes = depth * height * width;
    listed.of.resize(listed.nodes);
    for (size_t s = 0; s < steps.size(); s += 3) {
      const size_t before = listed.edges.size();
      for (int64_t z = 0; z < depth; ++z) {
        for (int64_t y = 0; y < height; ++y) {
          for (int64_t x = 0; x < width; ++x) {
            const int64_t z2 = z + steps[s], y2 = y + steps[s + 1], x2 = x + steps[s + 2];
            if (z2 >= depth || y2 < 0 || y2 >= height || x2 < 0 || x2 >= width) continue;
            listed.edges.push_back({(z * height + y) * width + x, (z2 * height + y2) * width + x2});
          }
        }
      }
      for (const bool starting : {true, false}) {
        for (size_t e = before; e < listed.edges.size(); ++e) {
          const Edge edge = listed.edges[e];
          listed.of[starting ? edge.u : edge.v].push_back(
              {static_cast<int64_t>(e), starting ? edge.v : edge.u});
        }
      }
    }
  }
};

struct ListCase {
  std::string name;
  std::vector<int32_t> ends;  // (2, E)
  EdgeList graph;
  Listed listed;

  ListCase(const std::string& name, int64_t nodes, const std::vector<Edge>& edges) : name(name) {
    for (const Edge& e : edges) ends.push_back(static_cast<int32_t>(e.u));
    for (const Edge& e : edges) ends.push_back(static_cast<int32_t>(e.v));
    listed.nodes = nodes;
    listed.edges = edges;
    listed.of.resize(nodes);
    for (size_t e = 0; e < edges.size(); ++e) {
      if (!listed.exists(e)) continue;
      listed.of[edges[e].u].push_back({static_cast<int64_t>(e), edges[e].v});
      listed.of[edges[e].v].push_back({static_cast<int64_t>(e), edges[e].u});
    }
    const int64_t count = static_cast<int64_t>(edges.size());
    graph = {nodes, view(ends).sub(0, count), view(ends).sub(count, count)};
  }
  ListCase(const ListCase&) = delete;
};

// ---- brute force, in the documented type and order ----

template <class T>
T psi_of(Psi psi, T d) {
  return psi != Psi::kSign ? d : static_cast<T>((d > 0) - (d < 0));
}

// Whether all channels of both ends of an edge of image b are finite.
template <class X>
bool finite_ends(const Listed& g, int64_t b, int64_t channels, const std::vector<X>& f, const Edge& e) {
  for (int64_t c = 0; c < channels; ++c) {
    const int64_t plane = (b * channels + c) * g.nodes;
    if (!std::isfinite(load<double>(f[plane + e.u]))) return false;
    if (!std::isfinite(load<double>(f[plane + e.v]))) return false;
  }
  return true;
}

template <class X, class T>
std::vector<T> brute_inner(const Listed& g, Psi psi, int64_t batch, int64_t channels,
                           const std::vector<X>& f, const std::vector<X>& t) {
  std::vector<T> weight;
  for (int64_t b = 0; b < batch; ++b) {
    for (size_t e = 0; e < g.edges.size(); ++e) {
      T sum = 0;
      for (int64_t c = 0; g.exists(e) && c < channels; ++c) {
        const int64_t u = (b * channels + c) * g.nodes + g.edges[e].u,
                      v = u - g.edges[e].u + g.edges[e].v;
        sum += psi_of(psi, load<T>(f[u]) - load<T>(f[v])) * (load<T>(t[u]) - load<T>(t[v]));
      }
      if (&f == &t && psi == Psi::kEuclidean) sum = std::sqrt(sum);
      if (&f == &t && g.exists(e) && !finite_ends(g, b, channels, f, g.edges[e])) {
        sum = std::numeric_limits<T>::quiet_NaN();
      }
      weight.push_back(sum);
    }
  }
  return weight;
}

template <class X, class T>
std::vector<int64_t> brute_argmax(const Listed& g, int64_t batch, int64_t channels,
                                  const std::vector<X>& f, std::vector<T>& distance) {
  std::vector<int64_t> result;
  for (int64_t b = 0; b < batch; ++b) {
    for (size_t e = 0; e < g.edges.size(); ++e) {
      int64_t best = 0;
      T largest = -1;
      for (int64_t c = 0; g.exists(e) && c < channels; ++c) {
        const int64_t u = (b * channels + c) * g.nodes + g.edges[e].u,
                      v = u - g.edges[e].u + g.edges[e].v;
        T size = std::abs(load<T>(f[u]) - load<T>(f[v]));
        if (!std::isfinite(load<T>(f[u])) || !std::isfinite(load<T>(f[v]))) size = std::nan("");
        if (std::isnan(largest)) break;
        if (std::isnan(size) || size > largest) largest = size, best = c;
      }
      result.push_back(best);
      distance.push_back(g.exists(e) ? largest : T(0));
    }
  }
  return result;
}

template <class X, class T>
std::vector<X> brute_scatter(const Listed& g, Psi psi, int64_t batch, int64_t channels,
                             const std::vector<T>& weight, const std::vector<X>& f) {
  std::vector<X> out(f.size());
  const int64_t edges = static_cast<int64_t>(g.edges.size());
  for (int64_t row = 0; row < batch * channels; ++row) {
    for (int64_t v = 0; v < g.nodes; ++v) {
      T sum = 0;
      for (const Listed::Half& h : g.of[v]) {
        const T w = weight[row / channels * edges + h.edge];
        const T d = load<T>(f[row * g.nodes + v]) - load<T>(f[row * g.nodes + h.other]);
        if (w != 0) sum += w * psi_of(psi, d);
      }
      store(out[row * g.nodes + v], (psi == Psi::kIdentity ? T(2) : T(1)) * sum);
    }
  }
  return out;
}

// ---- values ----

std::mt19937 engine(1);

int64_t below(unsigned bound) {
  return static_cast<int64_t>(engine() % bound);
}

double uniform() {
  return static_cast<double>(engine() % 100003) / 100003 * 2 - 1;
}

enum class Values { kRandom, kTies, kConstant, kNotFinite };

template <class X>
std::vector<X> values(int64_t size, Values kind) {
  std::vector<X> v(size);
  for (X& x : v) {
    double value = uniform();
    if (kind == Values::kTies) value = static_cast<double>(engine() % 3) - 1;
    if (kind == Values::kConstant) value = 0.3;
    if (kind == Values::kNotFinite && engine() % 8 == 0) {
      const double infinity = std::numeric_limits<double>::infinity();
      value = engine() % 2 ? std::nan("") : engine() % 2 ? infinity : -infinity;
    }
    store(x, value);
  }
  return v;
}

// ---- the checks ----

template <class X, class T, class Case>
void check(const Case& one, int64_t batch, int64_t channels, Values kind, bool on_cpu) {
  const Listed& g = one.listed;
  const int64_t edges = static_cast<int64_t>(g.edges.size());
  const auto f = values<X>(batch * channels * g.nodes, kind);
  const auto t = values<X>(batch * channels * g.nodes, kind);
  const std::string about = one.name + " " + kName<X> + " B " + std::to_string(batch) + " C " +
                            std::to_string(channels) + " values " +
                            std::to_string(static_cast<int>(kind)) + " ";
  using AnyGraph = std::decay_t<decltype(one.graph)>;
  const Cpu cpu{1};

  for (const Psi psi : {Psi::kIdentity, Psi::kSign, Psi::kEuclidean}) {
    for (const bool same : {true, false}) {
      if (psi == Psi::kEuclidean && !same) continue;
      const auto& other = same ? f : t;
      const auto wanted = brute_inner<X, T>(g, psi, batch, channels, f, other);
      if (on_cpu) {
        auto weight = unwritten<T>(batch * edges);
        edge_inner(cpu, one.graph, psi, batch, channels, view(f), view(other), span(weight));
        expect_same(weight, wanted, about + "edge_inner on the CPU");
      }
      for_schedules([&](const std::string& schedule, const Cuda& cuda) {
        auto weight = unwritten<T>(batch * edges);
        edge_inner(cuda, one.graph, psi, batch, channels, view(f), view(other), span(weight));
        expect_same(weight, wanted, about + "edge_inner " + schedule);
      });
    }
    if (psi == Psi::kEuclidean) continue;  // check_range()
    // Weights on all edges, on few as in a tree, on none.
    for (const unsigned keep : {1u, 3u, 0u}) {
      auto weight = values<T>(batch * edges, Values::kRandom);
      for (T& w : weight) w = keep == 0 || engine() % keep != 0 ? (engine() % 2 ? T(0) : -T(0)) : w;
      const auto wanted = brute_scatter<X, T>(g, psi, batch, channels, weight, f);
      if (on_cpu && kind != Values::kNotFinite) {
        auto out = unwritten<X>(static_cast<int64_t>(f.size()));
        edge_scatter(cpu, one.graph, psi, batch, channels, view(weight), {}, view(f), span(out));
        expect_same(out, wanted, about + "edge_scatter on the CPU");
      }
      for_schedules([&](const std::string& schedule, const Cuda& cuda) {
        auto out = unwritten<X>(static_cast<int64_t>(f.size()));
        edge_scatter(cuda, one.graph, psi, batch, channels, view(weight), {}, view(f), span(out));
        expect_same(out, wanted, about + "edge_scatter " + schedule);
      });
    }
  }
  std::vector<T> wanted_distance;
  const auto wanted = brute_argmax<X, T>(g, batch, channels, f, wanted_distance);
  const auto check_argmax = [&](const auto& device, const std::string& where) {
    std::vector<int64_t> argmax(batch * edges, -7);
    auto distance = unwritten<T>(batch * edges);
    edge_argmax<AnyGraph, X, T>(device, one.graph, batch, channels, view(f), span(argmax),
                                span(distance));
    expect_same(argmax, wanted, about + "edge_argmax " + where);
    expect_same(distance, wanted_distance, about + "edge_argmax distance " + where);
  };
  if (on_cpu) check_argmax(cpu, "on the CPU");
  for_schedules([&](const std::string& schedule, const Cuda& cuda) { check_argmax(cuda, schedule); });
}

// edge_scatter() of weights: edges of the largest weight are left out.
template <class X, class T, class Case>
void check_derivative(const Case& one, Psi psi, int64_t batch, int64_t channels, const std::vector<X>& f,
                      const std::vector<T>& gradient, const std::vector<T>& weight,
                      const std::string& about) {
  auto left = gradient;
  for (size_t e = 0; e < left.size(); ++e) {
    if (weight[e] == std::numeric_limits<T>::max()) left[e] = 0;
  }
  auto wanted = unwritten<X>(static_cast<int64_t>(f.size()));
  edge_scatter(Cpu{1}, one.graph, psi, batch, channels, view(left), {}, view(f), span(wanted));
  const auto check = [&](const auto& device, const std::string& where) {
    auto out = unwritten<X>(static_cast<int64_t>(f.size()));
    edge_scatter(device, one.graph, psi, batch, channels, view(gradient), view(weight), view(f),
                 span(out));
    expect_same(out, wanted, about + "edge_scatter of weights " + where);
  };
  check(Cpu{1}, "on the CPU");
  for_schedules([&](const std::string& schedule, const Cuda& cuda) { check(cuda, schedule); });
}

// Finite values of all magnitudes, so that squares and sums overflow, vanish or lose digits: against
// long double, and the device code against the CPU's.
template <class X, class T, class Case>
void check_range(const Case& one) {
  const Listed& g = one.listed;
  constexpr int64_t kBatch = 2, kChannels = 3;
  const int64_t edges = static_cast<int64_t>(g.edges.size());
  using AnyGraph = std::decay_t<decltype(one.graph)>;
  constexpr long double kLargest = std::numeric_limits<T>::max();
  const bool half = std::is_same_v<X, Half>;
  const int most = half ? 15 : std::numeric_limits<T>::max_exponent - 1;
  const int least = half ? -24 : std::numeric_limits<T>::min_exponent - std::numeric_limits<T>::digits;
  for (const int exponent : {most, most - 2, most / 2, least / 2, least + 3, least}) {
    const std::string about = one.name + " " + kName<X> + " 2^" + std::to_string(exponent) + " ";
    std::vector<X> f(kBatch * kChannels * g.nodes);
    for (X& x : f) store(x, std::ldexp(engine() % 4 ? uniform() : 0.5, exponent + (exponent < most)));
    std::vector<T> gradient(kBatch * edges);
    for (T& w : gradient) w = static_cast<T>(engine() % 4 ? 1e-6 * uniform() : uniform());
    const auto difference = [&](int64_t b, int64_t c, int64_t u, int64_t v) {
      const X* plane = f.data() + (b * kChannels + c) * g.nodes;
      return load<double>(plane[u]) - static_cast<long double>(load<double>(plane[v]));
    };
    const auto close = [&](long double got, long double wanted, long double scale) {
      const long double tolerance = 8 * std::numeric_limits<T>::epsilon() * scale;
      return std::abs(got - wanted) <= tolerance + kChannels * std::numeric_limits<T>::denorm_min();
    };
    const auto norm = [&](Psi psi, int64_t b, const Edge& e) {
      long double sum = 0;
      for (int64_t c = 0; c < kChannels; ++c) {
        const long double d = std::abs(difference(b, c, e.u, e.v));
        sum += psi == Psi::kSign ? d : d * d;
      }
      return std::min(kLargest, psi == Psi::kEuclidean ? std::sqrt(sum) : sum);
    };
    std::vector<T> distance;
    for (const Psi psi : {Psi::kIdentity, Psi::kSign, Psi::kEuclidean}) {
      auto weight = unwritten<T>(kBatch * edges);
      edge_inner(Cpu{1}, one.graph, psi, kBatch, kChannels, view(f), view(f), span(weight));
      for (int64_t i = 0; i < kBatch * edges; ++i) {
        if (!g.exists(i % edges)) continue;
        const long double wanted = norm(psi, i / edges, g.edges[i % edges]);
        expect(close(weight[i], wanted, wanted), about + "edge_inner on the CPU");
      }
      if (psi == Psi::kEuclidean) {
        distance = weight;
      } else {
        check_derivative<X, T>(one, psi, kBatch, kChannels, f, gradient, weight, about);
      }
      for_schedules([&](const std::string& schedule, const Cuda& cuda) {
        auto again = unwritten<T>(kBatch * edges);
        edge_inner(cuda, one.graph, psi, kBatch, kChannels, view(f), view(f), span(again));
        expect_same(again, weight, about + "edge_inner " + schedule);
      });
    }
    auto out = unwritten<X>(static_cast<int64_t>(f.size()));
    edge_scatter(Cpu{1}, one.graph, Psi::kEuclidean, kBatch, kChannels, view(gradient), view(distance),
                 view(f), span(out));
    for (int64_t i = 0; i < static_cast<int64_t>(f.size()); ++i) {
      const int64_t b = i / g.nodes / kChannels, c = i / g.nodes % kChannels, v = i % g.nodes;
      long double wanted = 0, scale = 0;
      for (const Listed::Half& h : g.of[v]) {
        const long double d = distance[b * edges + h.edge], w = gradient[b * edges + h.edge];
        // The largest distance stands for all that lies beyond: a constant.
        if (d != 0 && d != kLargest) wanted += w * (difference(b, c, v, h.other) / d);
        scale += std::abs(w);
      }
      if (std::is_same_v<X, T>)
        expect(close(load<T>(out[i]), wanted, 4 * scale), about + "edge_scatter");
    }
    for_schedules([&](const std::string& schedule, const Cuda& cuda) {
      auto again = unwritten<X>(static_cast<int64_t>(f.size()));
      edge_scatter(cuda, one.graph, Psi::kEuclidean, kBatch, kChannels, view(gradient), view(distance),
                   view(f), span(again));
      expect_same(again, out, about + "edge_scatter for distances " + schedule);
    });
    std::vector<int64_t> argmax(kBatch * edges, -7);
    auto largest = unwritten<T>(kBatch * edges);
    edge_argmax<AnyGraph, X, T>(Cpu{1}, one.graph, kBatch, kChannels, view(f), span(argmax),
                                span(largest));
    for (int64_t i = 0; i < kBatch * edges; ++i) {
      const Edge e = g.edges[i % edges];
      long double wanted = 0;
      for (int64_t c = 0; c < kChannels; ++c) {
        wanted = std::max(wanted, std::abs(difference(i / edges, c, e.u, e.v)));
      }
      wanted = std::min(kLargest, wanted);
      const long double chosen = std::abs(difference(i / edges, argmax[i], e.u, e.v));
      expect(close(largest[i], wanted, wanted), about + "the largest difference");
      expect(close(std::min(kLargest, chosen), wanted, wanted), about + "its channel");
    }
    for_schedules([&](const std::string& schedule, const Cuda& cuda) {
      std::vector<int64_t> argmax_again(kBatch * edges, -7);
      auto largest_again = unwritten<T>(kBatch * edges);
      edge_argmax<AnyGraph, X, T>(cuda, one.graph, kBatch, kChannels, view(f), span(argmax_again),
                                  span(largest_again));
      expect_same(argmax_again, argmax, about + "edge_argmax " + schedule);
      expect_same(largest_again, largest, about + "edge_argmax distance " + schedule);
    });
  }
}

template <class X, class T, class Case>
void check_type(const Case& one, bool on_cpu) {
  for (const Values kind : {Values::kRandom, Values::kTies, Values::kNotFinite}) {
    check<X, T>(one, 2, 5, kind, on_cpu);
  }
  check<X, T>(one, 1, 1, Values::kConstant, on_cpu);
  if (on_cpu) check_range<X, T>(one);
}

template <class Case>
void check_case(const Case& one, bool on_cpu = true) {
  check_type<float, float>(one, on_cpu);
  check_type<double, double>(one, on_cpu);
  check_type<BFloat16, float>(one, on_cpu);
  check_type<Half, float>(one, on_cpu);
  // Whole blocks of channels and a rest; one slice of edge_scatter and more.
  for (const int64_t channels : {0, 7, 8, 13, 36}) {
    check<float, float>(one, 2, channels, Values::kRandom, on_cpu);
  }
  check<BFloat16, float>(one, 0, 3, Values::kRandom, on_cpu);
  check<float, float>(one, 3, 33, Values::kTies, on_cpu);
}

template <class T>
void check_trees(int64_t batch, int64_t groups, int64_t nodes, int64_t edges, bool shared) {
  // For each vertex an edge or none, each edge at most once; sometimes a number that is no edge.
  const int64_t trees = shared ? 1 : batch;
  std::vector<int32_t> edge(trees * nodes, -1), beyond;
  for (int64_t b = 0; b < trees; ++b) {
    for (int64_t e = 0; e < edges; ++e) {
      const int64_t v = b * nodes + static_cast<int64_t>(engine() % static_cast<unsigned>(nodes));
      if (edge[v] < 0) edge[v] = static_cast<int32_t>(e);
    }
  }
  beyond = edge;
  for (int32_t& e : beyond) {
    const int32_t bad[] = {static_cast<int32_t>(edges), INT32_MAX, -2, INT32_MIN};
    if (e < 0 && engine() % 2) e = bad[engine() % 4];
  }
  const auto weight = values<T>(batch * groups * edges, Values::kNotFinite);
  const auto grad = values<T>(batch * groups * nodes, Values::kNotFinite);
  auto gathered = unwritten<T>(batch * groups * nodes), scattered = unwritten<T>(batch * groups * edges);
  tree_weight(Cpu{1}, batch, groups, view(weight), view(edge), nodes, span(gathered));
  tree_weight_backward(Cpu{1}, batch, groups, view(grad), view(edge), nodes, span(scattered));
  // Affinities: sigma one number or one for each group, which then may share their weights.
  const auto widths = values<T>(batch * groups, Values::kRandom);
  const Sigma<T> one_sigma{T(0.5), {}, 1}, each_sigma{T(0), view(widths), groups};
  const auto common = values<T>(batch * edges, Values::kNotFinite);
  auto a = unwritten<T>(batch * groups * nodes), a_common = a;
  auto to_edges = unwritten<T>(batch * groups * edges), to_common = unwritten<T>(batch * edges);
  affinity(Cpu{1}, batch, groups, view(weight), groups, view(edge), nodes, one_sigma, span(a));
  affinity(Cpu{1}, batch, groups, view(common), 1, view(edge), nodes, each_sigma, span(a_common));
  affinity_backward(Cpu{1}, batch, groups, view(grad), view(a), view(edge), nodes, each_sigma, groups,
                    span(to_edges));
  affinity_backward(Cpu{1}, batch, groups, view(grad), view(a), view(edge), nodes, one_sigma, 1,
                    span(to_common));
  const std::string about = "B " + std::to_string(batch) + " G " + std::to_string(groups) + " N " +
                            std::to_string(nodes) + " E " + std::to_string(edges) +
                            (shared ? " shared " : " ");
  for (const auto* one : {&edge, &beyond}) {
    for_schedules([&](const std::string& schedule, const Cuda& cuda) {
      auto out = unwritten<T>(batch * groups * nodes), back = unwritten<T>(batch * groups * edges);
      tree_weight(cuda, batch, groups, view(weight), view(*one), nodes, span(out));
      tree_weight_backward(cuda, batch, groups, view(grad), view(*one), nodes, span(back));
      expect_same(out, gathered, about + "tree_weight " + schedule);
      expect_same(back, scattered, about + "tree_weight_backward " + schedule);
      affinity(cuda, batch, groups, view(weight), groups, view(*one), nodes, one_sigma, span(out));
      expect_same(out, a, about + "affinity " + schedule);
      affinity(cuda, batch, groups, view(common), 1, view(*one), nodes, each_sigma, span(out));
      expect_same(out, a_common, about + "affinity, common weights " + schedule);
      affinity_backward(cuda, batch, groups, view(grad), view(a), view(*one), nodes, each_sigma, groups,
                        span(back));
      expect_same(back, to_edges, about + "affinity_backward " + schedule);
      back.resize(batch * edges);
      affinity_backward(cuda, batch, groups, view(grad), view(a), view(*one), nodes, one_sigma, 1,
                        span(back));
      expect_same(back, to_common, about + "affinity_backward, common weights " + schedule);
    });
  }
}

void check_grids() {
  const std::vector<int64_t> four{0, 1, 0, 0, 0, 1}, eight{0, 1, 0, 0, 0, 1, 0, 1, 1, 0, 1, -1};
  const std::vector<int64_t> six{1, 0, 0, 0, 1, 0, 0, 0, 1};
  const std::vector<int64_t> twenty_six{1,  0, 0, 0, 1, 0, 0,  0, 1, 1, 1, 0, 1,  -1, 0,  1, 0, 1,  1, 0,
                                        -1, 0, 1, 1, 0, 1, -1, 1, 1, 1, 1, 1, -1, 1,  -1, 1, 1, -1, -1};
  // Also rows of whole runs (edge_weight/runs.cuh), for one type or for all; one tile and several.
  const int64_t sizes[][2] = {{1, 1}, {1, 9},  {9, 1},  {2, 2}, {1, 2},
                              {5, 7}, {11, 4}, {3, 40}, {1, 8}, {35, 72}};
  for (const auto& [height, width] : sizes) {
    const std::string size = std::to_string(height) + "x" + std::to_string(width);
    check_case(GridCase(size + " 4", 1, height, width, four));
    check_case(GridCase(size + " 8", 1, height, width, eight));
  }
  const int64_t boxes[][3] = {{1, 1, 1}, {2, 1, 3}, {4, 1, 1}, {1, 3, 4},
                              {3, 4, 2}, {3, 3, 3}, {2, 3, 8}, {3, 1, 16}};
  for (const auto& [depth, height, width] : boxes) {
    const std::string size =
        std::to_string(depth) + "x" + std::to_string(height) + "x" + std::to_string(width);
    check_case(GridCase(size + " 6", depth, height, width, six));
    check_case(GridCase(size + " 26", depth, height, width, twenty_six));
  }
}

// Features whose address is no multiple of 16 bytes are read one by one, with the same result.
void check_alignment() {
  const GridCase one("7x16 8", 1, 7, 16, {0, 1, 0, 0, 0, 1, 0, 1, 1, 0, 1, -1});
  const int64_t batch = 2, channels = 6, edges = static_cast<int64_t>(one.listed.edges.size());
  const int64_t size = batch * channels * one.listed.nodes;
  const auto f = values<float>(size, Values::kRandom), t = values<float>(size, Values::kRandom);
  const auto weight = values<float>(batch * edges, Values::kRandom);
  const auto inner = brute_inner<float, float>(one.listed, Psi::kIdentity, batch, channels, f, t);
  const auto scattered = brute_scatter(one.listed, Psi::kIdentity, batch, channels, weight, f);
  std::vector<float> largest;
  const auto argmax = brute_argmax<float, float>(one.listed, batch, channels, f, largest);
  for (const int64_t before : {0, 1, 2, 3}) {
    std::vector<float> moved_f(before), moved_t(before), result(before + size);
    moved_f.insert(moved_f.end(), f.begin(), f.end());
    moved_t.insert(moved_t.end(), t.begin(), t.end());
    const auto fs = view(moved_f).sub(before, size), ts = view(moved_t).sub(before, size);
    for_schedules([&](const std::string& schedule, const Cuda& cuda) {
      const std::string about = "features behind " + std::to_string(before) + " others " + schedule;
      for (const bool both : {false, true}) {  // one of the two, or both
        auto out = unwritten<float>(batch * edges);
        edge_inner(cuda, one.graph, Psi::kIdentity, batch, channels, both ? fs : view(f), ts, span(out));
        expect_same(out, inner, about + " edge_inner");
        edge_scatter(cuda, one.graph, Psi::kIdentity, batch, channels, view(weight), {},
                     both ? fs : view(f), span(result).sub(before, size));
        expect_same({result.begin() + before, result.end()}, scattered, about + " edge_scatter");
      }
      std::vector<int64_t> channel(batch * edges, -7);
      auto distance = unwritten<float>(batch * edges);
      edge_argmax<Grid, float, float>(cuda, one.graph, batch, channels, fs, span(channel),
                                      span(distance));
      expect_same(channel, argmax, about + " edge_argmax");
      expect_same(distance, largest, about + " edge_argmax distance");
    });
  }
}

void check_lists() {
  std::vector<Edge> path, star, random, parallel, bad;
  for (int64_t i = 0; i < 20; ++i) path.push_back({i + 1, i});
  for (int64_t i = 0; i < 700; ++i) star.push_back(i % 2 ? Edge{i % 90, 5} : Edge{5, i % 90});
  for (int64_t i = 0; i < 150; ++i) random.push_back({below(40), below(40)});
  for (int64_t i = 0; i < 60; ++i) parallel.push_back({below(3), below(3)});
  bad = random;
  const int64_t ends[] = {-1, 40, INT32_MAX, INT32_MIN};
  for (size_t i = 0; i < bad.size(); i += 3) (i % 2 ? bad[i].u : bad[i].v) = ends[engine() % 4];
  check_case(ListCase("path", 21, path));
  check_case(ListCase("star", 90, star));
  check_case(ListCase("random", 40, random));
  check_case(ListCase("parallel edges", 3, parallel));
  check_case(ListCase("isolated vertices", 300, random));
  check_case(ListCase("no edges", 4, {}));
  check_case(ListCase("one vertex", 1, {}));
  check_case(ListCase("loops", 2, {{1, 1}, {0, 1}, {0, 0}, {1, 0}, {1, 1}}));
  check_case(ListCase("ends outside", 40, bad), false);
}

// Hubs, whose edges are summed in parts. With integers all sums are exact. With other numbers they are
// the same in every order of the threads, and close to the CPU's.
void check_hubs() {
  for (const int64_t degree : {1023, 1024, 1025, 2048, 5000}) {
    std::vector<Edge> edges;
    for (int64_t i = 0; i < degree; ++i) edges.push_back({1, i % 70});     // loops among them
    for (int64_t i = 0; i < degree / 2; ++i) edges.push_back({i % 9, 2});  // starts inside of a part
    for (int64_t i = 0; i < 2 * degree; ++i) edges.push_back({below(70), 2 + below(2)});
    for (int64_t i = 0; i < 50; ++i) edges.push_back({below(70), 1});
    for (int64_t i = 0; i < 40; ++i) edges.push_back({below(70), 70 + below(2)});  // an end outside
    const ListCase one("hubs of " + std::to_string(degree), 71, edges);
    for (const int64_t channels : {1, 9}) {
      const int64_t count = static_cast<int64_t>(edges.size()), size = 2 * channels * 71;
      auto weight = values<float>(2 * count, Values::kTies), f = values<float>(size, Values::kTies);
      const auto wanted = brute_scatter(one.listed, Psi::kIdentity, 2, channels, weight, f);
      const auto any_weight = values<float>(2 * count, Values::kRandom);
      const auto any = values<float>(size, Values::kRandom);
      const auto near = brute_scatter(one.listed, Psi::kIdentity, 2, channels, any_weight, any);
      std::vector<float> forward;
      for_schedules([&](const std::string& schedule, const Cuda& cuda) {
        const std::string about = one.name + " C " + std::to_string(channels) + " " + schedule;
        auto out = unwritten<float>(size);
        edge_scatter(cuda, one.graph, Psi::kIdentity, 2, channels, view(weight), {}, view(f), span(out));
        expect_same(out, wanted, about);
        edge_scatter(cuda, one.graph, Psi::kIdentity, 2, channels, view(any_weight), {}, view(any),
                     span(out));
        if (forward.empty()) forward = out;
        expect_same(out, forward, about + " any numbers");
        for (int64_t i = 0; i < size; ++i) {
          if (std::abs(out[i] - near[i]) > 1e-3f)
            ++failures, std::printf("FAILED %s far\n", about.c_str());
        }
      });
    }
  }
}

}  // namespace

int main() {
  check_grids();
  check_alignment();
  check_lists();
  check_hubs();
  for (const bool shared : {false, true}) {
    const int64_t shapes[][4] = {{1, 1, 1, 1},   {1, 1, 1, 0}, {2, 3, 20, 37},
                                 {3, 1, 40, 17}, {0, 2, 5, 6}, {2, 0, 5, 6}};
    for (const auto& [batch, groups, nodes, edges] : shapes) {
      check_trees<float>(batch, groups, nodes, edges, shared);
      check_trees<double>(batch, groups, nodes, edges, shared);
    }
  }
  std::printf("%ld comparisons, %ld failed\n", static_cast<long>(checks), static_cast<long>(failures));
  return failures == 0 ? 0 : 1;
}
