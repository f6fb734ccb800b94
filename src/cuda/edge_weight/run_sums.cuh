// The work of threads that have runs (runs.cuh): the sums and the largest differences of the edges that
// start there, as GridInner and GridArgmax of grid_sums.cuh; and the gather over the edges of a vertex,
// as GridScatter.
#pragma once

#include "exact.cuh"
#include "grid_sums.cuh"
#include "runs.cuh"

namespace treefilter::cuda {

// Channels that a thread reads at a time, so that some 200 bytes of its reads are in flight.
template <class Kind>
constexpr int kRunChannels = Kind::kCount <= 2   ? 4
                             : Kind::kCount <= 4 ? 2
                                                 : 1;

// Calls visit(c) for all channels, with kAtOnce calls unrolled, so that the compiler moves their reads
// together.
template <int kAtOnce, class Visit>
TREEFILTER_HD void for_channels(int64_t channels, const Visit& visit) {
  int64_t c = 0;
  for (; c + kAtOnce <= channels; c += kAtOnce) {
    TREEFILTER_UNROLL
    for (int k = 0; k < kAtOnce; ++k) visit(c + k);
  }
  for (; c < channels; ++c) visit(c);
}

// A thread for each run. Same: t is f.
template <class Kind, bool Same, class X, class T>
struct RunInner {
  using Run = Runs<Kind, X>;
  static constexpr int kRun = Run::kRun;

  Run grid;
  Psi psi;
  int64_t channels;
  const X *f, *t;
  T* weight;

  int64_t slices() const { return 1; }

  TREEFILTER_HD void operator()(const typename Run::RunPosition& here, int64_t) const {
    constexpr int kAtOnce = Same ? kRunChannels<Kind> : (kRunChannels<Kind> + 1) / 2;
    typename Run::Window windows[Run::kRows];
    grid.windows(here, windows);
    T sums[Kind::kCount][kRun] = {};
    const int64_t nodes = grid.grid.nodes();
    int64_t from = here.b * channels * nodes + here.v;
    for_channels<kAtOnce>(channels, [&](int64_t) {
      add(from, windows, sums);
      from += nodes;
    });
    bool out_of_range = false;
    if constexpr (Same) out_of_range = finish(psi, sums);
    grid.write(here, sums, weight);
    if constexpr (Same) {
      if (out_of_range) repair(here);
    }
  }

  TREEFILTER_HD void repair(const typename Run::RunPosition& here) const {
    TREEFILTER_ONE_BY_ONE
    for (int j = 0; j < kRun; ++j) {
      repair_weights(grid.grid, psi, channels, f, weight, here.b, here.v + j);
    }
  }

  TREEFILTER_HD void add(int64_t from, const typename Run::Window (&windows)[Run::kRows],
                         T (&sums)[Kind::kCount][kRun]) const {
    T other[Kind::kCount][kRun];
    if (!Same) {
      Run::template differences<T>(t + from, windows, [&](int d, int j, T dt) { other[d][j] = dt; });
    }
    Run::template differences<T>(f + from, windows, [&](int d, int j, T df) {
      sums[d][j] += apply(psi, df) * (Same ? df : other[d][j]);
    });
  }
};

// A thread for each run: the first channel with the largest difference.
template <class Kind, class X, class T>
struct RunArgmax {
  using Run = Runs<Kind, X>;

  Run grid;
  int64_t channels;
  const X* f;
  int64_t* argmax;
  T* distance;

  int64_t slices() const { return 1; }

  TREEFILTER_HD void operator()(const typename Run::RunPosition& here, int64_t) const {
    typename Run::Window windows[Run::kRows];
    grid.windows(here, windows);
    T largest[Kind::kCount][Run::kRun];
    int32_t channel[Kind::kCount][Run::kRun] = {};
    TREEFILTER_UNROLL
    for (int d = 0; d < Kind::kCount; ++d) {
      TREEFILTER_UNROLL
      for (int j = 0; j < Run::kRun; ++j) largest[d][j] = -1;
    }
    const X* from = f + here.b * channels * grid.grid.nodes() + here.v;
    for_channels<kRunChannels<Kind>>(channels, [&](int64_t c) {
      Run::template differences<T>(from, windows, [&](int d, int j, T difference) {
        keep_largest(difference, static_cast<int32_t>(c), largest[d][j], channel[d][j]);
      });
      from += grid.grid.nodes();
    });
    grid.write(here, channel, argmax);
    const bool out_of_range = finish(Psi::kSign, largest);
    grid.write(here, largest, distance);
    if (!out_of_range) return;
    TREEFILTER_ONE_BY_ONE
    for (int j = 0; j < Run::kRun; ++j) {
      repair_largest(grid.grid, channels, f, argmax, distance, here.b, here.v + j);
    }
  }
};

// A thread for each run and slice of kSlice channels, for which the weights are read once. (Not for 26
// neighbours, whose weights take more registers than there are.)
template <class Kind, class X, class T>
struct RunScatter {
  using Run = Runs<Kind, X>;
  using Window = typename Run::Window;
  static constexpr int kRun = Run::kRun, kRows = Run::kRows, kCount = Kind::kCount;
  static constexpr int64_t kSlice = 32;

  Run grid;
  Psi psi;
  int64_t channels;
  const T* weight;
  EuclideanEdges<T> euclidean;
  const X* f;
  X* out;

  int64_t slices() const { return (channels + kSlice - 1) / kSlice; }

  TREEFILTER_HD void operator()(const typename Run::RunPosition& here, int64_t slice) const {
    constexpr int kAtOnce = kRunChannels<Kind>;
    T w[2 * kCount][kRun];  // as in GridScatter
    read_weights(here, w);
    bool precise = true;
    TREEFILTER_UNROLL
    for (int n = 0; n < 2 * kCount; ++n) {
      TREEFILTER_UNROLL
      for (int j = 0; j < kRun; ++j) precise = precise && w[n][j] == w[n][j];
    }
    // A row that only edges of weight 0 lead to is not read; the run itself is read again instead.
    Window windows[2][kRows] = {};
    TREEFILTER_UNROLL
    for (int n = 0; n < 2 * kCount; ++n) {
      const int row = Kind::row(n / 2), side = n % 2;
      bool used = row == 0;
      TREEFILTER_UNROLL
      for (int j = 0; j < kRun; ++j) used = used || w[n][j] != 0;
      if (used) windows[side][row] = grid.window(here, row, side == 0 ? 1 : -1);
    }
    const int64_t nodes = grid.grid.nodes();
    int64_t c = slice * kSlice, from = (here.b * channels + c) * nodes + here.v;
    const int64_t end = c + kSlice < channels ? c + kSlice : channels;
    for (; c + kAtOnce <= end; c += kAtOnce, from += kAtOnce * nodes) {
      X results[kAtOnce][kRun];
      TREEFILTER_UNROLL
      for (int k = 0; k < kAtOnce; ++k) gather(f + from + k * nodes, windows, w, results[k]);
      TREEFILTER_UNROLL
      for (int k = 0; k < kAtOnce; ++k) write_run(out + from + k * nodes, results[k]);
    }
    for (; c < end; ++c, from += nodes) {
      X results[kRun];
      gather(f + from, windows, w, results);
      write_run(out + from, results);
    }
    if (precise || psi != Psi::kEuclidean) return;
    TREEFILTER_ONE_BY_ONE
    for (int j = 0; j < kRun; ++j) {
      repair_sums(grid.grid, euclidean, channels, slice * kSlice, end, f, out, here.b, here.v + j);
    }
  }

  TREEFILTER_HD void read_weights(const typename Run::RunPosition& here,
                                  T (&w)[2 * kCount][kRun]) const {
    const T* const weights = weight + here.b * grid.grid.edges();
    TREEFILTER_UNROLL
    for (int d = 0; d < kCount; ++d) {
      TREEFILTER_UNROLL
      for (int j = 0; j < kRun; ++j) {
        const GridPosition at{here.at.z, here.at.y, here.at.x + j};
        const int32_t starting = grid.grid.starting(d, at), ending = grid.grid.ending(d, at);
        w[2 * d][j] = starting < 0 ? T(0) : weights[starting];
        w[2 * d + 1][j] = ending < 0 ? T(0) : weights[ending];
      }
    }
  }

  TREEFILTER_HD void gather(const X* from, const Window (&windows)[2][kRows],
                            const T (&w)[2 * kCount][kRun], X (&to)[kRun]) const {
    T values[2][kRows][kRun + 2], sums[kRun] = {};
    Run::read(from, windows[0][0], Kind::leads_to(0), Kind::leads_to(0), values[0][0]);
    TREEFILTER_UNROLL
    for (int row = 1; row < kRows; ++row) {
      if (!Kind::leads_to(row)) continue;
      const bool back = Kind::leads_to(row, -1), on = Kind::leads_to(row, 1);
      Run::read(from, windows[0][row], back, on, values[0][row]);
      Run::read(from, windows[1][row], on, back, values[1][row]);
    }
    TREEFILTER_UNROLL
    for (int n = 0; n < 2 * kCount; ++n) {
      const int row = Kind::row(n / 2), dx = n % 2 == 0 ? Kind::dx(n / 2) : -Kind::dx(n / 2);
      TREEFILTER_UNROLL
      for (int j = 0; j < kRun; ++j) {
        const T other = values[row == 0 ? 0 : n % 2][row][j + 1 + dx];
        if (w[n][j] != 0) sums[j] += w[n][j] * apply(psi, values[0][0][j + 1] - other);
      }
    }
    TREEFILTER_UNROLL
    for (int j = 0; j < kRun; ++j) store(to[j], slope<T>(psi) * sums[j]);
  }
};

}  // namespace treefilter::cuda
