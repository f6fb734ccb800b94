// Division of indices on the device, where a 64-bit division is a function call around which registers
// are spilled.
#pragma once

#include "launch.cuh"

namespace treefilter::cuda {

// i = quotient * by + rest, by one division.
struct Split {
  int64_t quotient, rest;
  TREEFILTER_HD Split(int64_t i, int64_t by) : quotient(i / by), rest(i - quotient * by) {}
};

// Division by a size that all threads share, by a multiplication: exact for indices below 2^50.
struct Divisor {
  int64_t size;
  double inverse;

  explicit Divisor(int64_t size) : size(size), inverse(1.0 / static_cast<double>(size)) {}

  TREEFILTER_HD int64_t quotient(int64_t i) const {
    // The product may be rounded to just below the quotient, and then loses 1. It is never too large.
    const int64_t about = static_cast<int64_t>(static_cast<double>(i) * inverse);
    return i - about * size >= size ? about + 1 : about;
  }
  // The largest multiple of the size that is no larger than i.
  TREEFILTER_HD int64_t floor(int64_t i) const { return quotient(i) * size; }
};

}  // namespace treefilter::cuda
