// Between tensors and packed channels: packed[v * Stride + l] is
//
//   (channel first + l of vertex v - centre[l]) * scale[v].
//
// A planar tensor is transposed square by square, kVerticesAtOnce vertices at a time: then every cache
// line of a plane is used completely before the next is loaded. Planes whose distance is a power of two
// map to the same few sets of the cache and would evict each other's lines.
#pragma once

#include <algorithm>

#include "../../filter.h"
#include "../support/vector.h"

namespace treefilter {

// Channels first … first + used - 1 of one image of a tensor.
template <class X>
struct Channels {
  const Strided<X>& tensor;
  int64_t batch, first, used;

  X* plane(int64_t l) const { return tensor.at(batch, first + l); }
};

constexpr int64_t kVerticesAtOnce = 64;

// Calls visit(v, l) for vertices v0 … v1 - 1 and lanes l0 … l1 - 1, in the order of the tensor's memory.
template <class X, class Visit>
void for_values(const Strided<X>& tensor, int64_t v0, int64_t v1, int64_t l0, int64_t l1,
                const Visit& visit) {
  if (tensor.channel_stride == 1) {
    for (int64_t v = v0; v < v1; ++v) {
      for (int64_t l = l0; l < l1; ++l) visit(v, l);
    }
    return;
  }
  for (int64_t first = v0; first < v1; first += kVerticesAtOnce) {
    for (int64_t l = l0; l < l1; ++l) {
      for (int64_t v = first; v < std::min(first + kVerticesAtOnce, v1); ++v) visit(v, l);
    }
  }
}

// Calls visit(v, l, planes, full) for all tiles: kTall vertices from v on, kWide lanes from l on, of
// which `planes` are the planes. If full is false, the last lanes are not used. All that a tile reads
// besides values is computed before the loop over vertices: for the compiler, a store in the loop might
// change anything that has an address.
template <int N, int kWide, int kTall, class X, class Visit>
inline __attribute__((always_inline)) void for_tiles(const Channels<X>& channels, int64_t nodes,
                                                     const Visit& visit) {
  for (int64_t first = 0; first < nodes; first += kVerticesAtOnce) {
    const int64_t end = std::min(first + kVerticesAtOnce, nodes);
    for (int64_t l = 0; l < N; l += kWide) {
      X* planes[kWide];
#pragma GCC unroll 8
      for (int i = 0; i < kWide; ++i) planes[i] = channels.plane(std::min(l + i, channels.used - 1));
      if (l + kWide <= channels.used) {
        for (int64_t v = first; v < end; v += kTall) visit(v, l, planes, std::true_type{});
      } else {
        for (int64_t v = first; v < end; v += kTall) visit(v, l, planes, std::false_type{});
      }
    }
  }
}

// A tile is one square, or two where registers are twice as wide: it is loaded in halves and stored
// whole. So pack() takes two squares of neighbouring lanes, and unpack() two of neighbouring vertices.
template <class T, int N>
constexpr int kPackWide = kSquare<T> * (N % (2 * kSquare<T>) == 0 && kRegisterBytes == 32 ? 2 : 1);
template <class T>
constexpr int kUnpackTall = kRegisterBytes / static_cast<int>(sizeof(T));

template <class T, int Count>
Vector<T, Count> joined(Vector<T, kSquare<T>> a, [[maybe_unused]] Vector<T, kSquare<T>> b) {
  if constexpr (Count == kSquare<T>) {
    return a;
  } else {
    Vector<T, Count> both;
    join(a, b, both);
    return both;
  }
}

template <class T, int N, bool PerLane>
T scale_of(const T* scale, int64_t v, int64_t l) {
  return scale == nullptr ? T(1) : scale[PerLane ? v * N + l : v];
}
template <class T, int N, bool PerLane, int Count>
Vector<T, Count> scales_of(const T* scale, int64_t v, int64_t l) {
  if constexpr (PerLane) {
    return load_vector<Count>(scale + v * N + l);
  } else {
    return scale[v] - Vector<T, Count>{};
  }
}

// Lanes beyond `used` are 0. scale may be null: 1.
template <class T, int N, bool PerLane, int Stride, class X>
TREEFILTER_PHASE void pack(const Channels<const X>& channels, const T* scale, const T (&centre)[N],
                           T* packed) {
  const Strided<const X>& x = channels.tensor;
  int64_t done = 0;
  if constexpr (std::is_same_v<X, T> && N % kSquare<T> == 0) {
    if (x.node_stride == 1) {
      static constexpr int kSide = kSquare<T>, kWide = kPackWide<T, N>;
      done = x.nodes / kSide * kSide;
      const auto tile = [packed, scale, used = channels.used, &centre](
                            int64_t v, int64_t l, const T* const(&planes)[kWide], auto full) {
        const auto along = [&](int lane) {
          return full || l + lane < used ? load_vector<kSide>(planes[lane] + v) : Vector<T, kSide>{};
        };
        Vector<T, kWide> tile[kSide];
#pragma GCC unroll 4
        for (int i = 0; i < kSide; ++i) tile[i] = joined<T, kWide>(along(i), along(kWide - kSide + i));
        transpose(tile);
#pragma GCC unroll 4
        for (int i = 0; i < kSide; ++i) {
          tile[i] -= load_vector<kWide>(centre + l);
          if (scale != nullptr) tile[i] *= scales_of<T, N, PerLane, kWide>(scale, v + i, l);
          store_vector(packed + (v + i) * Stride + l, tile[i]);
        }
      };
      for_tiles<N, kWide, kSide>(channels, done, tile);
    }
  }
  for_values(x, done, x.nodes, 0, channels.used, [&](int64_t v, int64_t l) {
    packed[v * Stride + l] = (load<T>(channels.plane(l)[v * x.node_stride]) - centre[l]) *
                             scale_of<T, N, PerLane>(scale, v, l);
  });
  for (int64_t v = done; v < x.nodes; ++v)
    std::fill(packed + v * Stride + channels.used, packed + v * Stride + N, T(0));
}

// The inverse: channel first + l of vertex v = packed[v * Stride + l] * scale[v].
template <class T, int N, bool PerLane, int Stride, class X>
TREEFILTER_PHASE void unpack(const T* packed, const T* scale, const Channels<X>& channels) {
  const Strided<X>& out = channels.tensor;
  int64_t done = 0;
  if constexpr (std::is_same_v<X, T> && N % kSquare<T> == 0) {
    if (out.node_stride == 1) {
      static constexpr int kSide = kSquare<T>, kTall = kUnpackTall<T>;
      done = out.nodes / kTall * kTall;
      const auto tile = [packed, scale, used = channels.used](int64_t v, int64_t l,
                                                              T* const(&planes)[kSide], auto full) {
        const auto scaled = [&](int64_t of) {
          const auto values = load_vector<kSide>(packed + of * Stride + l);
          return scale == nullptr ? values : values * scales_of<T, N, PerLane, kSide>(scale, of, l);
        };
        Vector<T, kTall> tile[kSide];
#pragma GCC unroll 4
        for (int i = 0; i < kSide; ++i)
          tile[i] = joined<T, kTall>(scaled(v + i), scaled(v + kTall - kSide + i));
        transpose(tile);
#pragma GCC unroll 4
        for (int i = 0; i < kSide; ++i) {
          if (full || l + i < used) store_vector(planes[i] + v, tile[i]);
        }
      };
      for_tiles<N, kSide, kTall>(channels, done, tile);
    }
  }
  for_values(out, done, out.nodes, 0, channels.used, [&](int64_t v, int64_t l) {
    store(channels.plane(l)[v * out.node_stride],
          packed[v * Stride + l] * scale_of<T, N, PerLane>(scale, v, l));
  });
}

}  // namespace treefilter
