// A layer's maps to tiles, tiles to maps: Winograd's transforms, and what StyleGAN2 does before and after a
// convolution.
//
// Transformed tiles are float32 [POINTS * POINTS, T, C].

#pragma once

#include <algorithm>

#include "filters.h"
#include "layers.h"
#include "vectors.h"

namespace toonify {

struct Span {
  int first, last;  // without the last
};

// A map float32 [H, W, C], or the part of it that is in memory: some columns, and the last few rows.
template <class Number>
struct Map {
  Number* memory;
  int rows, channels;
  Span columns;

  long row_size() const { return static_cast<long>(columns.last - columns.first) * channels; }
  Number* at(int row, int column) const {
    return memory + row % rows * row_size() + static_cast<long>(column - columns.first) * channels;
  }
};

// y = M x, M's coefficients being known to the compiler.
template <int OUT, int IN, float (*M)(int, int)>
TOONIFY_INLINE void multiply(const Vector* x, int x_stride, Vector* y, int y_stride) {
  TOONIFY_UNROLL
  for (int row = 0; row < OUT; ++row) {
    Vector sum = {};
    TOONIFY_UNROLL
    for (int column = 0; column < IN; ++column)
      if (M(row, column) != 0) sum += M(row, column) * x[column * x_stride];
    y[row * y_stride] = sum;
  }
}

// B samples B^T of one tile in LANES channels; `sample` gives the sample in a row and a column of the tile.
template <class Form, class Sample>
TOONIFY_INLINE void points_from_samples(float* points, long stride, Sample sample) {
  constexpr int S = Form::SAMPLES, P = Form::POINTS;
  Vector halfway[P][S];
  for (int j = 0; j < S; ++j) {
    Vector column[S];
    TOONIFY_UNROLL
    for (int i = 0; i < S; ++i) column[i] = sample(i, j);
    multiply<P, S, Form::samples>(column, 1, &halfway[0][j], S);
  }
  for (int p = 0; p < P; ++p) {
    Vector row[P];
    multiply<P, S, Form::samples>(halfway[p], 1, row, 1);
    TOONIFY_UNROLL
    for (int q = 0; q < P; ++q) store(points + (p * P + q) * stride, row[q]);
  }
}

// The map times the style, as points of one tile. Outside of the layer's map there are zeros.
template <class Form>
void tile_from_map(const Layer& layer, const Map<const float>& x, int tile_row, int tile_column, float* tile,
                   long stride) {
  constexpr int S = Form::SAMPLES;
  const int top = tile_row * Form::STEP - 1, left = tile_column * Form::STEP - 1, size = layer.size;
  const auto inside = [&](int row, int column) { return std::min(row, column) >= 0 && std::max(row, column) < size; };
  const float* rows[S];
  for (int i = 0; i < S; ++i) rows[i] = x.at(std::clamp(top + i, 0, size - 1), std::max(left, 0));
  const int first = std::max(left, 0) - left;  // column of the tile that `rows` point at

  if (inside(top, left) && inside(top + S - 1, left + S - 1)) {
    for (int channel = 0; channel < layer.in; channel += LANES) {
      const Vector style = load(layer.style + channel);
      points_from_samples<Form>(tile + channel, stride, [&](int i, int j) {
        return load(rows[i] + static_cast<long>(j) * layer.in + channel) * style;
      });
    }
  } else {
    for (int channel = 0; channel < layer.in; channel += LANES) {
      const Vector style = load(layer.style + channel);
      points_from_samples<Form>(tile + channel, stride, [&](int i, int j) {
        if (!inside(top + i, left + j)) return Vector{};
        return load(rows[i] + static_cast<long>(j - first) * layer.in + channel) * style;
      });
    }
  }
}

// A sums A^T of one tile, in LANES channels; `keep` takes a row of it.
template <class Form, class Keep>
TOONIFY_INLINE void outputs_from_sums(const float* sums, long stride, Keep keep) {
  constexpr int P = Form::POINTS, Q = Form::OUTPUTS;
  Vector columns[Q][P];
  for (int q = 0; q < P; ++q) {
    Vector column[P];
    for (int p = 0; p < P; ++p) column[p] = load(sums + (p * P + q) * stride);
    multiply<Q, P, Form::outputs>(column, 1, &columns[0][q], P);
  }
  for (int i = 0; i < Q; ++i) {
    Vector outputs[Q];
    multiply<Q, P, Form::outputs>(columns[i], 1, outputs, 1);
    keep(i, outputs);
  }
}

// Leaky ReLU of a convolution's demodulated, noisy and biased output. The activation's gain is in these three.
TOONIFY_INLINE Vector activation(Vector x, Vector demodulation, Vector bias, float noise, float clamp) {
  x = x * demodulation + (bias + noise);
  x = larger(x, x * .2f);
  return larger(smaller(x, Vector{} + clamp), Vector{} - clamp);
}

constexpr long CACHED = 1 << 20;  // numbers of a map, up to which the caches hold it until it is read

// One tile's outputs into the map y, where there is one, and toRGB's products into planes [3, H, W].
template <class Form>
void map_from_tile(const Layer& layer, const float* sums, long stride, int tile_row, int tile_column, float* y,
                   float* rgb) {
  constexpr int Q = Form::OUTPUTS;
  const int top = tile_row * Q, left = tile_column * Q, size = layer.size;
  const bool cached = static_cast<long>(size) * size * layer.out <= CACHED;
  Vector colours[3][Q * Q];
  for (int channel = 0; channel < layer.out; channel += LANES) {
    const Vector demodulation = load(layer.demodulation + channel), bias = load(layer.bias + channel);
    const Vector red = load(layer.rgb + channel), green = load(layer.rgb + layer.out + channel),
                 blue = load(layer.rgb + 2 * layer.out + channel);
    outputs_from_sums<Form>(sums + channel, stride, [&](int i, const Vector* outputs) {
      TOONIFY_UNROLL
      for (int j = 0; j < Q; ++j) {
        const long pixel = static_cast<long>(top + i) * size + left + j;
        const Vector value = activation(outputs[j], demodulation, bias, layer.noise[pixel], layer.clamp);
        if (y) (cached ? store : stream)(y + pixel * layer.out + channel, value);
        const auto add = [&](Vector& sum, Vector weight) { sum = channel ? sum + value * weight : value * weight; };
        add(colours[0][i * Q + j], red), add(colours[1][i * Q + j], green), add(colours[2][i * Q + j], blue);
      }
    });
  }
  for (int c = 0; c < 3; ++c) {
    float tile[Q * Q];
    sums_of_vectors<Q * Q>(colours[c], tile);
    for (int i = 0; i < Q; ++i)
      std::copy_n(tile + i * Q, Q, rgb + (static_cast<long>(c) * size + top + i) * size + left);
  }
}

// One tile's outputs into the doubled map, which is still to be filtered.
template <class Form>
void doubled_from_tile(const Layer& layer, const float* sums, long stride, int tile_row, int tile_column,
                       const Map<float>& doubled) {
  constexpr int Q = Form::OUTPUTS;
  float* rows[Q];
  for (int i = 0; i < Q; ++i) rows[i] = doubled.at(tile_row * Q + i, tile_column * Q);
  for (int channel = 0; channel < layer.out; channel += LANES)
    outputs_from_sums<Form>(sums + channel, stride, [&](int i, const Vector* outputs) {
      TOONIFY_UNROLL
      for (int j = 0; j < Q; ++j) store(rows[i] + static_cast<long>(j) * layer.out + channel, outputs[j]);
    });
}

// A stretch of a row of an up-convolution's output in LANES channels: the FIR filter [1, 3, 3, 1] x [1, 3, 3, 1] / 16
// over the doubled map, then the activation.
TOONIFY_INLINE void filter_row(const Layer& layer, const Map<const float>& doubled, int row, Span columns, int channel,
                               const Map<float>& y) {
  const auto column = [&](int x) {
    const Vector inner = load(doubled.at(row, x) + channel) + load(doubled.at(row + 1, x) + channel);
    const Vector below = load(doubled.at(row + 2, x) + channel);
    return 3 * inner + (row ? below + load(doubled.at(row - 1, x) + channel) : below);
  };
  const Vector demodulation = load(layer.demodulation + channel) / 16, bias = load(layer.bias + channel);
  const float* noise = layer.noise + static_cast<long>(row) * 2 * layer.size;
  Vector first = columns.first ? column(columns.first - 1) : Vector{};
  Vector second = column(columns.first), third = column(columns.first + 1);
  for (int x = columns.first; x < columns.last; ++x) {
    const Vector fourth = column(x + 2);
    const Vector sum = first + fourth + 3 * (second + third);
    store(y.at(row, x) + channel, activation(sum, demodulation, bias, noise[x], layer.clamp));
    first = second, second = third, third = fourth;
  }
}

// All channels of some rows, in stretches so short that their rows of the doubled map stay in a core's first cache.
inline void filter(const Layer& layer, const Map<const float>& doubled, Span rows, Span columns, const Map<float>& y) {
  constexpr int STRETCH = 64;
  for (int x = columns.first; x < columns.last; x += STRETCH)
    for (int channel = 0; channel < layer.out; channel += LANES)
      for (int row = rows.first; row < rows.last; ++row)
        filter_row(layer, doubled, row, {x, std::min(x + STRETCH, columns.last)}, channel, y);
}

}  // namespace toonify
