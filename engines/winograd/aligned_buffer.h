// A buffer of floats, aligned to a cache line.

#pragma once

#include <cstdlib>
#include <memory>

namespace toonify {

struct Free {
  void operator()(float* memory) const { std::free(memory); }
};

// Owns `count` uninitialised floats, aligned to 64 bytes.
class AlignedBuffer {
 public:
  explicit AlignedBuffer(long count)
      : memory_(static_cast<float*>(std::aligned_alloc(64, (4 * count + 63) / 64 * 64))) {}
  float* get() const { return memory_.get(); }

 private:
  std::unique_ptr<float[], Free> memory_;
};

}  // namespace toonify
