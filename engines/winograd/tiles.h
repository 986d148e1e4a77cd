// Winograd's transforms: a map's tiles to points, sums to a tile's outputs.
//
// Transformed tiles are [POINTS * POINTS, T, C], of float32 or, times a scale of each tile, of fixed point.

#pragma once

#include <algorithm>
#include <cmath>

#include "filters.h"
#include "layers.h"
#include "matrices.h"
#include "products.h"
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

// A tile's or a filter's numbers of 16 bits have at each point a norm of at most this: no sum of their products, which
// is at most the product of the norms, leaves 32 bits.
constexpr float FIXED_NORM = 32000;

// B samples, in all channels, into halfway [POINTS, SAMPLES, C]; `sample` gives that of a row, a column and a channel.
// Returns in each lane a sum of squares that none of B's results exceeds.
template <class Form, class Sample>
TOONIFY_INLINE Vector columns_from_samples(int channels, float* halfway, Sample sample) {
  constexpr int S = Form::SAMPLES, P = Form::POINTS;
  Vector largest = {};
  for (int j = 0; j < S; ++j) {
    Vector squares[P] = {};
    for (int channel = 0; channel < channels; channel += LANES) {
      Vector samples[S], column[P];
      TOONIFY_UNROLL
      for (int i = 0; i < S; ++i) samples[i] = sample(i, j, channel);
      multiply<P, S, Form::samples>(samples, column);
      TOONIFY_UNROLL
      for (int p = 0; p < P; ++p) {
        store(halfway + (p * S + j) * channels + channel, column[p]);
        squares[p] += column[p] * column[p];
      }
    }
    TOONIFY_UNROLL
    for (int p = 0; p < P; ++p) largest = larger(largest, squares[p]);
  }
  return largest;
}

// How many times larger a row of points can be than its samples.
template <class Form>
constexpr float reach() {
  float largest = 0;
  for (int q = 0; q < Form::POINTS; ++q) {
    float sum = 0;
    for (int j = 0; j < Form::SAMPLES; ++j) sum += std::max(Form::samples(q, j), -Form::samples(q, j));
    largest = std::max(largest, sum);
  }
  return largest;
}

// The map, prepared, as columns of one tile. Outside of the layer's map there are zeros.
template <class Form, class Layer>
Vector columns_from_map(const Layer& layer, const Map<const float>& x, int tile_row, int tile_column, float* halfway) {
  constexpr int S = Form::SAMPLES;
  const int top = tile_row * Form::STEP - Form::BEFORE, left = tile_column * Form::STEP - Form::BEFORE,
            size = layer.size;
  const auto inside = [&](int row, int column) { return std::min(row, column) >= 0 && std::max(row, column) < size; };
  const float* rows[S];
  for (int i = 0; i < S; ++i) rows[i] = x.at(std::clamp(top + i, 0, size - 1), std::max(left, 0));
  const int first = std::max(left, 0) - left;  // column of the tile that `rows` point at
  const auto sample = [&](int i, int j, int channel) {
    if (Form::AHEAD)
      __builtin_prefetch(rows[i] + static_cast<long>(j - first + Form::AHEAD * Form::STEP) * layer.in + channel, 0, 2);
    return prepared(layer, load(rows[i] + static_cast<long>(j - first) * layer.in + channel), channel);
  };
  if (inside(top, left) && inside(top + S - 1, left + S - 1))
    return columns_from_samples<Form>(layer.in, halfway, sample);
  return columns_from_samples<Form>(layer.in, halfway, [&](int i, int j, int channel) {
    return inside(top + i, left + j) ? sample(i, j, channel) : Vector{};
  });
}

// One row of a tile's points in LANES channels, from columns [SAMPLES, C].
template <class Form>
TOONIFY_INLINE void row_of_points(const float* halfway, int channels, float scale, Vector* row) {
  constexpr int S = Form::SAMPLES;
  Vector samples[S];
  TOONIFY_UNROLL
  for (int j = 0; j < S; ++j) samples[j] = load(halfway + j * channels);
  multiply<Form::POINTS, S, Form::samples>(samples, row);
  TOONIFY_UNROLL
  for (int q = 0; q < Form::POINTS; ++q) row[q] *= scale;
}

// The map, prepared, as points of one tile, whose unit is returned: 1. `halfway` is [POINTS, SAMPLES, C].
template <class Form, class Layer>
float tile_from_map(const Layer& layer, const Map<const float>& x, int tile_row, int tile_column, float* halfway,
                    float* tile, long stride) {
  constexpr int S = Form::SAMPLES, P = Form::POINTS;
  columns_from_map<Form>(layer, x, tile_row, tile_column, halfway);
  for (int p = 0; p < P; ++p)
    for (int channel = 0; channel < layer.in; channel += LANES) {
      Vector row[P];
      row_of_points<Form>(halfway + p * S * layer.in + channel, layer.in, 1, row);
      TOONIFY_UNROLL
      for (int q = 0; q < P; ++q) store(tile + (p * P + q) * stride + channel, row[q]);
    }
  return 1;
}

// The same in fixed point.
template <class Form, class Layer>
float tile_from_map(const Layer& layer, const Map<const float>& x, int tile_row, int tile_column, float* halfway,
                    Pair* tile, long stride) {
  constexpr int S = Form::SAMPLES, P = Form::POINTS;
  const float squares = sum_of(columns_from_map<Form>(layer, x, tile_row, tile_column, halfway));
  const float unit = reach<Form>() * std::max(std::sqrt(squares), 1e-30f) / FIXED_NORM, scale = 1 / unit;
  for (int p = 0; p < P; ++p)
    for (int channel = 0; channel < layer.in; channel += 2 * LANES) {
      Vector low[P], high[P];
      const float* halfway_row = halfway + p * S * layer.in + channel;
      row_of_points<Form>(halfway_row, layer.in, scale, low);
      row_of_points<Form>(halfway_row + LANES, layer.in, scale, high);
      TOONIFY_UNROLL
      for (int q = 0; q < P; ++q)
        store(tile + (p * P + q) * stride + channel / 2, narrowed(rounded(low[q]), rounded(high[q])));
    }
  return unit;
}

// What the products give of a tile.
template <class Number>
struct Sums {
  const Number* first;  // of [POINTS * POINTS, T, C]
  long stride;          // from a point to the next one
  float unit;           // of the tile's numbers
  float* halfway;       // room for [OUTPUTS, POINTS, C], A times the sums
};

// A sums, in all channels, into halfway.
template <class Form, class Number>
TOONIFY_INLINE void columns_from_sums(const Sums<Number>& sums, int channels) {
  constexpr int P = Form::POINTS, Q = Form::OUTPUTS;
  for (int q = 0; q < P; ++q)
    for (int channel = 0; channel < channels; channel += LANES) {
      Vector points[P], column[Q];
      TOONIFY_UNROLL
      for (int p = 0; p < P; ++p) points[p] = as_floats(load(sums.first + (p * P + q) * sums.stride + channel));
      multiply<Q, P, Form::outputs>(points, column);
      TOONIFY_UNROLL
      for (int i = 0; i < Q; ++i) store(sums.halfway + (i * P + q) * channels + channel, column[i]);
    }
}

// One row of a tile's outputs in LANES channels, from columns [POINTS, C].
template <class Form>
TOONIFY_INLINE void row_of_outputs(const float* halfway, int channels, Vector* row) {
  constexpr int P = Form::POINTS;
  Vector points[P];
  TOONIFY_UNROLL
  for (int p = 0; p < P; ++p) points[p] = load(halfway + p * channels);
  multiply<Form::OUTPUTS, P, Form::outputs>(points, row);
}

}  // namespace toonify
