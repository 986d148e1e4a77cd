// StyleGAN2's synthesis blocks, of one picture: an up-convolution, a convolution, toRGB.
//
// Sizes are powers of two from 4 on. A block is run in one of two ways. Where weights are large, all threads go through
// one layer after the other together, so that each weight is read once. Where maps are large, each thread takes strips
// of the picture through both layers at once, so that the map between them never leaves its cache.

#pragma once

#include <omp.h>

#include <algorithm>

#include "products.h"
#include "tiles.h"

namespace toonify {

constexpr int SMALL = 16;        // pictures, up to which small tiles take less time: there are few, and fewer weights
constexpr int NARROW = 128;      // channels, up to which a core's cache holds a layer's weights
constexpr int WIDE_TILES = 120;  // at once, for which all weights are read
constexpr int NARROW_TILES = 24;
static_assert(WIDE_TILES % LAST_ROWS == 0 && NARROW_TILES % LAST_ROWS == 0);
constexpr int STRIP = 64;  // tiles of a narrow block across: some rows of maps are cached too

using SmallUp = Up<2>;
using SmallPlain = Plain<2>;
using LargeUp = Up<3>;
using LargePlain = Plain<4>;

// Tiles along each side of a layer's map; a doubled map has a row and a column more than twice the input's.
template <class Form>
int tiles_across(const Layer& layer) {
  const int inputs = layer.size + Form::FACTOR - 1;
  return (inputs + Form::STEP - 1) / Form::STEP;
}

template <class Form>
int doubled_size(const Layer& up) {
  return tiles_across<Form>(up) * Form::OUTPUTS;
}

// Some tiles of a layer, in memory before and after the products.
template <class Form>
struct Tiles {
  static constexpr int POINTS = Form::POINTS * Form::POINTS;
  const Layer& layer;
  const int capacity;
  float *const in, *const out;

  Tiles(const Layer& layer, int capacity, float* memory)
      : layer(layer), capacity(capacity), in(memory), out(memory + POINTS * in_stride()) {}

  static long memory(const Layer& layer, int capacity) {
    return POINTS * static_cast<long>(capacity) * (layer.in + layer.out);
  }

  // Of a point's tiles to those of the next one.
  long in_stride() const { return static_cast<long>(capacity) * layer.in; }
  long out_stride() const { return static_cast<long>(capacity) * layer.out; }

  void load(int index, const Map<const float>& x, int row, int column) const {
    tile_from_map<Form>(layer, x, row, column, in + static_cast<long>(index) * layer.in, in_stride());
  }

  void multiply(int point, int count) const {
    products(count, in + point * in_stride(), layer.in, layer.weights + static_cast<long>(point) * layer.in * layer.out,
             out + point * out_stride(), layer.out);
  }

  const float* sums(int index) const { return out + static_cast<long>(index) * layer.out; }
};

inline Map<const float> read_only(const Map<float>& map) { return {map.memory, map.rows, map.channels, map.columns}; }

inline Map<const float> input_of(const Layer& layer, const float* x) {
  return {x, layer.size, layer.in, {0, layer.size}};
}

// ---- All threads together. The functions are called by each of them.

// `keep` takes a tile's sums, its row and its column.
template <class Form, class Keep>
void convolve_together(const Tiles<Form>& tiles, const Map<const float>& x, Keep keep) {
  const int across = tiles_across<Form>(tiles.layer), all = across * across;
  for (int first = 0; first < all; first += tiles.capacity) {
    const int count = std::min(tiles.capacity, all - first);
#pragma omp for
    for (int tile = 0; tile < count; ++tile) tiles.load(tile, x, (first + tile) / across, (first + tile) % across);
#pragma omp for schedule(dynamic)
    for (int point = 0; point < Tiles<Form>::POINTS; ++point) tiles.multiply(point, count);
#pragma omp for
    for (int tile = 0; tile < count; ++tile) keep(tiles.sums(tile), (first + tile) / across, (first + tile) % across);
  }
}

inline long between_memory(const Block& block) {
  return static_cast<long>(block.conv.size) * block.conv.size * block.conv.in;
}

template <class UpForm, class PlainForm>
long memory_together(const Block& block) {
  const Layer& up = block.up;
  const long conv = Tiles<PlainForm>::memory(block.conv, WIDE_TILES);
  if (!up.weights) return conv;
  const long size = doubled_size<UpForm>(up);
  return between_memory(block) + std::max(conv, Tiles<UpForm>::memory(up, WIDE_TILES) + size * size * up.out);
}

template <class Form>
void convolve_up_together(const Layer& up, const float* x, float* memory, const Map<float>& y) {
  const Tiles<Form> tiles(up, WIDE_TILES, memory);
  const int size = doubled_size<Form>(up);
  const Map<float> doubled = {memory + Tiles<Form>::memory(up, WIDE_TILES), size, up.out, {0, size}};
  convolve_together(tiles, input_of(up, x), [&](const float* sums, int row, int column) {
    doubled_from_tile<Form>(up, sums, tiles.out_stride(), row, column, doubled);
  });
#pragma omp for
  for (int row = 0; row < y.rows; ++row) filter(up, read_only(doubled), {row, row + 1}, y.columns, y);
}

template <class UpForm, class PlainForm>
void run_together(const Block& block, const float* x, float* y, float* rgb, float* memory) {
  const Layer& conv = block.conv;
  if (block.up.weights) {
    float* between = memory;
    memory += between_memory(block);
    convolve_up_together<UpForm>(block.up, x, memory, {between, conv.size, conv.in, {0, conv.size}});
    x = between;
  }
  const Tiles<PlainForm> tiles(conv, WIDE_TILES, memory);
  convolve_together(tiles, input_of(conv, x), [&](const float* sums, int row, int column) {
    map_from_tile<PlainForm>(conv, sums, tiles.out_stride(), row, column, y, rgb);
  });
}

// ---- Each thread by itself.

template <class Form, class Keep>
void convolve_row(const Tiles<Form>& tiles, const Map<const float>& x, int row, Span columns, Keep keep) {
  for (int first = columns.first; first < columns.last; first += tiles.capacity) {
    const int count = std::min(tiles.capacity, columns.last - first);
    for (int tile = 0; tile < count; ++tile) tiles.load(tile, x, row, first + tile);
    for (int point = 0; point < Tiles<Form>::POINTS; ++point) tiles.multiply(point, count);
    for (int tile = 0; tile < count; ++tile) keep(tiles.sums(tile), row, first + tile);
  }
}

// Rows that are kept: of the doubled map those of a row of tiles, and those before them that the filter still reads; of
// the map between the layers a tile's, and those that are filtered before they are needed.
constexpr int DOUBLED_ROWS = LargeUp::OUTPUTS + 3;
constexpr int BETWEEN_ROWS = LargePlain::SAMPLES + LargeUp::OUTPUTS - 1;
constexpr int BETWEEN_COLUMNS = STRIP * LargePlain::STEP + 2;
constexpr int DOUBLED_COLUMNS = BETWEEN_COLUMNS + 3 + 2 * (LargeUp::OUTPUTS - 1);

inline long strip_memory(const Block& block) {
  return Tiles<LargeUp>::memory(block.up, NARROW_TILES) + Tiles<LargePlain>::memory(block.conv, NARROW_TILES) +
         (DOUBLED_ROWS * DOUBLED_COLUMNS + BETWEEN_ROWS * BETWEEN_COLUMNS) * static_cast<long>(block.conv.in);
}

// Rows and columns count the tiles of the convolution.
inline void run_strip(const Block& block, const float* x, float* y, float* rgb, float* memory, Span rows,
                      Span columns) {
  const Layer &up = block.up, &conv = block.conv;
  // What the convolution reads of the map between the layers, and the tiles that the filter reads for it.
  const Span across = {std::max(columns.first * LargePlain::STEP - 1, 0),
                       std::min(columns.last * LargePlain::STEP + 1, conv.size)};
  const Span up_columns = {std::max(across.first - 1, 0) / LargeUp::OUTPUTS, (across.last + 1) / LargeUp::OUTPUTS + 1};

  const Tiles<LargeUp> up_tiles(up, NARROW_TILES, memory);
  memory += Tiles<LargeUp>::memory(up, NARROW_TILES);
  const Tiles<LargePlain> tiles(conv, NARROW_TILES, memory);
  memory += Tiles<LargePlain>::memory(conv, NARROW_TILES);
  const Map<float> doubled = {
      memory, DOUBLED_ROWS, up.out, {up_columns.first * LargeUp::OUTPUTS, up_columns.last * LargeUp::OUTPUTS}};
  const Map<float> between = {memory + DOUBLED_ROWS * doubled.row_size(), BETWEEN_ROWS, conv.in, across};

  int ready = std::max(rows.first * LargePlain::STEP - 1, 0);  // up to this row the map between the layers is made
  int up_row = std::max(ready - 1, 0) / LargeUp::OUTPUTS;      // and up to this row of tiles the doubled map
  const int last = std::min(rows.last * LargePlain::STEP + 1, conv.size);
  for (int row = rows.first; row < rows.last; ++row) {
    while (ready < std::min((row + 1) * LargePlain::STEP + 1, conv.size)) {
      convolve_row(up_tiles, input_of(up, x), up_row++, up_columns, [&](const float* sums, int r, int column) {
        doubled_from_tile<LargeUp>(up, sums, up_tiles.out_stride(), r, column, doubled);
      });
      const int end = std::min(up_row * LargeUp::OUTPUTS - 2, last);  // the filter reads two rows further
      filter(up, read_only(doubled), {ready, end}, across, between);
      ready = std::max(ready, end);
    }
    convolve_row(tiles, read_only(between), row, columns, [&](const float* sums, int r, int column) {
      map_from_tile<LargePlain>(conv, sums, tiles.out_stride(), r, column, y, rgb);
    });
  }
}

inline void run_strips(const Block& block, const float* x, float* y, float* rgb, float* memory) {
  const int across = tiles_across<LargePlain>(block.conv);
  const int thread = omp_get_thread_num(), count = omp_get_num_threads();
  const Span rows = {across * thread / count, across * (thread + 1) / count};
  memory += thread * strip_memory(block);
  for (int first = 0; first < across; first += STRIP)
    run_strip(block, x, y, rgb, memory, rows, {first, std::min(first + STRIP, across)});
}

// ---- Either way.

inline bool is_small(const Block& block) { return block.conv.size <= SMALL; }

inline bool is_narrow(const Block& block) { return !is_small(block) && block.conv.in <= NARROW; }

inline long block_memory(const Block& block, int threads) {
  if (is_narrow(block)) return threads * strip_memory(block);
  return is_small(block) ? memory_together<SmallUp, SmallPlain>(block) : memory_together<LargeUp, LargePlain>(block);
}

inline void run_block(const Block& block, const float* x, float* y, float* rgb, float* memory, int threads) {
#pragma omp parallel num_threads(threads)
  {
    if (is_narrow(block))
      run_strips(block, x, y, rgb, memory);
    else if (is_small(block))
      run_together<SmallUp, SmallPlain>(block, x, y, rgb, memory);
    else
      run_together<LargeUp, LargePlain>(block, x, y, rgb, memory);
    _mm_sfence();  // what was streamed is to be seen by all
  }
}

template <class Form>
void transform_weights(int in, int out, const float* weights, float* transformed) {
  constexpr int P = Form::POINTS;
#pragma omp parallel for
  for (int o = 0; o < out; ++o)
    for (int i = 0; i < in; ++i) {
      const float* kernel = weights + (static_cast<long>(o) * in + i) * 9;
      for (int p = 0; p < P; ++p)
        for (int q = 0; q < P; ++q) {
          double sum = 0;
          for (int a = 0; a < 3; ++a)
            for (int b = 0; b < 3; ++b) sum += Form::taps(p, a) * Form::taps(q, b) * kernel[3 * a + b];
          const long panel = static_cast<long>(p * P + q) * out / LANES + o / LANES;
          transformed[(panel * in + i) * LANES + o % LANES] = static_cast<float>(sum);
        }
    }
}

// Of the block whose pictures have this size.
inline int points(bool up, int size) {
  if (size <= SMALL) return up ? Tiles<SmallUp>::POINTS : Tiles<SmallPlain>::POINTS;
  return up ? Tiles<LargeUp>::POINTS : Tiles<LargePlain>::POINTS;
}

inline void transform_weights(bool up, int size, int in, int out, const float* weights, float* transformed) {
  if (size <= SMALL)
    (up ? transform_weights<SmallUp> : transform_weights<SmallPlain>)(in, out, weights, transformed);
  else
    (up ? transform_weights<LargeUp> : transform_weights<LargePlain>)(in, out, weights, transformed);
}

}  // namespace toonify
