// As many channels at once as a register of the target holds.

#pragma once

#include <immintrin.h>

#include <cstdint>

namespace toonify {

#ifdef __AVX512F__
constexpr int LANES = 16;
#else
constexpr int LANES = 8;
#endif

typedef float Vector __attribute__((vector_size(4 * LANES), may_alias));
typedef int IntVector __attribute__((vector_size(4 * LANES), may_alias));

#define TOONIFY_INLINE inline __attribute__((always_inline))
// Loops over a tile's points must unroll: their coefficients are constants, most of them 0 or 1.
#define TOONIFY_UNROLL _Pragma("GCC unroll 16")

TOONIFY_INLINE Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }

// From an address that need not be aligned.
TOONIFY_INLINE Vector load_unaligned(const float* from) {
  Vector value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

TOONIFY_INLINE IntVector load(const int32_t* from) { return *reinterpret_cast<const IntVector*>(from); }

TOONIFY_INLINE void store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }

TOONIFY_INLINE void store(int32_t* to, IntVector value) { *reinterpret_cast<IntVector*>(to) = value; }

// Past the caches, for what is larger than they are: the line that is overwritten is not read first. Only where a
// Vector is a whole line.
TOONIFY_INLINE void stream(float* to, Vector value) {
#ifdef __AVX512F__
  _mm512_stream_ps(to, value);
#else
  store(to, value);
#endif
}

TOONIFY_INLINE void stream(int32_t* to, IntVector value) {
#ifdef __AVX512F__
  _mm512_stream_si512(reinterpret_cast<__m512i*>(to), (__m512i)value);
#else
  store(to, value);
#endif
}

TOONIFY_INLINE Vector to_float(Vector value) { return value; }

TOONIFY_INLINE Vector to_float(IntVector value) { return __builtin_convertvector(value, Vector); }

// The integer nearest to value * scale in the lower 16 bits, which must hold it; above them is something else. At this
// magnitude a float's last bit is worth 1.
TOONIFY_INLINE IntVector round_to_int16(Vector value, Vector scale) { return (IntVector)(value * scale + 0x1.8p23f); }

// The lower 16 bits of each; the second one's come above the first one's.
TOONIFY_INLINE IntVector pack_int16_pairs(IntVector first, IntVector second) {
#ifdef __AVX512F__
  constexpr int SECOND = 2 * LANES;  // words of the first
  IntVector words;
  TOONIFY_UNROLL
  for (int lane = 0; lane < LANES; ++lane) words[lane] = 2 * lane | (SECOND + 2 * lane) << 16;
  return (IntVector)_mm512_permutex2var_epi16((__m512i)first, (__m512i)words, (__m512i)second);
#else
  return (IntVector)_mm256_blend_epi16((__m256i)first, _mm256_slli_epi32((__m256i)second, 16), 0xaa);
#endif
}

TOONIFY_INLINE Vector min(Vector a, Vector b) { return a < b ? a : b; }

TOONIFY_INLINE Vector max(Vector a, Vector b) { return a > b ? a : b; }

TOONIFY_INLINE float reduce_sum(Vector value) {
  float sum = 0;
  for (int lane = 0; lane < LANES; ++lane) sum += value[lane];
  return sum;
}

TOONIFY_INLINE float reduce_max(Vector value) {
  float largest = value[0];
  for (int lane = 1; lane < LANES; ++lane) largest = value[lane] > largest ? value[lane] : largest;
  return largest;
}

// Half of the lanes of each, added to the other half: of `first` where a lane's number has not the bit DISTANCE, of
// `second` where it has.
template <int DISTANCE>
TOONIFY_INLINE Vector add_halves(Vector first, Vector second) {
  IntVector kept, moved;
  TOONIFY_UNROLL
  for (int lane = 0; lane < LANES; ++lane) {
    const bool of_second = lane & DISTANCE;
    kept[lane] = lane + of_second * LANES, moved[lane] = (lane ^ DISTANCE) + of_second * LANES;
  }
  return __builtin_shuffle(first, second, kept) + __builtin_shuffle(first, second, moved);
}

template <int COUNT>
TOONIFY_INLINE Vector reduce_sums(const Vector* values) {
  if constexpr (COUNT == 1)
    return values[0];
  else {
    constexpr int HALF = COUNT / 2;
    Vector sums[HALF];
    TOONIFY_UNROLL
    for (int k = 0; k < HALF; ++k) sums[k] = add_halves<HALF>(values[k], values[k + HALF]);
    return reduce_sums<HALF>(sums);
  }
}

}  // namespace toonify
