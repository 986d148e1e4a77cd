// A convolution: tiles of its map to points, products of each point, sums to what follows.

#pragma once

#include <omp.h>

#include <algorithm>

#include "buffer.h"
#include "layers.h"
#include "products.h"
#include "tiles.h"

namespace toonify {

// Tiles along each side of a layer's output; a doubled map has a row and a column more than twice the input's.
template <class Form>
int tiles_across(const Modulated& layer) {
  return (layer.size * Form::FACTOR + Form::FACTOR - 1 + Form::OUTPUTS - 1) / Form::OUTPUTS;
}

template <class Form>
int tiles_across(const Convolution& layer) {
  return (layer.size / layer.stride + Form::OUTPUTS - 1) / Form::OUTPUTS;
}

template <class Form, class Layer>
int tile_count(const Layer& layer) {
  return tiles_across<Form>(layer) * tiles_across<Form>(layer);
}

// Some tiles of a layer, in memory before and after the products. Each thread has an object of its own, but for fixed
// memory.
template <class Form, class Number, class Layer>
class Tiles {
 public:
  static constexpr int POINTS = Form::POINTS * Form::POINTS;
  const Layer& layer;
  const int capacity;

  Tiles(const Layer& layer, int capacity, float* memory)
      : layer(layer),
        capacity(capacity),
        units_(memory),
        in_(reinterpret_cast<Number*>(memory + capacity_in_lines(capacity))),
        out_(in_ + POINTS * in_stride()),
        columns_(layer.in),
        halfway_(static_cast<long>(Form::POINTS) * Form::OUTPUTS * layer.out) {}

  static long memory(const Layer& layer, int capacity) {
    return capacity_in_lines(capacity) + POINTS * static_cast<long>(capacity) * (numbers(layer) + layer.out);
  }

  void load(int index, const Map<const float>& x, int row, int column) {
    columns_.move(layer, x, row, column);
    units_[index] = tile_from_columns(columns_, in_ + static_cast<long>(index) * numbers(layer), in_stride());
  }

  // Some of the outputs of a point.
  void multiply(int point, Span outputs, int count) const {
    const long in = numbers(layer);
    products(count, in_ + point * in_stride(), in,
             static_cast<const Number*>(layer.weights) + (static_cast<long>(point) * layer.out + outputs.first) * in,
             out_ + point * out_stride() + outputs.first, {outputs.last - outputs.first, layer.out});
  }

  Sums<Number> sums(int index) const {
    return {out_ + static_cast<long>(index) * layer.out, out_stride(), units_[index], halfway_.get()};
  }

 private:
  static long numbers(const Layer& layer) { return layer.in / CHANNELS<Number>; }
  static long capacity_in_lines(int capacity) { return (capacity + 15) / 16 * 16; }
  // From a point's tiles to those of the next one.
  long out_stride() const { return static_cast<long>(capacity) * layer.out; }
  long in_stride() const { return static_cast<long>(capacity) * numbers(layer); }

  float* const units_;
  Number *const in_, *const out_;
  Columns<Form> columns_;
  const Buffer halfway_;  // between a tile's sums and its outputs
};

template <class Layer>
Map<const float> input_of(const Layer& layer, const float* x) {
  return {x, layer.size, layer.in, {0, layer.size}};
}

// ---- All threads together. The functions are called by each of them.

constexpr int TOGETHER = 128;  // tiles at once, for which all weights are read
constexpr int PART = 128;      // outputs, whose products are one thread's

// How many tiles of a layer are made room for.
template <class Form, class Layer>
int tiles_at_once(const Layer& layer) {
  const int all = tile_count<Form>(layer), rounds = (all + TOGETHER - 1) / TOGETHER;
  return ((all + rounds - 1) / rounds + LAST_ROWS - 1) / LAST_ROWS * LAST_ROWS;
}

// `keep` takes a tile's sums, its row and its column.
template <class Form, class Number, class Layer, class Keep>
void convolve_together(Tiles<Form, Number, Layer>& tiles, const Map<const float>& x, Keep keep) {
  const int across = tiles_across<Form>(tiles.layer), all = across * across;
  for (int first = 0; first < all; first += tiles.capacity) {
    const int count = std::min(tiles.capacity, all - first);
#pragma omp for
    for (int tile = 0; tile < count; ++tile) tiles.load(tile, x, (first + tile) / across, (first + tile) % across);
#pragma omp for schedule(dynamic) collapse(2)
    for (int point = 0; point < tiles.POINTS; ++point)
      for (int output = 0; output < tiles.layer.out; output += PART)
        tiles.multiply(point, {output, std::min(output + PART, tiles.layer.out)}, count);
#pragma omp for
    for (int tile = 0; tile < count; ++tile) keep(tiles.sums(tile), (first + tile) / across, (first + tile) % across);
  }
}

// ---- Each thread by itself.

constexpr int APART = 24;  // tiles at once, which stay near the core
static_assert(APART % LAST_ROWS == 0);

// Some of the tiles, which are numbered row by row.
template <class Form, class Number, class Layer, class Keep>
void convolve_some(Tiles<Form, Number, Layer>& tiles, const Map<const float>& x, Span some, Keep keep) {
  const int across = tiles_across<Form>(tiles.layer);
  for (int first = some.first; first < some.last; first += tiles.capacity) {
    const int count = std::min(tiles.capacity, some.last - first);
    for (int tile = 0; tile < count; ++tile) tiles.load(tile, x, (first + tile) / across, (first + tile) % across);
    for (int point = 0; point < tiles.POINTS; ++point) tiles.multiply(point, {0, tiles.layer.out}, count);
    for (int tile = 0; tile < count; ++tile) keep(tiles.sums(tile), (first + tile) / across, (first + tile) % across);
  }
}

// What is a thread's of so many.
inline Span share(int all) {
  const int thread = omp_get_thread_num(), threads = omp_get_num_threads();
  return {all * thread / threads, all * (thread + 1) / threads};
}

// ---- Either way.

constexpr int MIDDLE = 256;  // outputs, up to which weights may be read often: the last cache holds them

// By the number of threads that were asked for, as memory is; there may be fewer.
template <class Form, class Layer>
bool is_apart(const Layer& layer, int threads) {
  return layer.out <= MIDDLE && tile_count<Form>(layer) >= threads * APART;
}

template <class Form, class Number, class Layer>
long tiles_memory(const Layer& layer, int threads) {
  using Some = Tiles<Form, Number, Layer>;
  return is_apart<Form>(layer, threads) ? threads * Some::memory(layer, APART)
                                        : Some::memory(layer, tiles_at_once<Form>(layer));
}

// The whole layer, of which each thread sees all when it returns.
template <class Form, class Number, class Layer, class Keep>
void convolve_all(const Layer& layer, const float* x, float* memory, int threads, Keep keep) {
  using Some = Tiles<Form, Number, Layer>;
  if (is_apart<Form>(layer, threads)) {
    Some tiles(layer, APART, memory + omp_get_thread_num() * Some::memory(layer, APART));
    convolve_some(tiles, input_of(layer, x), share(tile_count<Form>(layer)), keep);
#pragma omp barrier
  } else {
    Some tiles(layer, tiles_at_once<Form>(layer), memory);
    convolve_together(tiles, input_of(layer, x), keep);
  }
}

}  // namespace toonify
