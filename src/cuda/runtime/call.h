// The CUDA back end as the stages' headers see it: a stream, and where workspaces come from. Plain C++:
// what includes this needs no CUDA.
#pragma once

#include <cstddef>
#include <cstdint>
#include <tuple>

namespace treefilter {

// Gives memory that lives until the call's work on the stream is done. bindings.cpp asks torch for it:
// nothing below allocates on the device.
class DeviceMemory {
 public:
  virtual void* take(size_t bytes) = 0;

 protected:
  ~DeviceMemory() = default;
};

struct Cuda {
  void* stream;  // cudaStream_t of the tensors' device, which is the current device
  DeviceMemory* memory;

  // Arrays of these types and lengths, not initialised, in one piece:
  //   const auto [best, set] = cuda.arrays<uint64_t, int32_t>(n, n);
  template <class... T, class... Length>
  std::tuple<T*...> arrays(Length... lengths) const {
    static_assert(sizeof...(T) == sizeof...(Length));
    const size_t total = (aligned(static_cast<size_t>(lengths) * sizeof(T)) + ... + 0);
    char* next = static_cast<char*>(memory->take(total));
    const auto cut = [&](size_t bytes) {
      char* piece = next;
      next += aligned(bytes);
      return piece;
    };
    return std::tuple<T*...>{reinterpret_cast<T*>(cut(static_cast<size_t>(lengths) * sizeof(T)))...};
  }

 private:
  static constexpr size_t aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }
};

}  // namespace treefilter
