// The skip connections of toRGB's outputs over the resolutions, and the conversion of their sum to a picture.

#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace toonify {

// Completes toRGB's products rgb [3, H, W] in place: adds the bias, clamps, and adds the image of the resolution below,
// lower [3, H / 2, W / 2], upsampled by the FIR filter [1, 3, 3, 1] / 4 along both axes. At the lowest resolution
// `lower` is null.
inline void add_skip(int size, const float* bias, float clamp, const float* lower, float* rgb, int threads) {
  const int half = size / 2;
#pragma omp parallel num_threads(threads)
  {
    std::vector<float> line(half + 2);  // an interpolated row, with a zero on both sides
#pragma omp for
    for (int index = 0; index < 3 * size; ++index) {
      const int colour = index / size, row = index % size;
      float* out = rgb + static_cast<long>(index) * size;
      for (int x = 0; x < size; ++x) out[x] = std::clamp(out[x] + bias[colour], -clamp, clamp);
      if (!lower) continue;
      const int near = row / 2, far = near + (row % 2 ? 1 : -1);
      const float* plane = lower + static_cast<long>(colour) * half * half;
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

// Converts rgb [3, H, W], -1 to 1, to a picture [H, W, 3], 0 to 255.
inline void rgb_to_uint8(int size, const float* rgb, uint8_t* picture, int threads) {
  const long pixels = static_cast<long>(size) * size;
#pragma omp parallel for num_threads(threads)
  for (int row = 0; row < size; ++row)
    for (long pixel = static_cast<long>(row) * size; pixel < static_cast<long>(row + 1) * size; ++pixel)
      for (int colour = 0; colour < 3; ++colour)
        picture[3 * pixel + colour] =
            static_cast<uint8_t>(std::min(std::max(0.f, 127.5f * rgb[colour * pixels + pixel] + 128), 255.f));
}

}  // namespace toonify
