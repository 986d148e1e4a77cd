// What StyleGAN2 does before and after a convolution.

#pragma once

#include <algorithm>
#include <cfloat>

#include "layers.h"
#include "tiles.h"
#include "vectors.h"

namespace toonify {

// What a layer's activation is clamped to; where it is not, nothing is computed.
struct Bound {
  Vector value;
  TOONIFY_INLINE Vector operator()(Vector x) const { return larger(smaller(x, value), -value); }
};

struct Unbounded {
  TOONIFY_INLINE Vector operator()(Vector x) const { return x; }
};

template <class With>
TOONIFY_INLINE void with_bound(const Modulated& layer, With with) {
  if (layer.clamp < FLT_MAX)
    with(Bound{Vector{} + layer.clamp});
  else
    with(Unbounded{});
}

// Leaky ReLU of a convolution's demodulated, noisy and biased output. The activation's gain is in these three.
template <class Clamp>
TOONIFY_INLINE Vector activation(Vector x, Vector demodulation, Vector bias, float noise, Clamp clamp) {
  x = x * demodulation + (bias + noise);
  return clamp(larger(x, x * .2f));
}

constexpr long CACHED = 1 << 20;  // numbers of a map, up to which the caches hold it until it is read

// Ways to keep a map's numbers: in it, past the caches in it, or not at all.
constexpr auto STORE = [](float* to, Vector value) { store(to, value); };
constexpr auto STREAM = [](float* to, Vector value) { stream(to, value); };
constexpr auto DROP = [](float*, Vector) {};

// One row of a tile's outputs, times its unit, to where they are kept, and toRGB's products of it into planes.
template <class Form, class Clamp, class Keep>
TOONIFY_INLINE void row_of_map(const Modulated& layer, const float* halfway, float unit, long pixel, float* to,
                               float* rgb, Clamp clamp, Keep keep) {
  constexpr int Q = Form::OUTPUTS, MADE_UP = (3 * Q + LANES - 1) / LANES * LANES;
  const int channels = layer.out;
  const float* noise = layer.noise + pixel;
  Vector sums[MADE_UP] = {};  // [3, OUTPUTS]
  for (int channel = 0; channel < channels; channel += LANES) {
    const Vector demodulation = unit * load(layer.demodulation + channel), bias = load(layer.bias + channel);
    Vector outputs[Q];
    row_of_outputs<Form>(halfway + channel, channels, outputs);
    TOONIFY_UNROLL
    for (int j = 0; j < Q; ++j) {
      const Vector value = activation(outputs[j], demodulation, bias, noise[j], clamp);
      keep(to + j * channels + channel, value);
      TOONIFY_UNROLL
      for (int c = 0; c < 3; ++c) sums[c * Q + j] += value * load(layer.rgb + c * channels + channel);
    }
  }
  alignas(64) float colours[MADE_UP];
  for (int k = 0; k < MADE_UP; k += LANES) store(colours + k, sum_of_each<LANES>(sums + k));
  const long plane = static_cast<long>(layer.size) * layer.size;
  for (int c = 0; c < 3; ++c) std::copy_n(colours + c * Q, Q, rgb + c * plane + pixel);
}

// One tile's outputs into the map y, where there is one, and toRGB's products into planes [3, H, W].
template <class Form, class Number>
void map_from_tile(const Modulated& layer, const Sums<Number>& sums, int tile_row, int tile_column, float* y,
                   float* rgb) {
  const long size = layer.size, channels = layer.out;
  columns_from_sums<Form>(sums, layer.out);
  with_bound(layer, [&](auto clamp) {
    const auto rows = [&](auto keep) {
      for (int i = 0; i < Form::OUTPUTS; ++i) {
        const long pixel = (tile_row * Form::OUTPUTS + i) * size + tile_column * Form::OUTPUTS;
        row_of_map<Form>(layer, sums.halfway + i * Form::POINTS * channels, sums.unit, pixel, y + pixel * channels, rgb,
                         clamp, keep);
      }
    };
    if (!y)
      rows(DROP);
    else if (size * size * channels <= CACHED)
      rows(STORE);
    else
      rows(STREAM);
  });
}

// An up-convolution's output before it is filtered, or the part of it that is in memory: [C / LANES, H, W, LANES], so
// that a row is read line by line.
struct Doubled {
  float* memory;
  int rows;
  Span columns;

  static long size(int rows, int columns, int channels) { return static_cast<long>(rows) * columns * channels; }
  float* at(int row, int column, int channel) const {
    const long width = columns.last - columns.first;
    return memory + channel * rows * width + (row % rows * width + column - columns.first) * LANES;
  }
};

// One tile's outputs, times its unit, into the doubled map, which is still to be filtered.
template <class Form, class Number>
void doubled_from_tile(const Modulated& layer, const Sums<Number>& sums, int tile_row, int tile_column,
                       const Doubled& doubled) {
  constexpr int Q = Form::OUTPUTS;
  columns_from_sums<Form>(sums, layer.out);
  for (int i = 0; i < Q; ++i) {
    for (int channel = 0; channel < layer.out; channel += LANES) {
      float* to = doubled.at(tile_row * Q + i, tile_column * Q, channel);
      Vector outputs[Q];
      row_of_outputs<Form>(sums.halfway + i * Form::POINTS * layer.out + channel, layer.out, outputs);
      TOONIFY_UNROLL
      for (int j = 0; j < Q; ++j) store(to + j * LANES, sums.unit * outputs[j]);
    }
  }
}

#ifdef __AVX512F__
constexpr int FILTERED = 3;  // rows at once, as registers allow
#else
constexpr int FILTERED = 1;
#endif

// A stretch of some rows of an up-convolution's output in LANES channels: the FIR filter [1, 3, 3, 1] x [1, 3, 3, 1] /
// 16 over the doubled map, then the activation. Above the first row of a picture there are zeros.
template <int ROWS, bool FIRST, class Clamp>
TOONIFY_INLINE void filter_rows(const Modulated& layer, const Doubled& doubled, int row, Span columns, int channel,
                                const Map<float>& y, Clamp clamp) {
  const float* from[ROWS + 3];
  float* to[ROWS];
  for (int r = FIRST; r < ROWS + 3; ++r) from[r] = doubled.at(row + r - 1, columns.first, channel);
  for (int r = 0; r < ROWS; ++r) to[r] = y.at(row + r, columns.first) + channel;
  struct Column {
    Vector rows[ROWS];
  };
  const auto column = [&](int x) {
    Vector samples[ROWS + 3] = {};
    Column sums;
    TOONIFY_UNROLL
    for (int r = FIRST; r < ROWS + 3; ++r) samples[r] = load(from[r] + (x - columns.first) * LANES);
    TOONIFY_UNROLL
    for (int r = 0; r < ROWS; ++r) sums.rows[r] = samples[r] + samples[r + 3] + 3 * (samples[r + 1] + samples[r + 2]);
    return sums;
  };
  const Vector demodulation = load(layer.demodulation + channel) / 16, bias = load(layer.bias + channel);
  const float* noise = layer.noise + static_cast<long>(row) * 2 * layer.size;
  Column first = columns.first ? column(columns.first - 1) : Column{};
  Column second = column(columns.first), third = column(columns.first + 1);
  for (int x = columns.first; x < columns.last; ++x) {
    const Column fourth = column(x + 2);
    TOONIFY_UNROLL
    for (int r = 0; r < ROWS; ++r) {
      const Vector sum = first.rows[r] + fourth.rows[r] + 3 * (second.rows[r] + third.rows[r]);
      store(to[r] + static_cast<long>(x - columns.first) * layer.out,
            activation(sum, demodulation, bias, noise[r * 2 * layer.size + x], clamp));
    }
    first = second, second = third, third = fourth;
  }
}

// All channels of some rows, in stretches so short that their rows of the doubled map stay in a core's first cache.
inline void filter(const Modulated& layer, const Doubled& doubled, Span rows, Span columns, const Map<float>& y) {
  constexpr int STRETCH = 32;
  with_bound(layer, [&](auto clamp) {
    for (int x = columns.first; x < columns.last; x += STRETCH) {
      const Span stretch = {x, std::min(x + STRETCH, columns.last)};
      for (int channel = 0; channel < layer.out; channel += LANES) {
        int row = rows.first;
        if (row == 0 && row < rows.last) filter_rows<1, true>(layer, doubled, row++, stretch, channel, y, clamp);
        for (; row + FILTERED <= rows.last; row += FILTERED)
          filter_rows<FILTERED, false>(layer, doubled, row, stretch, channel, y, clamp);
        for (; row < rows.last; ++row) filter_rows<1, false>(layer, doubled, row, stretch, channel, y, clamp);
      }
    }
  });
}

}  // namespace toonify
