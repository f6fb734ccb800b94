// Dendrograms on CUDA (dendrogram.h): find_limbs by limbs.cuh, join_limbs here, and what is lowest below
// every node by a scan over the plan of the dendrogram.
//
// Workspace: 16 bytes a vertex, beside the limbs and torch's sort.
#include "../scan/chain_scan_large.cuh"
#include "limbs.cuh"

namespace treefilter {
using namespace cuda;

namespace {

// ---- from limbs to nodes ----

// limb and merge [B, N - 1] ascend by limb, then by merge.
struct LinkedLimbs {
  int64_t nodes;
  const int32_t* limb;
  const int64_t* merge;
  Merges out;

  // Position i, of merge number `merge` of image b.
  struct At {
    int64_t b, first;  // first: of the image's merges
    int32_t limb, merge;
  };
  TREEFILTER_HD At at(int64_t i) const {
    const Split at(i, nodes - 1);
    return {at.quotient, i - at.rest, limb[i], static_cast<int32_t>(merge[i])};
  }
  TREEFILTER_HD int32_t node_of(int64_t merge) const { return static_cast<int32_t>(nodes + merge); }
  TREEFILTER_HD int32_t* children_of(const At& at, int64_t merge) const {
    return out.children.data + 2 * (at.first + merge);
  }
};

// The parents of all merges; and those that end a limb as children of the merge above.
struct LinkParents {
  LinkedLimbs p;
  TREEFILTER_HD void operator()(int64_t i) const {
    const LinkedLimbs::At at = p.at(i);
    const int32_t node = p.node_of(at.merge);
    int32_t* const parent = p.out.parent.data + at.b * (2 * p.nodes - 1) + node;
    if (at.limb == kNoLimb) {
      *parent = node;
      return;
    }
    if (i + 1 < at.first + p.nodes - 1 && p.limb[i + 1] == at.limb) {
      *parent = p.node_of(p.merge[i + 1]);
      return;
    }
    const bool root = at.limb < 0;
    *parent = root ? node : p.node_of(at.limb / 2);
    if (!root && p.out.children.size > 0) p.children_of(at, 0)[at.limb] = node;
  }
};

// A merge that does not begin its limb has the one before as a child; the other child, or both of one
// that begins a limb, it has from limbs and leaves.
struct LinkChildren {
  LinkedLimbs p;
  TREEFILTER_HD void operator()(int64_t i) const {
    const LinkedLimbs::At at = p.at(i);
    if (at.limb == kNoLimb) return;
    int32_t* const pair = p.children_of(at, at.merge);
    int32_t a = pair[0], c = pair[1];
    if (i > at.first && p.limb[i - 1] == at.limb) {
      c = a < c ? c : a;
      a = p.node_of(p.merge[i - 1]);
    }
    pair[0] = a < c ? a : c;
    pair[1] = a < c ? c : a;
  }
};

// ---- the least value below every node ----

struct Least {
  int32_t value;

  static TREEFILTER_HD Least identity() { return {INT32_MAX}; }
  static TREEFILTER_HD Least combine(const Least& earlier, const Least& later) {
    return later.value < earlier.value ? later : earlier;
  }
};

struct LeavesChannel {
  PlanView plan;
  int64_t leaves;
  const int32_t* value;
  int32_t* to;
};

struct StartLeaves {
  LeavesChannel p;
  TREEFILTER_HD explicit StartLeaves(const LeavesChannel& channel) : p(channel) {}
  TREEFILTER_HD void operator()(int32_t v) const { p.to[v] = v < p.leaves ? p.value[v] : INT32_MAX; }
};

// A node has two children: one before it in its chain at most, and the others finished.
struct LeastUp {
  static constexpr bool kUp = true, kGathers = false;
  using Map = ChainMap<Least>;

  PlanView plan;
  int32_t* to;

  TREEFILTER_HD explicit LeastUp(const LeavesChannel& channel) : plan(channel.plan), to(channel.to) {}

  TREEFILTER_HD Map step(int32_t s) const {
    Least least{to[plan.vertex(s)]};
    for (int32_t i = plan.light_begin()[s]; i < plan.light_begin()[s + 1]; ++i) {
      least = Least::combine(least, {to[plan.vertex(plan.light_children()[i])]});
    }
    return {least, !plan.is_bottom(s)};
  }
  TREEFILTER_HD void put(int32_t s, const Least& least) const { to[plan.vertex(s)] = least.value; }
};

struct FindLeast {
  using Value = int32_t;
  using LargestMap = ChainMap<Least>;
  static constexpr bool kGathers = false;

  TreeView tree;
  int64_t leaves;
  int64_t channels_per_tree;
  const int32_t* value;
  int32_t* to;

  TREEFILTER_HD int64_t nodes() const { return tree.nodes; }
  TREEFILTER_HD const TreeView& trees() const { return tree; }
  TREEFILTER_HD LeavesChannel channel(int64_t b) const {
    return {tree.plan_of(b), leaves, value + b * leaves, to + b * tree.nodes};
  }
  TREEFILTER_PHASED template <class Runner>
  TREEFILTER_HD void run(const Runner& runner) const {
    runner.template vertices<StartLeaves>();
    runner.template pass<LeastUp>();
  }
};

}  // namespace

void find_limbs(const Cuda& cuda, int64_t batch, const TreeEdges& tree, Span<const int32_t> sorted,
                const Merges& out, Span<int32_t> limb) {
  const int64_t vertices = batch * tree.nodes;
  if (vertices == 0) return;
  const auto [best, component, rank, flags] = cuda.arrays<EdgeOrder, int32_t, int32_t, int32_t>(
      vertices, vertices, vertices, batch * Boruvka<TreeGraph>::num_flags(tree.nodes));
  const Boruvka<TreeGraph> forest{TreeGraph(tree), batch, nullptr, best, component, nullptr, flags};
  run_batch(cuda, "dendrogram", batch, tree.nodes,
            Contraction{forest, sorted.data, out, rank, limb.data});
}

void join_limbs(const Cuda& cuda, int64_t batch, int64_t nodes, Span<const int32_t> limb,
                Span<const int64_t> merge, const Merges& out) {
  const LinkedLimbs linked{nodes, limb.data, merge.data, out};
  launch_flat(cuda, "dendrogram", batch * (nodes - 1), LinkParents{linked});
  if (out.children.size > 0) launch_flat(cuda, "dendrogram", batch * (nodes - 1), LinkChildren{linked});
}

void lowest_leaf(const Cuda& cuda, int64_t batch, const TreeView& dendrogram, Span<const int32_t> value,
                 Span<int32_t> to) {
  if (batch == 0) return;
  run_task(cuda, "lowest_leaf", batch,
           FindLeast{dendrogram, value.size / batch, 1, value.data, to.data});
}

}  // namespace treefilter
