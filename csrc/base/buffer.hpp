// Memory for vectors: aligned to a cache line, zero-filled, freed by its owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <stdexcept>
#include <utility>

namespace pruneofa {

// `first * second`, or std::length_error where that does not fit.
inline std::size_t checked_product(std::size_t first, std::size_t second) {
  if (second != 0 && first > std::numeric_limits<std::size_t>::max() / second) {
    throw std::length_error("a size does not fit into memory");
  }
  return first * second;
}

// An array of a plain type T. It starts on a 64-byte boundary and has 64 readable bytes behind its end, so that a
// kernel may load a whole vector that begins inside it.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t size) { resize(size); }
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { release(); }

  // Make room for `size` elements, all zero. What was there is lost, unless there was room already.
  void resize(std::size_t size) {
    if (size <= size_) return;
    const std::size_t bytes = checked_product(size, sizeof(T));
    if (bytes > std::numeric_limits<std::size_t>::max() / 2) throw std::bad_alloc();
    void* memory = ::operator new(bytes + kAlignment, std::align_val_t(kAlignment));
    std::memset(memory, 0, bytes + kAlignment);
    release();
    data_ = static_cast<T*>(memory);
    size_ = size;
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::size_t bytes() const { return size_ * sizeof(T); }
  T& operator[](std::size_t index) { return data_[index]; }
  const T& operator[](std::size_t index) const { return data_[index]; }

 private:
  static constexpr std::size_t kAlignment = 64;

  void swap(Buffer& other) {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }
  void release() {
    if (data_ != nullptr) ::operator delete(data_, std::align_val_t(kAlignment));
    data_ = nullptr;
    size_ = 0;
  }

  T* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace pruneofa
