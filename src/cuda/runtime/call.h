// A call of the CUDA back end, as the headers of the stages see it: a stream, and memory for workspaces.
// Plain C++: a file that includes this needs no CUDA compiler.
#pragma once

#include <cstddef>
#include <cstdint>
#include <tuple>

namespace treefilter {

// Gives memory that lives until the call's work on the stream is done. The bindings take it from torch;
// nothing below them allocates memory on the device.
class DeviceMemory {
 public:
  virtual void* take(size_t bytes) = 0;

 protected:
  ~DeviceMemory() = default;
};

struct Cuda {
  void* stream;  // cudaStream_t of the tensors' device, which is the current device
  DeviceMemory* memory;

  // Arrays of these types and lengths, not initialised, in one allocation:
  //   const auto [best, set] = cuda.arrays<uint64_t, int32_t>(n, n);
  template <class... T, class... Length>
  std::tuple<T*...> arrays(Length... lengths) const {
    static_assert(sizeof...(T) == sizeof...(Length));
    const size_t total = (aligned(static_cast<size_t>(lengths) * sizeof(T)) + ... + 0);
    char* next = static_cast<char*>(memory->take(total));
    const auto cut = [&](size_t bytes) {
      char* const array = next;
      next += aligned(bytes);
      return array;
    };
    return std::tuple<T*...>{reinterpret_cast<T*>(cut(static_cast<size_t>(lengths) * sizeof(T)))...};
  }

 private:
  static constexpr size_t aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }
};

}  // namespace treefilter
