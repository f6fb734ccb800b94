// What a pass needs besides the channels: the visits in order and a coefficient or two for each; and
// how channels are shared out, in blocks that fill a row.
//
// Channels that share their coefficients form a family: a group of one image, or, where one tree and
// one affinity serve a whole batch, that group of all images. Groups too small to fill a row are put
// together, and the coefficients become one per lane.
#pragma once

#include <vector>

#include "filter_rows.h"
#include "parallel.h"

namespace treefilter {

// Lanes of a row where groups share it: one cache line.
template <class T>
constexpr int kMaxLanes = static_cast<int>(64 / sizeof(T));

struct Family {
  int64_t tree, affinity;  // index in their batches
  int64_t batch0, batch1;  // images
  int64_t group0, group1;
  int64_t group_channels;  // channels in a group

  int64_t channel0() const { return group0 * group_channels; }
  int64_t channels() const { return (group1 - group0) * group_channels; }
  bool per_lane() const { return group1 - group0 > 1; }
};

template <class T>
std::vector<Family> families(const TreeView& tree, const Affinity<T>& affinity, int64_t batch,
                             int64_t channels) {
  std::vector<Family> all;
  if (channels == 0) return all;
  const int64_t group_channels = channels / affinity.groups;
  const int64_t together = std::max<int64_t>(1, kMaxLanes<T> / group_channels);
  const bool shared = tree.batch == 1 && affinity.batch == 1;
  for (int64_t b = 0; b < (shared ? std::min<int64_t>(batch, 1) : batch); ++b) {
    for (int64_t g = 0; g < affinity.groups; g += together) {
      all.push_back({tree.batch == 1 ? 0 : b, affinity.batch == 1 ? 0 : b, b, shared ? batch : b + 1, g,
                     std::min(g + together, affinity.groups), group_channels});
    }
  }
  return all;
}

template <class T>
struct Coefficients {
  Buffer<Visit> visits;                // [slot]
  Buffer<T> up;                        // [slot][stride]; the only coefficient of all passes but kMean
  Buffer<T> from_vertex, from_parent;  // [slot][stride], kMean only: see mean_down()
  Buffer<T> scale;                     // [vertex][stride] 1/mass, kMean only
  Buffer<T> mass, total;  // [vertex][stride] m and n of filter.h, kMean only and where asked for

  // stride: 1, or the lanes of a row if the family's coefficients are per lane.
  Coefficients(Pass pass, const TreeView& tree, const Affinity<T>& affinity, const Family& family,
               int64_t stride, bool keep_mass)
      : visits(tree.nodes), stride_(stride), nodes_(tree.nodes) {
    const int32_t* parent = tree.parent.data + family.tree * nodes_;
    const int32_t* order = tree.order.data + family.tree * nodes_;
    for (int64_t s = 0; s < nodes_; ++s) visits[s] = {order[s], parent[order[s]]};
    const bool mean = pass == Pass::kMean, unused_lanes = stride > family.channels();
    for (Buffer<T>* values : {&up, &from_vertex, &from_parent, &scale, &mass, &total}) {
      const bool wanted =
          values == &up || (mean && (keep_mass || (values != &mass && values != &total)));
      if (wanted) *values = Buffer<T>(nodes_ * stride);
      if (wanted && unused_lanes) values->fill(0);
    }
    const Buffer<double> m(mean ? nodes_ : 0), n(mean ? nodes_ : 0);
    const int64_t lanes = stride == 1 ? 1 : family.channels();
    const int64_t lanes_of_group = stride == 1 ? 1 : family.group_channels;
    for (int64_t lane = 0; lane < lanes; lane += lanes_of_group) {
      const int64_t group = family.group0 + lane / lanes_of_group;
      const T* a = affinity.values.data + (family.affinity * affinity.groups + group) * nodes_;
      if (mean) {
        sum_masses(a, m, n);
        set_means(a, lane, lanes_of_group, m, n);
      } else {
        for (int64_t s = 0; s < nodes_; ++s) {
          put(up, s, lane, lanes_of_group, a[visits[s].vertex]);
        }
      }
    }
  }

  MixWeights<T> down() const { return {from_vertex.data(), from_parent.data()}; }

 private:
  void put(const Buffer<T>& to, int64_t row, int64_t lane, int64_t count, double value) const {
    for (int64_t l = lane; l < lane + count; ++l) to[row * stride_ + l] = static_cast<T>(value);
  }

  // The filter of ones: m on its way up, n down. [vertex]
  void sum_masses(const T* a, const Buffer<double>& m, const Buffer<double>& n) const {
    for (int64_t v = 0; v < nodes_; ++v) m[v] = 1;
    for (int64_t s = 0; s < nodes_; ++s) {
      const Visit v = visits[s];
      if (v.vertex != v.parent) m[v.parent] += static_cast<double>(a[v.vertex]) * m[v.vertex];
    }
    for (int64_t s = nodes_; s-- > 0;) {
      const Visit v = visits[s];
      const double w = v.vertex == v.parent ? 0 : static_cast<double>(a[v.vertex]);
      const double from_parent = v.vertex == v.parent ? 0 : w * n[v.parent];
      n[v.vertex] = (1 - w) * (1 + w) * m[v.vertex] + from_parent;
    }
  }

  void set_means(const T* a, int64_t lane, int64_t count, const Buffer<double>& m,
                 const Buffer<double>& n) const {
    for (int64_t s = 0; s < nodes_; ++s) {
      const auto [v, p] = visits[s];
      const double w = v == p ? 0 : static_cast<double>(a[v]);
      const double b = (1 - w) * (1 + w) * m[v] / n[v];
      put(up, s, lane, count, w * m[v] / m[p]);
      put(from_vertex, s, lane, count, b);
      put(from_parent, s, lane, count, v == p ? 0 : b < 0.5 ? 1 : w * n[p] / n[v]);
      put(scale, v, lane, count, 1 / m[v]);
      if (mass.size() > 0) {
        put(mass, v, lane, count, m[v]);
        put(total, v, lane, count, n[v]);
      }
    }
  }

  int64_t stride_, nodes_;
};

// ---- blocks of channels ----

// The lanes of a row where one coefficient serves all: the more, the fewer visits; but the rows of a
// small image should stay in the caches.
template <class T>
int64_t row_lanes(int64_t nodes) {
  constexpr int64_t kCached = 4 << 20;
  return nodes * 2 * kMaxLanes<T> * static_cast<int64_t>(sizeof(T)) <= kCached ? 2 * kMaxLanes<T>
                                                                               : kMaxLanes<T>;
}

// The narrowest row that holds `used` lanes.
template <class T, bool PerLane, class Run>
void with_lanes(int64_t used, const Run& run) {
  constexpr int kMost = kMaxLanes<T>;
  if (used <= 1) return run(Lanes<1>{});
  if (used <= 2) return run(Lanes<2>{});
  if (used <= 4) return run(Lanes<4>{});
  if (used <= 8) return run(Lanes<8>{});
  if constexpr (kMost > 8) {
    if (used <= kMost) return run(Lanes<kMost>{});
  }
  if constexpr (!PerLane) {
    if (used <= kMost / 2 * 3) return run(Lanes<kMost / 2 * 3>{});
    return run(Lanes<2 * kMost>{});
  }
}

template <class T>
int64_t row_stride(const Family& family) {
  int64_t stride = 1;
  if (family.per_lane()) {
    with_lanes<T, true>(family.channels(), [&](auto lanes) { stride = lanes.stride(); });
  }
  return stride;
}

// One row of channels of one image.
struct Block {
  int64_t batch, channel, used;
};

inline std::vector<Block> blocks(const Family& family, int64_t lanes) {
  std::vector<Block> all;
  const int64_t end = family.channel0() + family.channels();
  for (int64_t b = family.batch0; b < family.batch1; ++b) {
    for (int64_t c = family.channel0(); c < end; c += lanes) {
      all.push_back({b, c, std::min<int64_t>(lanes, end - c)});
    }
  }
  return all;
}

// Runs run(family, threads) for all families: in parallel where there are enough of them, otherwise one
// after the other with all threads inside. The results are the same.
template <class T, class Run>
void for_families(Cpu cpu, const std::vector<Family>& all, int64_t nodes, const Run& run) {
  const int64_t count = static_cast<int64_t>(all.size());
  const bool outside = count >= cpu.threads;
  const int64_t cost = all.empty() ? 0 : 4 * nodes * all[0].channels();
  parallel_for(count, cost, outside ? cpu.threads : 1,
               [&] { return [&](int64_t i) { run(all[i], Cpu{outside ? 1 : cpu.threads}); }; });
}

// The passes over rows.
template <bool PerLane, class T, class Width>
void run_pass(Pass pass, const Coefficients<T>& k, Width width, T* rows) {
  const Rows<T, Width, PerLane> r(width, {k.visits.data(), k.visits.size()}, rows);
  if (pass == Pass::kRootToLeaf) return r.root_to_leaf(k.up.data());
  r.leaf_to_root(k.up.data());
  if (pass == Pass::kSum) r.sum_down(k.up.data());
  if (pass == Pass::kMean) r.mean_down(k.down());
}

}  // namespace treefilter
