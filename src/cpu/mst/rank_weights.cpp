// The order of float64 weights in float32 (mst.h).
//
// An image whose weights are all float32 values needs no sort. Else the weights are sorted by their
// float32 rounding, which is monotone: pairs of 8 bytes, 4 of which are sorted by. Runs of weights that
// round to the same value are then sorted by all bits; on most images they are short.
#include <limits>
#include <vector>

#include "../../mst.h"
#include "../support/parallel.h"
#include "../support/radix_sort.h"
#include "../support/workspace.h"

namespace treefilter {
namespace {

// Sorts edges of equal rounding, which are in ascending order of numbers, by their exact weights.
// `run` and `other` are workspace.
void sort_run(const Cpu& cpu, Span<const double> weight, uint64_t* begin, uint64_t* end,
              std::vector<OrderedEdge>& run, std::vector<OrderedEdge>& other) {
  const int64_t size = end - begin;
  run.resize(size);
  for (int64_t i = 0; i < size; ++i) {
    const int32_t number = number_of(begin[i]);
    run[i] = {ascending_bits(weight[number]), number, 0};
  }
  const OrderedEdge* ascending = run.data();
  constexpr int64_t kWorthwhile = 1024;  // for a radix sort
  if (size < kWorthwhile) {
    std::sort(run.begin(), run.end(), [](const OrderedEdge& a, const OrderedEdge& b) {
      return a.order != b.order ? a.order < b.order : a.a < b.a;
    });
  } else {
    other.resize(size);
    ascending = radix_sort(cpu, Span<OrderedEdge>{run.data(), size}, other.data());
  }
  for (int64_t i = 0; i < size; ++i) begin[i] = static_cast<uint32_t>(ascending[i].a);
}

void rank_image(const Cpu& cpu, Span<const double> weight, Weight* to) {
  bool exact = true;
  for (int64_t e = 0; e < weight.size; ++e) {
    to[e] = static_cast<Weight>(weight[e]);
    const bool is_same = to[e] == weight[e], is_nan = weight[e] != weight[e];
    exact &= is_same | is_nan;
  }
  if (exact) return;
  const Buffer<uint64_t> rounded(weight.size), other(weight.size);  // EdgeOrder of the rounded weight
  int64_t count = 0;
  constexpr Weight kLargest = std::numeric_limits<Weight>::max();
  for (int64_t e = 0; e < weight.size; ++e) {
    if (!(weight[e] < std::numeric_limits<double>::infinity())) continue;
    rounded[count++] = total_order(weight_key(std::min(to[e], kLargest)), static_cast<int32_t>(e));
  }
  std::vector<OrderedEdge> run, workspace;
  constexpr int kFirstBitOfKey = 32;
  uint64_t* const edges = radix_sort(cpu, rounded.span().sub(0, count), other.data(), kFirstBitOfKey);
  for (int64_t i = 0, end; i < count; i = end) {
    for (end = i + 1; end < count && rank_of(edges[end]) == rank_of(edges[i]);) ++end;
    if (end - i > 1) sort_run(cpu, weight, edges + i, edges + end, run, workspace);
  }
  for_ascending(cpu, 0, count,
                [&](int64_t i) { to[number_of(edges[i])] = weight_of_rank(static_cast<int32_t>(i)); });
}

}  // namespace

void rank_weights(Cpu cpu, int64_t batch, Span<const double> weight, Span<Weight> to) {
  const int64_t num_edges = batch == 0 ? 0 : weight.size / batch;
  parallel_for(batch, 16 * num_edges, cpu, [&] {
    return [&](int64_t b) {
      rank_image(cpu, weight.sub(b * num_edges, num_edges), to.data + b * num_edges);
    };
  });
}

}  // namespace treefilter
