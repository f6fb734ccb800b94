// A choice without a branch.
#pragma once

#include <cstdint>

namespace treefilter {

// mask ? a : b, for masks of all ones or none, where a branch would not be predicted.
inline int32_t select(int32_t mask, int32_t a, int32_t b) {
  return b ^ ((a ^ b) & mask);
}

}  // namespace treefilter
