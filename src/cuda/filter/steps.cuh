// The arithmetic of the filter's passes on CUDA: the step from one slot to the next, and the affine map
// that a whole segment of steps makes of the value that enters it.
#pragma once

#include "../../filter.h"
#include "../runtime/divisor.cuh"

namespace treefilter::cuda {

// The result of a vertex without a slot.
inline TREEFILTER_HD float not_a_number() {
  return bits_to_float(0x7fc00000u);
}

// ---- steps: a slot's value, from its own part and from the value linked to it ----
//
// Steps are made from coefficients by slot: up(read_up(s)) is the step from slot s to the next one of
// its chain, down(read_down(s)) the step from the parent to slot s. Reading is apart, so that several
// slots can be read before the first step is made. A closed step (of an affinity of 0) lets nothing
// through, not even a NaN. of_light_child(read_up(s)) multiplies light child s in its parent's value.

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
    T own_multiplier, a;
    TREEFILTER_HD bool closed() const { return a == 0; }
    template <class U>
    TREEFILTER_HD U operator()(U own, U linked) const {
      return static_cast<U>(own_multiplier) * own + static_cast<U>(a) * linked;
    }
  };

  const C* affinity;
  bool damped;

  TREEFILTER_HD C read_up(int32_t s) const { return affinity[s]; }
  TREEFILTER_HD C read_down(int32_t s) const { return affinity[s]; }
  TREEFILTER_HD Up up(C a) const { return {static_cast<T>(a)}; }
  TREEFILTER_HD T of_light_child(C a) const { return static_cast<T>(a); }
  TREEFILTER_HD Down down(C affinity) const {
    const T a = static_cast<T>(affinity);
    return {damped ? (1 - a) * (1 + a) : T(1), a};
  }
};

// Weighted means of `own` and `linked` (filter.h): the two weights add up to 1. A step has two forms.
// Where `linked` has the larger weight it is linked + b (own - linked), in which only the last addition
// rounds; else it is the weighted sum, which keeps a small contribution of `linked`.
template <class T>
struct MeanSteps {
  struct Up {  // `own` is multiplied by its weight already
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

  // With u the weight of `linked` in the step up from a slot, and b that of `own` in the step down to
  // it:
  //   up_weight    u at the top of a chain; inside of a chain 1 - u where that is smaller than u,
  //                else -u. The sign bit tells the two apart, also for u = 0.
  //   own          b
  //   link         1 for the first form, else 1 - b
  struct alignas(8) Weights {
    T own, link;
  };
  const T* up_weight;
  const Weights* down_weights;

  TREEFILTER_HD T read_up(int32_t s) const { return up_weight[s]; }
  TREEFILTER_HD Weights read_down(int32_t s) const { return down_weights[s]; }
  TREEFILTER_HD Up up(T u) const { return has_sign(u) ? Up{-u, 0} : Up{1, u}; }
  TREEFILTER_HD T of_light_child(T u) const { return u; }
  TREEFILTER_HD Down down(const Weights& w) const {
    return {w.own, w.link, static_cast<T>(w.link == 1)};
  }

 private:
  static TREEFILTER_HD bool has_sign(float c) { return float_to_bits(c) >> 31 != 0; }
  static TREEFILTER_HD bool has_sign(double c) {
    uint64_t bits;
    std::memcpy(&bits, &c, sizeof bits);
    return bits >> 63 != 0;
  }
};

// ---- the map of a segment ----

// multiplier · v + offset, for each lane of a channel set. The multiplier is kept as two words, so that
// the struct has no padding, which a shuffle would move byte by byte.
template <class T, int kLanes>
class AffineMap {
 public:
  T offset[kLanes];

  TREEFILTER_HD double multiplier() const {
    const uint64_t bits = static_cast<uint64_t>(high_) << 32 | low_;
    double multiplier;
    std::memcpy(&multiplier, &bits, sizeof multiplier);
    return multiplier;
  }
  TREEFILTER_HD void set_multiplier(double multiplier) {
    uint64_t bits;
    std::memcpy(&bits, &multiplier, sizeof bits);
    low_ = static_cast<uint32_t>(bits), high_ = static_cast<uint32_t>(bits >> 32);
  }
  TREEFILTER_HD bool is_open() const { return multiplier() != 0; }

  static TREEFILTER_HD AffineMap identity() {
    AffineMap result;
    result.set_multiplier(1);
    for (int l = 0; l < kLanes; ++l) result.offset[l] = 0;
    return result;
  }
  static TREEFILTER_HD AffineMap compose(const AffineMap& earlier, const AffineMap& later) {
    AffineMap result = later;
    result.apply(earlier.offset);
    if (later.is_open()) result.set_multiplier(earlier.multiplier() * later.multiplier());
    return result;
  }

 private:
  // Makes the offset what leaves for the value that enters; in two forms, as the steps.
  TREEFILTER_HD void apply(const T (&entering)[kLanes]) {
    const double multiplier = this->multiplier(), rest = 1 - multiplier;
    if (multiplier == 0) return;
    if (rest < 0.5 && rest > -0.5) {
      for (int l = 0; l < kLanes; ++l) {
        offset[l] = entering[l] + (offset[l] - static_cast<T>(rest) * entering[l]);
      }
    } else {
      for (int l = 0; l < kLanes; ++l) offset[l] += static_cast<T>(multiplier) * entering[l];
    }
  }

  uint32_t low_, high_;  // the bits of the multiplier
};

}  // namespace treefilter::cuda
