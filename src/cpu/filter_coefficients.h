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

// Lanes of a row: one cache line.
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
  Buffer<Visit> visits;   // [slot]
  Buffer<T> up;           // [slot][stride]; the only coefficient of all passes but kMean
  Buffer<Mix<T>> down;    // [slot][stride], kMean only
  Buffer<T> scale;        // [vertex][stride] 1/mass, kMean only
  Buffer<T> mass, total;  // [vertex][stride] m and n of filter.h, kMean only and where asked for

  // stride: 1, or the lanes of a row if the family's coefficients are per lane.
  Coefficients(Pass pass, const TreeView& tree, const Affinity<T>& affinity, const Family& family,
               int64_t stride, bool keep_mass)
      : visits(tree.nodes), stride_(stride), nodes_(tree.nodes) {
    const int32_t* parent = tree.parent.data + family.tree * nodes_;
    const int32_t* order = tree.order.data + family.tree * nodes_;
    for (int64_t s = 0; s < nodes_; ++s) visits[s] = {order[s], parent[order[s]]};
    up = Buffer<T>(nodes_ * stride, 0);
    if (pass == Pass::kMean) {
      down = Buffer<Mix<T>>(nodes_ * stride, {1, 0});
      scale = Buffer<T>(nodes_ * stride, 0);
      if (keep_mass) {
        mass = Buffer<T>(nodes_ * stride, 0);
        total = Buffer<T>(nodes_ * stride, 0);
      }
    }
    const int64_t means = pass == Pass::kMean ? nodes_ : 0;
    const Buffer<double> m(means), n(means);
    const int64_t lanes = stride == 1 ? 1 : family.channels();
    const int64_t lanes_of_group = stride == 1 ? 1 : family.group_channels;
    for (int64_t lane = 0; lane < lanes; lane += lanes_of_group) {
      const int64_t group = family.group0 + lane / lanes_of_group;
      const T* a = affinity.values.data + (family.affinity * affinity.groups + group) * nodes_;
      if (pass == Pass::kMean) {
        set_means(a, lane, lanes_of_group, m, n);
      } else {
        for (int64_t s = 0; s < nodes_; ++s) {
          put(up, s, lane, lanes_of_group, a[visits[s].vertex]);
        }
      }
    }
  }

 private:
  void put(Buffer<T>& to, int64_t row, int64_t lane, int64_t count, double value) const {
    for (int64_t l = lane; l < lane + count; ++l) to[row * stride_ + l] = static_cast<T>(value);
  }

  // mass_of and total_of are workspace, [vertex].
  void set_means(const T* a, int64_t lane, int64_t count, const Buffer<double>& mass_of,
                 const Buffer<double>& total_of) {
    for (int64_t v = 0; v < nodes_; ++v) mass_of[v] = 1;
    for (int64_t s = 0; s < nodes_; ++s) {
      const Visit v = visits[s];
      if (v.vertex != v.parent)
        mass_of[v.parent] += static_cast<double>(a[v.vertex]) * mass_of[v.vertex];
    }
    for (int64_t s = nodes_; s-- > 0;) {
      const Visit v = visits[s];
      const double w = a[v.vertex], m = mass_of[v.vertex];
      total_of[v.vertex] = m;
      if (v.vertex != v.parent) {
        const double share = (1 - w) * (1 + w) * m;
        const double n = total_of[v.vertex] = w * total_of[v.parent] + share;
        const double from_parent = share < n / 2 ? 1 : w * total_of[v.parent] / n;
        for (int64_t l = lane; l < lane + count; ++l) {
          down[s * stride_ + l] = {static_cast<T>(share / n), static_cast<T>(from_parent)};
        }
        put(up, s, lane, count, w * m / mass_of[v.parent]);
      }
      put(scale, v.vertex, lane, count, 1 / m);
      if (mass.size() > 0) {
        put(mass, v.vertex, lane, count, m);
        put(total, v.vertex, lane, count, total_of[v.vertex]);
      }
    }
  }

  int64_t stride_, nodes_;
};

// ---- blocks of channels ----

template <int Lanes>
using LaneCount = std::integral_constant<int, Lanes>;

// The narrowest row that holds `used` lanes.
template <class T, class Run>
void with_lanes(int64_t used, const Run& run) {
  if (used <= 1) return run(LaneCount<1>{});
  if (used <= 2) return run(LaneCount<2>{});
  if (used <= 4) return run(LaneCount<4>{});
  if (used <= 8 || kMaxLanes<T> == 8) return run(LaneCount<8>{});
  return run(LaneCount<kMaxLanes<T>>{});
}

template <class T>
int64_t row_stride(const Family& family) {
  int64_t stride = 1;
  if (family.per_lane()) {
    with_lanes<T>(family.channels(), [&](auto lanes) { stride = lanes; });
  }
  return stride;
}

// One row of channels of one image.
struct Block {
  int64_t batch, channel, used;
};

template <class T>
std::vector<Block> blocks(const Family& family) {
  std::vector<Block> all;
  const int64_t end = family.channel0() + family.channels();
  for (int64_t b = family.batch0; b < family.batch1; ++b) {
    for (int64_t c = family.channel0(); c < end; c += kMaxLanes<T>) {
      all.push_back({b, c, std::min<int64_t>(kMaxLanes<T>, end - c)});
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

// The way from the roots down of the passes that have both ways.
template <class T, int Lanes, bool PerLane>
void run_down(Pass pass, const Coefficients<T>& k, T* rows) {
  using R = Rows<T, Lanes, PerLane>;
  const Span<const Visit> visits{k.visits.data(), k.visits.size()};
  if (pass == Pass::kSum) R::sum_down(visits, k.up.data(), rows);
  if (pass == Pass::kMean) R::mean_down(visits, k.down.data(), rows);
}

template <class T, int Lanes, bool PerLane>
void run_pass(Pass pass, const Coefficients<T>& k, T* rows) {
  using R = Rows<T, Lanes, PerLane>;
  const Span<const Visit> visits{k.visits.data(), k.visits.size()};
  if (pass != Pass::kRootToLeaf) R::leaf_to_root(visits, k.up.data(), rows);
  if (pass == Pass::kRootToLeaf) R::root_to_leaf(visits, k.up.data(), rows);
  run_down<T, Lanes, PerLane>(pass, k, rows);
}

}  // namespace treefilter
