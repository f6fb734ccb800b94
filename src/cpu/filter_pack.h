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

// Calls visit(v, l) for all squares of vertices v … v + side - 1 and lanes l … l + side - 1; two squares
// side by side where rows are long enough.
template <class T, int N, class Visit>
void for_squares(int64_t nodes, const Visit& visit) {
  constexpr int kSide = kSquare<T>;
  for (int64_t first = 0; first < nodes; first += kLine) {
    for (int64_t l = 0; l < N; l += kSide * kSquares<T, N>) {
      for (int64_t v = first; v < std::min(first + kLine, nodes); v += kSide) visit(v, l);
    }
  }
}

// The rows of squares, one vertex each, or, transposed, one lane of each square.
template <class T, int N>
using Squares = Vector<T, kSquare<T> * kSquares<T, N>>[kSquare<T>];

// Multiplies the rows, one vertex each, by their scale.
template <int N, bool PerLane, class T>
void scale_squares(Squares<T, N>& squares, const T* scale, int64_t v, int64_t l) {
  if (scale == nullptr) return;
  for (int i = 0; i < kSquare<T>; ++i) {
    if constexpr (PerLane) {
      squares[i] *= load_vector<kSquare<T> * kSquares<T, N>>(scale + (v + i) * N + l);
    } else {
      squares[i] *= scale[v + i];
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
    if (x.node_stride == 1) {
      constexpr int kSide = kSquare<T>;
      const T* const first = channels.plane(0);
      done = x.nodes / kSide * kSide;
      for_squares<T, N>(done, [&](int64_t v, int64_t l) {
        Squares<T, N> squares;
        const auto along = [&](int64_t lane) {
          if (lane >= channels.used) return Vector<T, kSide>{};
          return load_vector<kSide>(first + lane * x.channel_stride + v) - centre[lane];
        };
#pragma GCC unroll 4
        for (int i = 0; i < kSide; ++i) {
          if constexpr (kSquares<T, N> == 1) {
            squares[i] = along(l + i);
          } else {
            join(along(l + i), along(l + kSide + i), squares[i]);
          }
        }
        transpose(squares);
        scale_squares<N, PerLane, T>(squares, scale, v, l);
        for (int i = 0; i < kSide; ++i) store_vector(rows + (v + i) * Stride + l, squares[i]);
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
  int64_t done = 0;
  if constexpr (std::is_same_v<X, T> && N % kSquare<T> == 0) {
    if (out.node_stride == 1) {
      constexpr int kSide = kSquare<T>;
      T* const first = channels.plane(0);
      done = out.nodes / kSide * kSide;
      for_squares<T, N>(done, [&](int64_t v, int64_t l) {
        Squares<T, N> squares;
        for (int i = 0; i < kSide; ++i) {
          squares[i] = load_vector<kSide * kSquares<T, N>>(rows + (v + i) * Stride + l);
        }
        scale_squares<N, PerLane, T>(squares, scale, v, l);
        transpose(squares);
        const auto put = [&](int64_t lane, Vector<T, kSide> along) {
          if (lane < channels.used) store_vector(first + lane * out.channel_stride + v, along);
        };
#pragma GCC unroll 4
        for (int i = 0; i < kSide; ++i) {
          if constexpr (kSquares<T, N> == 1) {
            put(l + i, squares[i]);
          } else {
            put(l + i, half<0>(squares[i])), put(l + kSide + i, half<1>(squares[i]));
          }
        }
      });
    }
  }
  for_values(out, done, out.nodes, 0, channels.used, [&](int64_t v, int64_t l) {
    store(channels.plane(l)[v * out.node_stride],
          rows[v * Stride + l] * scale_of<T, N, PerLane>(scale, v, l));
  });
}

}  // namespace treefilter
