// The matrix products (GEMM) between the input and the output transform: one for each Winograd point.
//
// An element is a float32, or in fixed point a pair of int16, whose products are summed in int32. Weights are packed
// into panels of LANES output channels. The micro-kernel keeps MICRO_TILES x MICRO_PANELS vectors of sums in registers
// and runs over all input channels. There is no blocking over input channels: steps of 128 or 256, whose weights the L1
// cache holds, gave no consistent gain (0.93 to 1.02).

#pragma once

#include <cstdint>

#include "simd.h"

namespace toonify {

using Int16Pair = int32_t;  // two channels in the lower and the upper half

// How many channels an element holds.
template <class Element>
constexpr int CHANNELS_PER_ELEMENT = 1;
template <>
constexpr int CHANNELS_PER_ELEMENT<Int16Pair> = 2;

// The first channel that an element holds; the second one is LANES further.
template <class Element>
int first_channel(int element) {
  return element / LANES * LANES * CHANNELS_PER_ELEMENT<Element> + element % LANES;
}

// sum += tile * weights, for the one or two channels of an element.
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

// Register blocking: the micro-kernel's sums take 12 x 2 of AVX-512's 32 registers, 6 x 2 of AVX2's 16; the rest holds
// weights and a broadcast tile. 14 rows of tiles with AVX-512 were slower: 36.3 instead of 34.5 ms for a block at
// 64, 73.0 instead of 70.1 at 1024 (Emerald Rapids, float32). The tiles left over go in steps of MICRO_TAIL_TILES;
// steps of 8 made no difference (0.99 to 1.01). The last step may read and write rows that belong to no tile, so
// callers round their capacity up.
#ifdef __AVX512F__
constexpr int MICRO_TILES = 12, MICRO_TAIL_TILES = 4;
#else
constexpr int MICRO_TILES = 6, MICRO_TAIL_TILES = 2;
#endif
constexpr int MICRO_PANELS = 2;  // of LANES output channels each
static_assert(MICRO_TILES % MICRO_TAIL_TILES == 0);

// The micro-kernel: sums [R, P * LANES] = tiles [R, I] weights [P, I, LANES]; `out` is the stride of the sums' rows.
template <int R, int P, class Element>
TOONIFY_INLINE void micro_kernel(const Element* tiles, long in, const Element* weights, Element* sums, long out) {
  using Sum = decltype(load(weights));
  Sum sum[R][P] = {};
  for (long i = 0; i < in; ++i) {
    Sum weight[P];
    TOONIFY_UNROLL
    for (int p = 0; p < P; ++p) {
      weight[p] = load(weights + (p * in + i) * LANES);
      // Prefetches the panels that follow into L2: a block took 37.9 -> 34.5 ms at 64, 54.8 -> 52.1 at 256 (Emerald
      // Rapids, float32). Prefetching a share of them with each row of tiles was slower: 204 -> 222 ms a picture (Zen
      // 4, fixed point). Behind the last panel the address may be invalid, which a prefetch ignores.
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

// The sums of all `count` tiles for P panels.
template <int P, class Element>
void gemm_panels(int count, const Element* tiles, long in, const Element* weights, Element* sums, long out) {
  int row = 0;
  for (; row + MICRO_TILES <= count; row += MICRO_TILES)
    micro_kernel<MICRO_TILES, P>(tiles + row * in, in, weights, sums + row * out, out);
  for (; row < count; row += MICRO_TAIL_TILES)
    micro_kernel<MICRO_TAIL_TILES, P>(tiles + row * in, in, weights, sums + row * out, out);
}

// The output channels that are computed, and the stride from one tile's sums to the next one's.
struct OutChannels {
  int count, stride;
};

// sums [T, O] = tiles [T, I] weights [I, O], with I in elements; the weights are packed as [O / LANES, I, LANES]. Tiles
// and sums must have room for T rounded up to a multiple of MICRO_TAIL_TILES.
template <class Element>
void gemm(int count, const Element* tiles, long in, const Element* weights, Element* sums, OutChannels out) {
  long panel = 0;
  for (; panel + MICRO_PANELS * LANES <= out.count; panel += MICRO_PANELS * LANES)
    gemm_panels<MICRO_PANELS>(count, tiles, in, weights + panel * in, sums + panel, out.stride);
  for (; panel < out.count; panel += LANES)
    gemm_panels<1>(count, tiles, in, weights + panel * in, sums + panel, out.stride);
}

}  // namespace toonify
