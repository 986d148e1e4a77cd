// The matrix products between a Winograd convolution's two transforms.

#pragma once

#include "vectors.h"

namespace toonify {

// A block of sums stays in registers: of AVX-512's 32 it takes 24, of AVX2's 16 it takes 12. What rows are left over
// are made up to a multiple of LAST_ROWS, whatever stands there.
#ifdef __AVX512F__
constexpr int ROWS = 12, LAST_ROWS = 4;
#else
constexpr int ROWS = 6, LAST_ROWS = 2;
#endif
constexpr int PANELS = 2;  // of LANES outputs each
static_assert(ROWS % LAST_ROWS == 0);

template <int R, int P>
TOONIFY_INLINE void block_of_products(const float* tiles, long in, const float* weights, float* sums, long out) {
  Vector sum[R][P] = {};
  for (long i = 0; i < in; ++i) {
    Vector weight[P];
    TOONIFY_UNROLL
    for (int p = 0; p < P; ++p) {
      weight[p] = load(weights + (p * in + i) * LANES);
      // Of the panels that follow: a hint, also behind the last ones.
      __builtin_prefetch(weights + ((P + p) * in + i) * LANES, 0, 2);
    }
    TOONIFY_UNROLL
    for (int r = 0; r < R; ++r) {
      TOONIFY_UNROLL
      for (int p = 0; p < P; ++p) sum[r][p] += tiles[r * in + i] * weight[p];
    }
  }
  TOONIFY_UNROLL
  for (int r = 0; r < R; ++r) {
    TOONIFY_UNROLL
    for (int p = 0; p < P; ++p) store(sums + r * out + p * LANES, sum[r][p]);
  }
}

template <int P>
void panels_of_products(int count, const float* tiles, long in, const float* weights, float* sums, long out) {
  int row = 0;
  for (; row + ROWS <= count; row += ROWS)
    block_of_products<ROWS, P>(tiles + row * in, in, weights, sums + row * out, out);
  for (; row < count; row += LAST_ROWS)
    block_of_products<LAST_ROWS, P>(tiles + row * in, in, weights, sums + row * out, out);
}

// sums [T, O] = tiles [T, I] weights [I, O]; the weights are stored as [O / LANES, I, LANES]. There must be room for T
// made up to a multiple of LAST_ROWS.
inline void products(int count, const float* tiles, long in, const float* weights, float* sums, long out) {
  long panel = 0;
  for (; panel + PANELS * LANES <= out; panel += PANELS * LANES)
    panels_of_products<PANELS>(count, tiles, in, weights + panel * in, sums + panel, out);
  for (; panel < out; panel += LANES) panels_of_products<1>(count, tiles, in, weights + panel * in, sums + panel, out);
}

}  // namespace toonify
