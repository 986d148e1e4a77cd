// Matrix times vector (GEMV): styles, demodulations, and the linear layers of encoders.

#pragma once

#include "simd.h"

namespace toonify {

// y [R] = M [R, C] x [C], C a multiple of LANES.
inline void gemv(int rows, int columns, const float* matrix, const float* x, float* y, int threads) {
#pragma omp parallel for num_threads(threads)
  for (int row = 0; row < rows; ++row) {
    // Independent sums, since with one sum each addition would wait for the one before.
    constexpr int SUMS = 4;
    Vector sums[SUMS] = {};
    const float* weights = matrix + static_cast<long>(row) * columns;
    for (int column = 0; column < columns; column += LANES)
      sums[column / LANES % SUMS] += load(weights + column) * load_unaligned(x + column);
    y[row] = reduce_sum(sums[0] + sums[1] + sums[2] + sums[3]);
  }
}

}  // namespace toonify
