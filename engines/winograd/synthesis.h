// What StyleGAN2 does before and after a convolution.

#pragma once

#include <algorithm>
#include <cfloat>

#include "params.h"
#include "simd.h"
#include "transforms.h"

namespace toonify {

// What a layer's activation is clamped to; where it is not, nothing is computed.
struct Clamp {
  Vector value;
  TOONIFY_INLINE Vector operator()(Vector x) const { return max(min(x, value), -value); }
};

struct NoClamp {
  TOONIFY_INLINE Vector operator()(Vector x) const { return x; }
};

template <class Function>
TOONIFY_INLINE void dispatch_clamp(const ModulatedConvParams& layer, Function function) {
  if (layer.clamp < FLT_MAX)
    function(Clamp{Vector{} + layer.clamp});
  else
    function(NoClamp{});
}

// Leaky ReLU of a convolution's demodulated, noisy and biased output. The activation's gain is in these three.
template <class ClampFunction>
TOONIFY_INLINE Vector activation(Vector x, Vector demodulation, Vector bias, float noise, ClampFunction clamp) {
  x = x * demodulation + (bias + noise);
  return clamp(max(x, x * .2f));
}

constexpr long MAX_CACHED_MAP_FLOATS = 1 << 20;  // numbers of a map, up to which the caches hold it until it is read

// Ways to write a map's numbers: in it, past the caches in it, or not at all.
constexpr auto STORE = [](float* to, Vector value) { store(to, value); };
constexpr auto STREAM = [](float* to, Vector value) { stream(to, value); };
constexpr auto DISCARD = [](float*, Vector) {};

// One row of a tile's outputs, times its unit, to where they are kept, and toRGB's products of it into planes.
template <class Algorithm, class ClampFunction, class Write>
TOONIFY_INLINE void synthesis_epilogue_row(const ModulatedConvParams& layer, const float* partial, float unit,
                                           long pixel, float* to, float* rgb, ClampFunction clamp, Write write) {
  constexpr int Q = Algorithm::OUTPUTS, PADDED_SUMS = (3 * Q + LANES - 1) / LANES * LANES;
  const int channels = layer.out_channels;
  const float* noise = layer.noise + pixel;
  Vector sums[PADDED_SUMS] = {};  // [3, OUTPUTS]
  for (int channel = 0; channel < channels; channel += LANES) {
    const Vector demodulation = unit * load(layer.demodulation + channel), bias = load(layer.bias + channel);
    Vector outputs[Q];
    output_transform_row<Algorithm>(partial + channel, channels, outputs);
    TOONIFY_UNROLL
    for (int j = 0; j < Q; ++j) {
      const Vector value = activation(outputs[j], demodulation, bias, noise[j], clamp);
      write(to + j * channels + channel, value);
      TOONIFY_UNROLL
      for (int c = 0; c < 3; ++c) sums[c * Q + j] += value * load(layer.rgb_weight + c * channels + channel);
    }
  }
  alignas(64) float colours[PADDED_SUMS];
  for (int k = 0; k < PADDED_SUMS; k += LANES) store(colours + k, reduce_sums<LANES>(sums + k));
  const long plane = static_cast<long>(layer.size) * layer.size;
  for (int c = 0; c < 3; ++c) std::copy_n(colours + c * Q, Q, rgb + c * plane + pixel);
}

// One tile's outputs into the map y, where there is one, and toRGB's products into planes [3, H, W].
template <class Algorithm, class Element>
void synthesis_epilogue(const ModulatedConvParams& layer, const TileProducts<Element>& sums, int tile_row,
                        int tile_column, float* y, float* rgb) {
  const long size = layer.size, channels = layer.out_channels;
  output_transform_columns<Algorithm>(sums, layer.out_channels);
  dispatch_clamp(layer, [&](auto clamp) {
    const auto rows = [&](auto write) {
      for (int i = 0; i < Algorithm::OUTPUTS; ++i) {
        const long pixel = (tile_row * Algorithm::OUTPUTS + i) * size + tile_column * Algorithm::OUTPUTS;
        synthesis_epilogue_row<Algorithm>(layer, sums.partial + i * Algorithm::POINTS * channels, sums.unit, pixel,
                                          y + pixel * channels, rgb, clamp, write);
      }
    };
    if (!y)
      rows(DISCARD);
    else if (size * size * channels <= MAX_CACHED_MAP_FLOATS)
      rows(STORE);
    else
      rows(STREAM);
  });
}

// An up-convolution's output before it is filtered, or the part of it that is in memory: [C / LANES, H, W, LANES], so
// that a row is read line by line.
struct UnfilteredMap {
  float* memory;
  int rows;
  Range columns;

  static long size(int rows, int columns, int channels) { return static_cast<long>(rows) * columns * channels; }
  float* at(int row, int column, int channel) const {
    const long width = columns.end - columns.begin;
    return memory + channel * rows * width + (row % rows * width + column - columns.begin) * LANES;
  }
};

// One tile's outputs, times its unit, into the doubled map, which is still to be filtered.
template <class Algorithm, class Element>
void unfiltered_epilogue(const ModulatedConvParams& layer, const TileProducts<Element>& sums, int tile_row,
                         int tile_column, const UnfilteredMap& unfiltered) {
  constexpr int Q = Algorithm::OUTPUTS;
  output_transform_columns<Algorithm>(sums, layer.out_channels);
  for (int i = 0; i < Q; ++i) {
    for (int channel = 0; channel < layer.out_channels; channel += LANES) {
      float* to = unfiltered.at(tile_row * Q + i, tile_column * Q, channel);
      Vector outputs[Q];
      output_transform_row<Algorithm>(sums.partial + i * Algorithm::POINTS * layer.out_channels + channel,
                                      layer.out_channels, outputs);
      TOONIFY_UNROLL
      for (int j = 0; j < Q; ++j) store(to + j * LANES, sums.unit * outputs[j]);
    }
  }
}

#ifdef __AVX512F__
constexpr int FIR_ROWS = 3;  // rows at once, as registers allow
#else
constexpr int FIR_ROWS = 1;
#endif

// A segment of some rows of an up-convolution's output in LANES channels: the FIR filter [1, 3, 3, 1] x [1, 3, 3, 1] /
// 16 over the doubled map, then the activation. Above the first row of a picture there are zeros.
template <int ROWS, bool FIRST, class ClampFunction>
TOONIFY_INLINE void fir_rows(const ModulatedConvParams& layer, const UnfilteredMap& unfiltered, int row, Range columns,
                             int channel, const FeatureMap<float>& y, ClampFunction clamp) {
  const float* from[ROWS + 3];
  float* to[ROWS];
  for (int r = FIRST; r < ROWS + 3; ++r) from[r] = unfiltered.at(row + r - 1, columns.begin, channel);
  for (int r = 0; r < ROWS; ++r) to[r] = y.at(row + r, columns.begin) + channel;
  struct Column {
    Vector rows[ROWS];
  };
  const auto column = [&](int x) {
    Vector samples[ROWS + 3] = {};
    Column sums;
    TOONIFY_UNROLL
    for (int r = FIRST; r < ROWS + 3; ++r) samples[r] = load(from[r] + (x - columns.begin) * LANES);
    TOONIFY_UNROLL
    for (int r = 0; r < ROWS; ++r) sums.rows[r] = samples[r] + samples[r + 3] + 3 * (samples[r + 1] + samples[r + 2]);
    return sums;
  };
  const Vector demodulation = load(layer.demodulation + channel) / 16, bias = load(layer.bias + channel);
  const float* noise = layer.noise + static_cast<long>(row) * 2 * layer.size;
  Column first = columns.begin ? column(columns.begin - 1) : Column{};
  Column second = column(columns.begin), third = column(columns.begin + 1);
  for (int x = columns.begin; x < columns.end; ++x) {
    const Column fourth = column(x + 2);
    TOONIFY_UNROLL
    for (int r = 0; r < ROWS; ++r) {
      const Vector sum = first.rows[r] + fourth.rows[r] + 3 * (second.rows[r] + third.rows[r]);
      store(to[r] + static_cast<long>(x - columns.begin) * layer.out_channels,
            activation(sum, demodulation, bias, noise[r * 2 * layer.size + x], clamp));
    }
    first = second, second = third, third = fourth;
  }
}

// All channels of some rows, in stretches so short that their rows of the doubled map stay in a core's first cache.
inline void fir_filter(const ModulatedConvParams& layer, const UnfilteredMap& unfiltered, Range rows, Range columns,
                       const FeatureMap<float>& y) {
  constexpr int SEGMENT_PIXELS = 32;
  dispatch_clamp(layer, [&](auto clamp) {
    for (int x = columns.begin; x < columns.end; x += SEGMENT_PIXELS) {
      const Range segment = {x, std::min(x + SEGMENT_PIXELS, columns.end)};
      for (int channel = 0; channel < layer.out_channels; channel += LANES) {
        int row = rows.begin;
        if (row == 0 && row < rows.end) fir_rows<1, true>(layer, unfiltered, row++, segment, channel, y, clamp);
        for (; row + FIR_ROWS <= rows.end; row += FIR_ROWS)
          fir_rows<FIR_ROWS, false>(layer, unfiltered, row, segment, channel, y, clamp);
        for (; row < rows.end; ++row) fir_rows<1, false>(layer, unfiltered, row, segment, channel, y, clamp);
      }
    }
  });
}

}  // namespace toonify
