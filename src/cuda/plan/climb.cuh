// The chains of a round of the peel (peel.cuh), climbed from their leaves.
//
// One thread for each leaf climbs its chain as long as vertices have two edges, from vertex to vertex by
// the exclusive-ors. It stores the parent of each vertex, its chain (by the number of the leaf) and its
// position in the chain, and for the chain its top. The vertex above the top loses a neighbour.
//
// Where one block or cluster works on an image, each block that has room first copies the edges' numbers
// and exclusive-ors to its shared memory, and climbs there, where a step takes a fifth of the time.
#pragma once

#include "forest.cuh"

namespace treefilter::cuda {

// What is found of the chains. Arrays are [batch, nodes].
struct Chains {
  Forest forest;
  int32_t longest;  // in steps: where a climb stops (longest_climb)

  int32_t* parent;
  int32_t* leaf;      // of the vertex's chain; -1 while there is none
  int32_t* position;  // in the chain, from its leaf
  int32_t* top;       // of a leaf: its chain's top
};

// The links of an image's vertices: whether v has two edges, and the exclusive-or of its neighbours.
struct Links {
  const int32_t *degree, *neighbour;

  TREEFILTER_HD bool inside(int32_t v) const { return degree[v] == 2; }
  TREEFILTER_HD int32_t of(int32_t v) const { return neighbour[v]; }
  static TREEFILTER_HD void step() { dependent_step(); }
};

// The same in shared memory, in one word: the exclusive-or, or ~ that where it has more edges or fewer.
struct CopiedLinks {
  const int32_t* words;

  TREEFILTER_HD bool inside(int32_t v) const { return words[v] >= 0; }
  TREEFILTER_HD int32_t of(int32_t v) const { return words[v] < 0 ? ~words[v] : words[v]; }
  static TREEFILTER_HD void step() { shared_step(); }
};

struct Climb {
  Chains chains;
  int round;
  int32_t* too_long;

  TREEFILTER_HD void operator()(int64_t i) const {
    const Forest& forest = chains.forest;
    const int64_t first = forest.nodes.floor(i);
    from(i, first, chains.longest, Links{forest.degree + first, forest.neighbour + first});
  }

  template <class AnyLinks>
  TREEFILTER_HD void from(int64_t i, int64_t first, int32_t longest, const AnyLinks& links) const {
    const Forest& forest = chains.forest;
    if (forest.degree[i] != 1 || forest.round[i] != Forest::kNotYet) return;
    forest.round[i] = static_cast<int8_t>(round);
    const int32_t start = static_cast<int32_t>(i - first);
    int32_t v = start, above = links.of(v);
    for (int32_t position = 0;; ++position) {
      chains.leaf[first + v] = start;
      chains.position[first + v] = position;
      chains.parent[first + v] = above;
      if (!links.inside(above)) break;
      if (position == longest) {
        set_flag(too_long);
        return;
      }
      AnyLinks::step();
      const int32_t next = links.of(above) ^ v;
      v = above;
      above = next;
    }
    chains.top[i] = v;
    atomic_xor(forest.neighbour + first + above, v);
  }
};

// The climbs of one of the blocks that work on an image. Others may already change links while it copies
// them, but not those of the inside of a chain.
struct ClimbCopied {
  static constexpr int32_t kNearer = 8;  // so many times more steps than elsewhere

  Climb climb;
  int64_t blocks;

  static TREEFILTER_HD int64_t shared_bytes(int64_t nodes) {
    return nodes * static_cast<int64_t>(sizeof(int32_t));
  }

  TREEFILTER_HD void operator()(const Block& block) const {
    const Forest& forest = climb.chains.forest;
    const int64_t nodes = forest.nodes.size, first = block.index / blocks * nodes;
    const int64_t part = block.index % blocks, threads = block.threads;
    int32_t* const words = reinterpret_cast<int32_t*>(block.shared + kScratchBytes);
    block.each([&](int t) {
      for (int64_t v = t; v < nodes; v += threads) {
        const int32_t link = load_relaxed(forest.neighbour + first + v);
        words[v] = forest.degree[first + v] == 2 ? link : ~link;
      }
    });
    block.run([&](int t) {
      const int32_t longest = climb.chains.longest * kNearer;
      for (int64_t v = part * threads + t; v < nodes; v += blocks * threads) {
        climb.from(first + v, first, longest, CopiedLinks{words});
      }
    });
  }
};

}  // namespace treefilter::cuda
