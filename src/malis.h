// How many pairs of vertices with equal and with different labels every merge of a dendrogram joins (the
// counts of S. Turaga et al., Maximin affinity learning of image segmentation, NeurIPS 2009).
//
// The leaves are put in an order in which those below each node follow each other, those of its larger
// child first. From every leaf a path goes up as long as a node is the larger child of its parent. It
// keeps one count for each label below it; at each merge it looks up and then adds the leaves of the
// smaller child. A leaf is added once for each path above it, of which there are at most log2(N) + 1:
// O(N log N). Counts are integers, exact in float64 up to 2^53. Images are independent of each other; on
// CUDA one thread counts in each, which is correct, and slow for a large image.
#pragma once

#include "core.h"
#include "cuda/runtime/call.h"

namespace treefilter {

struct PairCounts {
  int64_t n;
  const int32_t *parent, *children;  // [B, 2 N - 1], [B, N - 1, 2]
  const int32_t* label;              // [B, N], in [-1, N); -1: none, in no pair
  double *equal, *different;         // [B, N - 1]
  int32_t *size, *first;             // workspaces [B, 2 N - 1]: how many leaves, and where they begin
  int32_t *leaf, *count;             // [B, N]: the leaves in order; of every label

  template <class Check>
  TREEFILTER_HD void operator()(int64_t b, const Check& check) const {
    const PairCounts p = of_image(b);
    p.place_leaves(check);
    for (int32_t v = 0; v < n; ++v, check()) p.follow(v, check);
  }

 private:
  TREEFILTER_HD PairCounts of_image(int64_t b) const {
    const int64_t nodes = b * (2 * n - 1), merges = b * (n - 1);
    return {n,
            parent + nodes,
            children + 2 * merges,
            label + b * n,
            equal + merges,
            different + merges,
            size + nodes,
            first + nodes,
            leaf + b * n,
            count + b * n};
  }
  TREEFILTER_HD int32_t larger_child(int64_t k) const {
    const int32_t a = children[2 * k], c = children[2 * k + 1];
    return size[a] > size[c] ? a : c;
  }

  template <class Check>
  TREEFILTER_HD void place_leaves(const Check& check) const {
    for (int64_t v = 0; v < n; ++v) {
      size[v] = 1;
      count[v] = 0;
    }
    for (int64_t k = 0; k < n - 1; ++k, check()) {
      equal[k] = different[k] = 0;
      const int32_t a = children[2 * k], c = children[2 * k + 1];
      size[n + k] = a < 0 ? 0 : size[a] + size[c];
    }
    int32_t end = 0;
    for (int64_t x = 2 * n - 2; x >= 0; --x, check()) {
      if (parent[x] == x) {
        first[x] = end;
        end += size[x];
      }
      if (x < n) {
        leaf[first[x]] = static_cast<int32_t>(x);
      } else if (children[2 * (x - n)] >= 0) {
        const int64_t k = x - n;
        const int32_t large = larger_child(k), small = children[2 * k] + children[2 * k + 1] - large;
        first[large] = first[x];
        first[small] = first[x] + size[large];
      }
    }
  }

  template <class Check>
  TREEFILTER_HD void follow(int32_t bottom, const Check& check) const {
    int32_t x = bottom;
    int64_t have = 0;
    const auto add = [&](int32_t v) {
      if (label[v] < 0) return;
      ++count[label[v]];
      ++have;
    };
    add(bottom);
    for (int32_t up = parent[x]; up != x && larger_child(up - n) == x; up = parent[x]) {
      const int64_t k = up - n;
      const int32_t other = children[2 * k] + children[2 * k + 1] - x;
      const int32_t *const begin = leaf + first[other], *const end = begin + size[other];
      int64_t same = 0, unlike = 0;
      for (const int32_t* v = begin; v < end; ++v, check()) {
        if (label[*v] < 0) continue;
        same += count[label[*v]];
        unlike += have - count[label[*v]];
      }
      for (const int32_t* v = begin; v < end; ++v) add(*v);
      equal[k] = static_cast<double>(same);
      different[k] = static_cast<double>(unlike);
      x = up;
    }
    const int32_t* const begin = leaf + first[x];
    for (const int32_t* v = begin; v < begin + size[x]; ++v) {
      if (label[*v] >= 0) count[label[*v]] = 0;
    }
  }
};

// parent [B, 2 N - 1], children [B, N - 1, 2], label [B, N]; equal, different [B, N - 1].
void count_pairs(Cpu, int64_t batch, int64_t nodes, Span<const int32_t> parent,
                 Span<const int32_t> children, Span<const int32_t> label, Span<double> equal,
                 Span<double> different);
void count_pairs(const Cuda&, int64_t batch, int64_t nodes, Span<const int32_t> parent,
                 Span<const int32_t> children, Span<const int32_t> label, Span<double> equal,
                 Span<double> different);

}  // namespace treefilter
