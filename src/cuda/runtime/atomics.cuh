// The only ways for the threads of one phase (launch.cuh) to communicate: relaxed atomic operations on
// integers in global memory. What a phase writes is visible to all threads in the next phase.
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

// An atomic minimum. Most values do not lower it, and reading costs less than an atomic operation.
template <class T>
TREEFILTER_HD void lower(T* to, T value) {
  if (value < load_relaxed(to)) atomic_min(to, value);
}

// Sets a flag. Most threads find it set, and reading costs less than all of them writing to one place.
TREEFILTER_HD inline void set_flag(int32_t* flag) {
  if (load_relaxed(flag) == 0) store_relaxed(flag, 1);
}

}  // namespace treefilter::cuda
