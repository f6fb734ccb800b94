// The module treefilter._C. Every function converts tensors to spans (tensor.h) and makes one native
// call, without the GIL. Outputs are tensors that _ops.py has allocated. (The file has more than 300
// lines because it is the list of all bindings of one module.)
#include <string>

#include "../affinity.h"
#include "../bottleneck.h"
#include "../dendrogram.h"
#include "../difference.h"
#include "../distance.h"
#include "../edge_weight.h"
#include "../filter.h"
#include "../malis.h"
#include "../mst.h"
#include "../persistence.h"
#include "../watershed.h"
#include "tensor.h"
#ifdef TREEFILTER_EMULATE
#include "../cuda/runtime/emulation.h"
#endif

namespace treefilter {
namespace {

using Tensor = py::object;

// The span of a tensor, or an empty one without a tensor.
template <class T>
Span<T> optional_span(const Call& on, const OptionalTensor& tensor, const char* name,
                      const Shape& shape) {
  return tensor ? on.span<T>(*tensor, name, shape) : Span<T>{};
}

void edge_list(const Tensor& edge_index, int64_t num_nodes, const Tensor& out) {
  const Shape shape{2, shape_of(edge_index).at(1)};
  const Call on("graph", edge_index, 1);
  const auto from = on.span<const int64_t>(edge_index, "edge_index", shape);
  const auto to = on.output<int32_t>(out, "out", shape);
  for (int64_t i = 0; i < from.size; ++i) {
    if (from[i] < 0 || from[i] >= num_nodes) {
      throw std::invalid_argument("graph: edge_index must be in [0, " + std::to_string(num_nodes) +
                                  "), got " + std::to_string(from[i]));
    }
    to[i] = static_cast<int32_t>(from[i]);
  }
}

void bind_edge_inner(const Tensor& f, const Tensor& t, const OptionalTensor& edges, const Shape& layout,
                     Psi psi, const Tensor& weight, int threads) {
  const Call on("edge_weight", f, threads);
  with_type(on, f, "f", [&](auto x, auto sum) {
    using X = decltype(x);
    using T = decltype(sum);
    const Shape shape = shape_of(f);
    const auto fs = on.span<const X>(f, "f", shape), ts = on.span<const X>(t, "t", shape);
    const auto to = on.output<T>(weight, "weight", {shape.at(0), num_edges_of(on, edges, layout)});
    with_graph(on, edges, layout, shape.at(2), [&](const auto& device, const auto& graph) {
      edge_inner(device, graph, psi, shape[0], shape[1], fs, ts, to);
    });
  });
}

void bind_edge_scatter(const Tensor& weight, const Tensor& f, const OptionalTensor& edges,
                       const Shape& layout, Psi psi, const OptionalTensor& distance, const Tensor& out,
                       int threads) {
  const Call on("edge_weight", f, threads);
  with_type(on, f, "f", [&](auto x, auto sum) {
    using X = decltype(x);
    using T = decltype(sum);
    const Shape shape = shape_of(f);
    const Shape by_edge{shape.at(0), num_edges_of(on, edges, layout)};
    const auto from = on.span<const T>(weight, "weight", by_edge);
    const auto distances = optional_span<const T>(on, distance, "distance", by_edge);
    if (psi == Psi::kEuclidean && distances.size != from.size) {
      on.fail("distance must be given for Psi.EUCLIDEAN");
    }
    const auto fs = on.span<const X>(f, "f", shape);
    const auto to = on.output<X>(out, "out", shape);
    with_graph(on, edges, layout, shape.at(2), [&](const auto& device, const auto& graph) {
      edge_scatter(device, graph, psi, shape[0], shape[1], from, distances, fs, to);
    });
  });
}

void bind_edge_argmax(const Tensor& f, const OptionalTensor& edges, const Shape& layout,
                      const Tensor& out, const Tensor& distance, int threads) {
  const Call on("edge_weight", f, threads);
  with_type(on, f, "f", [&](auto x, auto sum) {
    using X = decltype(x);
    using T = decltype(sum);
    const Shape shape = shape_of(f);
    const auto fs = on.span<const X>(f, "f", shape);
    const Shape by_edge{shape.at(0), num_edges_of(on, edges, layout)};
    const auto to = on.output<int64_t>(out, "out", by_edge);
    const auto distances = on.output<T>(distance, "distance", by_edge);
    with_graph(on, edges, layout, shape.at(2), [&](const auto& device, const auto& graph) {
      using AnyGraph = std::decay_t<decltype(graph)>;
      edge_argmax<AnyGraph, X, T>(device, graph, shape[0], shape[1], fs, to, distances);
    });
  });
}

void bind_rank_weights(const Tensor& weight, const Tensor& out, int threads) {
  const Call on("mst", weight, threads);
  const Shape shape = shape_of(weight);
  const auto from = on.span<const double>(weight, "weight", shape);
  const auto to = on.output<float>(out, "out", shape);
  without_gil(on, [&](const auto& device) {
    if constexpr (std::is_same_v<std::decay_t<decltype(device)>, Cpu>) {
      rank_weights(device, shape.at(0), from, to);
    }
  });
}

void bind_mst(const Tensor& weight, const OptionalTensor& edges, const Shape& layout, int64_t num_nodes,
              const OptionalTensor& roots, int64_t root, const Tensor& parent, const Tensor& edge,
              const Tensor& order, const Tensor& plan, int threads) {
  const Call on("mst", weight, threads);
  const int64_t batch = shape_of(weight).at(0);
  const auto weights = on.span<const float>(weight, "weight", {batch, num_edges_of(on, edges, layout)});
  const std::vector<int64_t> same(roots ? 0 : batch, root);
  const Span<const int64_t> root_of_each =
      roots ? on.span<const int64_t>(*roots, "root", {batch}) : Span<const int64_t>{same.data(), batch};
  const auto parents = on.output<int32_t>(parent, "parent", {batch, num_nodes});
  const auto tree_edges = on.output<int32_t>(edge, "edge", {batch, num_nodes});
  const auto orders = on.output<int32_t>(order, "order", {batch, num_nodes});
  Span<int32_t> plans;
  if (!on.is_host()) plans = on.output<int32_t>(plan, "plan", {batch, PlanView::size(num_nodes)});
  with_graph(on, edges, layout, num_nodes, [&](const auto& device, const auto& graph) {
    if constexpr (std::is_same_v<std::decay_t<decltype(device)>, Cuda>) {
      mst(device, graph, weights, root_of_each, parents, tree_edges, orders, plans);
    } else {
      mst(device, graph, weights, root_of_each, parents, tree_edges, orders);
    }
  });
}

void bind_mst_edges(const Tensor& weight, const OptionalTensor& edges, const Shape& layout,
                    int64_t num_nodes, const Tensor& mask, int threads) {
  const Call on("mst", weight, threads);
  const Shape shape{shape_of(weight).at(0), num_edges_of(on, edges, layout)};
  const auto weights = on.span<const float>(weight, "weight", shape);
  const auto to = on.output<bool>(mask, "mask", shape);
  with_graph(on, edges, layout, num_nodes, [&](const auto& device, const auto& graph) {
    mst_edges(device, graph, shape[0], weights, to);
  });
}

// The edges of trees [1 or B, N], of graphs with num_edges edges.
TreeEdges tree_edges_of(const Call& on, const Tensor& parent, const Tensor& edge, int64_t batch,
                        int64_t num_edges) {
  const Shape shape = shape_of(parent);
  check_batch(on, shape.at(0), batch);
  const TreeEdges tree{shape.at(1), on.span<const int32_t>(parent, "tree.parent", shape),
                       on.span<const int32_t>(edge, "tree.edge", shape)};
  if (!on.is_host()) return tree;
  const py::gil_scoped_release release;
  check_tree(on, tree.parent, "parent", 0, tree.nodes);
  check_tree(on, tree.edge, "edge", -1, num_edges);
  return tree;
}

void bind_sort_edges(const Tensor& weight, const Tensor& parent, const Tensor& edge, const Tensor& out,
                     const std::string& function, int threads) {
  const Call on(function, weight, threads);
  const Shape shape = shape_of(weight);
  const TreeEdges tree = tree_edges_of(on, parent, edge, shape.at(0), shape.at(1));
  const auto weights = on.span<const float>(weight, "weight", shape);
  const auto to = on.output<int32_t>(out, "out", {shape[0], tree.nodes});
  without_gil(on, [&](const auto& device) {
    if constexpr (std::is_same_v<std::decay_t<decltype(device)>, Cpu>) {
      sort_edges(device, shape[0], tree, weights, to);
    }
  });
}

Merges merges_of(const Call& on, const Tensor& nodes, const Tensor& edges, const Tensor& children,
                 int64_t batch, int64_t n) {
  const bool with_children = shape_of(children).at(1) != 0;
  return {on.output<int32_t>(nodes, "nodes", {batch, 2 * n - 1}),
          on.output<int32_t>(edges, "edges", {batch, n - 1}),
          on.output<int32_t>(children, "children", {batch, with_children ? n - 1 : 0, 2})};
}

// On CUDA the first of two steps, which finds the limbs.
void bind_merge(const Tensor& parent, const Tensor& edge, const Tensor& sorted, const Tensor& nodes,
                const Tensor& edges, const Tensor& children, const OptionalTensor& limb,
                const std::string& function, int threads) {
  const Call on(function, parent, threads);
  const int64_t batch = shape_of(sorted).at(0);
  const TreeEdges tree = tree_edges_of(on, parent, edge, batch, int64_t{1} << 31);
  const int64_t n = tree.nodes;
  const auto order = on.span<const int32_t>(sorted, "sorted", {batch, n});
  if (on.is_host()) check_tree(on, order, "edge", -1, n);
  const Merges out = merges_of(on, nodes, edges, children, batch, n);
  Span<int32_t> limbs;
  if (!on.is_host()) limbs = on.output<int32_t>(limb.value(), "limb", {batch, n - 1});
  without_gil(on, [&](const auto& device) {
    if constexpr (std::is_same_v<std::decay_t<decltype(device)>, Cuda>) {
      find_limbs(device, batch, tree, order, out, limbs);
    } else {
      merge(device, batch, tree, order, out);
    }
  });
}

void bind_join_limbs(const Tensor& limb, const Tensor& merge, const Tensor& nodes, const Tensor& edges,
                     const Tensor& children, const std::string& function) {
  const Call on(function, limb, 1);
  const Shape shape = shape_of(limb);
  const int64_t batch = shape.at(0), n = shape.at(1) + 1;
  const auto limbs = on.span<const int32_t>(limb, "limb", shape);
  const auto numbers = on.span<const int64_t>(merge, "merge", shape);
  const Merges out = merges_of(on, nodes, edges, children, batch, n);
  without_gil(on, [&](const auto& device) {
    if constexpr (std::is_same_v<std::decay_t<decltype(device)>, Cuda>) {
      join_limbs(device, batch, n, limbs, numbers, out);
    }
  });
}

void bind_lowest_leaf(const Tensor& value, const Tensor& parent, const Tensor& plan, const Tensor& out,
                      int threads) {
  const Call on("persistence", value, threads);
  const Shape shape = shape_of(value);
  const int64_t batch = shape.at(0), n = shape.at(1);
  const auto values = on.span<const int32_t>(value, "value", shape);
  const TreeView tree = tree_of(on, parent, parent, plan, batch);
  const auto to = on.output<int32_t>(out, "out", {batch, 2 * n - 1});
  without_gil(on, [&](const auto& device) {
    if constexpr (std::is_same_v<std::decay_t<decltype(device)>, Cpu>) {
      lowest_leaf(device, batch, n, values, tree.parent, to);
    } else {
      lowest_leaf(device, batch, tree, values, to);
    }
  });
}

void bind_persistence(const Tensor& values, const OptionalTensor& edges, const Shape& layout, bool holes,
                      bool superlevel, const Tensor& birth, const Tensor& death, int threads) {
  const Call on("persistence", values, threads);
  const Shape shape = shape_of(values);
  with_type(on, values, "values", [&](auto x, auto) {
    using X = decltype(x);
    const auto from = on.span<const X>(values, "values", shape);
    const auto births = on.output<int64_t>(birth, "birth", {shape.at(0), shape.at(1)});
    const auto deaths = on.output<int64_t>(death, "death", shape);
    with_graph(on, edges, layout, shape[1], [&](const auto& device, const auto& graph) {
      if constexpr (std::is_same_v<std::decay_t<decltype(device)>, Cpu>) {
        persistence(device, shape[0], graph, {superlevel, holes}, from, births, deaths);
      }
    });
  });
}

void bind_count_pairs(const Tensor& parent, const Tensor& children, const Tensor& label,
                      const Tensor& equal, const Tensor& different, int threads) {
  const Call on("malis_pairs", label, threads);
  const Shape shape = shape_of(label);
  const int64_t batch = shape.at(0), n = shape.at(1);
  const auto labels = on.span<const int32_t>(label, "labels", shape);
  const auto parents = on.span<const int32_t>(parent, "parent", {batch, 2 * n - 1});
  const auto pairs = on.span<const int32_t>(children, "children", {batch, n - 1, 2});
  if (on.is_host()) {
    check_range(on, labels, "labels must be", -1, n);
    check_range(on, parents, "h.parent must be", 0, 2 * n - 1);
    check_range(on, pairs, "children must be", -1, 2 * n - 1);
  }
  const auto same = on.output<double>(equal, "equal", {batch, n - 1});
  const auto others = on.output<double>(different, "different", {batch, n - 1});
  without_gil(on, [&](const auto& device) {
    count_pairs(device, batch, n, parents, pairs, labels, same, others);
  });
}

void bind_bottleneck_sums(const Tensor& x, const Tensor& children, const Tensor& k, const Tensor& out,
                          int threads) {
  const Call on("filter", x, threads);
  const Shape shape = shape_of(x), given = shape_of(k);
  const int64_t n = shape.at(2);
  if (given.at(0) != 1 && given[0] != shape[0]) {
    on.fail("affinity must have batch 1 or " + std::to_string(shape[0]) + ", got " +
            std::to_string(given[0]));
  }
  const auto from = on.span<const double>(x, "x", shape);
  const auto pairs = on.span<const int32_t>(children, "children", {given[0], n - 1, 2});
  if (on.is_host()) check_tree(on, pairs, "children", -1, 2 * n - 1);
  const auto bottlenecks = on.span<const double>(k, "affinity", {given[0], n - 1});
  const auto to = on.output<double>(out, "out", shape);
  without_gil(on, [&](const auto& device) {
    if constexpr (std::is_same_v<std::decay_t<decltype(device)>, Cpu>) {
      bottleneck_sums(device, shape[0], shape[1], n, from, pairs, bottlenecks, to);
    }
  });
}

void bind_watershed(const Tensor& weight, const Tensor& parent, const Tensor& edge,
                    const Tensor& markers, const Tensor& out, const std::string& function, int threads) {
  const Call on(function, weight, threads);
  const Shape shape = shape_of(weight);
  const TreeEdges tree = tree_edges_of(on, parent, edge, shape.at(0), shape.at(1));
  const auto weights = on.span<const float>(weight, "weight", shape);
  const auto from = on.span<const int64_t>(markers, "markers", {shape[0], tree.nodes});
  const auto to = on.output<int64_t>(out, "out", {shape[0], tree.nodes});
  without_gil(on, [&](const auto& device) { watershed(device, shape[0], tree, weights, from, to); });
}

// `name`: what the user calls the edges.
void bind_tree_weight(const Tensor& weight, const Tensor& edge, const Tensor& out,
                      const std::string& function, const std::string& name, int threads) {
  const Call on(function, weight, threads);
  with_sum_type(on, weight, "weight", [&](auto sum) {
    using T = decltype(sum);
    const Shape from = shape_of(weight), tree = shape_of(edge);
    const auto weights = on.span<const T>(weight, "weight", from);
    const auto edges = on.span<const int32_t>(edge, name.c_str(), tree);
    const auto to = on.output<T>(out, "out", {from.at(0), from.at(1), tree.at(1)});
    check_batch(on, tree[0], from[0]);
    without_gil(on, [&](const auto& device) {
      if constexpr (std::is_same_v<std::decay_t<decltype(device)>, Cpu>) {
        tree_weight(device, from[0], from[1], weights, edges, tree[1], to, name.c_str());
      } else {
        tree_weight(device, from[0], from[1], weights, edges, tree[1], to);
      }
    });
  });
}

void bind_tree_weight_backward(const Tensor& grad, const Tensor& edge, const Tensor& out,
                               const std::string& function, int threads) {
  const Call on(function, grad, threads);
  with_sum_type(on, grad, "grad", [&](auto sum) {
    using T = decltype(sum);
    const Shape from = shape_of(grad), tree = shape_of(edge), to = shape_of(out);
    const auto grads = on.span<const T>(grad, "grad", {to.at(0), to.at(1), tree.at(1)});
    const auto edges = on.span<const int32_t>(edge, "tree.edge", tree);
    const auto outs = on.output<T>(out, "out", to);
    check_batch(on, tree[0], from[0]);
    without_gil(on, [&](const auto& device) {
      tree_weight_backward(device, to[0], to[1], grads, edges, tree[1], outs);
    });
  });
}

// The sigma of bind_affinity: values [B, S], or one number.
template <class T>
Sigma<T> sigma_of(const Call& on, const OptionalTensor& sigma, double all, int64_t batch,
                  int64_t groups) {
  if (!sigma) return {static_cast<T>(all), {}, 1};
  const Shape shape = shape_of(*sigma);
  if (shape.size() != 2 || (shape[1] != 1 && shape[1] != groups)) on.fail("sigma must fit the groups");
  return {T(0), on.span<const T>(*sigma, "sigma", {batch, shape[1]}), shape[1]};
}

// Shapes of weight [B, W, E] and out [B, G, N]: W is G or 1.
void check_affinity(const Call& on, const Shape& weight, const Shape& tree, const Shape& out) {
  if (weight.size() != 3 || out.size() != 3 || (weight[1] != out[1] && weight[1] != 1) ||
      (tree.at(0) != 1 && tree[0] != weight[0])) {
    on.fail("tree and groups must fit the weights");
  }
}

void bind_affinity(const Tensor& weight, const Tensor& edge, const OptionalTensor& sigma, double all,
                   const Tensor& out, int threads) {
  const Call on("affinity", weight, threads);
  with_sum_type(on, weight, "weight", [&](auto sum) {
    using T = decltype(sum);
    const Shape from = shape_of(weight), tree = shape_of(edge), shape = shape_of(out);
    check_affinity(on, from, tree, shape);
    const auto weights = on.span<const T>(weight, "weight", from);
    const auto edges = on.span<const int32_t>(edge, "tree.edge", tree);
    const auto sigmas = sigma_of<T>(on, sigma, all, from[0], shape[1]);
    const auto to = on.output<T>(out, "out", {from[0], shape[1], tree.at(1)});
    without_gil(on, [&](const auto& device) {
      affinity(device, from[0], shape[1], weights, from[1], edges, tree[1], sigmas, to);
    });
  });
}

void bind_affinity_backward(const Tensor& grad, const Tensor& a, const Tensor& edge,
                            const OptionalTensor& sigma, double all, const Tensor& out, int threads) {
  const Call on("affinity", grad, threads);
  with_sum_type(on, grad, "grad", [&](auto sum) {
    using T = decltype(sum);
    const Shape from = shape_of(grad), tree = shape_of(edge), shape = shape_of(out);
    check_affinity(on, shape, tree, from);
    const Shape by_node{shape[0], from[1], tree.at(1)};
    const auto grads = on.span<const T>(grad, "grad", by_node);
    const auto as = on.span<const T>(a, "affinity", by_node);
    const auto edges = on.span<const int32_t>(edge, "tree.edge", tree);
    const auto sigmas = sigma_of<T>(on, sigma, all, shape[0], from[1]);
    const auto to = on.output<T>(out, "out", shape);
    without_gil(on, [&](const auto& device) {
      affinity_backward(device, shape[0], from[1], grads, as, edges, tree[1], sigmas, shape[1], to);
    });
  });
}

const char* name_of(Pass pass) {
  if (pass == Pass::kLeafToRoot) return "leaf_to_root";
  return pass == Pass::kRootToLeaf ? "root_to_leaf" : "filter";
}

void bind_coefficients(const Tensor& parent, const Tensor& order, const Tensor& plan,
                       const Tensor& affinity, const Tensor& out) {
  const Call on("filter", affinity, 1);
  with_sum_type(on, affinity, "affinity", [&](auto sum) {
    using T = decltype(sum);
    const Shape shape = shape_of(affinity);
    const int64_t trees = shape_of(parent).at(0), batch = trees == 1 ? shape.at(0) : trees;
    const TreeView tree = tree_of(on, parent, order, plan, batch);
    const auto a = affinity_of<T>(on, affinity, {}, tree, batch, shape.at(1));
    const auto to = on.output<double>(out, "out", {batch, a.groups, coefficients_size<T>(tree.nodes)});
    without_gil(on, [&](const auto& device) {
      if constexpr (std::is_same_v<std::decay_t<decltype(device)>, Cuda>) {
        coefficients(device, tree, a, to);
      }
    });
  });
}

void bind_propagate(Pass pass, const Tensor& x, const Tensor& parent, const Tensor& order,
                    const Tensor& plan, const Tensor& affinity, const OptionalTensor& coefficients,
                    const Tensor& out, int threads) {
  const Call on(name_of(pass), x, threads);
  with_type(on, x, "x", [&](auto value, auto sum) {
    using X = decltype(value);
    using T = decltype(sum);
    const Shape given = shape_of(x);
    const TreeView tree = tree_of(on, parent, order, plan, given.at(0));
    const Shape shape{given[0], given.at(1), tree.nodes};
    const auto from = on.strided<const X>(x, "x", shape);
    const auto to = on.strided_output<X>(out, "out", shape);
    const auto a = affinity_of<T>(on, affinity, coefficients, tree, shape[0], shape[1]);
    without_gil(on, [&](const auto& device) { propagate(device, pass, tree, a, from, to); });
  });
}

void bind_filter_backward(Pass pass, const Tensor& grad, const Tensor& x, const Tensor& parent,
                          const Tensor& order, const Tensor& plan, const Tensor& affinity,
                          const OptionalTensor& coefficients, const Tensor& grad_x,
                          const OptionalTensor& grad_affinity, int threads) {
  const Call on(name_of(pass), x, threads);
  with_type(on, x, "x", [&](auto value, auto sum) {
    using X = decltype(value);
    using T = decltype(sum);
    const Shape given = shape_of(x);
    const TreeView tree = tree_of(on, parent, order, plan, given.at(0));
    const Shape shape{given[0], given.at(1), tree.nodes};
    const auto gs = on.strided<const X>(grad, "grad", shape);
    const auto xs = on.strided<const X>(x, "x", shape);
    const auto to = on.strided_output<X>(grad_x, "grad_x", shape);
    const auto a = affinity_of<T>(on, affinity, coefficients, tree, shape[0], shape[1]);
    Span<T> ga;
    if (grad_affinity) {
      ga = on.output<T>(*grad_affinity, "grad_affinity", {shape[0], a.groups, tree.nodes});
    }
    without_gil(on, [&](const auto& device) { filter_backward(device, pass, tree, a, gs, xs, to, ga); });
  });
}

void bind_parent_dot(const Tensor& p, const Tensor& q, const Tensor& parent, int64_t groups,
                     const Tensor& out, int threads) {
  const Call on("filter", p, threads);
  with_type(on, p, "p", [&](auto value, auto sum) {
    using X = decltype(value);
    using T = decltype(sum);
    const Shape given = shape_of(p);
    const TreeView tree = tree_of(on, parent, parent, py::none(), given.at(0));
    const Shape shape{given[0], given.at(1), tree.nodes};
    const auto ps = on.strided<const X>(p, "p", shape), qs = on.strided<const X>(q, "q", shape);
    if (groups < 1 || shape[1] % groups) {
      on.fail("groups must divide the " + std::to_string(shape[1]) + " channels, got " +
              std::to_string(groups));
    }
    const auto to = on.output<T>(out, "out", {shape[0], groups, tree.nodes});
    without_gil(on, [&](const auto& device) { parent_dot(device, tree, groups, ps, qs, to); });
  });
}

void bind_plan(const Tensor& parent, const Tensor& out) {
  const Call on("Tree", parent, 1);
  const Shape shape = shape_of(parent);
  const auto parents = on.span<const int32_t>(parent, "tree.parent", shape);
  const auto to = on.output<int32_t>(out, "plan", {shape.at(0), PlanView::size(shape.at(1))});
  without_gil(on, [&](const auto& device) {
    if constexpr (std::is_same_v<std::decay_t<decltype(device)>, Cuda>) {
      plan(device, shape[0], shape[1], parents, to);
    }
  });
}

void bind_order(const Tensor& parent, const Tensor& order, const Tensor& ordered, int threads) {
  const Call on("Tree.from_parents", parent, threads);
  const Shape shape = shape_of(parent);
  const int64_t batch = shape.at(0), nodes = shape.at(1);
  const auto parents = on.span<const int32_t>(parent, "tree.parent", shape);
  const auto orders = on.output<int32_t>(order, "order", shape);
  const auto counts = on.output<int64_t>(ordered, "ordered", {batch});
  check_tree(on, parents, "parent", 0, nodes);
  without_gil(on, [&](const auto& device) {
    if constexpr (std::is_same_v<std::decay_t<decltype(device)>, Cpu>) {
      order_trees(device, nodes, parents, orders, counts);
    } else {
      throw std::invalid_argument("parent must be on the CPU, got another device");
    }
  });
}

void bind_rank_trees(const Tensor& parent, const Tensor& order, int64_t most, const Tensor& index,
                     const Tensor& above, const Tensor& children, const Tensor& needed, int threads) {
  const Call on("bfs_forward", parent, threads);
  const Shape shape = shape_of(parent);
  const int64_t batch = shape.at(0), nodes = shape.at(1);
  const auto parents = on.span<const int32_t>(parent, "tree.parent", shape);
  const auto orders = on.span<const int32_t>(order, "tree.order", shape);
  const auto indices = on.output<int32_t>(index, "index", shape);
  const auto ranks = on.output<int32_t>(above, "above", shape);
  const auto lists = on.output<int32_t>(children, "children", {batch, nodes, most});
  const auto counts = on.output<int64_t>(needed, "needed", {batch});
  check_tree(on, parents, "parent", 0, nodes);
  check_tree(on, orders, "order", 0, nodes);
  without_gil(on, [&](const auto& device) {
    if constexpr (std::is_same_v<std::decay_t<decltype(device)>, Cpu>) {
      rank_trees(device, nodes, most, parents, orders, indices, ranks, lists, counts);
    } else {
      throw std::invalid_argument("parent must be on the CPU, got another device");
    }
  });
}

// Only maxima need `bottleneck` (distance.h).
Path path_of(const OptionalTensor& bottleneck) {
  return bottleneck ? Path::kMax : Path::kSum;
}

void bind_distance(const Tensor& weight, const Tensor& parent, const Tensor& order, const Tensor& plan,
                   const Tensor& source, const Tensor& out, const Tensor& via,
                   const OptionalTensor& bottleneck, const std::string& function, int threads) {
  const Call on(function, weight, threads);
  with_sum_type(on, weight, "weight", [&](auto sum) {
    using T = decltype(sum);
    const int64_t batch = shape_of(source).at(0), sources = shape_of(source).at(1);
    const TreeView tree = tree_of(on, parent, order, plan, batch);
    const Shape given = shape_of(weight), shape{batch, sources, tree.nodes};
    const auto weights = on.span<const T>(weight, "weight", {given.at(0) == 1 ? 1 : batch, tree.nodes});
    const auto from = on.span<const int64_t>(source, "source", {batch, sources});
    const auto to = on.output<T>(out, "distance", shape);
    const auto vias = on.span<int32_t>(via, "via", shape);
    const auto edges = optional_span<int32_t>(on, bottleneck, "bottleneck", shape);
    without_gil(on, [&](const auto& device) {
      distance(device, path_of(bottleneck), tree, batch, sources, weights, from, to, vias, edges);
    });
  });
}

void bind_distance_transform(const Tensor& weight, const Tensor& parent, const Tensor& order,
                             const Tensor& plan, const Tensor& seeds, const Tensor& out,
                             const Tensor& nearest, const Tensor& via, const OptionalTensor& bottleneck,
                             int threads) {
  const Call on("distance_transform", weight, threads);
  with_sum_type(on, weight, "weight", [&](auto sum) {
    using T = decltype(sum);
    const TreeView tree = tree_of(on, parent, order, plan, shape_of(seeds).at(0));
    const Shape given = shape_of(weight), shape{shape_of(seeds)[0], tree.nodes};
    const auto weights = on.span<const T>(weight, "weight", {given[0] == 1 ? 1 : shape[0], tree.nodes});
    const auto from = on.span<const bool>(seeds, "seeds", shape);
    const auto to = on.output<T>(out, "distance", shape);
    const auto names = on.span<int64_t>(nearest, "nearest", shape);  // for a maximum, given
    const auto vias = on.span<int32_t>(via, "via", shape);
    const auto edges = optional_span<int32_t>(on, bottleneck, "bottleneck", shape);
    without_gil(on, [&](const auto& device) {
      distance_transform(device, path_of(bottleneck), tree, shape[0], weights, from, to, names, vias,
                         edges);
    });
  });
}

Span<const int32_t> via_of(const Call& on, const Tensor& via, const Shape& shape) {
  const auto values = on.span<const int32_t>(via, "via", shape);
  if (on.is_host()) check_tree(on, values, "via", -1, shape.back());
  return values;
}

void bind_path_sums(const Tensor& weight, const Tensor& parent, const Tensor& order, const Tensor& plan,
                    const Tensor& via, const Tensor& out, int threads) {
  const Call on("distance", weight, threads);
  with_sum_type(on, weight, "weight", [&](auto sum) {
    using T = decltype(sum);
    const Shape given = shape_of(weight), shape = shape_of(out);
    const TreeView tree = tree_of(on, parent, order, plan, shape.at(0));
    const auto weights =
        on.span<const T>(weight, "weight", {given[0] == 1 ? 1 : shape.at(0), tree.nodes});
    const auto vias = via_of(on, via, {shape[0], shape.at(1), tree.nodes});
    const auto to = on.output<T>(out, "out", {shape[0], shape[1], tree.nodes});
    without_gil(
        on, [&](const auto& device) { path_sums(device, tree, shape[0], shape[1], weights, vias, to); });
  });
}

void bind_accumulate_sums(const Tensor& grad, const Tensor& parent, const Tensor& order,
                          const Tensor& plan, const Tensor& via, const Tensor& out, int threads) {
  const Call on("distance", grad, threads);
  with_sum_type(on, grad, "grad", [&](auto sum) {
    using T = decltype(sum);
    const Shape given = shape_of(grad);
    const TreeView tree = tree_of(on, parent, order, plan, given.at(0));
    const Shape shape{given[0], given.at(1), tree.nodes};
    const auto grads = on.span<const T>(grad, "grad", shape);
    const auto vias = via_of(on, via, shape);
    const auto to = on.output<T>(out, "out", {shape[0], tree.nodes});
    without_gil(on, [&](const auto& device) {
      accumulate_sums(device, tree, shape[0], shape[1], grads, vias, to);
    });
  });
}

void bind_l1_difference(const Tensor& x, const Tensor& y, const Tensor& out, const OptionalTensor& sign,
                        int threads) {
  const Call on("difference", x, threads);
  with_sum_type(on, x, "probability", [&](auto sum) {
    using T = decltype(sum);
    const Shape shape = shape_of(x);
    const auto xs = on.span<const T>(x, "probability", shape);
    const auto ys = on.span<const T>(y, "pseudo", shape);
    const auto to = on.output<T>(out, "out", {shape.at(0), shape.at(2)});
    const auto signs = sign ? on.output<int8_t>(*sign, "sign", shape) : Span<int8_t>{};
    without_gil(on, [&](const auto& device) {
      l1_difference(device, shape[0], shape[1], shape[2], xs, ys, to, signs);
    });
  });
}

void bind_l1_difference_backward(const Tensor& grad, const Tensor& sign, const Tensor& grad_x,
                                 const OptionalTensor& grad_y, int threads) {
  const Call on("difference", grad, threads);
  with_sum_type(on, grad, "grad", [&](auto sum) {
    using T = decltype(sum);
    const Shape shape = shape_of(sign);
    const auto grads = on.span<const T>(grad, "grad", {shape.at(0), shape.at(2)});
    const auto signs = on.span<const int8_t>(sign, "sign", shape);
    const auto to_x = on.output<T>(grad_x, "grad_x", shape);
    const auto to_y = grad_y ? on.output<T>(*grad_y, "grad_y", shape) : Span<T>{};
    without_gil(on, [&](const auto& device) {
      l1_difference_backward(device, shape[0], shape[1], shape[2], grads, signs, to_x, to_y);
    });
  });
}

}  // namespace

// CMakeLists.txt builds this module once for each instruction set: _C, _C_avx2.
PYBIND11_MODULE(TREEFILTER_MODULE, m, py::mod_gil_not_used()) {
  m.doc() = "Native code of treefilter; the contracts are in src/*.h.";
  translate_interrupts();
  m.attr("instruction_set") = TREEFILTER_INSTRUCTION_SET;
#ifdef TREEFILTER_CUDA
  m.attr("with_cuda") = true;
#else
  m.attr("with_cuda") = false;
#endif
#ifdef TREEFILTER_EMULATE
  m.attr("emulated") = true;
  // name -> launches, barriers of grids, clusters and blocks, dependent steps, those in shared memory,
  // bytes of workspaces, and the most steps of both kinds that a thread takes between two barriers
  m.def("take_counts", [] {
    std::map<std::string, std::array<int64_t, 8>> found;
    for (const auto& [name, of] : emulation::take_counts()) {
      found[name] = {
          of.launches,     of.grid_barriers, of.cluster_barriers, of.block_barriers,
          of.steps.memory, of.steps.shared,  of.workspace,        of.longest.memory + of.longest.shared};
    }
    return found;
  });
#else
  m.attr("emulated") = false;
#endif
  m.def("plan_size", &PlanView::size);
  py::enum_<Psi>(m, "Psi")
      .value("IDENTITY", Psi::kIdentity)
      .value("SIGN", Psi::kSign)
      .value("EUCLIDEAN", Psi::kEuclidean);
  py::enum_<Pass>(m, "Pass")
      .value("LEAF_TO_ROOT", Pass::kLeafToRoot)
      .value("ROOT_TO_LEAF", Pass::kRootToLeaf)
      .value("SUM", Pass::kSum)
      .value("MEAN", Pass::kMean);
  m.def("edge_list", edge_list);
  m.def("edge_inner", bind_edge_inner);
  m.def("edge_scatter", bind_edge_scatter);
  m.def("edge_argmax", bind_edge_argmax);
  m.def("rank_weights", bind_rank_weights);
  m.def("mst", bind_mst);
  m.def("mst_edges", bind_mst_edges);
  m.def("plan", bind_plan);
  m.def("order", bind_order);
  m.def("rank_trees", bind_rank_trees);
  m.def("sort_edges", bind_sort_edges);
  m.def("merge", bind_merge);
  m.def("join_limbs", bind_join_limbs);
  m.def("lowest_leaf", bind_lowest_leaf);
  m.def("persistence", bind_persistence);
  m.def("count_pairs", bind_count_pairs);
  m.def("bottleneck_sums", bind_bottleneck_sums);
  m.def("watershed", bind_watershed);
  m.def("tree_weight", bind_tree_weight);
  m.def("tree_weight_backward", bind_tree_weight_backward);
  m.def("affinity", bind_affinity);
  m.def("affinity_backward", bind_affinity_backward);
  m.def("coefficients", bind_coefficients);
  m.def("propagate", bind_propagate);
  m.def("filter_backward", bind_filter_backward);
  m.def("parent_dot", bind_parent_dot);
  m.def("distance", bind_distance);
  m.def("distance_transform", bind_distance_transform);
  m.def("path_sums", bind_path_sums);
  m.def("accumulate_sums", bind_accumulate_sums);
  m.def("l1_difference", bind_l1_difference);
  m.def("l1_difference_backward", bind_l1_difference_backward);
}

}  // namespace treefilter
