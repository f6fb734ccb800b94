// The only ways in which the threads of one phase may meet (launch.cuh): on integers in global memory,
// relaxed, so that what was written is there after the phase.
#pragma once

#include <cstdint>

#include "../../core.h"

namespace treefilter::cuda {

#ifdef __CUDA_ARCH__
template <class T>
__device__ T atomic_add(T* to, T value) {
  return atomicAdd(to, value);
}
template <class T>
__device__ T atomic_xor(T* to, T value) {
  return atomicXor(to, value);
}
__device__ inline uint64_t atomic_min(uint64_t* to, uint64_t value) {
  return atomicMin(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(value));
}
__device__ inline int32_t atomic_min(int32_t* to, int32_t value) {
  return atomicMin(to, value);
}
template <class T>
__device__ T load_relaxed(const T* from) {
  return *const_cast<const volatile T*>(from);
}
template <class T>
__device__ void store_relaxed(T* to, T value) {
  *const_cast<volatile T*>(to) = value;
}
#else
template <class T>
TREEFILTER_HD T atomic_add(T* to, T value) {
  return __atomic_fetch_add(to, value, __ATOMIC_RELAXED);
}
template <class T>
TREEFILTER_HD T atomic_xor(T* to, T value) {
  return __atomic_fetch_xor(to, value, __ATOMIC_RELAXED);
}
template <class T>
TREEFILTER_HD T load_relaxed(const T* from) {
  return __atomic_load_n(from, __ATOMIC_RELAXED);
}
template <class T>
TREEFILTER_HD void store_relaxed(T* to, T value) {
  __atomic_store_n(to, value, __ATOMIC_RELAXED);
}
template <class T>
TREEFILTER_HD T atomic_min(T* to, T value) {
  T old = load_relaxed(to);
  while (value < old &&
         !__atomic_compare_exchange_n(to, &old, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}
#endif

// Most values are no lower, and an atomic operation costs more than a look.
template <class T>
TREEFILTER_HD void lower(T* to, T value) {
  if (value < load_relaxed(to)) atomic_min(to, value);
}

}  // namespace treefilter::cuda
