// Rounded logarithms of sizes: how many rounds, or jumps along pointers, suffice.
#pragma once

#include "../../core.h"

namespace treefilter::cuda {

// The least n with base^n >= reach, at least 1.
TREEFILTER_HD inline int power_to_reach(int64_t base, int64_t reach) {
  int n = 1;
  for (int64_t power = base; power < reach; power *= base) ++n;
  return n;
}

TREEFILTER_HD inline int floor_log2(int64_t n) {
  int log = 0;
  while (n >>= 1) ++log;
  return log;
}

}  // namespace treefilter::cuda
