// The native vocabulary: the types that all code below the bindings uses. No torch, no Python. Sizes are
// int64_t, indices of vertices and edges are int32_t.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

// In front of a function that device code calls as well (cuda/runtime/launch.cuh).
#ifdef __CUDACC__
#define TREEFILTER_HD __host__ __device__
#else
#define TREEFILTER_HD
#endif

namespace treefilter {

// In front of a part of an algorithm that profiles show by its name (`make bench-profile`). It is called
// only a few times, so that the calls cost nothing.
#define TREEFILTER_PHASE __attribute__((noinline))

// Stops long work on the CPU, for Ctrl-C (python/interrupts.h).
class Interrupts {
 public:
  // Throws Interrupted if the work shall stop. Any thread may call it, as often as it likes.
  virtual void check() = 0;

 protected:
  ~Interrupts() = default;
};
struct Interrupted {};

// A call of the CPU back end: the number of threads. (For CUDA see cuda/runtime/call.h.)
struct Cpu {
  int threads;
  Interrupts* interrupts;  // null: never interrupted

  Cpu(int threads, Interrupts* interrupts = nullptr) : threads(threads), interrupts(interrupts) {}

  // Called between parts of the work that take some milliseconds at most. Workspaces are released by
  // their destructors, and what was written to outputs is discarded by the caller.
  void check() const {
    if (interrupts != nullptr) interrupts->check();
  }
};

// A borrowed array. The bindings alone make it from a tensor, and check it.
template <class T>
struct Span {
  T* data = nullptr;
  int64_t size = 0;

  TREEFILTER_HD T& operator[](int64_t i) const { return data[i]; }
  TREEFILTER_HD Span sub(int64_t offset, int64_t count) const { return {data + offset, count}; }
};

// A borrowed (B, C, N) array with any strides, so that channels-last and expanded tensors need no copy.
template <class T>
struct Strided {
  T* data = nullptr;
  int64_t batch = 0, channels = 0, nodes = 0;
  int64_t batch_stride = 0, channel_stride = 0, node_stride = 0;

  TREEFILTER_HD T* at(int64_t b, int64_t c) const {
    return data + b * batch_stride + c * channel_stride;
  }
};

// -1, 0 or 1; 0 for NaN.
template <class T>
TREEFILTER_HD T sign_of(T value) {
  return static_cast<T>((value > 0) - (value < 0));
}

// ---- 16-bit floats: stored as they are, computed with in float ----

struct BFloat16 {
  uint16_t bits;
};

struct Half {
  uint16_t bits;
};

TREEFILTER_HD inline float bits_to_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

TREEFILTER_HD inline uint32_t float_to_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

template <class T>
TREEFILTER_HD T load(float value) {
  return static_cast<T>(value);
}
template <class T>
TREEFILTER_HD T load(double value) {
  return static_cast<T>(value);
}
template <class T>
TREEFILTER_HD T load(BFloat16 value) {
  return static_cast<T>(bits_to_float(static_cast<uint32_t>(value.bits) << 16));
}
template <class T>
TREEFILTER_HD T load(Half value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000u) << 16;
  const uint32_t rest = value.bits & 0x7fffu;
  // A subnormal half is an integer multiple of 2^-24. For others only the bias of the exponent changes.
  const float magnitude = rest < 0x0400u   ? static_cast<float>(rest) * 0x1p-24f
                          : rest < 0x7c00u ? bits_to_float((rest << 13) + (112u << 23))
                                           : bits_to_float((rest << 13) + (224u << 23));
  return static_cast<T>(bits_to_float(float_to_bits(magnitude) | sign));
}

TREEFILTER_HD inline void store(float& to, double value) {
  to = static_cast<float>(value);
}
TREEFILTER_HD inline void store(double& to, double value) {
  to = value;
}
TREEFILTER_HD inline void store(BFloat16& to, double value) {
  const uint32_t bits = float_to_bits(static_cast<float>(value));
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  // Round to nearest, ties to even.
  to.bits = nan ? 0x7fc0 : static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
TREEFILTER_HD inline void store(Half& to, double value) {
  const uint32_t bits = float_to_bits(static_cast<float>(value));
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t rest = bits & 0x7fffffffu;
  uint32_t half;
  if (rest > 0x7f800000u) {
    half = 0x7e00u;
  } else if (rest >= 0x477ff000u) {  // rounds beyond the largest half
    half = 0x7c00u;
  } else if (rest < 0x38800000u) {  // subnormal: adding 0.5 aligns the last bit and rounds to even
    half = float_to_bits(bits_to_float(rest) + 0.5f) - 0x3f000000u;
  } else {
    half = (rest - (112u << 23) + 0x0fffu + ((rest >> 13) & 1u)) >> 13;
  }
  to.bits = static_cast<uint16_t>(half | sign);
}

}  // namespace treefilter
