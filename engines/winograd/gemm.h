// The matrix products between a Winograd convolution's two transforms.
//
// They are of float32, or of fixed point: numbers of 16 bits in pairs, whose products are summed in 32 bits.

#pragma once

#include <cstdint>

#include "simd.h"

namespace toonify {

using Int16Pair = int32_t;  // two channels

// How many channels a number holds.
template <class Element>
constexpr int CHANNELS_PER_ELEMENT = 1;
template <>
constexpr int CHANNELS_PER_ELEMENT<Int16Pair> = 2;

// The first channel that a number holds; the second one is LANES further.
template <class Element>
int first_channel(int number) {
  return number / LANES * LANES * CHANNELS_PER_ELEMENT<Element> + number % LANES;
}

TOONIFY_INLINE void accumulate(Vector& sum, float tile, Vector weights) { sum += tile * weights; }

TOONIFY_INLINE void accumulate(IntVector& sum, Int16Pair tile, IntVector weights) {
#ifdef __AVX512VNNI__
  sum = (IntVector)_mm512_dpwssd_epi32((__m512i)sum, _mm512_set1_epi32(tile), (__m512i)weights);
#elif defined(__AVX512F__)
  sum += (IntVector)_mm512_madd_epi16(_mm512_set1_epi32(tile), (__m512i)weights);
#else
  sum += (IntVector)_mm256_madd_epi16(_mm256_set1_epi32(tile), (__m256i)weights);
#endif
}

// A block of sums stays in registers: of AVX-512's 32 it takes 24, of AVX2's 16 it takes 12. What rows are left over
// are made up to a multiple of MICRO_TAIL_TILES, whatever stands there.
#ifdef __AVX512F__
constexpr int MICRO_TILES = 12, MICRO_TAIL_TILES = 4;
#else
constexpr int MICRO_TILES = 6, MICRO_TAIL_TILES = 2;
#endif
constexpr int MICRO_PANELS = 2;  // of LANES outputs each
static_assert(MICRO_TILES % MICRO_TAIL_TILES == 0);

template <int R, int P, class Element>
TOONIFY_INLINE void micro_kernel(const Element* tiles, long in, const Element* weights, Element* sums, long out) {
  using Sum = decltype(load(weights));
  Sum sum[R][P] = {};
  for (long i = 0; i < in; ++i) {
    Sum weight[P];
    TOONIFY_UNROLL
    for (int p = 0; p < P; ++p) {
      weight[p] = load(weights + (p * in + i) * LANES);
      // Of the panels that follow: a hint, also behind the last ones.
      __builtin_prefetch(weights + ((P + p) * in + i) * LANES, 0, 2);
    }
    TOONIFY_UNROLL
    for (int r = 0; r < R; ++r) {
      TOONIFY_UNROLL
      for (int p = 0; p < P; ++p) accumulate(sum[r][p], tiles[r * in + i], weight[p]);
    }
  }
  TOONIFY_UNROLL
  for (int r = 0; r < R; ++r) {
    TOONIFY_UNROLL
    for (int p = 0; p < P; ++p) store(sums + r * out + p * LANES, sum[r][p]);
  }
}

template <int P, class Element>
void gemm_panels(int count, const Element* tiles, long in, const Element* weights, Element* sums, long out) {
  int row = 0;
  for (; row + MICRO_TILES <= count; row += MICRO_TILES)
    micro_kernel<MICRO_TILES, P>(tiles + row * in, in, weights, sums + row * out, out);
  for (; row < count; row += MICRO_TAIL_TILES)
    micro_kernel<MICRO_TAIL_TILES, P>(tiles + row * in, in, weights, sums + row * out, out);
}

// How many outputs there are, and from one tile's to the next one's.
struct OutChannels {
  int count, stride;
};

// sums [T, O] = tiles [T, I] weights [I, O]; the weights are stored as [O / LANES, I, LANES], with numbers of I
// channels. There must be room for T made up to a multiple of MICRO_TAIL_TILES.

template <class Element>
void gemm(int count, const Element* tiles, long in, const Element* weights, Element* sums, OutChannels out) {
  long panel = 0;
  for (; panel + MICRO_PANELS * LANES <= out.count; panel += MICRO_PANELS * LANES)
    gemm_panels<MICRO_PANELS>(count, tiles, in, weights + panel * in, sums + panel, out.stride);
  for (; panel < out.count; panel += LANES)
    gemm_panels<1>(count, tiles, in, weights + panel * in, sums + panel, out.stride);
}

}  // namespace toonify
