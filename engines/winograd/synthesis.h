// The epilogues of StyleGAN2's convolutions: activation, toRGB, and the FIR filter of up-convolutions.

#pragma once

#include <algorithm>
#include <cfloat>

#include "params.h"
#include "simd.h"
#include "transforms.h"

namespace toonify {

// The clamp of a layer's activation.
struct Clamp {
  Vector value;
  TOONIFY_INLINE Vector operator()(Vector x) const { return max(min(x, value), -value); }
};

// The identity, for layers without a clamp.
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

// Demodulation, noise, bias and leaky ReLU of a convolution's output. The activation's gain is folded into the first
// three.
template <class ClampFunction>
TOONIFY_INLINE Vector activation(Vector x, Vector demodulation, Vector bias, float noise, ClampFunction clamp) {
  x = x * demodulation + (bias + noise);
  return clamp(max(x, x * .2f));
}

// Floats of a feature map (4 MiB) up to which the caches hold it until the next layer reads it; larger maps are
// streamed past the caches. A block at 128 took 51 -> 47 ms with that, and at 256 and 512 writing the outputs 2 to 4 ms
// less of 6 to 8 (Emerald Rapids, AVX-512, float32).
constexpr long MAX_CACHED_MAP_FLOATS = 1 << 20;

// How outputs are written to the feature map: through the caches, past the caches, or not at all.
constexpr auto STORE = [](float* to, Vector value) { store(to, value); };
constexpr auto STREAM = [](float* to, Vector value) { stream(to, value); };
constexpr auto DISCARD = [](float*, Vector) {};

// The epilogue of one row of a tile: the activation to `to`, by `write`, and toRGB's products into the planes `rgb`.
template <class Algorithm, class ClampFunction, class Write>
TOONIFY_INLINE void synthesis_epilogue_row(const ModulatedConvParams& layer, const float* partial, float scale,
                                           long pixel, float* to, float* rgb, ClampFunction clamp, Write write) {
  constexpr int Q = Algorithm::OUTPUTS, PADDED_SUMS = (3 * Q + LANES - 1) / LANES * LANES;
  const int channels = layer.out_channels;
  const float* noise = layer.noise + pixel;
  Vector sums[PADDED_SUMS] = {};  // [3, OUTPUTS]
  for (int channel = 0; channel < channels; channel += LANES) {
    const Vector demodulation = scale * load(layer.demodulation + channel), bias = load(layer.bias + channel);
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

// The epilogue of a tile: the activation into the feature map y, unless it is null, and toRGB's products into [3, H,
// W].
template <class Algorithm, class Element>
void synthesis_epilogue(const ModulatedConvParams& layer, const TileProducts<Element>& products, int tile_row,
                        int tile_column, float* y, float* rgb) {
  const long size = layer.size, channels = layer.out_channels;
  output_transform_columns<Algorithm>(products, layer.out_channels);
  dispatch_clamp(layer, [&](auto clamp) {
    const auto rows = [&](auto write) {
      for (int i = 0; i < Algorithm::OUTPUTS; ++i) {
        const long pixel = (tile_row * Algorithm::OUTPUTS + i) * size + tile_column * Algorithm::OUTPUTS;
        synthesis_epilogue_row<Algorithm>(layer, products.partial + i * Algorithm::POINTS * channels, products.scale,
                                          pixel, y + pixel * channels, rgb, clamp, write);
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

// A view of an up-convolution's output before its FIR filter, or of the part of it that is in memory. Its layout is
// [C / LANES, H, W, LANES], so that the filter reads consecutive cache lines. With it, and three rows filtered at once,
// the filter took 25 -> 11 cycles for 16 values, and a picture 232 -> 218 ms (Zen 4, AVX-512).
struct UnfilteredMap {
  float* data;
  int rows;
  Range columns;

  static long size(int rows, int columns, int channels) { return static_cast<long>(rows) * columns * channels; }
  float* at(int row, int column, int channel) const {
    const long width = columns.end - columns.begin;
    return data + channel * rows * width + (row % rows * width + column - columns.begin) * LANES;
  }
};

// The epilogue of an up-convolution's tile: its outputs into the unfiltered map.
template <class Algorithm, class Element>
void unfiltered_epilogue(const ModulatedConvParams& layer, const TileProducts<Element>& products, int tile_row,
                         int tile_column, const UnfilteredMap& unfiltered) {
  constexpr int Q = Algorithm::OUTPUTS;
  output_transform_columns<Algorithm>(products, layer.out_channels);
  for (int i = 0; i < Q; ++i) {
    for (int channel = 0; channel < layer.out_channels; channel += LANES) {
      float* to = unfiltered.at(tile_row * Q + i, tile_column * Q, channel);
      Vector outputs[Q];
      output_transform_row<Algorithm>(products.partial + i * Algorithm::POINTS * layer.out_channels + channel,
                                      layer.out_channels, outputs);
      TOONIFY_UNROLL
      for (int j = 0; j < Q; ++j) store(to + j * LANES, products.scale * outputs[j]);
    }
  }
}

// How many rows the filter computes at once: register blocking. R rows read R + 3 rows, and four columns of R partial
// sums stay in registers. UnfilteredMap has what was measured.
#ifdef __AVX512F__
constexpr int FIR_ROWS = 3;
#else
constexpr int FIR_ROWS = 1;
#endif

// Filters a segment of ROWS rows of an up-convolution's output in LANES channels by the FIR filter [1, 3, 3, 1] x
// [1, 3, 3, 1] / 16 and applies the activation. FIRST is for the first row of the picture, above which there are zeros.
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

// Filters a range of rows, in all channels.
inline void fir_filter(const ModulatedConvParams& layer, const UnfilteredMap& unfiltered, Range rows, Range columns,
                       const FeatureMap<float>& y) {
  // L1 blocking: FIR_ROWS + 3 rows of a segment are 13 KiB with AVX-512, and three of them are read
  // again for the next rows. Other widths were not measured.
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
