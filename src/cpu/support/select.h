// A choice without a branch.
#pragma once

#include <cstdint>

namespace treefilter {

// mask ? a : b, where mask is all ones or 0, for choices that a branch predictor cannot learn.
inline int32_t select(int32_t mask, int32_t a, int32_t b) {
  return b ^ ((a ^ b) & mask);
}

}  // namespace treefilter
