// The sum of toRGB's outputs over the resolutions, and the picture of it.

#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace toonify {

// rgb [3, H, W], which toRGB's products are in: the bias is added, the clamp applied, and the sum of the resolutions
// below [3, H / 2, W / 2] added, upsampled by the FIR filter [1, 3, 3, 1] / 4 along both axes. There is none in the
// lowest one.
inline void add_skip(int size, const float* bias, float clamp, const float* skip, float* rgb, int threads) {
  const int half = size / 2;
#pragma omp parallel num_threads(threads)
  {
    std::vector<float> line(half + 2);  // a row in between, and the zeros on both sides
#pragma omp for
    for (int index = 0; index < 3 * size; ++index) {
      const int colour = index / size, row = index % size;
      float* out = rgb + static_cast<long>(index) * size;
      for (int x = 0; x < size; ++x) out[x] = std::clamp(out[x] + bias[colour], -clamp, clamp);
      if (!skip) continue;
      const int near = row / 2, far = near + (row % 2 ? 1 : -1);
      const float* plane = skip + static_cast<long>(colour) * half * half;
      const float *nearest = plane + static_cast<long>(near) * half, *other = plane + static_cast<long>(far) * half;
      const bool inside = far >= 0 && far < half;
      for (int x = 0; x < half; ++x) line[x + 1] = .75f * nearest[x] + (inside ? .25f * other[x] : 0);
      for (int x = 0; x < half; ++x) {
        out[2 * x] += .75f * line[x + 1] + .25f * line[x];
        out[2 * x + 1] += .75f * line[x + 1] + .25f * line[x + 2];
      }
    }
  }
}

// rgb [3, H, W], -1 to 1, as levels [H, W, 3].
inline void rgb_to_uint8(int size, const float* rgb, uint8_t* picture, int threads) {
  const long pixels = static_cast<long>(size) * size;
#pragma omp parallel for num_threads(threads)
  for (int row = 0; row < size; ++row)
    for (long pixel = static_cast<long>(row) * size; pixel < static_cast<long>(row + 1) * size; ++pixel)
      for (int colour = 0; colour < 3; ++colour)
        picture[3 * pixel + colour] =
            static_cast<uint8_t>(std::clamp(127.5f * rgb[colour * pixels + pixel] + 128, 0.f, 255.f));
}

}  // namespace toonify
