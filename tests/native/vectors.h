// Vectors as the spans that the back ends take.
#pragma once

#include <cstdint>
#include <vector>

#include "../../src/core.h"

template <class T>
treefilter::Span<T> span(std::vector<T>& v) {
  return {v.data(), static_cast<int64_t>(v.size())};
}
template <class T>
treefilter::Span<const T> view(const std::vector<T>& v) {
  return {v.data(), static_cast<int64_t>(v.size())};
}
