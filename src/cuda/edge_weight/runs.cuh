// Sums over the edges of grids whose rows are whole runs of 16 aligned bytes: 4 floats, 8 halves, 2
// doubles. A thread stands at a run of vertices. It reads its own row and those that its edges lead to a
// run at a time, and beside a run the one value that belongs to a neighbour's; which rows and which
// neighbours these are, the compiler knows. So a vertex of a 4-connected grid is read by a half load of
// 16 bytes and a quarter of one of 4, where grid.cuh takes three of 4.
//
// A block stands at a tile of 16 rows of 128 bytes: of the reads of its next rows all but one in 16 meet
// in the cache with those of its own.
//
// What is summed, and in which order, is that of grid.cuh: the same bits.
#pragma once

#include <initializer_list>

#include "grid.cuh"

// In front of a loop whose variable says which registers are meant.
#ifdef __CUDA_ARCH__
#define TREEFILTER_UNROLL _Pragma("unroll")
#else
#define TREEFILTER_UNROLL
#endif

namespace treefilter::cuda {

// As many bytes, moved at once. In words: else the compiler takes halves apart before it reads them.
template <int kBytes>
struct __attribute__((may_alias, aligned(kBytes))) Words {
  uint32_t words[kBytes / 4];
};

template <class X, int kSize>
TREEFILTER_HD void read_run(const X* from, X (&to)[kSize]) {
  const auto words = *reinterpret_cast<const Words<sizeof to>*>(from);
  std::memcpy(to, &words, sizeof to);
}

template <class X, int kSize>
TREEFILTER_HD void write_run(X* to, const X (&from)[kSize]) {
  Words<sizeof from> words;
  std::memcpy(&words, from, sizeof from);
  *reinterpret_cast<Words<sizeof from>*>(to) = words;
}

// A kind of grid: 4 bits for each of its directions, 3 row + dx - 1 with row = 3 dz + dy in 0 … 4.
template <uint64_t kCodes, int kDirections>
struct Kind {
  static constexpr int kCount = kDirections, kRows = 5;
  // Runs are shorter where each of their values has 13 edges.
  template <class X>
  static constexpr int kRun = kCount > 4 && sizeof(X) < 4 ? 4 : 16 / static_cast<int>(sizeof(X));

  static TREEFILTER_HD constexpr int code(int d) { return static_cast<int>(kCodes >> (4 * d) & 15) + 2; }
  static TREEFILTER_HD constexpr int row(int d) { return code(d) / 3; }
  static TREEFILTER_HD constexpr int dx(int d) { return code(d) % 3 - 1; }

  static TREEFILTER_HD constexpr bool leads_to(int row) {
    return leads_to(row, -1) || leads_to(row, 0) || leads_to(row, 1);
  }
  static TREEFILTER_HD constexpr bool leads_to(int row, int dx) {
    for (int d = 0; d < kCount; ++d) {
      if (Kind::row(d) == row && Kind::dx(d) == dx) return true;
    }
    return false;
  }

  static bool is_that_of(const Grid& grid) {
    if (grid.num_directions != kCount) return false;
    for (int i = 0; i < kCount; ++i) {
      const Direction& d = grid.directions[i];
      if (d.dx != dx(i) || d.dz != (row(i) > 1) || d.dz * 3 + d.dy != row(i)) return false;
    }
    return true;
  }
};

// As in graph.py, in the order of the edges' numbers.
using Kind4 = Kind<0x02, 2>;
using Kind8 = Kind<0x1302, 4>;
using Kind6 = Kind<0x028, 3>;
using Kind26 = Kind<0x46ac13795b028, 13>;

// The grid, and the tiles of its runs.
template <class Kind, class X>
struct Runs {
  static constexpr int kRun = Kind::template kRun<X>, kRows = Kind::kRows;
  static constexpr int kTileRuns = 128 / (kRun * static_cast<int>(sizeof(X))), kTileRows = 16;
  static constexpr int kThreads = kTileRuns * kTileRows;

  Directions<Kind::kCount> grid;
  int64_t rows;                        // of all images
  int32_t image_rows, height, length;  // of an image; of that a plane; runs of a row

  Runs(const Grid& grid, int64_t batch)
      : grid(grid),
        rows(batch * grid.depth * grid.height),
        image_rows(static_cast<int32_t>(grid.depth * grid.height)),
        height(static_cast<int32_t>(grid.height)),
        length(static_cast<int32_t>(grid.width / kRun)) {}

  int64_t tiles() const { return (rows + kTileRows - 1) / kTileRows * tiles_of_row(); }
  TREEFILTER_HD int64_t tiles_of_row() const { return (length + kTileRuns - 1) / kTileRuns; }

  // Where a row's values are, from the first vertex of the run on: next to the run on both sides, and
  // the run. What does not exist is where the run itself is: so all can be read alike.
  struct Window {
    int32_t left, run, right;
  };

  // A run: the image and its first vertex.
  struct Place {
    int64_t b;
    int32_t v;
    typename Directions<Kind::kCount>::Place at;
  };

  // Calls visit(Place) for the run of a thread, if there is one.
  template <class Visit>
  TREEFILTER_HD void visit(int64_t tile, int t, const Visit& visit) const {
    const int64_t down = tile / tiles_of_row(), row = down * kTileRows + t / kTileRuns;
    const int64_t run = (tile - down * tiles_of_row()) * kTileRuns + t % kTileRuns;
    if (row >= rows || run >= length) return;
    const int64_t b = row / image_rows;
    const int32_t y = static_cast<int32_t>(row - b * image_rows), x = static_cast<int32_t>(run) * kRun;
    visit(Place{b, y * length * kRun + x, {y / height, y % height, x}});
  }

  // The row that directions lead to, for side = -1 that which they come from.
  TREEFILTER_HD Window window(const Place& place, int row, int side = 1) const {
    const int32_t dz = row > 1, dy = row - 3 * dz, width = length * kRun, depth = image_rows / height;
    const int32_t z = place.at.z + side * dz, y = place.at.y + side * dy, x = place.at.x;
    const bool exists = z >= 0 && z < depth && y >= 0 && y < height;
    const int32_t run = exists ? side * (dz * height + dy) * width : 0;
    return {run - (x > 0), run, run + (x + kRun < width ? kRun : 0)};
  }

  // The values of a window whose run starts at `from`, the left one first; those asked for.
  template <class T>
  static TREEFILTER_HD void read(const X* from, const Window& window, bool left, bool right,
                                 T (&to)[kRun + 2]) {
    X run[kRun];
    read_run(from + window.run, run);
    for (int j = 0; j < kRun; ++j) to[j + 1] = load<T>(run[j]);
    to[0] = left ? load<T>(from[window.left]) : T(0);
    to[kRun + 1] = right ? load<T>(from[window.right]) : T(0);
  }

  // The windows that directions start from and lead to.
  TREEFILTER_HD void windows(const Place& place, Window (&to)[kRows]) const {
    for (int row = 0; row < kRows; ++row) to[row] = window(place, row);
  }

  // Calls visit(d, j, difference) for each direction d and each vertex j of the run at `from`.
  template <class T, class Visit>
  static TREEFILTER_HD void differences(const X* from, const Window (&windows)[kRows],
                                        const Visit& visit) {
    T values[kRows][kRun + 2];
    for (int row = 0; row < kRows; ++row) {
      if (row > 0 && !Kind::leads_to(row)) continue;
      read(from, windows[row], Kind::leads_to(row, -1), Kind::leads_to(row, 1), values[row]);
    }
    for (int d = 0; d < Kind::kCount; ++d) {
      for (int j = 0; j < kRun; ++j) {
        visit(d, j, values[0][j + 1] - values[Kind::row(d)][j + 1 + Kind::dx(d)]);
      }
    }
  }

  // Writes values[d][j] for the edge of direction d that starts at the run's vertex j; to [B, E].
  template <class T, class Value>
  TREEFILTER_HD void write(const Place& place, const Value (&values)[Kind::kCount][kRun], T* to) const {
    for (int d = 0; d < Kind::kCount; ++d) {
      for (int j = 0; j < kRun; ++j) {
        const int32_t edge = grid.starting(d, {place.at.z, place.at.y, place.at.x + j});
        if (edge >= 0) to[place.b * grid.edges() + edge] = values[d][j];
      }
    }
  }
};

// A block for every tile and slice of channels.
template <class Phase>
struct Tiles {
  Phase phase;
  int64_t tiles;

  TREEFILTER_HD void operator()(const Block& block) const {
    block.each([&](int t) {
      const int64_t slice = block.index / tiles;
      phase.grid.visit(block.index - slice * tiles, t, [&](const auto& place) { phase(place, slice); });
    });
  }
};

template <class Phase>
void launch_tiles(const Cuda& cuda, const char* name, const Phase& phase) {
  const int64_t tiles = phase.grid.tiles();
  launch_blocks<Phase::Run::kThreads>(cuda, name, tiles * phase.slices(), 0, Tiles<Phase>{phase, tiles});
}

// Calls launch(Kind) with the grid's kind if it is one of at most kMost directions, and if rows and
// `addresses` are those of runs. Whether it was.
template <class X, int kMost = kMaxDirections, class Launch>
bool with_runs(const Grid& grid, std::initializer_list<const void*> addresses, const Launch& launch) {
  const auto suits = [&](auto kind) {
    if constexpr (kind.kCount <= kMost) {
      constexpr int kRun = decltype(kind)::template kRun<X>;
      bool suits = kind.is_that_of(grid) && grid.width % kRun == 0;
      for (const void* address : addresses) {
        suits = suits && reinterpret_cast<uintptr_t>(address) % (kRun * sizeof(X)) == 0;
      }
      if (suits) launch(kind);
      return suits;
    }
    return false;
  };
  return suits(Kind4{}) || suits(Kind8{}) || suits(Kind6{}) || suits(Kind26{});
}

}  // namespace treefilter::cuda
