// Sums weighted by bottlenecks on the CPU (bottleneck.h).
#include "../bottleneck.h"

#include <algorithm>

#include "support/parallel.h"
#include "support/workspace.h"

namespace treefilter {
namespace {

template <int Lanes>
struct Sums {
  const Cpu& cpu;
  int64_t nodes;
  const int32_t* children;
  const double* k;
  double* values;  // [2 nodes - 1, Lanes]

  static constexpr int64_t kAhead = 16;

  double* at(int64_t x) const { return values + x * Lanes; }

  // always_inline: GCC removes calls of functions that only prefetch, as if they had no effect.
  inline __attribute__((always_inline)) void prefetch(int64_t m) const {
    if (m < 0 || m >= nodes - 1) return;
    __builtin_prefetch(at(children[2 * m]), 1);
    __builtin_prefetch(at(children[2 * m + 1]), 1);
  }

  void up() const {
    for_ascending(cpu, 0, nodes - 1, [this](int64_t m) {
      prefetch(m + kAhead);
      const int32_t a = children[2 * m], c = children[2 * m + 1];
      if (a < 0) return;
      for (int l = 0; l < Lanes; ++l) at(nodes + m)[l] = at(a)[l] + at(c)[l];
    });
  }

  // The value of a merge is what its leaves get from above, those of its children still their sums.
  void down() const {
    for_descending(cpu, 0, nodes - 1, [this](int64_t m) {
      prefetch(m - kAhead);
      const int32_t a = children[2 * m], c = children[2 * m + 1];
      if (a < 0) return;
      const double* const above = at(nodes + m);
      const double own_a = a < nodes, own_c = c < nodes;  // a leaf gets its own value as well
      for (int l = 0; l < Lanes; ++l) {
        const double sum_a = at(a)[l], sum_c = at(c)[l];
        at(a)[l] = own_a * sum_a + (above[l] + k[m] * sum_c);
        at(c)[l] = own_c * sum_c + (above[l] + k[m] * sum_a);
      }
    });
  }

  // Nothing is above a root: a merge that is no child.
  void clear_roots(const uint8_t* is_child) const {
    for (int64_t m = 0; m < nodes - 1; ++m) {
      if (!is_child[m]) std::fill_n(at(nodes + m), Lanes, 0.0);
    }
  }
};

// `channels` of the lanes are in use.
template <int Lanes>
void run(const Cpu& cpu, int64_t channels, int64_t nodes, const double* x, const int32_t* children,
         const double* k, double* y) {
  const Buffer<double> values((2 * nodes - 1) * Lanes);
  const Buffer<uint8_t> is_child(nodes, uint8_t{0});
  for (int64_t i = 0; i < 2 * (nodes - 1); ++i) {
    if (children[i] >= nodes) is_child[children[i] - nodes] = 1;
  }
  for (int64_t v = 0; v < nodes; ++v) {
    for (int l = 0; l < Lanes; ++l) values[v * Lanes + l] = l < channels ? x[l * nodes + v] : 0;
  }
  const Sums<Lanes> sums{cpu, nodes, children, k, values.data()};
  sums.up();
  sums.clear_roots(is_child.data());
  sums.down();
  for (int l = 0; l < channels; ++l) {
    for (int64_t v = 0; v < nodes; ++v) y[l * nodes + v] = values[v * Lanes + l];
  }
}

}  // namespace

void bottleneck_sums(Cpu cpu, int64_t batch, int64_t channels, int64_t nodes, Span<const double> x,
                     Span<const int32_t> children, Span<const double> k, Span<double> y) {
  constexpr int64_t kLanes = 8;
  const int64_t blocks = (channels + kLanes - 1) / kLanes;
  const bool shared = k.size == nodes - 1 && batch != 1;
  parallel_for(batch * blocks, 4 * kLanes * nodes, cpu, [&] {
    return [&](int64_t item) {
      const int64_t b = item / blocks, first = item % blocks * kLanes, offset = b * channels + first;
      const int64_t count = std::min(kLanes, channels - first);
      const int64_t merges = (shared ? 0 : b) * (nodes - 1);
      const auto sums = count > 4 ? run<8> : count > 2 ? run<4> : count == 2 ? run<2> : run<1>;
      sums(cpu, count, nodes, x.data + offset * nodes, children.data + 2 * merges, k.data + merges,
           y.data + offset * nodes);
    };
  });
}

}  // namespace treefilter
