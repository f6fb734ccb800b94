// Between tensors and rows: rows[v][l] is channel `first + l` of vertex v of one image, less centre[l],
// times scale[v]. The next row is `Stride` values further.
//
// A planar tensor is transposed square by square; kLine vertices at a time, because then every cache
// line of a plane is used up before the next: planes whose distance is a power of two share the same few
// places in the cache.
#pragma once

#include <algorithm>

#include "../filter.h"
#include "vector.h"

namespace treefilter {

template <class X>
struct Channels {
  const Strided<X>& tensor;
  int64_t batch, first, used;

  X* plane(int64_t l) const { return tensor.at(batch, first + l); }
};

constexpr int64_t kLine = 64;

// Calls visit(v, l) for vertices v0 … v1 - 1 and lanes l0 … l1 - 1, along the tensor's memory.
template <class X, class Visit>
void for_values(const Strided<X>& tensor, int64_t v0, int64_t v1, int64_t l0, int64_t l1,
                const Visit& visit) {
  if (tensor.channel_stride == 1) {
    for (int64_t v = v0; v < v1; ++v) {
      for (int64_t l = l0; l < l1; ++l) visit(v, l);
    }
    return;
  }
  for (int64_t first = v0; first < v1; first += kLine) {
    for (int64_t l = l0; l < l1; ++l) {
      for (int64_t v = first; v < std::min(first + kLine, v1); ++v) visit(v, l);
    }
  }
}

// Calls visit(v, l) for all squares of vertices v … v + side - 1 and lanes l … l + side - 1.
template <class T, class Visit>
void for_squares(int64_t nodes, int64_t lanes, const Visit& visit) {
  constexpr int kSide = kSquare<T>;
  for (int64_t first = 0; first < nodes; first += kLine) {
    for (int64_t l = 0; l < lanes; l += kSide) {
      for (int64_t v = first; v < std::min(first + kLine, nodes); v += kSide) visit(v, l);
    }
  }
}

// Multiplies the rows of a square, one vertex each, by their scale.
template <int N, bool PerLane, class T, int Side>
void scale_square(Vector<T, Side> (&square)[Side], const T* scale, int64_t v, int64_t l) {
  if (scale == nullptr) return;
  for (int i = 0; i < Side; ++i) {
    if constexpr (PerLane) {
      square[i] *= load_vector<Side>(scale + (v + i) * N + l);
    } else {
      square[i] *= scale[v + i];
    }
  }
}

template <class T, int N, bool PerLane>
T scale_of(const T* scale, int64_t v, int64_t l) {
  return scale == nullptr ? T(1) : scale[PerLane ? v * N + l : v];
}

// Lanes beyond `used` are 0. scale may be null: 1.
template <class T, int N, bool PerLane, int Stride, class X>
TREEFILTER_PHASE void pack(const Channels<const X>& channels, const T* scale, const T (&centre)[N],
                           T* rows) {
  const Strided<const X>& x = channels.tensor;
  int64_t done = 0;
  if constexpr (std::is_same_v<X, T> && N % kSquare<T> == 0) {
    constexpr int kSide = kSquare<T>;
    if (x.node_stride == 1) {
      done = x.nodes / kSide * kSide;
      for_squares<T>(done, N, [&](int64_t v, int64_t l) {
        Vector<T, kSide> square[kSide] = {};
        for (int i = 0; i < kSide; ++i) {
          if (l + i < channels.used)
            square[i] = load_vector<kSide>(channels.plane(l + i) + v) - centre[l + i];
        }
        transpose(square);
        scale_square<N, PerLane, T, kSide>(square, scale, v, l);
        for (int i = 0; i < kSide; ++i) store_vector(rows + (v + i) * Stride + l, square[i]);
      });
    }
  }
  for_values(x, done, x.nodes, 0, channels.used, [&](int64_t v, int64_t l) {
    rows[v * Stride + l] = (load<T>(channels.plane(l)[v * x.node_stride]) - centre[l]) *
                           scale_of<T, N, PerLane>(scale, v, l);
  });
  for (int64_t v = done; v < x.nodes; ++v)
    std::fill(rows + v * Stride + channels.used, rows + v * Stride + N, T(0));
}

// The way back: out = rows * scale.
template <class T, int N, bool PerLane, int Stride, class X>
TREEFILTER_PHASE void unpack(const T* rows, const T* scale, const Channels<X>& channels) {
  const Strided<X>& out = channels.tensor;
  const auto one_by_one = [&](int64_t v0, int64_t v1, int64_t l0) {
    for_values(out, v0, v1, l0, channels.used, [&](int64_t v, int64_t l) {
      store(channels.plane(l)[v * out.node_stride],
            rows[v * Stride + l] * scale_of<T, N, PerLane>(scale, v, l));
    });
  };
  int64_t done = 0;
  if constexpr (std::is_same_v<X, T> && N % kSquare<T> == 0) {
    constexpr int kSide = kSquare<T>;
    if (out.node_stride == 1) {
      done = out.nodes / kSide * kSide;
      const int64_t lanes = channels.used / kSide * kSide;
      for_squares<T>(done, lanes, [&](int64_t v, int64_t l) {
        Vector<T, kSide> square[kSide];
        for (int i = 0; i < kSide; ++i) square[i] = load_vector<kSide>(rows + (v + i) * Stride + l);
        scale_square<N, PerLane, T, kSide>(square, scale, v, l);
        transpose(square);
        for (int i = 0; i < kSide; ++i) store_vector(channels.plane(l + i) + v, square[i]);
      });
      one_by_one(0, done, lanes);
    }
  }
  one_by_one(done, out.nodes, 0);
}

}  // namespace treefilter
