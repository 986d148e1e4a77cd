// What an encoder is made of: convolutions, gates from means, maps that are added.

#pragma once

#include <omp.h>

#include <algorithm>

#include "convolution.h"
#include "tiles.h"
#include "vectors.h"

namespace toonify {

template <class With>
auto with_form(const Convolution& layer, With with) {
  return with_form(layer.size, layer.taps, layer.stride, with);
}

// One tile's outputs, times its unit, into the map y, as far as they lie in it.
template <class Form, class Number>
void map_from_tile(const Convolution& layer, const Sums<Number>& sums, int tile_row, int tile_column, float* y) {
  constexpr int Q = Form::OUTPUTS;
  const int size = layer.size / layer.stride, top = tile_row * Q, left = tile_column * Q;
  const int rows = std::min(Q, size - top), columns = std::min(Q, size - left);
  columns_from_sums<Form>(sums, layer.out);
  for (int i = 0; i < rows; ++i) {
    float* to = y + (static_cast<long>(top + i) * size + left) * layer.out;
    for (int channel = 0; channel < layer.out; channel += LANES) {
      const Vector gain = sums.unit * load(layer.gain + channel), bias = load(layer.bias + channel);
      const Vector slope = load(layer.slope + channel);
      Vector outputs[Q];
      row_of_outputs<Form>(sums.halfway + i * Form::POINTS * layer.out + channel, layer.out, outputs);
      TOONIFY_UNROLL
      for (int j = 0; j < Q; ++j) {
        const Vector value = outputs[j] * gain + bias;
        if (j < columns) store(to + static_cast<long>(j) * layer.out + channel, value < 0 ? value * slope : value);
      }
    }
  }
}

template <class Number>
long convolution_memory(const Convolution& layer, int threads) {
  return with_form(layer, [&](auto form) { return tiles_memory<decltype(form), Number>(layer, threads); });
}

template <class Number>
void convolve(const Convolution& layer, const float* x, float* y, float* memory, int threads) {
  with_form(layer, [&](auto form) {
    using Form = decltype(form);
#pragma omp parallel num_threads(threads)
    convolve_all<Form, Number>(layer, x, memory, threads, [&](const Sums<Number>& sums, int row, int column) {
      map_from_tile<Form>(layer, sums, row, column, y);
    });
  });
}

// The mean of each channel of a map [PIXELS, C]. The parts are the same for any number of threads, and so is the sum.
inline void means(int pixels, int channels, const float* x, float* found, int threads) {
  constexpr int PARTS = 64;
  const Buffer sums(static_cast<long>(PARTS) * channels);
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
    store(found + channel, sum / static_cast<float>(pixels));
  }
}

// x [H, W, C] = x times gates [C] + a map [STRIDE H, STRIDE W, C], of which each STRIDE-th row and column is taken.
inline void gate_and_add(int size, int channels, const float* gates, int stride, const float* added, float* x,
                         int threads) {
#pragma omp parallel for num_threads(threads)
  for (int row = 0; row < size; ++row)
    for (int column = 0; column < size; ++column) {
      float* to = x + (static_cast<long>(row) * size + column) * channels;
      const float* from = added + (static_cast<long>(row) * stride * size + column) * stride * channels;
      for (int channel = 0; channel < channels; channel += LANES)
        store(to + channel, load(to + channel) * load(gates + channel) + load(from + channel));
    }
}

// To y [2 H, 2 W, C] is added x [H, W, C], bilinear, corner on corner.
inline void add_doubled(int size, int channels, const float* x, float* y, int threads) {
  const int doubled = 2 * size;
  const float step = static_cast<float>(size - 1) / static_cast<float>(doubled - 1);
#pragma omp parallel for num_threads(threads)
  for (int row = 0; row < doubled; ++row) {
    const int upper = static_cast<int>(row * step), lower = std::min(upper + 1, size - 1);
    const float down = row * step - upper;
    for (int column = 0; column < doubled; ++column) {
      const int left = static_cast<int>(column * step), right = std::min(left + 1, size - 1);
      const float across = column * step - left;
      const auto between = [&](int line, int channel) {
        const float* from = x + static_cast<long>(line) * size * channels + channel;
        return (1 - across) * load(from + static_cast<long>(left) * channels) +
               across * load(from + static_cast<long>(right) * channels);
      };
      float* to = y + (static_cast<long>(row) * doubled + column) * channels;
      for (int channel = 0; channel < channels; channel += LANES)
        store(to + channel, load(to + channel) + (1 - down) * between(upper, channel) + down * between(lower, channel));
    }
  }
}

}  // namespace toonify
