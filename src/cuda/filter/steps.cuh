// The arithmetic of a pass on CUDA: what a value becomes from its own part and the one that it is linked
// to, and what a whole stretch of such steps does to the value that enters it.
#pragma once

#include "../../filter.h"
#include "../runtime/divisor.cuh"

namespace treefilter::cuda {

// What a vertex without a slot gets.
inline TREEFILTER_HD float not_a_number() {
  return bits_to_float(0x7fc00000u);
}

// ---- steps: what a value becomes, from its own part and from the value it is linked to ----
//
// A closed step (an affinity of 0) lets nothing pass, not even a NaN. Steps are made from coefficients
// by slot: up(s) is the step from slot s to the next one of its chain, down(s) from the parent to slot
// s.

// own + a linked; down, where damped, (1 - a²) own + a linked.
template <class T, class C>
struct SumSteps {
  struct Up {
    T a;
    TREEFILTER_HD bool closed() const { return a == 0; }
    template <class U>
    TREEFILTER_HD U operator()(U own, U linked) const {
      return own + static_cast<U>(a) * linked;
    }
  };
  struct Down {
    T take, a;
    TREEFILTER_HD bool closed() const { return a == 0; }
    template <class U>
    TREEFILTER_HD U operator()(U own, U linked) const {
      return static_cast<U>(take) * own + static_cast<U>(a) * linked;
    }
  };

  const C* affinity;
  bool damped;

  TREEFILTER_HD Up up(int32_t s) const { return {static_cast<T>(affinity[s])}; }
  TREEFILTER_HD T light(int32_t s) const { return static_cast<T>(affinity[s]); }
  TREEFILTER_HD Down down(int32_t s) const {
    const T a = static_cast<T>(affinity[s]);
    return {damped ? (1 - a) * (1 + a) : T(1), a};
  }
};

// Means (filter.h). Either way the shares of `own` and `linked` add up to 1, and the step has two forms:
// linked + b (own - linked) where the link has the larger share, which nothing but the last addition
// rounds; else the weighted sum, which keeps what little comes from there.
template <class T>
struct MeanSteps {
  struct Up {  // `own` is weighted already
    T g, t;
    TREEFILTER_HD bool closed() const { return g == 0; }
    template <class U>
    TREEFILTER_HD U operator()(U own, U linked) const {
      return static_cast<U>(g) * linked + (own - static_cast<U>(t) * linked);
    }
  };
  struct Down {
    T b, g, k;
    TREEFILTER_HD bool closed() const { return g == 0; }
    template <class U>
    TREEFILTER_HD U operator()(U own, U linked) const {
      return static_cast<U>(g) * linked + static_cast<U>(b) * (own - static_cast<U>(k) * linked);
    }
  };

  // climb: the link's share u, at a chain's top. Inside of a chain 1 - u if that is the smaller one,
  // else -u (also for u = 0: it is the sign that tells). take, keep: b, and 1 for the first form, else
  // 1 - b.
  const T *climb, *take, *keep;

  TREEFILTER_HD Up up(int32_t s) const {
    const T c = climb[s];
    return is_share(c) ? Up{-c, 0} : Up{1, c};
  }
  TREEFILTER_HD T light(int32_t s) const { return climb[s]; }
  TREEFILTER_HD Down down(int32_t s) const {
    const T g = keep[s];
    return {take[s], g, static_cast<T>(g == 1)};
  }

 private:
  static TREEFILTER_HD bool is_share(float c) { return float_to_bits(c) >> 31 != 0; }
  static TREEFILTER_HD bool is_share(double c) {
    uint64_t bits;
    std::memcpy(&bits, &c, sizeof bits);
    return bits >> 63 != 0;
  }
};

// ---- stretches ----

// share · v + value, for each of the lanes of a row. Without padding, which a shuffle of the whole would
// move byte by byte.
template <class T, int kLanes>
class Stretch {
 public:
  T value[kLanes];

  TREEFILTER_HD double share() const {
    const uint64_t bits = static_cast<uint64_t>(high_) << 32 | low_;
    double share;
    std::memcpy(&share, &bits, sizeof share);
    return share;
  }
  TREEFILTER_HD void set_share(double share) {
    uint64_t bits;
    std::memcpy(&bits, &share, sizeof bits);
    low_ = static_cast<uint32_t>(bits), high_ = static_cast<uint32_t>(bits >> 32);
  }

  static TREEFILTER_HD Stretch nothing() {
    Stretch result;
    result.set_share(1);
    for (int l = 0; l < kLanes; ++l) result.value[l] = 0;
    return result;
  }
  static TREEFILTER_HD Stretch join(const Stretch& earlier, const Stretch& later) {
    Stretch result = later;
    result.add(earlier.value);
    if (later.share() != 0) result.set_share(earlier.share() * later.share());
    return result;
  }
  // The value that leaves, for the value that enters; in two forms, as the steps.
  TREEFILTER_HD void add(const T (&entering)[kLanes]) {
    const double share = this->share(), rest = 1 - share;
    if (share == 0) return;
    if (rest < 0.5 && rest > -0.5) {
      for (int l = 0; l < kLanes; ++l) {
        value[l] = entering[l] + (value[l] - static_cast<T>(rest) * entering[l]);
      }
    } else {
      for (int l = 0; l < kLanes; ++l) value[l] += static_cast<T>(share) * entering[l];
    }
  }

 private:
  uint32_t low_, high_;  // of the share's bits
};

}  // namespace treefilter::cuda
