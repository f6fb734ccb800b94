// Sums over the edges of grids whose rows consist of aligned runs of 16 bytes: 4 floats, 8 halves or 2
// doubles. A thread has one run of vertices. It reads its own row, and the rows that its edges lead to,
// a run at a time, and beside a run the one value of a neighbouring run that an edge leads to. The
// compiler knows which rows and neighbours these are. So a vertex of a 4-connected grid costs half a
// load of 16 bytes and a quarter of a load of one value, where grid_sums.cuh takes three loads of one
// value.
//
// A block has a tile of 16 rows of 128 bytes. In this way 15 of 16 reads of the next row
// find it in the cache, because the row's own thread reads it, too.
//
// What is summed, and in which order, is that of grid_sums.cuh: the same bits.
#pragma once

#include <initializer_list>

#include "grid.cuh"

namespace treefilter::cuda {

// So many bytes, moved at once. They are declared as words: of halves the compiler would make single
// reads.
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
  // Runs of half floats are shorter where each value has 13 edges.
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

  static bool fits(const Grid& grid) {
    if (grid.num_directions != kCount) return false;
    for (int i = 0; i < kCount; ++i) {
      const Direction& d = grid.directions[i];
      if (d.dx != dx(i) || d.dz != (row(i) > 1) || d.dz * 3 + d.dy != row(i)) return false;
    }
    return true;
  }
};

// The neighbourhoods of graph.py, in the order of edge numbers.
using Kind4 = Kind<0x02, 2>;
using Kind8 = Kind<0x1302, 4>;
using Kind6 = Kind<0x028, 3>;
using Kind26 = Kind<0x46ac13795b028, 13>;

// The grid, and its tiles of runs.
template <class Kind, class X>
struct Runs {
  static constexpr int kRun = Kind::template kRun<X>, kRows = Kind::kRows;
  static constexpr int kTileRuns = 128 / (kRun * static_cast<int>(sizeof(X))), kTileRows = 16;
  static constexpr int kThreads = kTileRuns * kTileRows;

  Directions<Kind::kCount> grid;
  int64_t rows;                        // of all images
  int32_t image_rows, height, length;  // rows of an image and of a plane, runs of a row

  Runs(const Grid& grid, int64_t batch)
      : grid(grid),
        rows(batch * grid.depth * grid.height),
        image_rows(static_cast<int32_t>(grid.depth * grid.height)),
        height(static_cast<int32_t>(grid.height)),
        length(static_cast<int32_t>(grid.width / kRun)) {}

  int64_t tiles() const { return (rows + kTileRows - 1) / kTileRows * tiles_of_row(); }
  TREEFILTER_HD int64_t tiles_of_row() const { return (length + kTileRuns - 1) / kTileRuns; }

  // Where the values of a row are, as offsets from the thread's run: the run, and the value on either
  // side of it. What does not exist has an offset inside of the thread's own run, so that all are read
  // in the same way.
  struct Window {
    int32_t left, run, right;
  };

  // A run: its image, and its first vertex.
  struct RunPosition {
    int64_t b;
    int32_t v;
    GridPosition at;
  };

  // Calls visit(RunPosition) for the run of a thread, if there is one.
  template <class Visit>
  TREEFILTER_HD void visit(int64_t tile, int t, const Visit& visit) const {
    const int64_t down = tile / tiles_of_row(), row = down * kTileRows + t / kTileRuns;
    const int64_t run = (tile - down * tiles_of_row()) * kTileRuns + t % kTileRuns;
    if (row >= rows || run >= length) return;
    const int64_t b = row / image_rows;
    const int32_t y = static_cast<int32_t>(row - b * image_rows), x = static_cast<int32_t>(run) * kRun;
    visit(RunPosition{b, y * length * kRun + x, {y / height, y % height, x}});
  }

  // The row that directions lead to, or for side = -1 the row that they come from.
  TREEFILTER_HD Window window(const RunPosition& here, int row, int side = 1) const {
    const int32_t dz = row > 1, dy = row - 3 * dz, width = length * kRun, depth = image_rows / height;
    const int32_t z = here.at.z + side * dz, y = here.at.y + side * dy, x = here.at.x;
    const bool exists = z >= 0 && z < depth && y >= 0 && y < height;
    const int32_t run = exists ? side * (dz * height + dy) * width : 0;
    return {run - (x > 0), run, run + (x + kRun < width ? kRun : 0)};
  }

  // Reads the values of a window, the left one first. `from`: the thread's run.
  template <class T>
  static TREEFILTER_HD void read(const X* from, const Window& window, bool left, bool right,
                                 T (&to)[kRun + 2]) {
    X run[kRun];
    read_run(from + window.run, run);
    for (int j = 0; j < kRun; ++j) to[j + 1] = load<T>(run[j]);
    to[0] = left ? load<T>(from[window.left]) : T(0);
    to[kRun + 1] = right ? load<T>(from[window.right]) : T(0);
  }

  // The windows that directions start in and lead to.
  TREEFILTER_HD void windows(const RunPosition& here, Window (&to)[kRows]) const {
    for (int row = 0; row < kRows; ++row) to[row] = window(here, row);
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
  TREEFILTER_HD void write(const RunPosition& here, const Value (&values)[Kind::kCount][kRun],
                           T* to) const {
    for (int d = 0; d < Kind::kCount; ++d) {
      for (int j = 0; j < kRun; ++j) {
        const int32_t edge = grid.starting(d, {here.at.z, here.at.y, here.at.x + j});
        if (edge >= 0) to[here.b * grid.edges() + edge] = values[d][j];
      }
    }
  }
};

// A block for each tile and slice of channels.
template <class Phase>
struct Tiles {
  Phase phase;
  int64_t tiles;

  TREEFILTER_HD void operator()(const Block& block) const {
    block.each([&](int t) {
      const int64_t slice = block.index / tiles;
      phase.grid.visit(block.index - slice * tiles, t, [&](const auto& here) { phase(here, slice); });
    });
  }
};

template <class Phase>
void launch_tiles(const Cuda& cuda, const char* name, const Phase& phase) {
  const int64_t tiles = phase.grid.tiles();
  launch_blocks<Phase::Run::kThreads>(cuda, name, tiles * phase.slices(), 0, Tiles<Phase>{phase, tiles});
}

// Calls launch(Kind) with the grid's kind, if it has one of at most kMost directions, and if the rows
// and `addresses` are aligned as runs. Returns whether it did.
template <class X, int kMost = kMaxDirections, class Launch>
bool with_runs(const Grid& grid, std::initializer_list<const void*> addresses, const Launch& launch) {
  const auto suits = [&](auto kind) {
    if constexpr (kind.kCount <= kMost) {
      constexpr int kRun = decltype(kind)::template kRun<X>;
      bool suits = kind.fits(grid) && grid.width % kRun == 0;
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
