// Rooting, the order and the plan (plan.h): the peel's rounds (peel.cuh), then the layout in slots.
//
// Chains are ordered by round, then by the number of their leaf. While chains are found, their lengths
// are summed for each round and range of 32 leaf numbers. Prefix sums over (round, range) tell where the
// slots of a range end; a leaf subtracts the lengths of the chains that follow in its range. The slot of
// a vertex is that of its chain plus its position in the chain. The roots are chains of one vertex, in a
// round after all others. Vertices that are in no tree get the positions behind the last slot, so that
// `order` is a permutation whatever the parents are.
//
// Workspace: 36 bytes a vertex, and 4 for each range and round.
#include "../../plan.h"
#include "../runtime/per_image.cuh"
#include "../runtime/prefix_sum.cuh"
#include "peel.cuh"

namespace treefilter {
using namespace cuda;

namespace {

struct RootAndOrder {
  Peel peel;
  int32_t* order;  // may be null
  int32_t* plan;
  int32_t* list_flags;  // of Grouping
  int32_t* sums;

  // The longest sequence that prefix sums are taken of.
  static TREEFILTER_HD int64_t longest_sequence(int64_t nodes) {
    const int64_t counts = Peel::num_counts(nodes);
    return counts > nodes ? counts : nodes + 1;
  }

  TREEFILTER_HD RootAndOrder of_image(int64_t b) const {
    RootAndOrder one = *this;
    one.peel.forest.batch = 1;
    one.peel.image = b;
    return one;
  }
  int64_t shared_bytes() const {
    return peel.copied ? ClimbCopied::shared_bytes(peel.forest.nodes.size) : 0;
  }

  TREEFILTER_PHASED template <class Group>
  TREEFILTER_HD void operator()(Group& group) const;
};

// Makes chains of the vertices that the peel has not taken.
struct AddRoots {
  Peel p;

  TREEFILTER_HD void operator()(int64_t i) const {
    if (p.leaf[i] >= 0) return;
    const int32_t v = static_cast<int32_t>(i - p.forest.nodes.floor(i));
    p.leaf[i] = p.parent[i] = p.top[i] = v;
    p.position[i] = 0;
    p.length[i] = 1;
    const bool root = p.forest.round[i] == Forest::kRoot;
    atomic_add(p.count_of(i, Peel::rounds(p.forest.nodes.size) + (root ? 0 : 1)), 1);
  }
};

// The first slot of every chain.
struct FirstSlots {
  Peel p;

  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t nodes = p.forest.nodes.size, first = p.forest.nodes.floor(i), v = i - first;
    if (p.leaf[i] != v) return;
    const int8_t round = p.forest.round[i];
    int64_t end = v / Peel::kRange * Peel::kRange + Peel::kRange;
    end = end < nodes ? end : nodes;
    int32_t slot = *p.count_of(i, round == Forest::kRoot     ? Peel::rounds(nodes)
                                  : round == Forest::kNotYet ? Peel::rounds(nodes) + 1
                                                             : round);
    for (int64_t u = v; u < end; ++u) {
      if (p.leaf[first + u] == u && p.forest.round[first + u] == round) slot -= p.length[first + u];
    }
    p.first_slot()[i] = slot;
  }
};

struct PlaceVertices {
  RootAndOrder to;

  TREEFILTER_HD void operator()(int64_t i) const {
    const Peel& p = to.peel;
    const int64_t nodes = p.forest.nodes.size, b = p.forest.nodes.quotient(i), first = b * nodes;
    const int32_t v = static_cast<int32_t>(i - first), slot = slot_of(i);
    int32_t* plan = to.plan + b * PlanView::size(nodes);
    int32_t up = slot + 1, heavier = -1;
    if (p.top[first + p.leaf[i]] == v) {
      const int64_t above = first + p.parent[i];
      // A vertex below a cycle, which is no tree, counts as a root.
      const bool in_tree = p.forest.round[above] != Forest::kNotYet || p.leaf[above] != p.parent[i];
      if (above != i && in_tree) heavier = slot_of(above);
      up = ~(heavier < 0 ? slot : heavier);
    }
    if (to.order != nullptr) to.order[first + slot] = v;
    plan[slot] = v;
    plan[nodes + slot] = up;
    plan[3 * nodes + 1 + v] = 0;  // never written by a list of light children
    p.near[first + slot] = heavier;
  }

  TREEFILTER_HD int32_t slot_of(int64_t i) const {
    const Peel& p = to.peel;
    return p.first_slot()[p.forest.nodes.floor(i) + p.leaf[i]] + p.position[i];
  }
};

struct WriteRounds {
  RootAndOrder to;

  TREEFILTER_HD void operator()(int64_t i) const {
    const int64_t nodes = to.peel.forest.nodes.size, b = i / PlanView::kRounds,
                  k = i % PlanView::kRounds;
    const int32_t* counts = to.peel.counts + b * Peel::num_counts(nodes);
    const int64_t roots = Peel::rounds(nodes);
    const auto begin = [&](int64_t round) {
      return round == 0 ? 0 : counts[round * Peel::ranges(nodes) - 1];
    };
    // A round that starts where the roots do is that of the roots; the table has room for more rounds.
    const bool beyond = k > roots || (k > 0 && begin(k - 1) == begin(roots));
    int32_t* const plan = to.plan + b * PlanView::size(nodes) + 4 * nodes + 1;
    if (k == 0) plan[0] = 0;  // no hub yet
    plan[1 + k] = beyond ? begin(roots + 1) : begin(k);
  }
};

TREEFILTER_PHASED template <class Group>
TREEFILTER_HD void RootAndOrder::operator()(Group& group) const {
  const int64_t batch = peel.forest.batch, nodes = peel.forest.nodes.size;
  peel(group);
  group.each(batch * nodes, AddRoots{peel});
  PrefixSum{peel.counts, batch, Peel::num_counts(nodes), sums}(group);
  group.each(batch * nodes, FirstSlots{peel});
  const Grouping light_children{batch,
                                nodes,
                                nodes,
                                peel.near,
                                plan + 2 * nodes,
                                plan + 3 * nodes + 1,
                                peel.top,
                                peel.leaf,
                                peel.position,
                                list_flags,
                                sums,
                                PlanView::size(nodes),
                                PlanView::size(nodes),
                                peel.image,
                                plan + 4 * nodes + 1,
                                PlanView::kHub};
  group.each(batch * nodes, PlaceVertices{*this}, batch * PlanView::kRounds, WriteRounds{*this},
             Grouping::kLevels, SetZero<int32_t>{list_flags}, batch * (nodes + 1),
             ClearCounts{light_children});
  light_children.fill(group);
}

struct AddParent {
  Forest forest;
  const int32_t* parent;

  TREEFILTER_HD void operator()(int64_t i) const {
    const int32_t v = static_cast<int32_t>(i - forest.nodes.floor(i)), above = parent[i];
    if (above < 0 || above >= forest.nodes.size || above == v) {
      forest.add_root(i);
      forest.branch[i] = Forest::kNoBranch;
    } else {
      forest.add_branch(i, v, above);
    }
  }
};

}  // namespace

void cuda::root_and_order(const Cuda& cuda, const Forest& forest, int32_t* parent, int32_t* order,
                          int32_t* plan) {
  const int64_t batch = forest.batch, nodes = forest.nodes.size, vertices = batch * nodes;
  const int64_t longest = RootAndOrder::longest_sequence(nodes);
  const auto [leaf, position, top, length, near, arcs, counts, flags, list_flags, sums] =
      cuda.arrays<int32_t, int32_t, int32_t, int32_t, int32_t, uint64_t, int32_t, int32_t, int32_t,
                  int32_t>(vertices, vertices, vertices, vertices, vertices, 2 * vertices,
                           batch * Peel::num_counts(nodes), batch * Peel::num_flags(nodes),
                           batch * Grouping::kLevels, PrefixSum::sums_size(batch, longest));
  const bool copied = kScratchBytes + ClimbCopied::shared_bytes(nodes) <= shared_limit();
  const Chains chains{forest, longest_climb, parent, leaf, position, top};
  const Peel peel{chains, copied, length, counts, near, arcs, flags};
  const RootAndOrder kernel{peel, order, plan, list_flags, sums};
  run_batch(cuda, "plan", batch, nodes, kernel);
}

void plan(const Cuda& cuda, int64_t batch, int64_t nodes, Span<const int32_t> parent,
          Span<int32_t> plan) {
  if (batch == 0 || nodes == 0) return;
  const int64_t vertices = batch * nodes;
  const auto [degree, neighbour, round, branch, up] =
      cuda.arrays<int32_t, int32_t, int8_t, uint64_t, int32_t>(vertices, vertices, vertices, vertices,
                                                               vertices);
  const Forest forest{batch, Divisor(nodes), degree, neighbour, round, branch};
  launch_flat(cuda, "plan", vertices, ClearForest{forest});
  launch_flat(cuda, "plan", vertices, AddParent{forest, parent.data});
  root_and_order(cuda, forest, up, nullptr, plan.data);
}

}  // namespace treefilter
