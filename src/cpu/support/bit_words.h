// Sets of positions as words of 64 bits, for loops that act on a few of many positions.
//
// Which positions these are depends on the weights, so a branch at each position would be mispredicted.
// Instead the test is made for all 64 positions without a branch; then there is one branch per position
// that is visited, and one per word.
#pragma once

#include <cstdint>
#include <cstring>

namespace treefilter {

constexpr int64_t kWord = 64;

// Eight bytes as one number, the first byte lowest. With shifts compilers do not find the single load.
inline uint64_t eight_bytes(const uint8_t* bytes) {
  uint64_t eight;
  std::memcpy(&eight, bytes, sizeof eight);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  eight = __builtin_bswap64(eight);
#endif
  return eight;
}

// The word whose bit i is bytes[i], for kWord bytes that are 0 or 1.
inline uint64_t word_of(const uint8_t* bytes) {
  uint64_t word = 0;
  for (int i = 0; i < kWord; i += 8) {
    const uint64_t eight = eight_bytes(bytes + i);
    // The product's highest byte contains the lowest bit of each of the eight.
    word |= (eight * 0x0102040810204080) >> 56 << i;
  }
  return word;
}

// Calls visit(i) for every set bit i, in ascending order.
template <class Visit>
void for_bits(uint64_t word, const Visit& visit) {
  for (; word != 0; word &= word - 1) visit(__builtin_ctzll(word));
}

}  // namespace treefilter
