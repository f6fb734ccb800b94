// Short vectors of the register width that the compiler builds for, loops over the channels of a vertex,
// and the transposition of small squares. Written with GCC's and clang's vector types: no instruction
// set is named here.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace treefilter {

#if defined(__AVX__)
constexpr int kRegisterBytes = 32;
#else
constexpr int kRegisterBytes = 16;
#endif

template <class T, int Count>
struct VectorOf {
  typedef T type __attribute__((vector_size(Count * sizeof(T))));
};
template <class T>
struct VectorOf<T, 1> {
  using type = T;
};

template <class T, int Count>
using Vector = typename VectorOf<T, Count>::type;

template <int Count, class T>
Vector<T, Count> load_vector(const T* from) {
  Vector<T, Count> v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

template <class V, class T>
void store_vector(T* to, V v) {
  std::memcpy(to, &v, sizeof v);
}

// The bits of each value, as integers.
template <class T, int Count>
auto bits_of(Vector<T, Count> v) {
  Vector<std::conditional_t<sizeof(T) == sizeof(int32_t), int32_t, int64_t>, Count> bits;
  static_assert(sizeof bits == sizeof v);
  std::memcpy(&bits, &v, sizeof bits);
  return bits;
}

// How many of a vertex's channels are computed at a time.
template <class T, int Lanes>
constexpr int kVectorSize =
    Lanes * static_cast<int>(sizeof(T)) < kRegisterBytes ? Lanes
                                                         : kRegisterBytes / static_cast<int>(sizeof(T));

// How many channels a vertex has, and how far apart the channels of two vertices are: known at compile
// time (Lanes), or not (AnyLanes).
template <int N, int Stride = N>
struct Lanes {
  int64_t stride() const { return Stride; }
};
template <int N, int Stride>
constexpr int lanes_of(Lanes<N, Stride>) {
  return N;
}
struct AnyLanes {
  int64_t count = 0, vertex_stride = 0;
  int64_t stride() const { return vertex_stride; }
};
constexpr int lanes_of(const AnyLanes&) {
  return 0;
}

template <int Count>
using VectorSize = std::integral_constant<int, Count>;

// Calls visit(l, size) for every vector of a vertex's channels: `size` channels from channel l on.
template <class T, int N, int Stride, class Visit>
inline __attribute__((always_inline)) void for_vectors(Lanes<N, Stride>, const Visit& visit) {
  constexpr int kSize = kVectorSize<T, N>;
  static_assert(N % kSize == 0);
#pragma GCC unroll 8
  for (int l = 0; l < N; l += kSize) visit(l, VectorSize<kSize>{});
}

template <class T, class Visit>
inline __attribute__((always_inline)) void for_vectors(const AnyLanes& lanes, const Visit& visit) {
  constexpr int kSize = kRegisterBytes / static_cast<int>(sizeof(T)), kUnrolled = 4 * kSize;
  int64_t l = 0;
  for (; l + kUnrolled <= lanes.count; l += kUnrolled) {
    for (int i = 0; i < kUnrolled; i += kSize) visit(l + i, VectorSize<kSize>{});
  }
  for (; l + kSize <= lanes.count; l += kSize) visit(l, VectorSize<kSize>{});
  for (; l < lanes.count; ++l) visit(l, VectorSize<1>{});
}

// The sum of N values, in the same order of additions whatever the width of registers is.
template <int N, class T>
T sum_of(const T* values) {
  constexpr int kSize = N * sizeof(T) < 16 ? N : 16 / static_cast<int>(sizeof(T));
  Vector<T, kSize> sums = load_vector<kSize>(values);
  for (int l = kSize; l < N; l += kSize) sums += load_vector<kSize>(values + l);
  if constexpr (kSize == 1) return sums;
  if constexpr (kSize == 2) return sums[0] + sums[1];
  if constexpr (kSize == 4) return (sums[0] + sums[2]) + (sums[1] + sums[3]);
}

// The side of a square of values whose rows are 16-byte vectors: 4 floats or 2 doubles. Where registers
// are twice as wide, two squares are transposed at once.
template <class T>
constexpr int kSquare = 16 / static_cast<int>(sizeof(T));

inline void join(Vector<float, 4> a, Vector<float, 4> b, Vector<float, 8>& to) {
  to = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7);
}
inline void join(Vector<double, 2> a, Vector<double, 2> b, Vector<double, 4>& to) {
  to = __builtin_shufflevector(a, b, 0, 1, 2, 3);
}
inline void transpose(Vector<float, 4> (&m)[4]) {
  const auto a = __builtin_shufflevector(m[0], m[1], 0, 4, 1, 5);
  const auto b = __builtin_shufflevector(m[2], m[3], 0, 4, 1, 5);
  const auto c = __builtin_shufflevector(m[0], m[1], 2, 6, 3, 7);
  const auto d = __builtin_shufflevector(m[2], m[3], 2, 6, 3, 7);
  m[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5);
  m[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
  m[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5);
  m[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
}

inline void transpose(Vector<float, 8> (&m)[4]) {
  const auto a = __builtin_shufflevector(m[0], m[1], 0, 8, 1, 9, 4, 12, 5, 13);
  const auto b = __builtin_shufflevector(m[2], m[3], 0, 8, 1, 9, 4, 12, 5, 13);
  const auto c = __builtin_shufflevector(m[0], m[1], 2, 10, 3, 11, 6, 14, 7, 15);
  const auto d = __builtin_shufflevector(m[2], m[3], 2, 10, 3, 11, 6, 14, 7, 15);
  m[0] = __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13);
  m[1] = __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
  m[2] = __builtin_shufflevector(c, d, 0, 1, 8, 9, 4, 5, 12, 13);
  m[3] = __builtin_shufflevector(c, d, 2, 3, 10, 11, 6, 7, 14, 15);
}

inline void transpose(Vector<double, 2> (&m)[2]) {
  const auto a = __builtin_shufflevector(m[0], m[1], 0, 2);
  m[1] = __builtin_shufflevector(m[0], m[1], 1, 3);
  m[0] = a;
}

inline void transpose(Vector<double, 4> (&m)[2]) {
  const auto a = __builtin_shufflevector(m[0], m[1], 0, 4, 2, 6);
  m[1] = __builtin_shufflevector(m[0], m[1], 1, 5, 3, 7);
  m[0] = a;
}

}  // namespace treefilter
