// A convolution: tiles of its map to points, products of each point, sums to what follows.

#pragma once

#include <omp.h>

#include <algorithm>

#include "aligned_buffer.h"
#include "gemm.h"
#include "params.h"
#include "transforms.h"

namespace toonify {

// Tiles along each side of a layer's output; a doubled map has a row and a column more than twice the input's.
template <class Algorithm>
int tiles_across(const ModulatedConvParams& layer) {
  return (layer.size * Algorithm::UPSAMPLING + Algorithm::UPSAMPLING - 1 + Algorithm::OUTPUTS - 1) / Algorithm::OUTPUTS;
}

template <class Algorithm>
int tiles_across(const ConvParams& layer) {
  return (layer.size / layer.stride + Algorithm::OUTPUTS - 1) / Algorithm::OUTPUTS;
}

template <class Algorithm, class Layer>
int tile_count(const Layer& layer) {
  return tiles_across<Algorithm>(layer) * tiles_across<Algorithm>(layer);
}

// Batch tiles of a layer, in memory before and after the products. Each thread has an object of its own, but for fixed
// memory.
template <class Algorithm, class Element, class Layer>
class TileBatch {
 public:
  static constexpr int POINTS = Algorithm::POINTS * Algorithm::POINTS;
  const Layer& layer;
  const int capacity;

  TileBatch(const Layer& layer, int capacity, float* memory)
      : layer(layer),
        capacity(capacity),
        units_(memory),
        in_(reinterpret_cast<Element*>(memory + round_up_to_line(capacity))),
        out_(in_ + POINTS * in_stride()),
        columns_(layer.in_channels),
        partial_(static_cast<long>(Algorithm::POINTS) * Algorithm::OUTPUTS * layer.out_channels) {}

  static long memory(const Layer& layer, int capacity) {
    return round_up_to_line(capacity) + POINTS * static_cast<long>(capacity) * (numbers(layer) + layer.out_channels);
  }

  void load(int index, const FeatureMap<const float>& x, int row, int column) {
    columns_.move_to(layer, x, row, column);
    units_[index] = input_transform_rows(columns_, in_ + static_cast<long>(index) * numbers(layer), in_stride());
  }

  // Some of the outputs of a point.
  void multiply(int point, Range outputs, int count) const {
    const long in = numbers(layer);
    gemm(count, in_ + point * in_stride(), in,
         static_cast<const Element*>(layer.weights) +
             (static_cast<long>(point) * layer.out_channels + outputs.begin) * in,
         out_ + point * out_stride() + outputs.begin, {outputs.end - outputs.begin, layer.out_channels});
  }

  TileProducts<Element> sums(int index) const {
    return {out_ + static_cast<long>(index) * layer.out_channels, out_stride(), units_[index], partial_.get()};
  }

 private:
  static long numbers(const Layer& layer) { return layer.in_channels / CHANNELS_PER_ELEMENT<Element>; }
  static long round_up_to_line(int capacity) { return (capacity + 15) / 16 * 16; }
  // From a point's tiles to those of the next one.
  long out_stride() const { return static_cast<long>(capacity) * layer.out_channels; }
  long in_stride() const { return static_cast<long>(capacity) * numbers(layer); }

  float* const units_;
  Element *const in_, *const out_;
  ColumnTransform<Algorithm> columns_;
  const AlignedBuffer partial_;  // between a tile's sums and its outputs
};

template <class Layer>
FeatureMap<const float> input_map(const Layer& layer, const float* x) {
  return {x, layer.size, layer.in_channels, {0, layer.size}};
}

// ---- All threads together. The functions are called by each of them.

constexpr int SHARED_BATCH_TILES = 128;     // tiles at once, for which all weights are read
constexpr int OUT_CHANNELS_PER_TASK = 128;  // outputs, whose products are one thread's

// How many tiles of a layer are made room for.
template <class Algorithm, class Layer>
int shared_batch_tiles(const Layer& layer) {
  const int all = tile_count<Algorithm>(layer), rounds = (all + SHARED_BATCH_TILES - 1) / SHARED_BATCH_TILES;
  return ((all + rounds - 1) / rounds + MICRO_TAIL_TILES - 1) / MICRO_TAIL_TILES * MICRO_TAIL_TILES;
}

// `epilogue` takes a tile's sums, its row and its column.
template <class Algorithm, class Element, class Layer, class Epilogue>
void convolve_in_shared_batches(TileBatch<Algorithm, Element, Layer>& tiles, const FeatureMap<const float>& x,
                                Epilogue epilogue) {
  const int across = tiles_across<Algorithm>(tiles.layer), all = across * across;
  for (int first = 0; first < all; first += tiles.capacity) {
    const int count = std::min(tiles.capacity, all - first);
#pragma omp for
    for (int tile = 0; tile < count; ++tile) tiles.load(tile, x, (first + tile) / across, (first + tile) % across);
#pragma omp for schedule(dynamic) collapse(2)
    for (int point = 0; point < tiles.POINTS; ++point)
      for (int output = 0; output < tiles.layer.out_channels; output += OUT_CHANNELS_PER_TASK)
        tiles.multiply(point, {output, std::min(output + OUT_CHANNELS_PER_TASK, tiles.layer.out_channels)}, count);
#pragma omp for
    for (int tile = 0; tile < count; ++tile)
      epilogue(tiles.sums(tile), (first + tile) / across, (first + tile) % across);
  }
}

// ---- Each thread by itself.

constexpr int PRIVATE_BATCH_TILES = 24;  // tiles at once, which stay near the core
static_assert(PRIVATE_BATCH_TILES % MICRO_TAIL_TILES == 0);

// Some of the tiles, which are numbered row by row.
template <class Algorithm, class Element, class Layer, class Epilogue>
void convolve_in_private_batches(TileBatch<Algorithm, Element, Layer>& tiles, const FeatureMap<const float>& x,
                                 Range some, Epilogue epilogue) {
  const int across = tiles_across<Algorithm>(tiles.layer);
  for (int first = some.begin; first < some.end; first += tiles.capacity) {
    const int count = std::min(tiles.capacity, some.end - first);
    for (int tile = 0; tile < count; ++tile) tiles.load(tile, x, (first + tile) / across, (first + tile) % across);
    for (int point = 0; point < tiles.POINTS; ++point) tiles.multiply(point, {0, tiles.layer.out_channels}, count);
    for (int tile = 0; tile < count; ++tile)
      epilogue(tiles.sums(tile), (first + tile) / across, (first + tile) % across);
  }
}

// What is a thread's of so many.
inline Range thread_range(int all) {
  const int thread = omp_get_thread_num(), threads = omp_get_num_threads();
  return {all * thread / threads, all * (thread + 1) / threads};
}

// ---- Either way.

constexpr int MAX_PRIVATE_OUT_CHANNELS =
    256;  // outputs, up to which weights may be read often: the last cache holds them

// By the number of threads that were asked for, as memory is; there may be fewer.
template <class Algorithm, class Layer>
bool uses_private_batches(const Layer& layer, int threads) {
  return layer.out_channels <= MAX_PRIVATE_OUT_CHANNELS &&
         tile_count<Algorithm>(layer) >= threads * PRIVATE_BATCH_TILES;
}

template <class Algorithm, class Element, class Layer>
long layer_scratch_size(const Layer& layer, int threads) {
  using Batch = TileBatch<Algorithm, Element, Layer>;
  return uses_private_batches<Algorithm>(layer, threads) ? threads * Batch::memory(layer, PRIVATE_BATCH_TILES)
                                                         : Batch::memory(layer, shared_batch_tiles<Algorithm>(layer));
}

// The whole layer, of which each thread sees all when it returns.
template <class Algorithm, class Element, class Layer, class Epilogue>
void convolve_layer(const Layer& layer, const float* x, float* memory, int threads, Epilogue epilogue) {
  using Batch = TileBatch<Algorithm, Element, Layer>;
  if (uses_private_batches<Algorithm>(layer, threads)) {
    Batch tiles(layer, PRIVATE_BATCH_TILES, memory + omp_get_thread_num() * Batch::memory(layer, PRIVATE_BATCH_TILES));
    convolve_in_private_batches(tiles, input_map(layer, x), thread_range(tile_count<Algorithm>(layer)), epilogue);
#pragma omp barrier
  } else {
    Batch tiles(layer, shared_batch_tiles<Algorithm>(layer), memory);
    convolve_in_shared_batches(tiles, input_map(layer, x), epilogue);
  }
}

}  // namespace toonify
