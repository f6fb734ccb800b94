// The rounds of a plan (plan.h), found by peeling all forests of a batch at the same time.
//
// A round of the plan is here
//   climb   One thread for each leaf climbs its chain (climb.cuh).
//   detach  When no thread climbs any more, the vertices above lose the edges too, and the leaves of
//           the next round show.
// So the cost of a round is the length of its longest chain, one dependent load a step. On most
// photographs chains are shorter than 1,000 vertices, but a ramp has chains of 436,000, and a snake one
// of N. Therefore a thread stops after `longest_climb` steps. If one did, the rest of the chains is
// found by pointer jumping:
//   near    Every vertex inside of such a chain learns one of its two neighbours, by a phase over the
//           edges. The exclusive-or gives the other one.
//   start   An arc for each of the two directions out of a vertex says where one step leads.
//   jump    Arcs are extended as the pointers in mst/boruvka.cuh: in a phase a thread follows at most
//           kJump of them.
//   join    The direction that ends where a climb stopped leads down to the leaf; the length of its arc
//           gives the position in the chain.
// A path between two vertices with three or more edges has no such end. It waits for a later round.
#pragma once

#include "../runtime/logarithm.cuh"
#include "climb.cuh"

namespace treefilter::cuda {

struct Peel : Chains {
  static constexpr int kJump = 128;
  static constexpr int64_t kRange = 32;  // vertex numbers that share a count

  bool copied;      // whether blocks of one image have room for its links in shared memory
  int32_t* length;  // of a leaf: its chain's
  int32_t* counts;  // [batch, round, range]: the vertices in chains of a round whose leaf is in a range
  int32_t* near;    // a neighbour in the same chain
  uint64_t* arcs;   // [batch, nodes, 2]: towards `near` and away from it
  int32_t* flags;   // [batch, num_flags]; a kernel for the whole batch uses those of image 0
  int64_t image = 0;

  // A tree has at most log2(leaves) + 1 rounds, and fewer leaves than vertices. Two more hold the roots,
  // and the vertices that are in no tree.
  static TREEFILTER_HD int rounds(int64_t nodes) { return floor_log2(nodes) + 1; }
  static TREEFILTER_HD int64_t ranges(int64_t nodes) { return (nodes + kRange - 1) / kRange; }
  static TREEFILTER_HD int64_t num_counts(int64_t nodes) { return (rounds(nodes) + 2) * ranges(nodes); }
  static TREEFILTER_HD int jumps(int64_t nodes) { return power_to_reach(kJump, nodes); }
  // For every round: whether a chain was too long; whether there are leaves for another round; and for
  // each jump phase whether another one is needed.
  static TREEFILTER_HD int64_t num_flags(int64_t nodes) { return rounds(nodes) * (2 + jumps(nodes)); }

  // The first slot of a leaf's chain, when no arcs are needed any more.
  TREEFILTER_HD int32_t* first_slot() const { return reinterpret_cast<int32_t*>(arcs); }

  // The count of a round that leaf i belongs to.
  TREEFILTER_HD int32_t* count_of(int64_t i, int round) const {
    const int64_t nodes = forest.nodes.size, b = forest.nodes.quotient(i), v = i - b * nodes;
    return counts + b * num_counts(nodes) + round * ranges(nodes) + v / kRange;
  }

  TREEFILTER_PHASED template <class Group>
  TREEFILTER_HD void operator()(Group& group) const;
};

struct StartPeel {
  Peel p;
  TREEFILTER_HD void operator()(int64_t i) const { p.leaf[i] = -1; }
};

struct Detach {
  Peel p;
  int round;
  int32_t* more;

  TREEFILTER_HD void operator()(int64_t i) const {
    if (p.forest.round[i] != round) return;
    const int64_t first = p.forest.nodes.floor(i);
    const int64_t top = first + p.top[i];
    p.length[i] = p.position[top] + 1;
    atomic_add(p.count_of(i, round), p.length[i]);
    if (atomic_add(p.forest.degree + first + p.parent[top], -1) == 2) set_flag(more);
  }
};

// ---- chains that are too long to climb ----

// Where a number of steps from a vertex leads: to a vertex inside of the chain, with the direction in
// which the chain goes on from there, or to an end of the chain. (On a cycle the distance overflows,
// harmlessly.)
struct Arc {
  uint64_t bits;

  static TREEFILTER_HD Arc to(int32_t v, bool away, bool end) {
    return {uint64_t{1} << 33 | static_cast<uint64_t>(end) << 32 | static_cast<uint64_t>(away) << 31 |
            static_cast<uint32_t>(v)};
  }
  TREEFILTER_HD int32_t vertex() const { return static_cast<int32_t>(bits & 0x7fffffffu); }
  TREEFILTER_HD bool end() const { return (bits >> 32 & 1) != 0; }
  TREEFILTER_HD int32_t distance() const { return static_cast<int32_t>(bits >> 33); }
  // The index of the next arc, of [nodes, 2].
  TREEFILTER_HD int64_t next() const {
    return 2 * int64_t{vertex()} + static_cast<int64_t>(bits >> 31 & 1);
  }
  TREEFILTER_HD Arc then(Arc arc) const { return {(bits >> 33 << 33) + arc.bits}; }
};

// What these phases have in common: they do nothing unless a chain was too long.
struct LongChains {
  static constexpr int32_t kNone = INT32_MAX;

  Peel p;
  const int32_t* too_long;

  TREEFILTER_HD bool none() const { return load_relaxed(too_long) == 0; }
  // Whether vertex i is inside of a chain that is left.
  TREEFILTER_HD bool inside(int64_t i) const { return p.near[i] != kNone; }
};

struct ClearNear {
  LongChains chains;
  TREEFILTER_HD void operator()(int64_t i) const {
    if (!chains.none()) chains.p.near[i] = LongChains::kNone;
  }
};

struct FindNear {
  LongChains chains;

  TREEFILTER_HD void operator()(int64_t i) const {
    const Peel& p = chains.p;
    if (chains.none() || p.forest.branch[i] == Forest::kNoBranch) return;
    const int64_t first = p.forest.nodes.floor(i);
    const auto [a, b] = Forest::ends(p.forest.branch[i]);
    if (p.leaf[first + a] >= 0 || p.leaf[first + b] >= 0) return;
    if (p.forest.degree[first + a] == 2) atomic_min(p.near + first + a, b);
    if (p.forest.degree[first + b] == 2) atomic_min(p.near + first + b, a);
  }
};

struct StartArcs {
  LongChains chains;

  TREEFILTER_HD void operator()(int64_t i) const {
    const Peel& p = chains.p;
    if (chains.none() || !chains.inside(i)) return;
    const int64_t first = p.forest.nodes.floor(i);
    const int32_t v = static_cast<int32_t>(i - first);
    const int32_t near = p.near[i], far = p.forest.neighbour[i] ^ near;
    p.arcs[2 * i] = arc(first, v, near).bits;
    p.arcs[2 * i + 1] = arc(first, v, far).bits;
  }
  TREEFILTER_HD Arc arc(int64_t first, int32_t from, int32_t to) const {
    return Arc::to(to, chains.p.near[first + to] == from, !chains.inside(first + to));
  }
};

struct JumpArcs {
  LongChains chains;
  int32_t* unfinished;

  TREEFILTER_HD void operator()(int64_t i) const {
    if (chains.none() || !chains.inside(i / 2)) return;
    uint64_t* arcs = chains.p.arcs + 2 * chains.p.forest.nodes.floor(i / 2);
    Arc arc{chains.p.arcs[i]};
    for (int step = 0; !arc.end(); ++step) {
      if (step == Peel::kJump) {
        set_flag(unfinished);
        return;
      }
      arc = arc.then(Arc{load_relaxed(arcs + arc.next())});
      store_relaxed(chains.p.arcs + i, arc.bits);
    }
  }
};

struct JoinChains {
  LongChains chains;

  TREEFILTER_HD void operator()(int64_t i) const {
    const Peel& p = chains.p;
    if (chains.none() || !chains.inside(i)) return;
    const int64_t first = p.forest.nodes.floor(i);
    const int32_t v = static_cast<int32_t>(i - first);
    const int32_t near = p.near[i], far = p.forest.neighbour[i] ^ near;
    for (int side = 0; side < 2; ++side) {
      const Arc down{p.arcs[2 * i + side]}, up{p.arcs[2 * i + 1 - side]};
      const int64_t last = first + down.vertex();  // that a climb reached
      if (!down.end() || p.leaf[last] < 0) continue;
      const int32_t above = side == 0 ? far : near;
      p.leaf[i] = p.leaf[last];
      p.position[i] = p.position[last] + down.distance();
      p.parent[i] = above;
      if (up.end() && up.distance() == 1) {
        p.top[first + p.leaf[last]] = v;
        atomic_xor(p.forest.neighbour + first + above, v);
      }
      return;
    }
  }
};

TREEFILTER_PHASED template <class Group>
TREEFILTER_HD void Peel::operator()(Group& group) const {
  const int64_t nodes = forest.nodes.size, vertices = forest.batch * nodes;
  group.each(vertices, StartPeel{*this}, forest.batch * num_counts(nodes), SetZero<int32_t>{counts},
             num_flags(nodes), SetZero<int32_t>{flags});
  for (int round = 0; round < rounds(nodes); ++round) {
    int32_t* too_long = flags + image * num_flags(nodes) + round * (2 + jumps(nodes));
    int32_t *more = too_long + 1, *unfinished = too_long + 2;
    const Climb climb{*this, round, too_long};
    if (copied && group.image_blocks() > 0) {
      group.each_block(group.image_blocks(), ClimbCopied{climb, group.image_blocks()});
    } else {
      group.each(vertices, climb);
    }
    if (group.more(too_long)) {
      const LongChains chains{*this, too_long};
      group.each(vertices, ClearNear{chains});
      group.each(vertices, FindNear{chains});
      group.each(vertices, StartArcs{chains});
      for (int k = 0; k < jumps(nodes); ++k) {
        group.each(2 * vertices, JumpArcs{chains, unfinished + k});
        if (!group.more(unfinished + k)) break;
      }
      group.each(vertices, JoinChains{chains});
    }
    group.each(vertices, Detach{*this, round, more});
    if (!group.more(more)) break;
  }
}

}  // namespace treefilter::cuda
