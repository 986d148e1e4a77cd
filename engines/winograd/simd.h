// Vectors of float32 and int32 over GCC's vector types. A vector is one register of
// AVX-512 or AVX2 and holds LANES channels.

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
// Loops over a tile must unroll: the coefficients of its transforms are constants, most of them 0 or 1.
#define TOONIFY_UNROLL _Pragma("GCC unroll 16")

TOONIFY_INLINE Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }

// Loads from an address that need not be aligned.
TOONIFY_INLINE Vector load_unaligned(const float* from) {
  Vector value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

TOONIFY_INLINE IntVector load(const int32_t* from) { return *reinterpret_cast<const IntVector*>(from); }

TOONIFY_INLINE void store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }

TOONIFY_INLINE void store(int32_t* to, IntVector value) { *reinterpret_cast<IntVector*>(to) = value; }

// Non-temporal stores, for arrays larger than the caches: the cache line that is overwritten is not read first. AVX2
// stores normally, since its Vector is half a line: with non-temporal stores of half lines a block at 512 took 171 ms
// instead of 107.
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

// Rounds value * scale to the nearest integer, in the lower 16 bits of each lane; the upper 16 bits are undefined. The
// result must fit into int16. At the magnitude of 0x1.8p23 a float's last bit is worth 1, so that the addition rounds:
// a fused multiply-add instead of a multiplication and a conversion. It takes the same time (1.00), with less code.
TOONIFY_INLINE IntVector round_to_int16(Vector value, Vector scale) { return (IntVector)(value * scale + 0x1.8p23f); }

// Packs the lower 16 bits of two lanes into one: those of `first` into its lower half, those of `second` into its
// upper.
TOONIFY_INLINE IntVector pack_int16_pairs(IntVector first, IntVector second) {
#ifdef __AVX512F__
  constexpr int SECOND = 2 * LANES;  // index of the first 16-bit word of `second`
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

// One step of `reduce_sums`: adds lanes whose indices differ in the bit DISTANCE, those of `first` into the lanes
// without that bit, those of `second` into the lanes with it.
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

// Reduces COUNT = LANES vectors together: lane k of the result is the sum over the lanes of values[k]. Each step halves
// the number of vectors.
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
