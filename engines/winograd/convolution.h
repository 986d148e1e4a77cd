// A Winograd convolution of a layer: input transform, one GEMM for each point, output transform and epilogue.
//
// It runs over batches of tiles, which block for the caches. Threads share a batch, or each thread has batches of its
// own. Huge pages and padding between points, against cache conflicts, made no difference (0.96 to 1.01).

#pragma once

#include <omp.h>

#include <algorithm>

#include "aligned_buffer.h"
#include "gemm.h"
#include "params.h"
#include "transforms.h"

namespace toonify {

// Tiles along each side of a layer's output. An up-convolution's output, before its FIR filter, has 2 size + 1 rows and
// columns.
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

// A batch of a layer's tiles: the operands and the results of its GEMMs, in scratch memory. Where threads share a
// batch, each has an object of its own over the same scratch memory.
template <class Algorithm, class Element, class Layer>
class TileBatch {
 public:
  static constexpr int POINTS = Algorithm::POINTS * Algorithm::POINTS;
  const Layer& layer;
  const int capacity;

  TileBatch(const Layer& layer, int capacity, float* scratch)
      : layer(layer),
        capacity(capacity),
        scales_(scratch),
        in_(reinterpret_cast<Element*>(scratch + round_up_to_line(capacity))),
        out_(in_ + POINTS * in_stride()),
        columns_(layer.in_channels),
        partial_(static_cast<long>(Algorithm::POINTS) * Algorithm::OUTPUTS * layer.out_channels) {}

  static long scratch_size(const Layer& layer, int capacity) {
    return round_up_to_line(capacity) + POINTS * static_cast<long>(capacity) * (elements(layer) + layer.out_channels);
  }

  // The input transform of one tile, into the batch at `index`.
  void transform_input(int index, const FeatureMap<const float>& x, int row, int column) {
    columns_.move_to(layer, x, row, column);
    scales_[index] = input_transform_rows(columns_, in_ + static_cast<long>(index) * elements(layer), in_stride());
  }

  // The GEMM of one point, for a range of output channels and the first `count` tiles.
  void multiply(int point, Range outputs, int count) const {
    const long in = elements(layer);
    gemm(count, in_ + point * in_stride(), in,
         static_cast<const Element*>(layer.weights) +
             (static_cast<long>(point) * layer.out_channels + outputs.begin) * in,
         out_ + point * out_stride() + outputs.begin, {outputs.end - outputs.begin, layer.out_channels});
  }

  TileProducts<Element> products(int index) const {
    return {out_ + static_cast<long>(index) * layer.out_channels, out_stride(), scales_[index], partial_.get()};
  }

 private:
  static long elements(const Layer& layer) { return layer.in_channels / CHANNELS_PER_ELEMENT<Element>; }
  // To a cache line of 16 floats.
  static long round_up_to_line(int capacity) { return (capacity + 15) / 16 * 16; }
  // In elements, from one point to the next.
  long out_stride() const { return static_cast<long>(capacity) * layer.out_channels; }
  long in_stride() const { return static_cast<long>(capacity) * elements(layer); }

  float* const scales_;
  Element *const in_, *const out_;
  ColumnTransform<Algorithm> columns_;
  const AlignedBuffer partial_;  // scratch of the output transform
};

template <class Layer>
FeatureMap<const float> input_map(const Layer& layer, const float* x) {
  return {x, layer.size, layer.in_channels, {0, layer.size}};
}

// ---- Batches that all threads share. Each thread calls these functions.

// How many tiles share one pass over the layer's weights. Batches of 12, 48, 96 and 240 tiles, here and in strips, made
// no difference (0.96 to 1.01; Zen 4, fixed point).
constexpr int SHARED_BATCH_TILES = 128;

// How many output channels of a point are one thread's task. It divides a layer's GEMMs into 36 O / 128 tasks or more,
// which threads take dynamically; other values were not measured.
constexpr int OUT_CHANNELS_PER_TASK = 128;

// The capacity of a layer's shared batches: its tiles in equal parts of at most SHARED_BATCH_TILES, padded for GEMM.
template <class Algorithm, class Layer>
int shared_batch_tiles(const Layer& layer) {
  const int total = tile_count<Algorithm>(layer), batches = (total + SHARED_BATCH_TILES - 1) / SHARED_BATCH_TILES;
  return ((total + batches - 1) / batches + MICRO_TAIL_TILES - 1) / MICRO_TAIL_TILES * MICRO_TAIL_TILES;
}

// Calls `epilogue` with the products, the row and the column of every tile.
template <class Algorithm, class Element, class Layer, class Epilogue>
void convolve_in_shared_batches(TileBatch<Algorithm, Element, Layer>& tiles, const FeatureMap<const float>& x,
                                Epilogue epilogue) {
  const int across = tiles_across<Algorithm>(tiles.layer), total = across * across;
  for (int first = 0; first < total; first += tiles.capacity) {
    const int count = std::min(tiles.capacity, total - first);
#pragma omp for
    for (int tile = 0; tile < count; ++tile)
      tiles.transform_input(tile, x, (first + tile) / across, (first + tile) % across);
#pragma omp for schedule(dynamic) collapse(2)
    for (int point = 0; point < tiles.POINTS; ++point)
      for (int output = 0; output < tiles.layer.out_channels; output += OUT_CHANNELS_PER_TASK)
        tiles.multiply(point, {output, std::min(output + OUT_CHANNELS_PER_TASK, tiles.layer.out_channels)}, count);
#pragma omp for
    for (int tile = 0; tile < count; ++tile)
      epilogue(tiles.products(tile), (first + tile) / across, (first + tile) % across);
  }
}

// ---- Batches of one thread.

// How many tiles one thread takes through input transform, GEMMs and output transform at once: a block for L2. 36
// points of 24 tiles with 128 input and 128 output channels are 864 KiB in float32. With 24 tiles a block at 128 took
// 0.91 of the time with shared batches (33.9 -> 30.6 ms), with 32, 36, 48, 64 and 96 tiles 0.91 to 0.94 (Zen 4, fixed
// point). It is a multiple of MICRO_TILES, so that full batches need no tail.
constexpr int PRIVATE_BATCH_TILES = 24;
static_assert(PRIVATE_BATCH_TILES % MICRO_TAIL_TILES == 0);

// Convolves a range of the layer's tiles, which are numbered row by row, and calls `epilogue` as above.
template <class Algorithm, class Element, class Layer, class Epilogue>
void convolve_in_private_batches(TileBatch<Algorithm, Element, Layer>& tiles, const FeatureMap<const float>& x,
                                 Range range, Epilogue epilogue) {
  const int across = tiles_across<Algorithm>(tiles.layer);
  for (int first = range.begin; first < range.end; first += tiles.capacity) {
    const int count = std::min(tiles.capacity, range.end - first);
    for (int tile = 0; tile < count; ++tile)
      tiles.transform_input(tile, x, (first + tile) / across, (first + tile) % across);
    for (int point = 0; point < tiles.POINTS; ++point) tiles.multiply(point, {0, tiles.layer.out_channels}, count);
    for (int tile = 0; tile < count; ++tile)
      epilogue(tiles.products(tile), (first + tile) / across, (first + tile) % across);
  }
}

// The calling thread's share of `count` items.
inline Range thread_range(int count) {
  const int thread = omp_get_thread_num(), threads = omp_get_num_threads();
  return {count * thread / threads, count * (thread + 1) / threads};
}

// ---- The choice between the two.

// Up to how many output channels threads have batches of their own. Each batch reads all of the layer's weights, which
// the last-level cache must hold: 9 MiB for 256 input and output channels in float32. An encoder's layers of 256
// channels at 32 took 34.7 -> 22.6 ms, a whole encoder 0.95 of its time; with 512 channels there was no gain (1.01 for
// a block at 64, 0.97 to 1.01 for an encoder; Zen 4, fixed point).
constexpr int MAX_PRIVATE_OUT_CHANNELS = 256;

// `threads` is the requested number, by which scratch memory is allocated too; OpenMP may start fewer.
template <class Algorithm, class Layer>
bool uses_private_batches(const Layer& layer, int threads) {
  return layer.out_channels <= MAX_PRIVATE_OUT_CHANNELS &&
         tile_count<Algorithm>(layer) >= threads * PRIVATE_BATCH_TILES;
}

// In floats.
template <class Algorithm, class Element, class Layer>
long layer_scratch_size(const Layer& layer, int threads) {
  using Batch = TileBatch<Algorithm, Element, Layer>;
  return uses_private_batches<Algorithm>(layer, threads)
             ? threads * Batch::scratch_size(layer, PRIVATE_BATCH_TILES)
             : Batch::scratch_size(layer, shared_batch_tiles<Algorithm>(layer));
}

// Convolves the whole layer. Each thread calls it, and sees the complete output when it returns.
template <class Algorithm, class Element, class Layer, class Epilogue>
void convolve_layer(const Layer& layer, const float* x, float* scratch, int threads, Epilogue epilogue) {
  using Batch = TileBatch<Algorithm, Element, Layer>;
  if (uses_private_batches<Algorithm>(layer, threads)) {
    Batch tiles(layer, PRIVATE_BATCH_TILES,
                scratch + omp_get_thread_num() * Batch::scratch_size(layer, PRIVATE_BATCH_TILES));
    convolve_in_private_batches(tiles, input_map(layer, x), thread_range(tile_count<Algorithm>(layer)), epilogue);
#pragma omp barrier
  } else {
    Batch tiles(layer, shared_batch_tiles<Algorithm>(layer), scratch);
    convolve_in_shared_batches(tiles, input_map(layer, x), epilogue);
  }
}

}  // namespace toonify
