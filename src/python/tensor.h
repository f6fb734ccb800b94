// The only way from a tensor to a pointer. Every check of dtype, shape, device and contiguity that the
// native code relies on is made here, once. torch is used through Python objects only, so one build
// serves every version of torch. (More than 300 lines, so that no other file makes a pointer.)
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../cpu/support/workspace.h"
#include "../filter.h"
#include "../graph.h"
#include "device.h"
#include "interrupts.h"

namespace treefilter {

namespace py = pybind11;

using Shape = std::vector<int64_t>;

template <class T>
constexpr const char* kDtypeName = nullptr;
template <>
inline constexpr const char* kDtypeName<float> = "float32";
template <>
inline constexpr const char* kDtypeName<double> = "float64";
template <>
inline constexpr const char* kDtypeName<BFloat16> = "bfloat16";
template <>
inline constexpr const char* kDtypeName<Half> = "float16";
template <>
inline constexpr const char* kDtypeName<int8_t> = "int8";
template <>
inline constexpr const char* kDtypeName<int32_t> = "int32";
template <>
inline constexpr const char* kDtypeName<int64_t> = "int64";
template <>
inline constexpr const char* kDtypeName<bool> = "bool";

// torch's dtype object for T, looked up once.
template <class T>
py::handle dtype() {
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<py::object> storage;
  return storage
      .call_once_and_store_result([] {
        return py::object(py::module_::import("torch").attr(kDtypeName<std::remove_const_t<T>>));
      })
      .get_stored();
}

template <class T>
bool has_dtype(py::handle tensor) {
  return py::object(tensor.attr("dtype")).ptr() == dtype<T>().ptr();
}

// "a float32 tensor", "an int32 tensor".
inline std::string with_article(const std::string& noun) {
  return (noun.find_first_of("aeiou") == 0 ? "an " : "a ") + noun;
}

// One call of the native code: the device that all of its tensors must be on, and how code runs there.
// With TREEFILTER_EMULATE (a build for tests) device code runs on the CPU, for CPU tensors.
class Call {
 public:
  // `function` is the public function's name, for messages.
  Call(std::string function, py::handle tensor, int threads)
      : function_(std::move(function)), is_cpu_(tensor.attr("is_cpu").cast<bool>()), threads_(threads) {
    if (is_cpu_) return;
    device_ = tensor.attr("device");
#ifdef TREEFILTER_CUDA
    if (tensor.attr("is_cuda").cast<bool>()) {
      on_device_.emplace(device_);
      return;
    }
#endif
    throw std::runtime_error(function_ + ": treefilter was not built for tensors on " +
                             py::str(device_).cast<std::string>());
  }

  // Throws an error in the one form: "function: argument must be what was expected, got …".
  [[noreturn]] void fail(const std::string& message) const {
    throw std::invalid_argument(function_ + ": " + message);
  }

  [[noreturn]] void refuse(py::handle tensor, const char* name, const std::string& expected) const {
    fail(std::string(name) + " must be " + with_article(expected) + ", got " +
         py::str(tensor.attr("shape")).cast<std::string>() + " " +
         py::str(tensor.attr("dtype")).cast<std::string>() + " on " +
         py::str(tensor.attr("device")).cast<std::string>());
  }

  // Whether the CPU's code runs: values can be checked before the work.
  bool is_host() const { return !kEmulated && is_cpu_; }

  // Calls work(Cpu{…}) or work(Cuda{…}). What the native code says of an argument gets the function's
  // name.
  template <class Work>
  void run(const Work& work) const {
    try {
      run_on_device(work);
    } catch (const std::invalid_argument& error) {
      fail(error.what());
    }
  }

  template <class Work>
  void run_on_device(const Work& work) const {
#if defined(TREEFILTER_EMULATE)
    EmulatedMemory memory;
    work(Cuda{nullptr, &memory});
#else
#ifdef TREEFILTER_CUDA
    if (on_device_) return on_device_->run(work);
#endif
    PythonInterrupts interrupts;
    work(Cpu{threads_, &interrupts});
#endif
  }

  // A pointer to the data of a tensor of this dtype and shape on the call's device; any strides.
  template <class T>
  T* pointer(py::handle tensor, const char* name, const Shape& shape) const {
    const bool here =
        is_cpu_ ? tensor.attr("is_cpu").cast<bool>() : py::object(tensor.attr("device")).equal(device_);
    if (!here || !has_dtype<T>(tensor) || tensor.attr("shape").cast<Shape>() != shape) {
      const std::string device = is_cpu_ ? "CPU" : py::str(device_).cast<std::string>();
      refuse(tensor, name,
             std::string(kDtypeName<std::remove_const_t<T>>) + " " + device + " tensor of shape " +
                 py::str(py::cast(shape)).cast<std::string>());
    }
    return reinterpret_cast<T*>(tensor.attr("data_ptr")().cast<uintptr_t>());
  }

  template <class T>
  Span<T> span(py::handle tensor, const char* name, const Shape& shape) const {
    T* data = pointer<T>(tensor, name, shape);
    if (!tensor.attr("is_contiguous")().cast<bool>()) refuse(tensor, name, "contiguous tensor");
    int64_t size = 1;
    for (int64_t length : shape) size *= length;
    return {data, size};
  }

  // A (B, C, N) tensor with any strides.
  template <class T>
  Strided<T> strided(py::handle tensor, const char* name, const Shape& shape) const {
    T* data = pointer<T>(tensor, name, shape);
    const auto strides = tensor.attr("stride")().cast<Shape>();
    return {data, shape.at(0), shape.at(1), shape.at(2), strides.at(0), strides.at(1), strides.at(2)};
  }

  // The same for an output, a tensor that was allocated for this call and is written for the first time.
  template <class T>
  Span<T> output(py::handle tensor, const char* name, const Shape& shape) const {
    const Span<T> to = span<T>(tensor, name, shape);
    if (is_host()) prefer_huge_pages(to.data, static_cast<size_t>(to.size) * sizeof(T));
    return to;
  }

  template <class T>
  Strided<T> strided_output(py::handle tensor, const char* name, const Shape& shape) const {
    const Strided<T> to = strided<T>(tensor, name, shape);
    const int64_t size = to.batch * to.channels * to.nodes;
    if (is_host()) prefer_huge_pages(to.data, static_cast<size_t>(size) * sizeof(T));
    return to;
  }

 private:
#ifdef TREEFILTER_EMULATE
  static constexpr bool kEmulated = true;
#else
  static constexpr bool kEmulated = false;
#endif

  std::string function_;
  bool is_cpu_;
  int threads_;
  py::object device_;  // if it is not the CPU
#ifdef TREEFILTER_CUDA
  std::optional<OnDevice> on_device_;
#endif
};

inline Shape shape_of(py::handle tensor) {
  return tensor.attr("shape").cast<Shape>();
}

// Calls run(X{}, T{}) with the type of the tensor's values and the type of sums of them.
template <class Run>
void with_type(const Call& on, py::handle tensor, const char* name, const Run& run) {
  if (has_dtype<float>(tensor)) return run(float{}, float{});
  if (has_dtype<double>(tensor)) return run(double{}, double{});
  if (has_dtype<BFloat16>(tensor)) return run(BFloat16{}, float{});
  if (has_dtype<Half>(tensor)) return run(Half{}, float{});
  on.refuse(tensor, name, "floating point tensor");
}

// Calls run(T{}) for tensors of a type that is also the type of sums.
template <class Run>
void with_sum_type(const Call& on, py::handle tensor, const char* name, const Run& run) {
  if (has_dtype<float>(tensor)) return run(float{});
  if (has_dtype<double>(tensor)) return run(double{});
  on.refuse(tensor, name, "float32 or float64 tensor");
}

// ---- graphs and trees: their indices are checked too, so that nothing is read out of bounds ----

using OptionalTensor = std::optional<py::object>;

// Throws unless all values are in [low, end). `expected` is the message up to "in".
inline void check_range(const Call& on, Span<const int32_t> values, const std::string& expected,
                        int64_t low, int64_t end) {
  // Without an early exit, so that the compiler vectorises it: it runs in every call.
  const int32_t first = static_cast<int32_t>(low), last = static_cast<int32_t>(end - 1);
  const auto is_outside = [=](int32_t value) { return (value < first) | (value > last); };
  int32_t outside = 0;
  for (int64_t i = 0; i < values.size; ++i) outside |= is_outside(values[i]);
  if (outside == 0) return;
  const int32_t wrong = *std::find_if(values.data, values.data + values.size, is_outside);
  on.fail(expected + " in [" + std::to_string(low) + ", " + std::to_string(end) + "), got " +
          std::to_string(wrong));
}

// Of sizes and directions that fit: everything else divides by them and multiplies them.
inline Grid grid_of(const Call& on, const Shape& layout) {
  const size_t steps = layout.size() - 3;
  if (layout.size() < 6 || steps % 3 != 0 || steps / 3 > kMaxDirections) {
    on.fail("graph must have a layout of 3 sizes and 1 to 13 directions, got " +
            std::to_string(layout.size()) + " values");
  }
  int64_t nodes = 1;
  for (size_t i = 0; i < layout.size(); ++i) {
    const bool is_size = i < 3, is_dz = i % 3 == 0;
    const int64_t low = is_size ? 1 : is_dz ? 0 : -1, high = is_size ? INT32_MAX / nodes : 1;
    if (layout[i] < low || layout[i] > high) {
      on.fail("graph must be a grid of at most 2**31 - 1 vertices, got the layout " +
              py::str(py::cast(layout)).cast<std::string>());
    }
    if (is_size) nodes *= layout[i];
  }
  for (size_t i = 3; i < layout.size(); i += 3) {
    const int64_t dz = layout[i], dy = layout[i + 1], dx = layout[i + 2];
    if (9 * dz + 3 * dy + dx <= 0) {
      on.fail("graph must have directions to vertices of higher numbers, got the layout " +
              py::str(py::cast(layout)).cast<std::string>());
    }
  }
  const Grid grid(layout[0], layout[1], layout[2], static_cast<int>(steps / 3), layout.data() + 3);
  if (grid.num_edges() > INT32_MAX) {
    on.fail("graph must have at most 2**31 - 1 edges, got " + std::to_string(grid.num_edges()));
  }
  return grid;
}

inline EdgeList edge_list_of(const Call& on, py::handle edges, int64_t num_nodes) {
  if (num_nodes < 1 || num_nodes > INT32_MAX) {
    on.fail("graph must have 1 to 2**31 - 1 vertices, got " + std::to_string(num_nodes));
  }
  const int64_t num_edges = shape_of(edges).at(1);
  const auto ends = on.span<const int32_t>(edges, "edges", {2, num_edges});
  if (on.is_host()) check_range(on, ends, "graph must have edges between vertices", 0, num_nodes);
  return {num_nodes, ends.sub(0, num_edges), ends.sub(num_edges, num_edges)};
}

// Calls run(Cpu or Cuda, grid or edge list), without the GIL.
template <class Run>
void with_graph(const Call& on, const OptionalTensor& edges, const Shape& layout, int64_t num_nodes,
                const Run& run) {
  const auto work = [&](const auto& graph) {
    const py::gil_scoped_release release;
    on.run([&](const auto& device) { run(device, graph); });
  };
  if (edges) return work(edge_list_of(on, *edges, num_nodes));
  const Grid graph = grid_of(on, layout);
  if (graph.num_nodes() != num_nodes) {
    on.fail("graph must have " + std::to_string(num_nodes) + " vertices, got " +
            std::to_string(graph.num_nodes()));
  }
  work(graph);
}

// Calls run(Cpu or Cuda), without the GIL.
template <class Run>
void without_gil(const Call& on, const Run& run) {
  const py::gil_scoped_release release;
  on.run(run);
}

inline int64_t num_edges_of(const Call& on, const OptionalTensor& edges, const Shape& layout) {
  return edges ? shape_of(*edges).at(1) : grid_of(on, layout).num_edges();
}

inline void check_tree(const Call& on, Span<const int32_t> values, const char* name, int64_t low,
                       int64_t end) {
  check_range(on, values, std::string("tree.") + name + " must be", low, end);
}

inline void check_batch(const Call& on, int64_t trees, int64_t batch) {
  if (trees == 1 || trees == batch) return;
  on.fail("tree must have batch 1 or " + std::to_string(batch) + ", got " + std::to_string(trees));
}

// One tree for all of the batch, or one for each.
inline TreeView tree_of(const Call& on, py::handle parent, py::handle order, py::handle plan,
                        int64_t batch) {
  const Shape shape = shape_of(parent);
  check_batch(on, shape.at(0), batch);
  TreeView tree{shape.at(0),
                shape.at(1),
                on.span<const int32_t>(parent, "tree.parent", shape),
                on.span<const int32_t>(order, "tree.order", shape),
                {}};
  if (!on.is_host()) {  // the plan was computed from the parents by our own code, and needs no check
    if (plan.is_none()) return tree;
    tree.plan = on.span<const int32_t>(plan, "tree.plan", {shape[0], PlanView::size(shape[1])});
    return tree;
  }
  const py::gil_scoped_release release;
  check_tree(on, tree.parent, "parent", 0, tree.nodes);
  check_tree(on, tree.order, "order", 0, tree.nodes);
  return tree;
}

// The affinity, and the mean's coefficients if they are given.
template <class T>
Affinity<T> affinity_of(const Call& on, py::handle affinity, const OptionalTensor& coefficients,
                        const TreeView& tree, int64_t batch, int64_t channels) {
  const Shape shape = shape_of(affinity);
  const int64_t groups = shape.at(1);
  const bool fits = (shape[0] == 1 || shape[0] == batch) && groups > 0 && channels % groups == 0;
  if (!fits) {
    on.fail("affinity must have batch 1 or " + std::to_string(batch) + " and groups that divide the " +
            std::to_string(channels) + " channels, got " + py::str(py::cast(shape)).cast<std::string>());
  }
  const auto values = on.span<const T>(affinity, "affinity", {shape[0], groups, tree.nodes});
  Span<const double> made;
  if (coefficients) {
    const int64_t families = tree.batch == 1 && shape[0] == 1 ? 1 : batch;
    made = on.span<const double>(*coefficients, "coefficients",
                                 {families, groups, coefficients_size<T>(tree.nodes)});
  }
  return {shape[0], groups, values, made};
}

}  // namespace treefilter
