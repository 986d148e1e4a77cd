// Winograd's transforms: a map's tiles to points, sums to a tile's outputs.
//
// Transformed tiles are [POINTS * POINTS, T, C], of float32 or, times a scale of each tile, of fixed point.

#pragma once

#include <algorithm>
#include <cmath>

#include "algorithms.h"
#include "aligned_buffer.h"
#include "constant_matrices.h"
#include "gemm.h"
#include "params.h"
#include "simd.h"

namespace toonify {

struct Range {
  int begin, end;  // without the last
};

// A map float32 [H, W, C], or the part of it that is in memory: some columns, and the last few rows.
template <class Element>
struct FeatureMap {
  Element* memory;
  int rows, channels;
  Range columns;

  long row_size() const { return static_cast<long>(columns.end - columns.begin) * channels; }
  Element* at(int row, int column) const {
    return memory + row % rows * row_size() + static_cast<long>(column - columns.begin) * channels;
  }
};

// At each point a tile's numbers of 16 bits have a norm of at most MAX_TILE_NORM, an output's weights one of
// MAX_WEIGHT_NORM: no sum of their products, which is at most the product of the norms, leaves 32 bits. A tile's may be
// larger than a number, since there are many in it; its numbers themselves are at most MAX_TILE_VALUE.
constexpr float MAX_TILE_NORM = 65000, MAX_WEIGHT_NORM = 32000, MAX_TILE_VALUE = 32000;

// B samples of a tile, column by column: half of its transform. Columns that the tile before it has too are kept, so
// that the map must not change within a row of tiles.
template <class Algorithm>
class ColumnTransform {
 public:
  static constexpr int SAMPLES = Algorithm::SAMPLES, POINTS = Algorithm::POINTS;

  explicit ColumnTransform(int channels)
      : channels_(channels), memory_(static_cast<long>(POINTS) * SAMPLES * channels) {}

  // To a tile of the map, prepared. Outside of the layer's map there are zeros.
  template <class Layer>
  void move_to(const Layer& layer, const FeatureMap<const float>& x, int tile_row, int tile_column) {
    constexpr int OVERLAP = std::max(SAMPLES - Algorithm::STEP, 0);
    const int first = tile_row == row_ && tile_column == column_ + 1 ? OVERLAP : 0;
    row_ = tile_row, column_ = tile_column;
    const int top = tile_row * Algorithm::STEP - Algorithm::PADDING,
              left = tile_column * Algorithm::STEP - Algorithm::PADDING;
    const auto inside = [&](int index) { return 0 <= index && index < layer.size; };
    const float* rows[SAMPLES];
    for (int i = 0; i < SAMPLES; ++i) rows[i] = x.at(std::clamp(top + i, 0, layer.size - 1), std::max(left, 0));
    const int start = std::max(left, 0) - left;  // column of the tile that `rows` point at
    const auto sample = [&](int i, int j, int channel) {
      const float* from = rows[i] + static_cast<long>(j - start) * layer.in_channels + channel;
      if (Algorithm::PREFETCH_TILES)
        __builtin_prefetch(from + Algorithm::PREFETCH_TILES * Algorithm::STEP * layer.in_channels, 0, 2);
      return prologue(layer, load(from), channel);
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
  Vector squared_norm_bound() const {
    Vector largest = squares_[0];
    for (int slot = 1; slot < SAMPLES; ++slot) largest = max(largest, squares_[slot]);
    return largest;
  }

  // The columns, as the tile has them in order.
  struct OrderedColumns {
    const float* columns[SAMPLES];
    int channels;

    // Points of LANES channels, from a row.
    TOONIFY_INLINE void row(int point, int channel, Vector* points) const {
      Vector samples[SAMPLES];
      TOONIFY_UNROLL
      for (int j = 0; j < SAMPLES; ++j) samples[j] = load(columns[j] + point * SAMPLES * channels + channel);
      apply_matrix<POINTS, SAMPLES, Algorithm::samples>(samples, points);
    }
  };

  OrderedColumns ordered_columns() const {
    OrderedColumns result = {{}, channels_};
    for (int j = 0; j < SAMPLES; ++j) result.columns[j] = memory_.get() + slot(j) * channels_;
    return result;
  }

 private:
  // Where a column of the tile is: that of the map, modulo SAMPLES.
  int slot(int j) const { return (column_ * Algorithm::STEP + j) % SAMPLES; }

  template <class Sample>
  TOONIFY_INLINE void transform(int j, Sample sample) {
    float* to = memory_.get() + slot(j) * channels_;
    Vector squares[POINTS] = {};
    for (int channel = 0; channel < channels_; channel += LANES) {
      Vector samples[SAMPLES], points[POINTS];
      TOONIFY_UNROLL
      for (int i = 0; i < SAMPLES; ++i) samples[i] = sample(i, j, channel);
      apply_matrix<POINTS, SAMPLES, Algorithm::samples>(samples, points);
      TOONIFY_UNROLL
      for (int p = 0; p < POINTS; ++p) {
        store(to + static_cast<long>(p) * SAMPLES * channels_ + channel, points[p]);
        squares[p] += points[p] * points[p];
      }
    }
    Vector& largest = squares_[slot(j)] = squares[0];
    TOONIFY_UNROLL
    for (int p = 1; p < POINTS; ++p) largest = max(largest, squares[p]);
  }

  const int channels_;
  int row_ = -1, column_ = -1;
  Vector squares_[SAMPLES];
  const AlignedBuffer memory_;  // [POINTS, SAMPLES, C]
};

// How many times larger a row of points can be than its samples.
template <class Algorithm>
constexpr float input_gain() {
  float largest = 0;
  for (int q = 0; q < Algorithm::POINTS; ++q) {
    float sum = 0;
    for (int j = 0; j < Algorithm::SAMPLES; ++j) sum += std::max(Algorithm::samples(q, j), -Algorithm::samples(q, j));
    largest = std::max(largest, sum);
  }
  return largest;
}

// A tile's points, and the unit that they are in: 1.
template <class Algorithm>
float input_transform_rows(const ColumnTransform<Algorithm>& columns, float* tile, long stride) {
  constexpr int P = Algorithm::POINTS;
  const auto ordered = columns.ordered_columns();
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
template <class Algorithm>
float input_transform_rows(const ColumnTransform<Algorithm>& columns, Int16Pair* tile, long stride) {
  constexpr int P = Algorithm::POINTS;
  const Vector squares = columns.squared_norm_bound();
  const float norm =
      std::max(std::sqrt(reduce_sum(squares)) / MAX_TILE_NORM, std::sqrt(reduce_max(squares)) / MAX_TILE_VALUE);
  const float unit = input_gain<Algorithm>() * std::max(norm, 1e-35f);
  const Vector scale = Vector{} + 1 / unit;
  const auto ordered = columns.ordered_columns();
  for (int p = 0; p < P; ++p)
    for (int channel = 0; channel < ordered.channels; channel += 2 * LANES) {
      Vector first[P], second[P];
      ordered.row(p, channel, first);
      ordered.row(p, channel + LANES, second);
      TOONIFY_UNROLL
      for (int q = 0; q < P; ++q)
        store(tile + (p * P + q) * stride + channel / 2,
              pack_int16_pairs(round_to_int16(first[q], scale), round_to_int16(second[q], scale)));
    }
  return unit;
}

// What the products give of a tile.
template <class Element>
struct TileProducts {
  const Element* data;  // of [POINTS * POINTS, T, C]
  long stride;          // from a point to the next one
  float unit;           // of the tile's numbers
  float* partial;       // room for [OUTPUTS, POINTS, C], A times the sums
};

// A sums, in all channels, into halfway.
template <class Algorithm, class Element>
TOONIFY_INLINE void output_transform_columns(const TileProducts<Element>& sums, int channels) {
  constexpr int P = Algorithm::POINTS, Q = Algorithm::OUTPUTS;
  for (int q = 0; q < P; ++q)
    for (int channel = 0; channel < channels; channel += LANES) {
      Vector points[P], column[Q];
      TOONIFY_UNROLL
      for (int p = 0; p < P; ++p) points[p] = to_float(load(sums.data + (p * P + q) * sums.stride + channel));
      apply_matrix<Q, P, Algorithm::outputs>(points, column);
      TOONIFY_UNROLL
      for (int i = 0; i < Q; ++i) store(sums.partial + (i * P + q) * channels + channel, column[i]);
    }
}

// One row of a tile's outputs in LANES channels, from columns [POINTS, C].
template <class Algorithm>
TOONIFY_INLINE void output_transform_row(const float* partial, int channels, Vector* row) {
  constexpr int P = Algorithm::POINTS;
  Vector points[P];
  TOONIFY_UNROLL
  for (int p = 0; p < P; ++p) points[p] = load(partial + p * channels);
  apply_matrix<Algorithm::OUTPUTS, P, Algorithm::outputs>(points, row);
}

}  // namespace toonify
