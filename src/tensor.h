// The only way from a tensor to a pointer: every check of dtype, shape, device and contiguity that the
// native code relies on, made once, where the pointer is made. torch is met as Python objects only, so
// one build serves every version of it.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "core.h"

namespace treefilter {

namespace py = pybind11;

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

using Shape = std::vector<int64_t>;

[[noreturn]] inline void refuse(py::handle tensor, const char* name, const std::string& expected) {
  throw std::invalid_argument(std::string(name) + " must be a " + expected + ", got " +
                              py::str(tensor.attr("shape")).cast<std::string>() + " " +
                              py::str(tensor.attr("dtype")).cast<std::string>() + " on " +
                              py::str(tensor.attr("device")).cast<std::string>());
}

// A pointer to a CPU tensor of this dtype and shape; any strides.
template <class T>
T* pointer(py::handle tensor, const char* name, const Shape& shape) {
  const bool fits = has_dtype<T>(tensor) && tensor.attr("is_cpu").cast<bool>() &&
                    tensor.attr("shape").cast<Shape>() == shape;
  if (!fits) {
    refuse(tensor, name,
           std::string(kDtypeName<std::remove_const_t<T>>) + " CPU tensor of shape " +
               py::str(py::cast(shape)).cast<std::string>());
  }
  return reinterpret_cast<T*>(tensor.attr("data_ptr")().cast<uintptr_t>());
}

template <class T>
Span<T> span(py::handle tensor, const char* name, const Shape& shape) {
  T* data = pointer<T>(tensor, name, shape);
  if (!tensor.attr("is_contiguous")().cast<bool>()) refuse(tensor, name, "contiguous tensor");
  int64_t size = 1;
  for (int64_t length : shape) size *= length;
  return {data, size};
}

// A (B, C, N) tensor with any strides.
template <class T>
Strided<T> strided(py::handle tensor, const char* name, const Shape& shape) {
  T* data = pointer<T>(tensor, name, shape);
  const auto strides = tensor.attr("stride")().cast<Shape>();
  return {data, shape.at(0), shape.at(1), shape.at(2), strides.at(0), strides.at(1), strides.at(2)};
}

inline Shape shape_of(py::handle tensor) {
  return tensor.attr("shape").cast<Shape>();
}

// Calls run(X{}, T{}) with the tensor's type and the type that it is summed in.
template <class Run>
void with_type(py::handle tensor, const char* name, const Run& run) {
  if (has_dtype<float>(tensor)) return run(float{}, float{});
  if (has_dtype<double>(tensor)) return run(double{}, double{});
  if (has_dtype<BFloat16>(tensor)) return run(BFloat16{}, float{});
  if (has_dtype<Half>(tensor)) return run(Half{}, float{});
  refuse(tensor, name, "floating point tensor");
}

// The same for tensors that are in their summation type already.
template <class Run>
void with_sum_type(py::handle tensor, const char* name, const Run& run) {
  if (has_dtype<float>(tensor)) return run(float{});
  if (has_dtype<double>(tensor)) return run(double{});
  refuse(tensor, name, "float32 or float64 tensor");
}

}  // namespace treefilter
