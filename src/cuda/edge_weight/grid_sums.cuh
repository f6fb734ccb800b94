// Sums over the edges of grids, for grids that runs.cuh does not serve: a thread for each vertex.
#pragma once

#include "exact.cuh"
#include "grid.cuh"

namespace treefilter::cuda {

// Channels that a thread reads at a time, so that 20 to 40 of its reads are in flight.
template <int Count>
constexpr int kChannelsAtOnce = Count <= 2   ? 8
                                : Count <= 4 ? 4
                                             : 1;

// A thread for each vertex. Same: t is f.
template <int Count, bool Same, class X, class T>
struct GridInner {
  Directions<Count> grid;
  Psi psi;
  int64_t channels;
  const X *f, *t;
  T* weight;

  TREEFILTER_HD void operator()(int64_t i) const {
    constexpr int kAtOnce = Same || Count > 4 ? kChannelsAtOnce<Count> : kChannelsAtOnce<Count> / 2;
    const Vertex<Count> from(grid, i);
    T sums[Count] = {};
    int64_t at = from.b * channels * grid.nodes() + from.v, c = 0;
    for (; c + kAtOnce <= channels; c += kAtOnce, at += kAtOnce * grid.nodes()) {
      add<kAtOnce>(at, from, sums);
    }
    for (; c < channels; ++c, at += grid.nodes()) add<1>(at, from, sums);
    const bool out_of_range = Same && finish(psi, sums);
    from.write(grid, sums, weight);
    if (out_of_range) repair_weights(grid, psi, channels, f, weight, from.b, from.v);
  }

  // Adds the terms of `Channels` channels; the first one's value of this vertex is at index `at`.
  template <int Channels>
  TREEFILTER_HD void add(int64_t at, const Vertex<Count>& from, T (&sums)[Count]) const {
    T df[Channels][Count], dt[Channels][Count];
    differences(f + at, from, df);
    if constexpr (!Same) differences(t + at, from, dt);
    for (int k = 0; k < Channels; ++k) {
      for (int d = 0; d < Count; ++d) sums[d] += apply(psi, df[k][d]) * (Same ? df[k][d] : dt[k][d]);
    }
  }

  template <int Channels>
  TREEFILTER_HD void differences(const X* at, const Vertex<Count>& from,
                                 T (&to)[Channels][Count]) const {
    for (int k = 0; k < Channels; ++k) {
      const X* plane = at + k * grid.nodes();
      const T own = load<T>(plane[0]);
      for (int d = 0; d < Count; ++d) to[k][d] = own - load<T>(plane[from.offset[d]]);
    }
  }
};

// Keeps the larger difference; the first NaN is kept, because it must reach the weight.
template <class T>
TREEFILTER_HD void keep_largest(T difference, int32_t c, T& largest, int32_t& channel) {
  const T size = difference < 0 ? -difference : difference;
  const bool larger = !(size <= largest) && largest == largest;
  if (larger) largest = size;
  if (larger) channel = c;
}

// A thread for each vertex: the first channel with the largest difference.
template <int Count, class X, class T>
struct GridArgmax {
  Directions<Count> grid;
  int64_t channels;
  const X* f;
  int64_t* argmax;
  T* distance;

  TREEFILTER_HD void operator()(int64_t i) const {
    constexpr int kAtOnce = Count <= 4 ? 4 : 1;
    const Vertex<Count> from(grid, i);
    T largest[Count];
    int32_t channel[Count] = {};
    for (int d = 0; d < Count; ++d) largest[d] = -1;
    const X* at = f + from.b * channels * grid.nodes() + from.v;
    int32_t c = 0;
    for (; c + kAtOnce <= channels; c += kAtOnce, at += kAtOnce * grid.nodes()) {
      keep<kAtOnce>(at, from, c, largest, channel);
    }
    for (; c < channels; ++c, at += grid.nodes()) keep<1>(at, from, c, largest, channel);
    from.write(grid, channel, argmax);
    const bool out_of_range = finish(Psi::kSign, largest);
    from.write(grid, largest, distance);
    if (out_of_range) repair_largest(grid, channels, f, argmax, distance, from.b, from.v);
  }

  template <int Channels>
  TREEFILTER_HD void keep(const X* at, const Vertex<Count>& from, int32_t c, T (&largest)[Count],
                          int32_t (&channel)[Count]) const {
    T own[Channels], other[Channels][Count];
    for (int k = 0; k < Channels; ++k) {
      own[k] = load<T>(at[k * grid.nodes()]);
      for (int d = 0; d < Count; ++d) other[k][d] = load<T>(at[k * grid.nodes() + from.offset[d]]);
    }
    for (int k = 0; k < Channels; ++k) {
      for (int d = 0; d < Count; ++d) keep_largest(own[k] - other[k][d], c + k, largest[d], channel[d]);
    }
  }
};

// A thread for each vertex and slice of kSlice channels, for which the weights are read once.
template <int Count, class X, class T>
struct GridScatter {
  static constexpr int64_t kSlice = 32;

  Directions<Count> grid;
  Psi psi;
  int64_t channels;
  const T* weight;
  EuclideanEdges<T> euclidean;
  const X* f;
  X* out;

  static TREEFILTER_HD int64_t slices(int64_t channels) { return (channels + kSlice - 1) / kSlice; }

  TREEFILTER_HD void operator()(int64_t i) const {
    constexpr int kAtOnce = Count <= 4 ? 4 : 1;
    const int64_t all = i / grid.nodes(), b = all / slices(channels), slice = all - b * slices(channels);
    const int32_t v = static_cast<int32_t>(i - all * grid.nodes());
    T w[2 * Count];  // for each direction, of the edge that starts here, then of the edge that ends here
    const auto at = grid.position(v);
    const T* weights = weight + b * grid.edges();
    for (int d = 0; d < Count; ++d) {
      const int32_t starting = grid.starting(d, at), ending = grid.ending(d, at);
      w[2 * d] = starting < 0 ? T(0) : weights[starting];
      w[2 * d + 1] = ending < 0 ? T(0) : weights[ending];
    }
    bool precise = true;
    TREEFILTER_UNROLL
    for (int n = 0; n < 2 * Count; ++n) precise = precise && w[n] == w[n];
    int64_t c = slice * kSlice;
    const int64_t end = c + kSlice < channels ? c + kSlice : channels;
    int64_t index = (b * channels + c) * grid.nodes() + v;
    for (; c + kAtOnce <= end; c += kAtOnce, index += kAtOnce * grid.nodes()) gather<kAtOnce>(index, w);
    for (; c < end; ++c, index += grid.nodes()) gather<1>(index, w);
    if (!precise && psi == Psi::kEuclidean) {
      repair_sums(grid, euclidean, channels, slice * kSlice, end, f, out, b, v);
    }
  }

  // Features at the other end of an edge of weight 0 are not read. In a gradient of tree edges that is
  // half of all edges, or more.
  template <int Channels>
  TREEFILTER_HD void gather(int64_t index, const T (&w)[2 * Count]) const {
    T own[Channels], other[Channels][2 * Count], sums[Channels] = {};
    for (int k = 0; k < Channels; ++k) own[k] = load<T>(f[index + k * grid.nodes()]);
    for (int n = 0; n < 2 * Count; ++n) {
      const int32_t offset = n % 2 == 0 ? grid.offset(n / 2) : -grid.offset(n / 2);
      for (int k = 0; k < Channels; ++k) {
        other[k][n] = w[n] == 0 ? T(0) : load<T>(f[index + k * grid.nodes() + offset]);
      }
    }
    for (int n = 0; n < 2 * Count; ++n) {
      for (int k = 0; k < Channels; ++k) {
        if (w[n] != 0) sums[k] += w[n] * apply(psi, own[k] - other[k][n]);
      }
    }
    for (int k = 0; k < Channels; ++k) store(out[index + k * grid.nodes()], slope<T>(psi) * sums[k]);
  }
};

}  // namespace treefilter::cuda
