// Loops over slots whose reads are requested several at once.
#pragma once

#include "../runtime/launch.cuh"

namespace treefilter::cuda {

// The next value of a loop over slots, of which `left` are left: no sum beyond 2^31.
inline TREEFILTER_HD int32_t next(int32_t s, int32_t& left, int32_t step) {
  const bool more = left > step;
  left = more ? left - step : 0;
  return more ? s + step : s;
}

// Calls read(s) for s = first, first + step, … up to before end, and write(s, what was read): the reads
// of kAhead slots come before their writes.
template <int kAhead, class Read, class Write>
TREEFILTER_HD void read_ahead(int32_t first, int32_t end, int32_t step, const Read& read,
                              const Write& write) {
  TREEFILTER_ONE_BY_ONE
  for (int32_t s = first, left = end - first; left > 0; s = next(s, left, kAhead * step)) {
    decltype(read(s)) values[kAhead];
    // Beyond the end the first slot is read again, so that no read waits for a comparison.
    TREEFILTER_UNROLL
    for (int j = 0; j < kAhead; ++j) values[j] = read(j * step < left ? s + j * step : s);
    TREEFILTER_UNROLL
    for (int j = 0; j < kAhead; ++j) {
      if (j * step < left) write(s + j * step, values[j]);
    }
  }
}

}  // namespace treefilter::cuda
