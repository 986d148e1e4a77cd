// StyleGAN2's synthesis blocks, of one picture: an up-convolution, a convolution, toRGB.
//
// Sizes are powers of two from 4 on. A block is run in one of two ways. Where weights are large, all threads go through
// one layer after the other together, so that each weight is read once. Where maps are large, each thread takes strips
// of the picture through both layers at once, so that the map between them never leaves its cache.

#pragma once

#include <omp.h>

#include <algorithm>

#include "convolution.h"
#include "synthesis.h"

namespace toonify {

constexpr int STRIP = 64;  // tiles of a narrow block across: some rows of maps are cached too

using SmallUp = Up<2>;
using SmallPlain = Plain<2>;
using LargeUp = Up<3>;
using LargePlain = Plain<4>;

template <class Form, class Number>
using BlockTiles = Tiles<Form, Number, Modulated>;

template <class Form>
int doubled_size(const Modulated& up) {
  return tiles_across<Form>(up) * Form::OUTPUTS;
}

inline Map<const float> read_only(const Map<float>& map) { return {map.memory, map.rows, map.channels, map.columns}; }

// ---- All threads together.

inline long between_memory(const Block& block) {
  return static_cast<long>(block.conv.size) * block.conv.size * block.conv.in;
}

template <class UpForm, class PlainForm, class Number>
long memory_together(const Block& block) {
  const Modulated& up = block.up;
  const long conv = BlockTiles<PlainForm, Number>::memory(block.conv, tiles_at_once<PlainForm>(block.conv));
  if (!up.weights) return conv;
  const long size = doubled_size<UpForm>(up);
  return between_memory(block) +
         std::max(conv, BlockTiles<UpForm, Number>::memory(up, tiles_at_once<UpForm>(up)) + size * size * up.out);
}

template <class Form, class Number>
void convolve_up_together(const Modulated& up, const float* x, float* memory, const Map<float>& y) {
  const BlockTiles<Form, Number> tiles(up, tiles_at_once<Form>(up), memory);
  const int size = doubled_size<Form>(up);
  const Doubled doubled = {memory + BlockTiles<Form, Number>::memory(up, tiles_at_once<Form>(up)), size, {0, size}};
  convolve_together(tiles, input_of(up, x), [&](const Sums<Number>& sums, int row, int column) {
    doubled_from_tile<Form>(up, sums, row, column, doubled);
  });
  constexpr int AT_ONCE = 2 * FILTERED;
#pragma omp for
  for (int row = 0; row < y.rows; row += AT_ONCE)
    filter(up, doubled, {row, std::min(row + AT_ONCE, y.rows)}, y.columns, y);
}

template <class UpForm, class PlainForm, class Number>
void run_together(const Block& block, const float* x, float* y, float* rgb, float* memory) {
  const Modulated& conv = block.conv;
  if (block.up.weights) {
    float* between = memory;
    memory += between_memory(block);
    convolve_up_together<UpForm, Number>(block.up, x, memory, {between, conv.size, conv.in, {0, conv.size}});
    x = between;
  }
  const BlockTiles<PlainForm, Number> tiles(conv, tiles_at_once<PlainForm>(conv), memory);
  convolve_together(tiles, input_of(conv, x), [&](const Sums<Number>& sums, int row, int column) {
    map_from_tile<PlainForm>(conv, sums, row, column, y, rgb);
  });
}

// ---- Each thread by itself.

// Rows that are kept: of the doubled map those of a row of tiles, and those before them that the filter still reads; of
// the map between the layers a tile's, and those that are filtered before they are needed.
constexpr int DOUBLED_ROWS = LargeUp::OUTPUTS + 3;
constexpr int BETWEEN_ROWS = LargePlain::SAMPLES + LargeUp::OUTPUTS - 1;
constexpr int BETWEEN_COLUMNS = STRIP * LargePlain::STEP + 2;
constexpr int DOUBLED_COLUMNS = BETWEEN_COLUMNS + 3 + 2 * (LargeUp::OUTPUTS - 1);

template <class Number>
long strip_memory(const Block& block) {
  return BlockTiles<LargeUp, Number>::memory(block.up, NARROW_TILES) +
         BlockTiles<LargePlain, Number>::memory(block.conv, NARROW_TILES) +
         (DOUBLED_ROWS * DOUBLED_COLUMNS + BETWEEN_ROWS * BETWEEN_COLUMNS) * static_cast<long>(block.conv.in);
}

// Rows and columns count the tiles of the convolution.
template <class Number>
void run_strip(const Block& block, const float* x, float* y, float* rgb, float* memory, Span rows, Span columns) {
  const Modulated &up = block.up, &conv = block.conv;
  // What the convolution reads of the map between the layers, and the tiles that the filter reads for it.
  const Span across = {std::max(columns.first * LargePlain::STEP - 1, 0),
                       std::min(columns.last * LargePlain::STEP + 1, conv.size)};
  const Span up_columns = {std::max(across.first - 1, 0) / LargeUp::OUTPUTS, (across.last + 1) / LargeUp::OUTPUTS + 1};

  const BlockTiles<LargeUp, Number> up_tiles(up, NARROW_TILES, memory);
  memory += BlockTiles<LargeUp, Number>::memory(up, NARROW_TILES);
  const BlockTiles<LargePlain, Number> tiles(conv, NARROW_TILES, memory);
  memory += BlockTiles<LargePlain, Number>::memory(conv, NARROW_TILES);
  const Span doubled_columns = {up_columns.first * LargeUp::OUTPUTS, up_columns.last * LargeUp::OUTPUTS};
  const Doubled doubled = {memory, DOUBLED_ROWS, doubled_columns};
  memory += Doubled::size(DOUBLED_ROWS, doubled_columns.last - doubled_columns.first, up.out);
  const Map<float> between = {memory, BETWEEN_ROWS, conv.in, across};

  int ready = std::max(rows.first * LargePlain::STEP - 1, 0);  // up to this row the map between the layers is made
  int up_row = std::max(ready - 1, 0) / LargeUp::OUTPUTS;      // and up to this row of tiles the doubled map
  const int last = std::min(rows.last * LargePlain::STEP + 1, conv.size);
  for (int row = rows.first; row < rows.last; ++row) {
    while (ready < std::min((row + 1) * LargePlain::STEP + 1, conv.size)) {
      convolve_row(up_tiles, input_of(up, x), up_row++, up_columns, [&](const Sums<Number>& sums, int r, int column) {
        doubled_from_tile<LargeUp>(up, sums, r, column, doubled);
      });
      const int end = std::min(up_row * LargeUp::OUTPUTS - 2, last);  // the filter reads two rows further
      filter(up, doubled, {ready, end}, across, between);
      ready = std::max(ready, end);
    }
    convolve_row(tiles, read_only(between), row, columns, [&](const Sums<Number>& sums, int r, int column) {
      map_from_tile<LargePlain>(conv, sums, r, column, y, rgb);
    });
  }
}

template <class Number>
void run_strips(const Block& block, const float* x, float* y, float* rgb, float* memory) {
  const int across = tiles_across<LargePlain>(block.conv);
  const int thread = omp_get_thread_num(), count = omp_get_num_threads();
  const Span rows = {across * thread / count, across * (thread + 1) / count};
  memory += thread * strip_memory<Number>(block);
  for (int first = 0; first < across; first += STRIP)
    run_strip<Number>(block, x, y, rgb, memory, rows, {first, std::min(first + STRIP, across)});
}

// ---- Either way.

inline bool is_small(const Block& block) { return block.conv.size <= SMALL; }

inline bool is_narrow(const Block& block) { return !is_small(block) && block.conv.in <= NARROW; }

template <class Number>
long block_memory(const Block& block, int threads) {
  if (is_narrow(block)) return threads * strip_memory<Number>(block);
  return is_small(block) ? memory_together<SmallUp, SmallPlain, Number>(block)
                         : memory_together<LargeUp, LargePlain, Number>(block);
}

template <class Number>
void run_block(const Block& block, const float* x, float* y, float* rgb, float* memory, int threads) {
#pragma omp parallel num_threads(threads)
  {
    if (is_narrow(block))
      run_strips<Number>(block, x, y, rgb, memory);
    else if (is_small(block))
      run_together<SmallUp, SmallPlain, Number>(block, x, y, rgb, memory);
    else
      run_together<LargeUp, LargePlain, Number>(block, x, y, rgb, memory);
    _mm_sfence();  // what was streamed is to be seen by all
  }
}

}  // namespace toonify
