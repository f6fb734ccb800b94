#pragma once

#include "launch.cuh"

namespace treefilter::cuda {

// i = quotient * by + rest: one division.
struct Split {
  int64_t quotient, rest;
  TREEFILTER_HD Split(int64_t i, int64_t by) : quotient(i / by), rest(i - quotient * by) {}
};

// Divides indices by a size that all threads share. A 64-bit division is a function call on the device,
// around which registers are spilled; this is a multiplication, exact for indices below 2^50.
struct Divisor {
  int64_t size;
  double inverse;

  explicit Divisor(int64_t size) : size(size), inverse(1.0 / static_cast<double>(size)) {}

  TREEFILTER_HD int64_t quotient(int64_t i) const {
    // Rounding may lose the last of an exact multiple; it never reaches the next one.
    const int64_t about = static_cast<int64_t>(static_cast<double>(i) * inverse);
    return i - about * size >= size ? about + 1 : about;
  }
  // The largest multiple of the size that is no larger than i.
  TREEFILTER_HD int64_t floor(int64_t i) const { return quotient(i) * size; }
};

}  // namespace treefilter::cuda
