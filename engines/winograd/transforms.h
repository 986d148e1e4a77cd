// The input transform B^T d B, from a tile of a feature map to its points, and the output transform A^T m A, from the
// products at a tile's points to its outputs.
//
// Transformed tiles are [POINTS * POINTS, T, C], in float32, or in fixed point with a scale for each tile. Both
// transforms run over all channels along one axis before the other axis: 261 -> 228 ms a picture, together with a scale
// that comes from the columns' norms instead of the points' (Zen 4, fixed point; 59 -> 56 dB).

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
  int begin, end;  // half-open
};

// A view of a feature map float32 [H, W, C], or of the part of it that is in memory: a range of columns, and a ring
// buffer of its last rows.
template <class T>
struct FeatureMap {
  T* data;
  int rows, channels;
  Range columns;

  long row_size() const { return static_cast<long>(columns.end - columns.begin) * channels; }
  T* at(int row, int column) const {
    return data + row % rows * row_size() + static_cast<long>(column - columns.begin) * channels;
  }
};

// Fixed point: at each point the int16 values of a tile have, over the channels, a norm of at most MAX_TILE_NORM, and
// those of an output channel's weights a norm of at most MAX_WEIGHT_NORM. A sum of their products is at most the
// product of the norms, 2.08e9, and fits into int32. A tile's norm may exceed the range of int16, since it has many
// values; each value is at most MAX_TILE_VALUE. With 65000 instead of 32000 pictures are at 59.2, 58.4 and 59.9 dB
// instead of 56.5, 55.8 and 57.2, in the same time.
constexpr float MAX_TILE_NORM = 65000, MAX_WEIGHT_NORM = 32000, MAX_TILE_VALUE = 32000;

// The first half of the input transform, B^T d: a tile's columns, over all channels. Columns that overlap with the tile
// to the left are kept (0.985 to 0.99 of the time), so that the map must not change within a row of tiles.
template <class Algorithm>
class ColumnTransform {
 public:
  static constexpr int SAMPLES = Algorithm::SAMPLES, POINTS = Algorithm::POINTS;

  explicit ColumnTransform(int channels)
      : channels_(channels), memory_(static_cast<long>(POINTS) * SAMPLES * channels) {}

  // Transforms the columns of a tile, after the layer's prologue. Samples outside of the map are zeros.
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
    const int start = std::max(left, 0) - left;  // the tile's column that `rows` point at
    const auto sample = [&](int i, int j, int channel) {
      const float* from = rows[i] + static_cast<long>(j - start) * layer.in_channels + channel;
      if (Algorithm::PREFETCH_TILES)
        __builtin_prefetch(from + Algorithm::PREFETCH_TILES * Algorithm::STEP * layer.in_channels, 0, 2);
      return prologue(layer, load(from), channel);
    };
    // A column is transformed in the same way for whichever tile it is first needed: rounding must not depend on
    // threads. Columns inside of the map have no checks: 141 instead of 282 cycles for a tile in the L1 cache, though
    // no difference in use, where samples come from L2.
    for (int j = first; j < SAMPLES; ++j)
      if (inside(left + j) && inside(top) && inside(top + SAMPLES - 1))
        transform(j, sample);
      else
        transform(j, [&](int i, int column, int channel) {
          return inside(top + i) && inside(left + column) ? sample(i, column, channel) : Vector{};
        });
  }

  // In each lane, an upper bound of the sum of squares of its channels at any point of the columns.
  Vector squared_norm_bound() const {
    Vector largest = squares_[0];
    for (int slot = 1; slot < SAMPLES; ++slot) largest = max(largest, squares_[slot]);
    return largest;
  }

  // The columns in the tile's order.
  struct OrderedColumns {
    const float* columns[SAMPLES];
    int channels;

    // The second half of the input transform: (B^T d) B for one row, in LANES channels.
    TOONIFY_INLINE void transform_row(int point, int channel, Vector* points) const {
      Vector samples[SAMPLES];
      TOONIFY_UNROLL
      for (int j = 0; j < SAMPLES; ++j) samples[j] = load(columns[j] + point * SAMPLES * channels + channel);
      apply_matrix<POINTS, SAMPLES, Algorithm::input_transform>(samples, points);
    }
  };

  OrderedColumns ordered_columns() const {
    OrderedColumns columns = {{}, channels_};
    for (int j = 0; j < SAMPLES; ++j) columns.columns[j] = memory_.get() + slot(j) * channels_;
    return columns;
  }

 private:
  // The slot of a column of the tile: its index in the map, modulo SAMPLES.
  int slot(int j) const { return (column_ * Algorithm::STEP + j) % SAMPLES; }

  // Transforms one column, and records its norm.
  template <class Sample>
  TOONIFY_INLINE void transform(int j, Sample sample) {
    float* to = memory_.get() + slot(j) * channels_;
    Vector squares[POINTS] = {};
    for (int channel = 0; channel < channels_; channel += LANES) {
      Vector samples[SAMPLES], points[POINTS];
      TOONIFY_UNROLL
      for (int i = 0; i < SAMPLES; ++i) samples[i] = sample(i, j, channel);
      apply_matrix<POINTS, SAMPLES, Algorithm::input_transform>(samples, points);
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

// The largest absolute row sum of B^T: how many times larger than its samples a transformed row can be.
template <class Algorithm>
constexpr float input_gain() {
  float largest = 0;
  for (int q = 0; q < Algorithm::POINTS; ++q) {
    float sum = 0;
    for (int j = 0; j < Algorithm::SAMPLES; ++j)
      sum += std::max(Algorithm::input_transform(q, j), -Algorithm::input_transform(q, j));
    largest = std::max(largest, sum);
  }
  return largest;
}

// Writes a tile's points in float32, `stride` elements from one point to the next. Returns their scale, 1.
template <class Algorithm>
float input_transform_rows(const ColumnTransform<Algorithm>& columns, float* tile, long stride) {
  constexpr int P = Algorithm::POINTS;
  const auto ordered = columns.ordered_columns();
  for (int p = 0; p < P; ++p)
    for (int channel = 0; channel < ordered.channels; channel += LANES) {
      Vector row[P];
      ordered.transform_row(p, channel, row);
      TOONIFY_UNROLL
      for (int q = 0; q < P; ++q) store(tile + (p * P + q) * stride + channel, row[q]);
    }
  return 1;
}

// Writes a tile's points in fixed point and returns the scale by which they are to be multiplied.
template <class Algorithm>
float input_transform_rows(const ColumnTransform<Algorithm>& columns, Int16Pair* tile, long stride) {
  constexpr int P = Algorithm::POINTS;
  const Vector squares = columns.squared_norm_bound();
  const float norm =
      std::max(std::sqrt(reduce_sum(squares)) / MAX_TILE_NORM, std::sqrt(reduce_max(squares)) / MAX_TILE_VALUE);
  const float scale = input_gain<Algorithm>() * std::max(norm, 1e-35f);
  const Vector inverse = Vector{} + 1 / scale;
  const auto ordered = columns.ordered_columns();
  for (int p = 0; p < P; ++p)
    for (int channel = 0; channel < ordered.channels; channel += 2 * LANES) {
      Vector first[P], second[P];
      ordered.transform_row(p, channel, first);
      ordered.transform_row(p, channel + LANES, second);
      TOONIFY_UNROLL
      for (int q = 0; q < P; ++q)
        store(tile + (p * P + q) * stride + channel / 2,
              pack_int16_pairs(round_to_int16(first[q], inverse), round_to_int16(second[q], inverse)));
    }
  return scale;
}

// The GEMM's sums for one tile.
template <class Element>
struct TileProducts {
  const Element* data;  // the tile's, in [POINTS * POINTS, T, C]
  long stride;          // in elements, from a point to the next one
  float scale;          // of the tile's input; 1 in float32
  float* partial;       // scratch [OUTPUTS, POINTS, C] for A^T m
};

// The first half of the output transform, A^T m, over all channels.
template <class Algorithm, class Element>
TOONIFY_INLINE void output_transform_columns(const TileProducts<Element>& products, int channels) {
  constexpr int P = Algorithm::POINTS, Q = Algorithm::OUTPUTS;
  for (int q = 0; q < P; ++q)
    for (int channel = 0; channel < channels; channel += LANES) {
      Vector points[P], column[Q];
      TOONIFY_UNROLL
      for (int p = 0; p < P; ++p) points[p] = to_float(load(products.data + (p * P + q) * products.stride + channel));
      apply_matrix<Q, P, Algorithm::output_transform>(points, column);
      TOONIFY_UNROLL
      for (int i = 0; i < Q; ++i) store(products.partial + (i * P + q) * channels + channel, column[i]);
    }
}

// The second half of the output transform, (A^T m) A: one row of a tile's outputs in LANES channels, from [POINTS, C].
template <class Algorithm>
TOONIFY_INLINE void output_transform_row(const float* partial, int channels, Vector* row) {
  constexpr int P = Algorithm::POINTS;
  Vector points[P];
  TOONIFY_UNROLL
  for (int p = 0; p < P; ++p) points[p] = load(partial + p * channels);
  apply_matrix<Algorithm::OUTPUTS, P, Algorithm::output_transform>(points, row);
}

}  // namespace toonify
