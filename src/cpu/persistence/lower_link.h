// Of the eight pixels around a pixel: which come before it in a filtration, and how these hang together.
#pragma once

#include <array>
#include <cstdint>

namespace treefilter {

// The pixels around one, by the bits that say of each whether it is before it.
enum Around { kUp, kDown, kLeft, kRight, kUpLeft, kDownRight, kUpRight, kDownLeft };

// Whether a and c are neighbours. Those around a pixel in 8-connectivity are at most 2 apart.
inline bool are_neighbours(int a, int c, bool diagonals) {
  constexpr int kRow[8] = {-1, 1, 0, 0, -1, 1, -1, 1}, kColumn[8] = {0, 0, -1, 1, -1, 1, 1, -1};
  const int dy = kRow[a] - kRow[c], dx = kColumn[a] - kColumn[c];
  const int squared = dy * dy + dx * dx;
  return squared == 1 || (diagonals && squared == 2);
}

// Of every set of pixels around one: its neighbours among them, the first of each component in the order
// of edges, then -1. `turned`: the order of edges in an image that was turned by 180 degrees.
class LowerLinks {
 public:
  using Firsts = std::array<int8_t, 4>;

  LowerLinks(bool diagonals, bool turned) : firsts_() {
    for (int set = 0; set < 256; ++set) firsts_[set] = firsts_of(set, diagonals, turned);
  }
  const Firsts& operator[](int set) const { return firsts_[set]; }

 private:
  static Firsts firsts_of(int set, bool diagonals, bool turned) {
    Firsts firsts{-1, -1, -1, -1};
    int seen = 0, count = 0;
    for (int i = 0; i < (diagonals ? 8 : 4); ++i) {
      const int first = turned ? i ^ 1 : i;  // each direction's two neighbours change places
      if (((set & ~seen) >> first & 1) == 0) continue;
      firsts[count++] = static_cast<int8_t>(first);
      seen |= component_of(first, set, diagonals);
    }
    return firsts;
  }

  static int component_of(int first, int set, bool diagonals) {
    int component = 1 << first;
    for (int before = 0; before != component;) {
      before = component;
      for (int a = 0; a < 8; ++a) {
        for (int c = 0; c < 8; ++c) {
          const bool joined = (before >> a & 1) != 0 && (set >> c & 1) != 0;
          if (joined && are_neighbours(a, c, diagonals)) component |= 1 << c;
        }
      }
    }
    return component;
  }

  std::array<Firsts, 256> firsts_;
};

inline const LowerLinks& lower_links(bool diagonals, bool turned) {
  static const LowerLinks of_all[2][2] = {{{false, false}, {false, true}},
                                          {{true, false}, {true, true}}};
  return of_all[diagonals][turned];
}

// The sets of `count` pixels of a row. Of equal values the lower number is before the other.
template <class T>
void lower_sets(const T* above, const T* own, const T* below, int64_t count, uint8_t* set) {
  for (int64_t x = 0; x < count; ++x) {
    const T value = own[x];
    const int up = (above[x] <= value) << kUp | (above[x - 1] <= value) << kUpLeft |
                   (above[x + 1] <= value) << kUpRight;
    const int down = (below[x] < value) << kDown | (below[x - 1] < value) << kDownLeft |
                     (below[x + 1] < value) << kDownRight;
    const int beside = (own[x - 1] <= value) << kLeft | (own[x + 1] < value) << kRight;
    set[x] = static_cast<uint8_t>(up | down | beside);
  }
}

}  // namespace treefilter
