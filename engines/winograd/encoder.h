// The layers of an encoder: convolutions, global average pooling, gates with shortcuts, upsampling.

#pragma once

#include <omp.h>

#include <algorithm>

#include "convolution.h"
#include "simd.h"
#include "transforms.h"

namespace toonify {

template <class Function>
auto dispatch_algorithm(const ConvParams& layer, Function function) {
  return dispatch_algorithm(layer.size, layer.taps, layer.stride, function);
}

// The epilogue of a convolution: a tile's outputs through gain, bias and PReLU into the map y, where they lie in it.
template <class Algorithm, class Element>
void prelu_epilogue(const ConvParams& layer, const TileProducts<Element>& products, int tile_row, int tile_column,
                    float* y) {
  constexpr int Q = Algorithm::OUTPUTS;
  const int size = layer.size / layer.stride, top = tile_row * Q, left = tile_column * Q;
  const int rows = std::min(Q, size - top), columns = std::min(Q, size - left);
  output_transform_columns<Algorithm>(products, layer.out_channels);
  for (int i = 0; i < rows; ++i) {
    float* to = y + (static_cast<long>(top + i) * size + left) * layer.out_channels;
    for (int channel = 0; channel < layer.out_channels; channel += LANES) {
      const Vector gain = products.scale * load(layer.gain + channel), bias = load(layer.bias + channel);
      const Vector slope = load(layer.slope + channel);
      Vector outputs[Q];
      output_transform_row<Algorithm>(products.partial + i * Algorithm::POINTS * layer.out_channels + channel,
                                      layer.out_channels, outputs);
      TOONIFY_UNROLL
      for (int j = 0; j < Q; ++j) {
        const Vector value = outputs[j] * gain + bias;
        if (j < columns)
          store(to + static_cast<long>(j) * layer.out_channels + channel, value < 0 ? value * slope : value);
      }
    }
  }
}

template <class Element>
long convolution_scratch_size(const ConvParams& layer, int threads) {
  return dispatch_algorithm(
      layer, [&](auto algorithm) { return layer_scratch_size<decltype(algorithm), Element>(layer, threads); });
}

template <class Element>
void convolve(const ConvParams& layer, const float* x, float* y, float* scratch, int threads) {
  dispatch_algorithm(layer, [&](auto algorithm) {
    using Algorithm = decltype(algorithm);
#pragma omp parallel num_threads(threads)
    convolve_layer<Algorithm, Element>(layer, x, scratch, threads,
                                       [&](const TileProducts<Element>& products, int row, int column) {
                                         prelu_epilogue<Algorithm>(layer, products, row, column, y);
                                       });
  });
}

// The mean of each channel of a map [PIXELS, C]. The sum is split into PARTS for any number of threads, so that the
// result does not depend on it.
inline void channel_means(int pixels, int channels, const float* x, float* means, int threads) {
  constexpr int PARTS = 64;
  const AlignedBuffer sums(static_cast<long>(PARTS) * channels);
#pragma omp parallel for num_threads(threads)
  for (int part = 0; part < PARTS; ++part) {
    float* sum = sums.get() + static_cast<long>(part) * channels;
    std::fill_n(sum, channels, 0.f);
    const long last = static_cast<long>(pixels) * (part + 1) / PARTS;
    for (long pixel = static_cast<long>(pixels) * part / PARTS; pixel < last; ++pixel)
      for (int channel = 0; channel < channels; channel += LANES)
        store(sum + channel, load(sum + channel) + load(x + pixel * channels + channel));
  }
  for (int channel = 0; channel < channels; channel += LANES) {
    Vector sum = {};
    for (int part = 0; part < PARTS; ++part) sum += load(sums.get() + static_cast<long>(part) * channels + channel);
    store(means + channel, sum / static_cast<float>(pixels));
  }
}

// x [H, W, C] = x times gates [C] + every STRIDE-th row and column of the map shortcut [STRIDE H, STRIDE W, C].
inline void gate_and_add(int size, int channels, const float* gates, int stride, const float* shortcut, float* x,
                         int threads) {
#pragma omp parallel for num_threads(threads)
  for (int row = 0; row < size; ++row)
    for (int column = 0; column < size; ++column) {
      float* to = x + (static_cast<long>(row) * size + column) * channels;
      const float* from = shortcut + (static_cast<long>(row) * stride * size + column) * stride * channels;
      for (int channel = 0; channel < channels; channel += LANES)
        store(to + channel, load(to + channel) * load(gates + channel) + load(from + channel));
    }
}

// Adds x [H, W, C], upsampled bilinearly with aligned corners, to y [2 H, 2 W, C].
inline void add_upsampled(int size, int channels, const float* x, float* y, int threads) {
  const int doubled = 2 * size;
  const float step = static_cast<float>(size - 1) / static_cast<float>(doubled - 1);
#pragma omp parallel for num_threads(threads)
  for (int row = 0; row < doubled; ++row) {
    const int upper = static_cast<int>(row * step), lower = std::min(upper + 1, size - 1);
    const float row_weight = row * step - upper;
    for (int column = 0; column < doubled; ++column) {
      const int left = static_cast<int>(column * step), right = std::min(left + 1, size - 1);
      const float column_weight = column * step - left;
      const auto between = [&](int line, int channel) {
        const float* from = x + static_cast<long>(line) * size * channels + channel;
        return (1 - column_weight) * load(from + static_cast<long>(left) * channels) +
               column_weight * load(from + static_cast<long>(right) * channels);
      };
      float* to = y + (static_cast<long>(row) * doubled + column) * channels;
      for (int channel = 0; channel < channels; channel += LANES)
        store(to + channel,
              load(to + channel) + (1 - row_weight) * between(upper, channel) + row_weight * between(lower, channel));
    }
  }
}

}  // namespace toonify
