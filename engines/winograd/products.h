// The matrix products between a Winograd convolution's two transforms.
//
// They are of float32, or of fixed point: numbers of 16 bits in pairs, whose products are summed in 32 bits.

#pragma once

#include <cstdint>

#include "vectors.h"

namespace toonify {

using Pair = int32_t;  // two channels

// How many channels a number holds.
template <class Number>
constexpr int CHANNELS = 1;
template <>
constexpr int CHANNELS<Pair> = 2;

// The first channel that a number holds; the second one is LANES further.
template <class Number>
int channel_of(int number) {
  return number / LANES * LANES * CHANNELS<Number> + number % LANES;
}

TOONIFY_INLINE void accumulate(Vector& sum, float tile, Vector weights) { sum += tile * weights; }

TOONIFY_INLINE void accumulate(Lanes& sum, Pair tile, Lanes weights) {
#ifdef __AVX512VNNI__
  sum = (Lanes)_mm512_dpwssd_epi32((__m512i)sum, _mm512_set1_epi32(tile), (__m512i)weights);
#elif defined(__AVX512F__)
  sum += (Lanes)_mm512_madd_epi16(_mm512_set1_epi32(tile), (__m512i)weights);
#else
  sum += (Lanes)_mm256_madd_epi16(_mm256_set1_epi32(tile), (__m256i)weights);
#endif
}

// A block of sums stays in registers: of AVX-512's 32 it takes 24, of AVX2's 16 it takes 12. What rows are left over
// are made up to a multiple of LAST_ROWS, whatever stands there.
#ifdef __AVX512F__
constexpr int ROWS = 12, LAST_ROWS = 4;
#else
constexpr int ROWS = 6, LAST_ROWS = 2;
#endif
constexpr int PANELS = 2;  // of LANES outputs each
static_assert(ROWS % LAST_ROWS == 0);

template <int R, int P, class Number>
TOONIFY_INLINE void block_of_products(const Number* tiles, long in, const Number* weights, Number* sums, long out) {
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

template <int P, class Number>
void panels_of_products(int count, const Number* tiles, long in, const Number* weights, Number* sums, long out) {
  int row = 0;
  for (; row + ROWS <= count; row += ROWS)
    block_of_products<ROWS, P>(tiles + row * in, in, weights, sums + row * out, out);
  for (; row < count; row += LAST_ROWS)
    block_of_products<LAST_ROWS, P>(tiles + row * in, in, weights, sums + row * out, out);
}

// How many outputs there are, and from one tile's to the next one's.
struct Outputs {
  int count, stride;
};

// sums [T, O] = tiles [T, I] weights [I, O]; the weights are stored as [O / LANES, I, LANES], with numbers of I
// channels. There must be room for T made up to a multiple of LAST_ROWS.

template <class Number>
void products(int count, const Number* tiles, long in, const Number* weights, Number* sums, Outputs out) {
  long panel = 0;
  for (; panel + PANELS * LANES <= out.count; panel += PANELS * LANES)
    panels_of_products<PANELS>(count, tiles, in, weights + panel * in, sums + panel, out.stride);
  for (; panel < out.count; panel += LANES)
    panels_of_products<1>(count, tiles, in, weights + panel * in, sums + panel, out.stride);
}

}  // namespace toonify
