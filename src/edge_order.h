// The total order of a graph's edges: by weight, and among equal weights by edge number.
//
// The order is strict, so that a graph has exactly one minimum spanning tree: every algorithm, tiling
// and back end finds the same one. -0 equals 0. An edge of weight +inf does not exist.
//
// This file alone knows how weights are compared. All others use its three types and its functions:
//   WeightKey   an integer that ascends with the weight
//   EdgeOrder   an integer that ascends with (weight, edge number): one comparison, one atomic minimum
//   number_of   the edge number in an EdgeOrder
//
// Weights are compared in their own precision. An EdgeOrder has room for a float32 weight; 16-bit
// weights are converted to float32 exactly. float64 weights are sorted first, by (weight, edge number),
// and replaced by float32 values in the same order (weight_of_rank): on the CPU by rank_weights() of
// mst.h, on CUDA by torch's sort (_ops.py). Nothing else knows of float64.
#pragma once

#include "core.h"

namespace treefilter {

using Weight = float;
using WeightKey = int32_t;
using EdgeOrder = uint64_t;

// The key of an edge that does not exist, after all others; an order after that of every edge.
constexpr WeightKey kAbsent = INT32_MAX;
constexpr EdgeOrder kNoEdge = UINT64_MAX;

// A magnitude as an integer: NaN is above infinity.
constexpr int32_t kInfinityMagnitude = 0x7f800000;
TREEFILTER_HD inline int32_t magnitude_bits(Weight weight) {
  return static_cast<int32_t>(float_to_bits(weight) & 0x7fffffffu);
}

// kAbsent for +inf and NaN.
TREEFILTER_HD inline WeightKey weight_key(Weight weight) {
  // In arithmetic that vector code has: sign is -1 for a negative weight, and then only NaN is absent.
  const int32_t magnitude = magnitude_bits(weight);
  const int32_t sign = static_cast<int32_t>(float_to_bits(weight)) >> 31;
  return magnitude + sign >= kInfinityMagnitude ? kAbsent : (magnitude ^ sign) - sign;
}

// The float32 weight that replaces the float64 weight of rank `rank` (from 0) among those of its image.
// Its key is rank - 2^30, so there are enough for all edge numbers.
inline Weight weight_of_rank(int32_t rank) {
  const WeightKey key = rank - (1 << 30);
  return bits_to_float(key < 0 ? 0x80000000u | static_cast<uint32_t>(-key) : static_cast<uint32_t>(key));
}

TREEFILTER_HD inline EdgeOrder total_order(WeightKey key, int32_t number) {
  const uint32_t ascending = static_cast<uint32_t>(key) ^ 0x80000000u;
  return static_cast<EdgeOrder>(ascending) << 32 | static_cast<uint32_t>(number);
}

// kNoEdge where there is none.
TREEFILTER_HD inline EdgeOrder edge_order(Weight weight, int32_t number) {
  const WeightKey key = weight_key(weight);
  return key == kAbsent ? kNoEdge : total_order(key, number);
}

TREEFILTER_HD inline int32_t number_of(EdgeOrder order) {
  return static_cast<int32_t>(order & 0xffffffffu);
}

// Ascends with the weight alone.
TREEFILTER_HD inline uint32_t rank_of(EdgeOrder order) {
  return static_cast<uint32_t>(order >> 32);
}

}  // namespace treefilter
