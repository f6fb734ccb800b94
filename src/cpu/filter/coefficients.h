// What a pass needs besides the channels: the visits in order with their coefficients, and the division
// of the channels into blocks.
//
// Channels that have the same coefficients form a family: the channels of a group in one image, or,
// where one tree and one affinity serve a whole batch, in all images. Small groups are combined until
// their channels fill a block; such a family has one coefficient per lane.
#pragma once

#include <initializer_list>
#include <vector>

#include "../support/parallel.h"
#include "../support/workspace.h"
#include "passes.h"

namespace treefilter {

// Lanes of a block that several groups share: one cache line.
template <class T>
constexpr int kMaxLanes = static_cast<int>(64 / sizeof(T));

struct Family {
  int64_t tree, affinity;  // indices in their batches
  int64_t batch0, batch1;  // images batch0 … batch1 - 1
  int64_t group0, group1;  // groups group0 … group1 - 1
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
  const int64_t combined = std::max<int64_t>(1, kMaxLanes<T> / group_channels);
  const bool shared = tree.batch == 1 && affinity.batch == 1;
  for (int64_t b = 0; b < (shared ? std::min<int64_t>(batch, 1) : batch); ++b) {
    for (int64_t g = 0; g < affinity.groups; g += combined) {
      all.push_back({tree.batch == 1 ? 0 : b, affinity.batch == 1 ? 0 : b, b, shared ? batch : b + 1, g,
                     std::min(g + combined, affinity.groups), group_channels});
    }
  }
  return all;
}

inline Buffer<Visit> visits_of(const Cpu& cpu, const TreeView& tree, const Family& family) {
  const int64_t nodes = tree.nodes;
  const bool far = is_far(nodes * static_cast<int64_t>(sizeof(int32_t)));
  Buffer<Visit> visits(nodes);
  const int32_t* parent = tree.parent.data + family.tree * nodes;
  const int32_t* order = tree.order.data + family.tree * nodes;
  for_ascending(cpu, 0, nodes, [&, to = visits.data()](int64_t s) {
    if (far) __builtin_prefetch(parent + order[std::min(s + kFarPrefetchDistance, nodes - 1)], 0, 2);
    to[s] = {order[s], parent[order[s]]};
  });
  return visits;
}

// A group's affinities in the order of visits, 0 at a root. of_vertex: the same by vertex.
template <class T>
Buffer<T> in_order(const Cpu& cpu, const Buffer<Visit>& visits, const T* of_vertex) {
  const int64_t nodes = visits.size();
  const bool far = is_far(nodes * static_cast<int64_t>(sizeof(T)));
  Buffer<T> a(nodes);
  for_ascending(cpu, 0, nodes, [&, from = visits.data(), to = a.data()](int64_t s) {
    if (far) {
      __builtin_prefetch(of_vertex + from[std::min(s + kFarPrefetchDistance, nodes - 1)].vertex, 0, 2);
    }
    const auto [v, p] = from[s];
    to[s] = v == p ? T(0) : of_vertex[v];
  });
  return a;
}

// m and n of filter.h for a vertex, side by side because a visit needs both.
struct Mass {
  double below, total;
};

template <class T>
struct Coefficients {
  Cpu cpu;
  Buffer<Visit> visits;  // [slot]
  // [slot][stride] the coefficients of the steps. For kMean one array per pass; else `up` serves both.
  Buffer<T> up, down;
  // kMean only, for derivatives: n and 1/n [vertex][stride], and the masses [group][vertex].
  Buffer<T> total, inverse;
  Buffer<Mass> masses;

  // stride: 1, or the lanes of a vertex if the family's coefficients are per lane.
  Coefficients(const Cpu& cpu, Pass pass, const TreeView& tree, const Affinity<T>& affinities,
               const Family& family, int64_t stride, bool derivatives)
      : cpu(cpu), visits(visits_of(cpu, tree, family)), stride_(stride), nodes_(tree.nodes) {
    const bool mean = pass == Pass::kMean, unused_lanes = stride > family.channels();
    const auto make = [&](bool wanted, std::initializer_list<Buffer<T>*> all) {
      for (Buffer<T>* values : all) {
        if (wanted) *values = Buffer<T>(nodes_ * stride);
        if (wanted && unused_lanes) values->fill(0);
      }
    };
    const int64_t groups = family.group1 - family.group0;
    make(true, {&up});
    make(mean, {&down});
    make(mean && derivatives, {&total, &inverse});
    if (mean) masses = Buffer<Mass>((derivatives ? groups : 1) * nodes_);
    const int64_t lanes = stride == 1 ? 1 : family.group_channels;  // of a group
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t group = family.affinity * affinities.groups + family.group0 + g;
      const Buffer<T> a = in_order(cpu, visits, affinities.values.data + group * nodes_);
      if (mean) {
        set_means(a.data(), g * lanes, lanes, masses.data() + (derivatives ? g * nodes_ : 0));
      } else {
        put(up, 0, nodes_, g * lanes, lanes, a.data());
      }
    }
  }

 private:
  // The filter of ones, and the coefficients that follow from it. A mass depends on other masses, but a
  // division only on one vertex's masses: divisions are done for kTogether slots at a time, as vectors.
  TREEFILTER_PHASE void set_means(const T* a, int64_t lane, int64_t count, Mass* of) const {
    for (int64_t v = 0; v < nodes_; ++v) of[v].below = 1;
    const Passes<Mass, Lanes<1>> masses_of(cpu, {}, {visits.data(), nodes_}, of);
    MixedMasses mixed;
    masses_of.for_slots_up([&, nodes = nodes_](const auto& passes, int64_t s) {
      const auto [v, p] = passes.visit(s);
      Mass &child = *passes.channels(v), &parent = *passes.channels(p);
      const int64_t i = s % kTogether;
      mixed.self[i] = parent.below;
      mixed.neighbour[i] = v == p ? 0 : static_cast<double>(a[s]) * child.below;
      parent.below = mixed.self[i] + mixed.neighbour[i];
      if (i == kTogether - 1 || s == nodes - 1) put_mixes(up, s - i, i + 1, lane, count, mixed);
    });
    masses_of.for_slots_down([&, nodes = nodes_](const auto& passes, int64_t s) {
      const auto [v, p] = passes.visit(s);
      Mass& self = *passes.channels(v);
      const int64_t i = s % kTogether;
      const double w = static_cast<double>(a[s]);
      mixed.self[i] = (1 - w) * (1 + w) * self.below;
      mixed.neighbour[i] = v == p ? 0 : w * passes.channels(p)->total;
      self.total = mixed.self[i] + mixed.neighbour[i];
      if (i == 0) put_mixes(down, s, std::min(kTogether, nodes - s), lane, count, mixed);
    });
    if (total.size() == 0) return;
    for (int64_t first = 0; first < nodes_; first += kTogether) {
      const int64_t size = std::min(kTogether, nodes_ - first);
      T sums[kTogether], inverses[kTogether];
      for (int64_t i = 0; i < size; ++i) {
        sums[i] = static_cast<T>(of[first + i].total);
        inverses[i] = static_cast<T>(1 / of[first + i].total);
      }
      put(total, first, size, lane, count, sums);
      put(inverse, first, size, lane, count, inverses);
    }
  }

  // The masses with which some slots' steps mix a vertex and its neighbour (MixStep).
  static constexpr int64_t kTogether = 256;
  struct MixedMasses {
    double self[kTogether], neighbour[kTogether];
  };
  TREEFILTER_PHASE void put_mixes(const Buffer<T>& to, int64_t first, int64_t size, int64_t lane,
                                  int64_t count, const MixedMasses& mixed) const {
    T coefficients[kTogether];
    for (int64_t i = 0; i < size; ++i) {
      const double inverse = 1 / (mixed.self[i] + mixed.neighbour[i]);
      coefficients[i] = mix_coefficient<T>(mixed.self[i] * inverse, mixed.neighbour[i] * inverse);
    }
    put(to, first, size, lane, count, coefficients);
  }

  // Sets lanes lane … lane + count - 1 of the elements first … first + size - 1: one value per element.
  void put(const Buffer<T>& to, int64_t first, int64_t size, int64_t lane, int64_t count,
           const T* values) const {
    if (stride_ == 1) {
      std::copy_n(values, size, to.data() + first);
      return;
    }
    for (int64_t i = 0; i < size; ++i) {
      std::fill_n(to.data() + (first + i) * stride_ + lane, count, values[i]);
    }
  }

  int64_t stride_, nodes_;
};

// ---- blocks of channels ----

// The lanes of a block where one coefficient serves all. More lanes mean fewer visits, as long as the
// packed channels of an image stay in the second-level cache. Beyond it, half a cache line a vertex is
// faster than a line: the channels of twice as many vertices stay in the next cache.
template <class T>
int64_t block_lanes(int64_t nodes) {
  const int64_t wide = 2 * kMaxLanes<T>;
  return nodes * wide * static_cast<int64_t>(sizeof(T)) <= kSecondLevel ? wide : kMaxLanes<T> / 2;
}

// Calls run(Lanes<N>{}) with the smallest N that holds `used` lanes.
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
int64_t coefficient_stride(const Family& family) {
  int64_t stride = 1;
  if (family.per_lane()) {
    with_lanes<T, true>(family.channels(), [&](auto lanes) { stride = lanes.stride(); });
  }
  return stride;
}

// Channels of one image that a pass takes at a time: channel … channel + used - 1.
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

// Calls run(family, cpu) for all families: in parallel if there are at least as many families as
// threads, otherwise one after the other with all threads inside. The results are the same.
template <class T, class Run>
void for_families(Cpu cpu, const std::vector<Family>& all, int64_t nodes, const Run& run) {
  const int64_t count = static_cast<int64_t>(all.size());
  const bool outside = count >= cpu.threads;
  const int64_t cost = all.empty() ? 0 : 4 * nodes * all[0].channels();
  parallel_for(count, cost, Cpu{outside ? cpu.threads : 1, cpu.interrupts}, [&] {
    return [&](int64_t i) { run(all[i], Cpu{outside ? 1 : cpu.threads, cpu.interrupts}); };
  });
}

// One pass over packed channels, or both.
template <bool PerLane, class T, class Width>
void run_pass(Pass pass, const Coefficients<T>& k, Width width, T* packed) {
  constexpr int N = lanes_of(Width{});
  const Passes<T, Width> passes(k.cpu, width, {k.visits.data(), k.visits.size()}, packed);
  if (pass == Pass::kMean) {
    passes.template up<MixStep<T, N, PerLane>>(k.up.data());
    return passes.template down<MixStep<T, N, PerLane>>(k.down.data());
  }
  if (pass == Pass::kRootToLeaf) return passes.template down<AddStep<T, N, PerLane>>(k.up.data());
  passes.template up<AddStep<T, N, PerLane>>(k.up.data());
  if (pass == Pass::kSum) passes.template down<SumStep<T, N, PerLane>>(k.up.data());
}

}  // namespace treefilter
