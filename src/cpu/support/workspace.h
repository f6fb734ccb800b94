// The memory of the native code's own arrays.
//
// The first write to a new page takes as long as several copies of the page. A function that is called
// for every image would pay that each time, because the C library returns large blocks to the system.
// So released blocks are kept for the next call, up to kKept bytes in the whole process, and large
// blocks request huge pages, of which there are 512 times fewer.
//
// All threads share the kept blocks. A thread that does not get the lock at once uses the C library
// instead: nothing waits, not even in a process that was forked while another thread held the lock.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include "../../core.h"

namespace treefilter {

constexpr size_t kHugePage = size_t{1} << 21;

inline size_t round_up(size_t bytes) {
  return (bytes + kHugePage - 1) / kHugePage * kHugePage;
}

// Requests huge pages for memory that has not been written yet: workspaces and outputs.
inline void prefer_huge_pages(void* data, size_t bytes) {
#ifdef __linux__
  const auto begin = (reinterpret_cast<uintptr_t>(data) + kHugePage - 1) / kHugePage * kHugePage;
  const auto end = (reinterpret_cast<uintptr_t>(data) + bytes) / kHugePage * kHugePage;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)data, (void)bytes;
#endif
}

// Memory that huge pages can hold, on Linux. (Elsewhere alignment is no use, and Windows has no
// std::aligned_alloc.)
inline void* allocate_huge(size_t bytes) {
#ifdef __linux__
  void* const data = std::aligned_alloc(kHugePage, round_up(bytes));
  if (data != nullptr) prefer_huge_pages(data, round_up(bytes));
  return data;
#else
  return std::malloc(bytes);
#endif
}

// Rounds a size up to one of four per power of two, so that blocks of similar sizes can be reused.
inline size_t workspace_size(size_t bytes) {
  size_t step = 1;
  while (step * 8 <= bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

class KeptBlocks {
 public:
  // A block of exactly this size, or null.
  void* take(size_t bytes) {
    if (lock_.test_and_set(std::memory_order_acquire)) return nullptr;
    void* data = nullptr;
    for (int i = count_ - 1; i >= 0 && data == nullptr; --i) {
      if (blocks_[i].bytes == bytes) data = remove(i);
    }
    lock_.clear(std::memory_order_release);
    return data;
  }

  // Keeps a block, and frees the oldest ones if there is no room for it.
  void give(void* data, size_t bytes) {
    if (bytes > kKept || lock_.test_and_set(std::memory_order_acquire)) return std::free(data);
    while (count_ == kCount || kept_ + bytes > kKept) std::free(remove(0));
    blocks_[count_++] = {data, bytes};
    kept_ += bytes;
    lock_.clear(std::memory_order_release);
  }

 private:
  static constexpr int kCount = 64;
  static constexpr size_t kKept = size_t{128} << 20;
  struct Block {
    void* data;
    size_t bytes;
  };

  void* remove(int i) {
    void* const data = blocks_[i].data;
    kept_ -= blocks_[i].bytes;
    std::copy(blocks_ + i + 1, blocks_ + count_, blocks_ + i);
    --count_;
    return data;
  }

  std::atomic_flag lock_ = ATOMIC_FLAG_INIT;
  Block blocks_[kCount] = {};
  int count_ = 0;
  size_t kept_ = 0;
};

inline KeptBlocks kept_blocks;

// The C library keeps smaller blocks itself.
constexpr size_t kSmallestKept = 1 << 16;

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kKeepBlocks = false;  // use after release must be detected
#else
constexpr bool kKeepBlocks = true;
#endif

inline void* take_workspace(size_t bytes) {
  void* data = nullptr;
  if (!kKeepBlocks || bytes < kSmallestKept) {
    data = std::malloc(bytes);
  } else {
    bytes = workspace_size(bytes);
    data = kept_blocks.take(bytes);
    if (data == nullptr) {
      data = bytes < kHugePage ? std::malloc(bytes) : allocate_huge(bytes);
    }
  }
  if (data == nullptr) throw std::bad_alloc();
  return data;
}

inline void return_workspace(void* data, size_t bytes) {
  if (!kKeepBlocks || bytes < kSmallestKept) return std::free(data);
  kept_blocks.give(data, workspace_size(bytes));
}

// An owned array of trivial values. It is not initialised, since most workspaces are written first.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t size) : size_(size) {
    if (size == 0) return;
    data_ = static_cast<T*>(take_workspace(static_cast<size_t>(size) * sizeof(T)));
  }
  Buffer(int64_t size, T value) : Buffer(size) { fill(value); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Buffer() {
    if (data_ != nullptr) return_workspace(data_, static_cast<size_t>(size_) * sizeof(T));
  }

  void fill(T value) {
    for (int64_t i = 0; i < size_; ++i) data_[i] = value;
  }
  T* data() const { return data_; }
  int64_t size() const { return size_; }
  T& operator[](int64_t i) const { return data_[i]; }
  Span<T> span() const { return {data_, size_}; }

 private:
  void swap(Buffer& other) {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }
  T* data_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace treefilter
