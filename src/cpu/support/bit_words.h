// Sets of positions as words of 64 bits, to visit the few that matter among many.
//
// Which of them matter follows from weights, so nothing predicts a branch at each. Tests are made for
// all of a word without branches, and then there is one branch per visit and one per word.
#pragma once

#include <cstdint>
#include <cstring>

namespace treefilter {

constexpr int64_t kWord = 64;

// The first of eight bytes is the lowest. Compilers do not find the one load in eight shifts.
inline uint64_t eight_bytes(const uint8_t* bytes) {
  uint64_t eight;
  std::memcpy(&eight, bytes, sizeof eight);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  eight = __builtin_bswap64(eight);
#endif
  return eight;
}

// Bit i is set where bytes[i] is 1; all others of kWord bytes are 0.
inline uint64_t word_of(const uint8_t* bytes) {
  uint64_t word = 0;
  for (int i = 0; i < kWord; i += 8) {
    const uint64_t eight = eight_bytes(bytes + i);
    // The product's highest byte collects the lowest bits of all.
    word |= (eight * 0x0102040810204080) >> 56 << i;
  }
  return word;
}

// Calls visit(i) for every set bit, ascending.
template <class Visit>
void for_bits(uint64_t word, const Visit& visit) {
  for (; word != 0; word &= word - 1) visit(__builtin_ctzll(word));
}

}  // namespace treefilter
