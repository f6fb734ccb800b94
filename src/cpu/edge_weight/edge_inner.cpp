// Sums over channels, for every edge: edge_inner() and edge_argmax() of edge_weight.h on the CPU.
#include <algorithm>
#include <cfenv>
#include <cmath>
#include <optional>
#include <type_traits>

#include "strips.h"
#include "terms.h"

namespace treefilter {
namespace {

// Whether a square or a product has lost digits in this thread because it is too small. A flag of the
// hardware: to find such distances costs nothing where there are none, although most small distances are
// 0, which is exact.
class UnderflowFlag {
 public:
  UnderflowFlag() { std::feclearexcept(FE_UNDERFLOW); }
  bool raised() const { return std::fetestexcept(FE_UNDERFLOW) != 0; }
};

// Calls visit(c, std::integral_constant<int, n>) for all channels, n of them at a time.
template <class Visit>
void for_channels(int64_t channels, const Visit& visit) {
  int64_t c = 0;
  for (; c + kAtOnce <= channels; c += kAtOnce) visit(c, std::integral_constant<int, kAtOnce>{});
  for (; c < channels; ++c) visit(c, std::integral_constant<int, 1>{});
}

// sums[i] = (First) or += the terms of edge i in Count channels; planes are `nodes` apart. Same: t is f.
template <Psi psi, bool Same, bool First, int Count, class Strip, class X, class T>
void add_terms(const Strip strip, int64_t nodes, const X* __restrict f, const X* __restrict t,
               T* __restrict sums) {
  for (int64_t i = 0; i < strip.count; ++i) {
    T sum = First ? T(0) : sums[i];
    for (int c = 0; c < Count; ++c) {
      const int64_t u = c * nodes + strip.u(i), v = c * nodes + strip.v(i);
      const T df = load<T>(f[u]) - load<T>(f[v]);
      const T dt = Same ? df : load<T>(t[u]) - load<T>(t[v]);
      sum += apply<psi>(df) * dt;
    }
    sums[i] = sum;
  }
}

// Prefetches the vertices of a strip in so many channels, if `end` is not beyond them: that of the last
// strip, since a row is the start of several.
template <class X>
inline __attribute__((always_inline)) void prefetch_row(const GridStrip& strip, int64_t channels,
                                                        int64_t nodes, const X* f, int64_t& end) {
  if (strip.u0 < end) return;
  end = strip.u0 + strip.count;
  for (int64_t c = 0; c < channels; ++c) prefetch_values(f + c * nodes + strip.u0, strip.count);
}
template <class X>
void prefetch_row(const ListStrip&, int64_t, int64_t, const X*, int64_t&) {}

template <class T>
void take_roots(int64_t count, T* __restrict sums) {
  for (int64_t i = 0; i < count; ++i) sums[i] = std::sqrt(sums[i]);
}

// Computes the weights that are out of range once more; f: channel 0.
template <class Strip, class X, class T>
void repair(Psi psi, const Strip& strip, int64_t channels, int64_t nodes, const X* f, T* weights) {
  for (int64_t i = 0; i < strip.count; ++i) {
    if (in_range(psi, weights[i])) continue;
    weights[i] = exact_weight<T>(psi, channels, nodes, f + strip.u(i), f + strip.v(i));
  }
}

template <Psi psi, bool Same, class X, class T, class AnyGraph>
void inner(Cpu cpu, const AnyGraph& graph, int64_t batch, int64_t channels, Span<const X> f,
           Span<const X> t, Span<T> weight) {
  const int64_t nodes = num_nodes(graph), edges = num_edges(graph);
  for_strips(cpu, graph, batch, channels, [&](int64_t b, const auto* strips, int used) {
    std::optional<UnderflowFlag> underflow;
    if (psi == Psi::kEuclidean) underflow.emplace();
    for (int s = 0; channels == 0 && s < used; ++s) {
      std::fill_n(weight.data + b * edges + strips[s].e0, strips[s].count, T(0));
    }
    for_channels(channels, [&](int64_t c, auto count) {
      const int64_t plane = (b * channels + c) * nodes;
      const int64_t later = std::min<int64_t>(channels - c - kAtOnce, kAtOnce);
      const auto run = [&](auto first) {
        int64_t end = 0;
        for (int s = 0; s < used; ++s) {
          if constexpr (count() == kAtOnce) {
            prefetch_row(strips[s], later, nodes, f.data + plane + kAtOnce * nodes, end);
          }
          add_terms<psi, Same, first(), count()>(strips[s], nodes, f.data + plane, t.data + plane,
                                                 weight.data + b * edges + strips[s].e0);
        }
      };
      if (c == 0) {
        run(std::true_type{});
      } else {
        run(std::false_type{});
      }
    });
    if (!Same) return;
    const bool small = underflow && underflow->raised();
    for (int s = 0; s < used; ++s) {
      T* const sums = weight.data + b * edges + strips[s].e0;
      if (psi == Psi::kEuclidean) take_roots(strips[s].count, sums);
      if (small || any_largest(strips[s].count, sums)) {
        repair(psi, strips[s], channels, nodes, f.data + b * channels * nodes, sums);
      }
    }
  });
}

template <class Strip, class X, class T>
void keep_largest(const Strip strip, const X* __restrict f, IndexLike<T> c, T* __restrict largest,
                  IndexLike<T>* __restrict argmax) {
  for (int64_t i = 0; i < strip.count; ++i) {
    const T size = std::abs(load<T>(f[strip.u(i)]) - load<T>(f[strip.v(i)])), before = largest[i];
    // The first NaN is kept: it must reach the weight.
    const bool larger = !(size <= before) & (before == before);
    largest[i] = larger ? size : before;
    argmax[i] = larger ? c : argmax[i];
  }
}

}  // namespace

template <class AnyGraph, class X, class T>
void edge_inner(Cpu cpu, const AnyGraph& graph, Psi psi, int64_t batch, int64_t channels,
                Span<const X> f, Span<const X> t, Span<T> weight) {
  const auto run = [&](auto same) {
    if (psi == Psi::kIdentity) {
      inner<Psi::kIdentity, same()>(cpu, graph, batch, channels, f, t, weight);
    } else {
      inner<Psi::kSign, same()>(cpu, graph, batch, channels, f, t, weight);
    }
  };
  if (psi == Psi::kEuclidean) {
    inner<Psi::kEuclidean, true>(cpu, graph, batch, channels, f, f, weight);
  } else if (f.data == t.data) {
    run(std::true_type{});
  } else {
    run(std::false_type{});
  }
}

template <class AnyGraph, class X, class T>
void edge_argmax(Cpu cpu, const AnyGraph& graph, int64_t batch, int64_t channels, Span<const X> f,
                 Span<int64_t> out, Span<T> distance) {
  const int64_t nodes = num_nodes(graph), edges = num_edges(graph);
  for_strips(cpu, graph, batch, channels, [&](int64_t b, const auto* strips, int used) {
    T largest[kSums];
    IndexLike<T> argmax[kSums];
    std::fill_n(largest, kSums, T(-1));
    std::fill_n(argmax, kSums, IndexLike<T>(0));
    for (int64_t c = 0; c < channels; ++c) {
      const X* fc = f.data + (b * channels + c) * nodes;
      for (int64_t s = 0, i = 0, end = 0; s < used; i += strips[s++].count) {
        prefetch_row(strips[s], c + 1 < channels, nodes, fc + nodes, end);
        keep_largest(strips[s], fc, static_cast<IndexLike<T>>(c), largest + i, argmax + i);
      }
    }
    for (int64_t s = 0, i = 0; s < used; i += strips[s++].count) {
      const int64_t to = b * edges + strips[s].e0;
      std::copy_n(argmax + i, strips[s].count, out.data + to);
      std::copy_n(largest + i, strips[s].count, distance.data + to);
      if (!any_largest(strips[s].count, largest + i)) continue;
      const X* fb = f.data + b * channels * nodes;
      for (int64_t k = 0; k < strips[s].count; ++k) {
        if (in_range(Psi::kSign, distance[to + k])) continue;
        distance[to + k] =
            exact_largest<T>(channels, nodes, fb + strips[s].u(k), fb + strips[s].v(k), out[to + k]);
      }
    }
  });
}

#define TREEFILTER_INSTANTIATE(AnyGraph, X, T)                                                         \
  template void edge_inner<AnyGraph, X, T>(Cpu, const AnyGraph&, Psi, int64_t, int64_t, Span<const X>, \
                                           Span<const X>, Span<T>);                                    \
  template void edge_argmax<AnyGraph, X, T>(Cpu, const AnyGraph&, int64_t, int64_t, Span<const X>,     \
                                            Span<int64_t>, Span<T>);
#define TREEFILTER_INSTANTIATE_BOTH(X, T) \
  TREEFILTER_INSTANTIATE(Grid, X, T) TREEFILTER_INSTANTIATE(EdgeList, X, T)
TREEFILTER_INSTANTIATE_BOTH(float, float)
TREEFILTER_INSTANTIATE_BOTH(double, double)
TREEFILTER_INSTANTIATE_BOTH(BFloat16, float)
TREEFILTER_INSTANTIATE_BOTH(Half, float)

}  // namespace treefilter
