// As many channels at once as a register of the target holds.

#pragma once

#include <immintrin.h>

namespace toonify {

#ifdef __AVX512F__
constexpr int LANES = 16;
#else
constexpr int LANES = 8;
#endif

typedef float Vector __attribute__((vector_size(4 * LANES), may_alias));
typedef int Lanes __attribute__((vector_size(4 * LANES)));

#define TOONIFY_INLINE inline __attribute__((always_inline))
// Loops over a tile's points must unroll: their coefficients are constants, most of them 0 or 1.
#define TOONIFY_UNROLL _Pragma("GCC unroll 16")

TOONIFY_INLINE Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }

// From an address that need not be aligned.
TOONIFY_INLINE Vector load_anywhere(const float* from) {
  Vector value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

TOONIFY_INLINE void store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }

// Past the caches, for what is larger than they are: the line that is overwritten is not read first. Only where a
// Vector is a whole line.
TOONIFY_INLINE void stream(float* to, Vector value) {
#ifdef __AVX512F__
  _mm512_stream_ps(to, value);
#else
  store(to, value);
#endif
}

TOONIFY_INLINE Vector smaller(Vector a, Vector b) { return a < b ? a : b; }

TOONIFY_INLINE Vector larger(Vector a, Vector b) { return a > b ? a : b; }

TOONIFY_INLINE float sum_of(Vector value) {
  float sum = 0;
  for (int lane = 0; lane < LANES; ++lane) sum += value[lane];
  return sum;
}

// The sums of neighbours, of `first` and then of `second`.
TOONIFY_INLINE Vector sums_of_pairs(Vector first, Vector second) {
  Lanes even, odd;
  TOONIFY_UNROLL
  for (int lane = 0; lane < LANES; ++lane) even[lane] = 2 * lane, odd[lane] = 2 * lane + 1;
  return __builtin_shuffle(first, second, even) + __builtin_shuffle(first, second, odd);
}

// The sum of each of COUNT vectors, which are overwritten.
template <int COUNT>
TOONIFY_INLINE void sums_of_vectors(Vector* values, float* sums) {
  if constexpr (COUNT % LANES == 0) {
    int count = COUNT;
    TOONIFY_UNROLL
    for (int length = LANES; length > 1; length /= 2) {
      count /= 2;
      TOONIFY_UNROLL
      for (int k = 0; k < count; ++k) values[k] = sums_of_pairs(values[2 * k], values[2 * k + 1]);
    }
    __builtin_memcpy(sums, values, COUNT * sizeof(float));
  } else {
    for (int k = 0; k < COUNT; ++k) sums[k] = sum_of(values[k]);
  }
}

}  // namespace toonify
