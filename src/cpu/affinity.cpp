// The weights of trees' edges (affinity.h): a gather, and the scatter that is its derivative; the same
// with the exponential in between, some hundred vertices at a time, so that it is computed in vectors.
#include "../affinity.h"

#include <algorithm>
#include <string>

#include "../exponential.h"
#include "support/parallel.h"
#include "support/vector.h"

namespace treefilter {
namespace {

// The edge, which must be in [-1, num_edges).
inline int64_t checked(int64_t e, int64_t num_edges, const char* name = "tree.edge") {
  if (e >= num_edges || e < -1) {
    throw std::invalid_argument(std::string(name) + " must be in [-1, " + std::to_string(num_edges) +
                                "), got " + std::to_string(e));
  }
  return e;
}

// The same for many, without a branch for each as long as all are right. Names the first that is not.
void check_edges(const int32_t* edges, int64_t count, int64_t num_edges) {
  uint32_t largest = 0;
  for (int64_t v = 0; v < count; ++v) largest = std::max(largest, static_cast<uint32_t>(edges[v]) + 1u);
  if (largest <= static_cast<uint32_t>(num_edges)) return;
  for (int64_t v = 0; v < count; ++v) checked(edges[v], num_edges);
}

// Calls visit(i, v, e) for every vertex v, its edge e (-1 at a root) and every i = b * groups + g.
template <class Visit>
void for_edges(Cpu cpu, int64_t batch, int64_t groups, int64_t num_edges, Span<const int32_t> edge,
               int64_t num_nodes, const char* name, const Visit& visit) {
  parallel_for(batch * groups, num_nodes, cpu, [&] {
    return [&](int64_t i) {
      const int32_t* edges = edge.data + (edge.size == num_nodes ? 0 : i / groups * num_nodes);
      for_ascending(cpu, 0, num_nodes,
                    [&](int64_t v) { visit(i, v, checked(edges[v], num_edges, name)); });
    };
  });
}

constexpr int64_t kBlock = 512;  // vertices whose values are in the first-level cache together

// values[v] = exp(values[v] / negative_sigma) for a block of vertices.
template <class T>
void exponentials(T* values, T negative_sigma) {
  constexpr int kSize = kRegisterBytes / static_cast<int>(sizeof(T));
  using V = Vector<T, kSize>;
  using Bits = Vector<typename Exponential<T>::Bits, kSize>;
  for (int64_t v = 0; v < kBlock; v += kSize) {
    store_vector(values + v, exponential<T, V, Bits>(load_vector<kSize>(values + v) / negative_sigma));
  }
}

}  // namespace

template <class T>
void tree_weight(Cpu cpu, int64_t batch, int64_t groups, Span<const T> weight, Span<const int32_t> edge,
                 int64_t num_nodes, Span<T> out, const char* name) {
  const int64_t num_edges = batch * groups == 0 ? 0 : weight.size / (batch * groups);
  for_edges(cpu, batch, groups, num_edges, edge, num_nodes, name, [&](int64_t i, int64_t v, int64_t e) {
    out[i * num_nodes + v] = e < 0 ? T(0) : weight[i * num_edges + e];
  });
}

template <class T>
void tree_weight_backward(Cpu cpu, int64_t batch, int64_t groups, Span<const T> grad,
                          Span<const int32_t> edge, int64_t num_nodes, Span<T> out) {
  const int64_t num_edges = batch * groups == 0 ? 0 : out.size / (batch * groups);
  std::fill_n(out.data, out.size, T(0));
  for_edges(cpu, batch, groups, num_edges, edge, num_nodes, "tree.edge",
            [&](int64_t i, int64_t v, int64_t e) {
              if (e >= 0) out[i * num_edges + e] = grad[i * num_nodes + v];
            });
}

template <class T>
void affinity(Cpu cpu, int64_t batch, int64_t groups, Span<const T> weight, int64_t weight_groups,
              Span<const int32_t> edge, int64_t num_nodes, const Sigma<T>& sigma, Span<T> out) {
  const int64_t num_edges = batch * weight_groups == 0 ? 0 : weight.size / (batch * weight_groups);
  parallel_for(batch * groups, 2 * num_nodes, cpu, [&] {
    return [&](int64_t i) {
      const int64_t b = i / groups, g = i % groups;
      const int32_t* edges = edge.data + (edge.size == num_nodes ? 0 : b * num_nodes);
      const T* weights = weight.data + (b * weight_groups + (weight_groups == 1 ? 0 : g)) * num_edges;
      const T negative_sigma = -sigma.of(b, g);
      T* to = out.data + i * num_nodes;
      T block[kBlock] = {};
      for (int64_t begin = 0; begin < num_nodes; begin += kBlock) {
        const int64_t count = std::min(kBlock, num_nodes - begin);
        check_edges(edges + begin, count, num_edges);
        for (int64_t v = 0; v < count && num_edges > 0; ++v) {
          block[v] = weights[std::max(edges[begin + v], 0)];  // at a root any: there are no branches
        }
        exponentials(block, negative_sigma);
        for (int64_t v = 0; v < count; ++v) to[begin + v] = edges[begin + v] < 0 ? T(0) : block[v];
        if (begin % kVisitsPerCheck == 0) cpu.check();
      }
    };
  });
}

template <class T>
void affinity_backward(Cpu cpu, int64_t batch, int64_t groups, Span<const T> grad, Span<const T> a,
                       Span<const int32_t> edge, int64_t num_nodes, const Sigma<T>& sigma,
                       int64_t weight_groups, Span<T> out) {
  const int64_t maps = batch * weight_groups, num_edges = maps == 0 ? 0 : out.size / maps;
  const int64_t summed = maps == 0 ? 0 : groups / weight_groups;  // groups that share weights
  parallel_for(maps, summed * num_nodes, cpu, [&] {
    return [&](int64_t map) {
      const int64_t b = map / weight_groups;
      const int32_t* edges = edge.data + (edge.size == num_nodes ? 0 : b * num_nodes);
      T* to = out.data + map * num_edges;
      std::fill_n(to, num_edges, T(0));
      for (int64_t i = map * summed; i < (map + 1) * summed; ++i) {
        const T negative_sigma = -sigma.of(b, i % groups);
        const T *grads = grad.data + i * num_nodes, *values = a.data + i * num_nodes;
        for_ascending(cpu, 0, num_nodes, [&](int64_t v) {
          const int64_t e = checked(edges[v], num_edges);
          if (e >= 0) to[e] += grads[v] * values[v] / negative_sigma;
        });
      }
    };
  });
}

template void tree_weight(Cpu, int64_t, int64_t, Span<const float>, Span<const int32_t>, int64_t,
                          Span<float>, const char*);
template void tree_weight(Cpu, int64_t, int64_t, Span<const double>, Span<const int32_t>, int64_t,
                          Span<double>, const char*);
template void tree_weight_backward(Cpu, int64_t, int64_t, Span<const float>, Span<const int32_t>,
                                   int64_t, Span<float>);
template void tree_weight_backward(Cpu, int64_t, int64_t, Span<const double>, Span<const int32_t>,
                                   int64_t, Span<double>);
template void affinity(Cpu, int64_t, int64_t, Span<const float>, int64_t, Span<const int32_t>, int64_t,
                       const Sigma<float>&, Span<float>);
template void affinity(Cpu, int64_t, int64_t, Span<const double>, int64_t, Span<const int32_t>, int64_t,
                       const Sigma<double>&, Span<double>);
template void affinity_backward(Cpu, int64_t, int64_t, Span<const float>, Span<const float>,
                                Span<const int32_t>, int64_t, const Sigma<float>&, int64_t, Span<float>);
template void affinity_backward(Cpu, int64_t, int64_t, Span<const double>, Span<const double>,
                                Span<const int32_t>, int64_t, const Sigma<double>&, int64_t,
                                Span<double>);

}  // namespace treefilter
