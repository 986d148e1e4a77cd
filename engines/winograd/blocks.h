// StyleGAN2's synthesis blocks, of one picture: an up-convolution, a convolution, toRGB.
//
// Sizes are powers of two from 4 on. A block is run in one of two ways. Where weights are large, all threads go through
// one layer after the other. Where maps are large, each thread takes strips of the picture through both layers at once,
// so that the map between them never leaves its cache.

#pragma once

#include <omp.h>

#include <algorithm>

#include "convolution.h"
#include "synthesis.h"

namespace toonify {

constexpr int NARROW = 128;  // channels, up to which a core's cache holds a layer's weights
constexpr int STRIP = 64;    // tiles of a narrow block across: some rows of maps are cached too

template <class Form, class Number>
using BlockTiles = Tiles<Form, Number, Modulated>;

template <class Form>
int doubled_size(const Modulated& up) {
  return tiles_across<Form>(up) * Form::OUTPUTS;
}

inline Map<const float> read_only(const Map<float>& map) { return {map.memory, map.rows, map.channels, map.columns}; }

// ---- Layer by layer, by all threads.

inline long between_memory(const Block& block) {
  return static_cast<long>(block.conv.size) * block.conv.size * block.conv.in;
}

template <class UpForm, class PlainForm, class Number>
long memory_by_layers(const Block& block, int threads) {
  const Modulated& up = block.up;
  const long conv = tiles_memory<PlainForm, Number>(block.conv, threads);
  if (!up.weights) return conv;
  const int size = doubled_size<UpForm>(up);
  return between_memory(block) +
         std::max(conv, Doubled::size(size, size, up.out) + tiles_memory<UpForm, Number>(up, threads));
}

template <class Form, class Number>
void convolve_up(const Modulated& up, const float* x, float* memory, int threads, const Map<float>& y) {
  const int size = doubled_size<Form>(up);
  const Doubled doubled = {memory, size, {0, size}};
  memory += Doubled::size(size, size, up.out);
  convolve_all<Form, Number>(up, x, memory, threads, [&](const Sums<Number>& sums, int row, int column) {
    doubled_from_tile<Form>(up, sums, row, column, doubled);
  });
  constexpr int AT_ONCE = 2 * FILTERED;
#pragma omp for
  for (int row = 0; row < y.rows; row += AT_ONCE)
    filter(up, doubled, {row, std::min(row + AT_ONCE, y.rows)}, y.columns, y);
}

template <class UpForm, class PlainForm, class Number>
void run_layers(const Block& block, const float* x, float* y, float* rgb, float* memory, int threads) {
  const Modulated& conv = block.conv;
  if (block.up.weights) {
    float* between = memory;
    memory += between_memory(block);
    convolve_up<UpForm, Number>(block.up, x, memory, threads, {between, conv.size, conv.in, {0, conv.size}});
    x = between;
  }
  convolve_all<PlainForm, Number>(conv, x, memory, threads, [&](const Sums<Number>& sums, int row, int column) {
    map_from_tile<PlainForm>(conv, sums, row, column, y, rgb);
  });
}

// ---- Strip by strip, each by one thread.

// Rows that are kept: of the doubled map those of a row of tiles, and those before them that the filter still reads; of
// the map between the layers a tile's, and those that are filtered before they are needed.
constexpr int DOUBLED_ROWS = LargeUp::OUTPUTS + 3;
constexpr int BETWEEN_ROWS = LargePlain::SAMPLES + LargeUp::OUTPUTS - 1;
constexpr int BETWEEN_COLUMNS = STRIP * LargePlain::STEP + 2;
constexpr int DOUBLED_COLUMNS = BETWEEN_COLUMNS + 3 + 2 * (LargeUp::OUTPUTS - 1);

template <class Number>
long strip_memory(const Block& block) {
  return BlockTiles<LargeUp, Number>::memory(block.up, APART) +
         BlockTiles<LargePlain, Number>::memory(block.conv, APART) +
         (DOUBLED_ROWS * DOUBLED_COLUMNS + BETWEEN_ROWS * BETWEEN_COLUMNS) * static_cast<long>(block.conv.in);
}

// Some tiles of a row.
template <class Form>
Span row_of_tiles(const Modulated& layer, int row, Span columns) {
  const int first = row * tiles_across<Form>(layer);
  return {first + columns.first, first + columns.last};
}

// Rows and columns count the tiles of the convolution.
template <class Number>
void run_strip(const Block& block, const float* x, float* y, float* rgb, float* memory, Span rows, Span columns) {
  const Modulated &up = block.up, &conv = block.conv;
  // What the convolution reads of the map between the layers, and the tiles that the filter reads for it.
  const Span across = {std::max(columns.first * LargePlain::STEP - 1, 0),
                       std::min(columns.last * LargePlain::STEP + 1, conv.size)};
  const Span up_columns = {std::max(across.first - 1, 0) / LargeUp::OUTPUTS, (across.last + 1) / LargeUp::OUTPUTS + 1};

  BlockTiles<LargeUp, Number> up_tiles(up, APART, memory);
  memory += BlockTiles<LargeUp, Number>::memory(up, APART);
  BlockTiles<LargePlain, Number> tiles(conv, APART, memory);
  memory += BlockTiles<LargePlain, Number>::memory(conv, APART);
  const Span doubled_columns = {up_columns.first * LargeUp::OUTPUTS, up_columns.last * LargeUp::OUTPUTS};
  const Doubled doubled = {memory, DOUBLED_ROWS, doubled_columns};
  memory += Doubled::size(DOUBLED_ROWS, doubled_columns.last - doubled_columns.first, up.out);
  const Map<float> between = {memory, BETWEEN_ROWS, conv.in, across};

  int ready = std::max(rows.first * LargePlain::STEP - 1, 0);  // up to this row the map between the layers is made
  int up_row = std::max(ready - 1, 0) / LargeUp::OUTPUTS;      // and up to this row of tiles the doubled map
  const int last = std::min(rows.last * LargePlain::STEP + 1, conv.size);
  for (int row = rows.first; row < rows.last; ++row) {
    while (ready < std::min((row + 1) * LargePlain::STEP + 1, conv.size)) {
      convolve_some(up_tiles, input_of(up, x), row_of_tiles<LargeUp>(up, up_row++, up_columns),
                    [&](const Sums<Number>& sums, int r, int column) {
                      doubled_from_tile<LargeUp>(up, sums, r, column, doubled);
                    });
      const int end = std::min(up_row * LargeUp::OUTPUTS - 2, last);  // the filter reads two rows further
      filter(up, doubled, {ready, end}, across, between);
      ready = std::max(ready, end);
    }
    convolve_some(
        tiles, read_only(between), row_of_tiles<LargePlain>(conv, row, columns),
        [&](const Sums<Number>& sums, int r, int column) { map_from_tile<LargePlain>(conv, sums, r, column, y, rgb); });
  }
}

template <class Number>
void run_strips(const Block& block, const float* x, float* y, float* rgb, float* memory) {
  const int across = tiles_across<LargePlain>(block.conv);
  memory += omp_get_thread_num() * strip_memory<Number>(block);
  for (int first = 0; first < across; first += STRIP)
    run_strip<Number>(block, x, y, rgb, memory, share(across), {first, std::min(first + STRIP, across)});
}

// ---- Either way.

inline bool is_small(const Block& block) { return block.conv.size <= SMALL; }

inline bool is_narrow(const Block& block) { return !is_small(block) && block.conv.in <= NARROW; }

template <class Number>
long block_memory(const Block& block, int threads) {
  if (is_narrow(block)) return threads * strip_memory<Number>(block);
  return is_small(block) ? memory_by_layers<SmallUp, SmallPlain, Number>(block, threads)
                         : memory_by_layers<LargeUp, LargePlain, Number>(block, threads);
}

template <class Number>
void run_block(const Block& block, const float* x, float* y, float* rgb, float* memory, int threads) {
#pragma omp parallel num_threads(threads)
  {
    if (is_narrow(block))
      run_strips<Number>(block, x, y, rgb, memory);
    else if (is_small(block))
      run_layers<SmallUp, SmallPlain, Number>(block, x, y, rgb, memory, threads);
    else
      run_layers<LargeUp, LargePlain, Number>(block, x, y, rgb, memory, threads);
    _mm_sfence();  // what was streamed is to be seen by all
  }
}

}  // namespace toonify
