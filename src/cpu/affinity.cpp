// The weights of trees' edges (affinity.h): a gather, and the scatter that is its derivative.
#include "../affinity.h"

#include <algorithm>
#include <string>

#include "support/parallel.h"

namespace treefilter {
namespace {

// Calls visit(i, v, e) for every vertex v, its edge e (-1 at a root) and every i = b * groups + g.
template <class Visit>
void for_edges(Cpu cpu, int64_t batch, int64_t groups, int64_t num_edges, Span<const int32_t> edge,
               int64_t num_nodes, const Visit& visit) {
  parallel_for(batch * groups, num_nodes, cpu, [&] {
    return [&](int64_t i) {
      const int32_t* edges = edge.data + (edge.size == num_nodes ? 0 : i / groups * num_nodes);
      for_ascending(cpu, 0, num_nodes, [&](int64_t v) {
        const int64_t e = edges[v];
        if (e >= num_edges || e < -1) {
          throw std::invalid_argument("tree.edge must be in [-1, " + std::to_string(num_edges) +
                                      "), got " + std::to_string(e));
        }
        visit(i, v, e);
      });
    };
  });
}

}  // namespace

template <class T>
void tree_weight(Cpu cpu, int64_t batch, int64_t groups, Span<const T> weight, Span<const int32_t> edge,
                 int64_t num_nodes, Span<T> out) {
  const int64_t num_edges = batch * groups == 0 ? 0 : weight.size / (batch * groups);
  for_edges(cpu, batch, groups, num_edges, edge, num_nodes, [&](int64_t i, int64_t v, int64_t e) {
    out[i * num_nodes + v] = e < 0 ? T(0) : weight[i * num_edges + e];
  });
}

template <class T>
void tree_weight_backward(Cpu cpu, int64_t batch, int64_t groups, Span<const T> grad,
                          Span<const int32_t> edge, int64_t num_nodes, Span<T> out) {
  const int64_t num_edges = batch * groups == 0 ? 0 : out.size / (batch * groups);
  std::fill_n(out.data, out.size, T(0));
  for_edges(cpu, batch, groups, num_edges, edge, num_nodes, [&](int64_t i, int64_t v, int64_t e) {
    if (e >= 0) out[i * num_edges + e] = grad[i * num_nodes + v];
  });
}

template void tree_weight(Cpu, int64_t, int64_t, Span<const float>, Span<const int32_t>, int64_t,
                          Span<float>);
template void tree_weight(Cpu, int64_t, int64_t, Span<const double>, Span<const int32_t>, int64_t,
                          Span<double>);
template void tree_weight_backward(Cpu, int64_t, int64_t, Span<const float>, Span<const int32_t>,
                                   int64_t, Span<float>);
template void tree_weight_backward(Cpu, int64_t, int64_t, Span<const double>, Span<const int32_t>,
                                   int64_t, Span<double>);

}  // namespace treefilter
