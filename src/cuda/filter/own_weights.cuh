// The mean of channels each of which has an affinity of its own, where a channel fits into shared
// memory.
//
// Then the coefficients serve one channel, and take several times as much memory as it. So the block of
// the channel makes them itself, in shared memory, and they never leave it: first the filter of ones,
// then that of the channel in the same memory. For each slot
//
//   double      the value of ones      then the channel's values, of one or two lanes
//   double      the mass               then the two weights of the step down
//   float       the affinity           then 1/m
//   float       the weight of the step up
//
// The results have the same bits as with coefficients in memory: steps and segments are the same.
#pragma once

#include "channels_large.cuh"
#include "coefficients.cuh"

namespace treefilter::cuda {

// Coefficients that a block makes for itself.
template <class T>
struct InsideCoefficients {
  double* mass;
  T *affinity, *up_weight;
};

// What is also kept in memory: nothing, the totals, or masses, totals and affinities.
enum class Kept { kNothing, kTotals, kAll };

// The filter of ones inside of a block.
template <class T, Kept kKept>
struct OnesInside {
  using Value = double;
  using Steps = SumSteps<double, T>;
  static constexpr int kLanes = 1;
  static constexpr bool kSharedOnly = true;
  static constexpr bool kTurns = true;
  struct Arrays {
    InsideCoefficients<T> to;
    const T* affinity;
    Coefficients<T> kept;
  };

  const Families<T>& families;
  InsideCoefficients<T> to;
  Coefficients<T> kept;

  TREEFILTER_HD int64_t nodes() const { return families.nodes(); }
  TREEFILTER_HD bool up() const { return true; }
  TREEFILTER_HD bool down() const { return true; }
  TREEFILTER_HD ChannelSet<OnesInside> channels(int64_t index, double* values) const {
    const Split family(index, families.groups());
    return {families.tree.plan_of(family.quotient),
            {to.affinity, true},
            {to, families.affinity_of(family.quotient, family.rest), kept},
            values};
  }

  TREEFILTER_HD void fill(const ChannelSet<OnesInside>&, int32_t) const {}
  TREEFILTER_HD T read(Start, const ChannelSet<OnesInside>& set, int32_t s) const {
    return affinity_of_slot(set.plan, set.arrays.affinity, s);
  }
  TREEFILTER_HD void write(Start, const ChannelSet<OnesInside>& set, int32_t s, T affinity) const {
    set.arrays.to.affinity[s] = affinity;
    if constexpr (kKept == Kept::kAll) set.arrays.kept.affinity[s] = affinity;
    set.at(0, s) = 1;
  }
  struct Masses {
    int32_t up;  // of the plan
    T affinity;
    double own, above;
  };
  TREEFILTER_HD Masses read(Turn, const ChannelSet<OnesInside>& set, int32_t s) const {
    const int32_t up = set.plan.up()[s];
    return {up, set.arrays.to.affinity[s], set.at(0, s), set.at(0, up < 0 ? ~up : up)};
  }
  TREEFILTER_HD void write(Turn, const ChannelSet<OnesInside>& set, int32_t s, const Masses& m) const {
    const bool top = m.up < 0, root = m.up == ~s;
    set.arrays.to.mass[s] = m.own;
    if constexpr (kKept == Kept::kAll) set.arrays.kept.mass[s] = m.own;
    set.arrays.to.up_weight[s] = up_weight_of<T>(m.affinity, m.own, m.above, root, top);
  }
  static TREEFILTER_HD void visit(const ChannelSet<OnesInside>&, int32_t, const double*, const double*) {
  }
  struct Result {
    bool root;
    T affinity;
    double mass, total, total_above;
  };
  TREEFILTER_HD Result read(End, const ChannelSet<OnesInside>& set, int32_t s) const {
    const int32_t p = set.plan.parent(s);
    const InsideCoefficients<T>& from = set.arrays.to;
    return {p == s, from.affinity[s], from.mass[s], set.at(0, s), set.at(0, p)};
  }
  TREEFILTER_HD void write(End, const ChannelSet<OnesInside>& set, int32_t s, const Result& at) const {
    const auto weights = down_weights_of<T>(at.affinity, at.mass, at.total_above, at.root);
    static_assert(sizeof weights == sizeof at.mass);
    std::memcpy(set.arrays.to.mass + s, &weights, sizeof weights);
    set.arrays.to.affinity[s] = static_cast<T>(1 / at.mass);
    if constexpr (kKept != Kept::kNothing) set.arrays.kept.total[s] = at.total;
  }
};

template <class Task, Kept kKept>
struct OwnWeightsBlock {
  using T = typename Task::Value;
  using Ones = OnesInside<T, kKept>;
  // Registers are plenty where shared memory leaves room for three blocks.
  using OnesPasses = BlockPasses<Ones, 4>;
  using Passes = BlockPasses<Task, Task::kLanes == 1 ? 6 : 4>;
  static constexpr int64_t kScratch = std::max(OnesPasses::kScratch, Passes::kScratch);

  Task task;
  double* kept;  // [set][least], if anything is
  // [set][partial] (scan/bunches.cuh) of the filter of ones, then of the channel; null: behind the
  // others
  double* partials;

  static int64_t shared_bytes(int64_t nodes) {
    return kScratch + nodes * static_cast<int64_t>(2 * sizeof(double) + 2 * sizeof(T));
  }

  TREEFILTER_HD void operator()(const Block& block) const {
    using Weights = typename MeanSteps<T>::Weights;
    const int64_t nodes = task.nodes(), stride = FamilyCoefficients<T, true>::least(nodes);
    double* const values = reinterpret_cast<double*>(block.shared + kScratch);
    double* const mass = values + nodes;
    T *const affinity = reinterpret_cast<T*>(mass + nodes), *const up_weight = affinity + nodes;
    double* const own_partials =
        partials == nullptr ? mass + 2 * nodes : partials + block.index * partials_of(nodes);
    Coefficients<T> out{};
    if constexpr (kKept != Kept::kNothing) out = cut<T, true>(kept + block.index * stride, nodes);
    const Ones ones{task.families, {mass, affinity, up_weight}, out};
    const ChannelSet<Ones> all_ones = ones.channels(block.index, values);
    OnesPasses{ones, all_ones, nullptr,
               reinterpret_cast<typename ChannelSet<Ones>::Gathered*>(own_partials)}(block);

    const Coefficients<const T> own{nullptr,   out.total, nullptr, reinterpret_cast<Weights*>(mass),
                                    up_weight, affinity};
    const ChannelSet<Task> set = task.channels(block.index, reinterpret_cast<T*>(values), own);
    using Gathered = typename ChannelSet<Task>::Gathered;
    static_assert(sizeof(Gathered) <= sizeof(double));
    Passes{task, set, nullptr, reinterpret_cast<Gathered*>(own_partials)}(block);
  }
};

// Whether each of the channels has a family of its own and fits; so that run_own_weights can be called.
template <Kept kKept, class Task>
bool own_weights_fit(const Task& task, int64_t channels) {
  const Families<typename Task::Value>& families = task.families;
  return families.affinity.coefficients.size == 0 && families.count() == channels &&
         OwnWeightsBlock<Task, kKept>::shared_bytes(families.nodes()) <= shared_limit();
}

// With as many threads as run_channels has for a channel of that size, so that the bits are the same.
template <Kept kKept, class Task>
void run_own_weights(const Cuda& cuda, const char* name, int64_t channels, const Task& task,
                     double* kept) {
  const int64_t nodes = task.nodes(), least = OwnWeightsBlock<Task, kKept>::shared_bytes(nodes);
  const auto [partials, bytes] = make_partials<double>(cuda, channels, nodes, least);
  const OwnWeightsBlock<Task, kKept> block{task, kept, partials};
  if (nodes <= kSmallImage) {
    launch_blocks<128>(cuda, name, channels, bytes, block);
  } else {
    launch_blocks<512>(cuda, name, channels, bytes, block);
  }
}

#ifdef __CUDACC__
template <class Task, Kept kKept>
constexpr int kBlockThreads<OwnWeightsBlock<Task, kKept>> = 384;
#endif

}  // namespace treefilter::cuda
