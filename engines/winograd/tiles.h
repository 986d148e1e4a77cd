// Winograd's transforms: a map's tiles to points, sums to a tile's outputs.
//
// Transformed tiles are [POINTS * POINTS, T, C], of float32 or, times a scale of each tile, of fixed point.

#pragma once

#include <algorithm>
#include <cmath>

#include "buffer.h"
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

// At each point a tile's numbers of 16 bits have a norm of at most TILE_NORM, an output's weights one of WEIGHT_NORM:
// no sum of their products, which is at most the product of the norms, leaves 32 bits. A tile's may be larger than a
// number, since there are many in it; its numbers themselves are at most LARGEST.
constexpr float TILE_NORM = 65000, WEIGHT_NORM = 32000, LARGEST = 32000;

// B samples of a tile, column by column: half of its transform. Columns that the tile before it has too are kept, so
// that the map must not change within a row of tiles.
template <class Form>
class Columns {
 public:
  static constexpr int SAMPLES = Form::SAMPLES, POINTS = Form::POINTS;

  explicit Columns(int channels) : channels_(channels), memory_(static_cast<long>(POINTS) * SAMPLES * channels) {}

  // To a tile of the map, prepared. Outside of the layer's map there are zeros.
  template <class Layer>
  void move(const Layer& layer, const Map<const float>& x, int tile_row, int tile_column) {
    constexpr int SHARED = std::max(SAMPLES - Form::STEP, 0);
    const int first = tile_row == row_ && tile_column == column_ + 1 ? SHARED : 0;
    row_ = tile_row, column_ = tile_column;
    const int top = tile_row * Form::STEP - Form::BEFORE, left = tile_column * Form::STEP - Form::BEFORE;
    const auto inside = [&](int index) { return 0 <= index && index < layer.size; };
    const float* rows[SAMPLES];
    for (int i = 0; i < SAMPLES; ++i) rows[i] = x.at(std::clamp(top + i, 0, layer.size - 1), std::max(left, 0));
    const int start = std::max(left, 0) - left;  // column of the tile that `rows` point at
    const auto sample = [&](int i, int j, int channel) {
      const float* from = rows[i] + static_cast<long>(j - start) * layer.in + channel;
      if (Form::AHEAD) __builtin_prefetch(from + Form::AHEAD * Form::STEP * layer.in, 0, 2);
      return prepared(layer, load(from), channel);
    };
    // Whichever tile a column is transformed for, it is done in the same way: rounding must not depend on threads.
    for (int j = first; j < SAMPLES; ++j)
      if (inside(left + j) && inside(top) && inside(top + SAMPLES - 1))
        transform(j, sample);
      else
        transform(j, [&](int i, int column, int channel) {
          return inside(top + i) && inside(left + column) ? sample(i, column, channel) : Vector{};
        });
  }

  // In each lane a sum of squares that those of no point exceed.
  Vector bound() const {
    Vector largest = squares_[0];
    for (int slot = 1; slot < SAMPLES; ++slot) largest = larger(largest, squares_[slot]);
    return largest;
  }

  // The columns, as the tile has them in order.
  struct Ordered {
    const float* columns[SAMPLES];
    int channels;

    // Points of LANES channels, from a row.
    TOONIFY_INLINE void row(int point, int channel, Vector* points) const {
      Vector samples[SAMPLES];
      TOONIFY_UNROLL
      for (int j = 0; j < SAMPLES; ++j) samples[j] = load(columns[j] + point * SAMPLES * channels + channel);
      multiply<POINTS, SAMPLES, Form::samples>(samples, points);
    }
  };

  Ordered ordered() const {
    Ordered found = {{}, channels_};
    for (int j = 0; j < SAMPLES; ++j) found.columns[j] = memory_.get() + slot(j) * channels_;
    return found;
  }

 private:
  // Where a column of the tile is: that of the map, modulo SAMPLES.
  int slot(int j) const { return (column_ * Form::STEP + j) % SAMPLES; }

  template <class Sample>
  TOONIFY_INLINE void transform(int j, Sample sample) {
    float* to = memory_.get() + slot(j) * channels_;
    Vector squares[POINTS] = {};
    for (int channel = 0; channel < channels_; channel += LANES) {
      Vector samples[SAMPLES], points[POINTS];
      TOONIFY_UNROLL
      for (int i = 0; i < SAMPLES; ++i) samples[i] = sample(i, j, channel);
      multiply<POINTS, SAMPLES, Form::samples>(samples, points);
      TOONIFY_UNROLL
      for (int p = 0; p < POINTS; ++p) {
        store(to + static_cast<long>(p) * SAMPLES * channels_ + channel, points[p]);
        squares[p] += points[p] * points[p];
      }
    }
    Vector& largest = squares_[slot(j)] = squares[0];
    TOONIFY_UNROLL
    for (int p = 1; p < POINTS; ++p) largest = larger(largest, squares[p]);
  }

  const int channels_;
  int row_ = -1, column_ = -1;
  Vector squares_[SAMPLES];
  const Buffer memory_;  // [POINTS, SAMPLES, C]
};

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

// A tile's points, and the unit that they are in: 1.
template <class Form>
float tile_from_columns(const Columns<Form>& columns, float* tile, long stride) {
  constexpr int P = Form::POINTS;
  const auto ordered = columns.ordered();
  for (int p = 0; p < P; ++p)
    for (int channel = 0; channel < ordered.channels; channel += LANES) {
      Vector row[P];
      ordered.row(p, channel, row);
      TOONIFY_UNROLL
      for (int q = 0; q < P; ++q) store(tile + (p * P + q) * stride + channel, row[q]);
    }
  return 1;
}

// The same in fixed point.
template <class Form>
float tile_from_columns(const Columns<Form>& columns, Pair* tile, long stride) {
  constexpr int P = Form::POINTS;
  const Vector squares = columns.bound();
  const float norm = std::max(std::sqrt(sum_of(squares)) / TILE_NORM, std::sqrt(largest_of(squares)) / LARGEST);
  const float unit = reach<Form>() * std::max(norm, 1e-35f);
  const Vector scale = Vector{} + 1 / unit;
  const auto ordered = columns.ordered();
  for (int p = 0; p < P; ++p)
    for (int channel = 0; channel < ordered.channels; channel += 2 * LANES) {
      Vector first[P], second[P];
      ordered.row(p, channel, first);
      ordered.row(p, channel + LANES, second);
      TOONIFY_UNROLL
      for (int q = 0; q < P; ++q)
        store(tile + (p * P + q) * stride + channel / 2, paired(nearest(first[q], scale), nearest(second[q], scale)));
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
