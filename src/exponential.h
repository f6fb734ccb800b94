// exp(x) for single values and for short vectors (cpu/support/vector.h), on the CPU and on CUDA: the
// same bits everywhere, because it consists of additions, multiplications and shifts alone. The C
// library's differ from machine to machine.
//
// With n = round(x / ln 2) and r = x - n ln 2, exp(x) = 2^n exp(r), |r| <= 0.35 (Cody and Waite 1980).
// ln 2 is the sum of two numbers; n times the first is exact. exp(r) is its Taylor polynomial, whose
// remainder is below a tenth of a rounding. 2^n is multiplied in two steps, of which only the second can
// leave the range of normal numbers, so that small results are rounded once.
//
// Within 1.3 ulp: measured for all arguments in float32, and for 2 * 10^8 in float64, denormal results
// included. exp(-inf) = 0, exp(inf) = inf, exp(NaN) = NaN.
#pragma once

#include <cstdint>
#include <cstring>

#include "core.h"

namespace treefilter {

template <class T>
struct Exponential;

template <>
struct Exponential<float> {
  using Bits = int32_t;
  static constexpr int kMantissa = 23, kBias = 127;
  // exp is 0 below and infinite above.
  static constexpr float kLowest = -104.0f, kHighest = 89.0f;
  static constexpr float kPerLn2 = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  static constexpr int kDegree = 7;
};

template <>
struct Exponential<double> {
  using Bits = int64_t;
  static constexpr int kMantissa = 52, kBias = 1023;
  static constexpr double kLowest = -746.0, kHighest = 710.0;
  static constexpr double kPerLn2 = 1.4426950408889634, kLn2High = 6.93147180369123816490e-01,
                          kLn2Low = 1.90821492927058770002e-10;
  static constexpr int kDegree = 13;
};

template <class T>
TREEFILTER_HD constexpr T inverse_factorial(int k) {
  double factorial = 1;
  for (int i = 2; i <= k; ++i) factorial *= i;
  return static_cast<T>(1 / factorial);
}

// 1/K! + r/(K+1)! + ... + r^(kDegree - K)/kDegree!
template <class T, int K, class V>
TREEFILTER_HD inline V taylor(V r) {
  constexpr T kFirst = inverse_factorial<T>(K);
  if constexpr (K == Exponential<T>::kDegree) {
    return V{} + kFirst;
  } else {
    return taylor<T, K + 1>(r) * r + kFirst;
  }
}

// T: float or double. V: T, or a vector of it; Bits: the integers of V's shape.
template <class T, class V, class Bits>
TREEFILTER_HD inline V exponential(V x) {
  using E = Exponential<T>;
  // A sum with this number is rounded to an integer, which is then in its lowest bits.
  constexpr T kRound = T(3 * (int64_t{1} << (E::kMantissa - 1)));
  // Comparisons with NaN are false: it passes through.
  x = x < E::kLowest ? V{} + E::kLowest : x;
  x = x > E::kHighest ? V{} + E::kHighest : x;
  const V rounded = x * E::kPerLn2 + kRound;
  const V n = rounded - kRound;
  const V r = (x - n * E::kLn2High) - n * E::kLn2Low;
  const auto bits = [](const auto& from, auto to) {
    static_assert(sizeof from == sizeof to);
    std::memcpy(&to, &from, sizeof to);
    return to;
  };
  const Bits power = bits(rounded, Bits{}) - bits(V{} + kRound, Bits{});
  const Bits half = power >> 1;
  const V first = bits((half + E::kBias) << E::kMantissa, V{});
  const V second = bits((power - half + E::kBias) << E::kMantissa, V{});
  return taylor<T, 0>(r) * first * second;
}

template <class T>
TREEFILTER_HD inline T exponential(T x) {
  return exponential<T, T, typename Exponential<T>::Bits>(x);
}

}  // namespace treefilter
