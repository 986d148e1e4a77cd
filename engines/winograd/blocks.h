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

constexpr int MAX_STRIP_CHANNELS = 128;  // channels, up to which a core's cache holds a layer's weights
constexpr int STRIP_TILES = 64;          // tiles of a narrow block across: some rows of maps are cached too

template <class Algorithm, class Element>
using BlockTileBatch = TileBatch<Algorithm, Element, ModulatedConvParams>;

template <class Algorithm>
int unfiltered_size(const ModulatedConvParams& up) {
  return tiles_across<Algorithm>(up) * Algorithm::OUTPUTS;
}

inline FeatureMap<const float> read_only(const FeatureMap<float>& map) {
  return {map.memory, map.rows, map.channels, map.columns};
}

// ---- Layer by layer, by all threads.

inline long middle_map_size(const BlockParams& block) {
  return static_cast<long>(block.conv.size) * block.conv.size * block.conv.in_channels;
}

template <class UpAlgorithm, class ConvAlgorithm, class Element>
long layers_scratch_size(const BlockParams& block, int threads) {
  const ModulatedConvParams& up = block.up;
  const long conv = layer_scratch_size<ConvAlgorithm, Element>(block.conv, threads);
  if (!up.weights) return conv;
  const int size = unfiltered_size<UpAlgorithm>(up);
  return middle_map_size(block) + std::max(conv, UnfilteredMap::size(size, size, up.out_channels) +
                                                     layer_scratch_size<UpAlgorithm, Element>(up, threads));
}

template <class Algorithm, class Element>
void convolve_up(const ModulatedConvParams& up, const float* x, float* memory, int threads,
                 const FeatureMap<float>& y) {
  const int size = unfiltered_size<Algorithm>(up);
  const UnfilteredMap unfiltered = {memory, size, {0, size}};
  memory += UnfilteredMap::size(size, size, up.out_channels);
  convolve_layer<Algorithm, Element>(up, x, memory, threads,
                                     [&](const TileProducts<Element>& sums, int row, int column) {
                                       unfiltered_epilogue<Algorithm>(up, sums, row, column, unfiltered);
                                     });
  constexpr int ROWS_PER_TASK = 2 * FIR_ROWS;
#pragma omp for
  for (int row = 0; row < y.rows; row += ROWS_PER_TASK)
    fir_filter(up, unfiltered, {row, std::min(row + ROWS_PER_TASK, y.rows)}, y.columns, y);
}

template <class UpAlgorithm, class ConvAlgorithm, class Element>
void run_layer_by_layer(const BlockParams& block, const float* x, float* y, float* rgb, float* memory, int threads) {
  const ModulatedConvParams& conv = block.conv;
  if (block.up.weights) {
    float* middle = memory;
    memory += middle_map_size(block);
    convolve_up<UpAlgorithm, Element>(block.up, x, memory, threads,
                                      {middle, conv.size, conv.in_channels, {0, conv.size}});
    x = middle;
  }
  convolve_layer<ConvAlgorithm, Element>(conv, x, memory, threads,
                                         [&](const TileProducts<Element>& sums, int row, int column) {
                                           synthesis_epilogue<ConvAlgorithm>(conv, sums, row, column, y, rgb);
                                         });
}

// ---- Strip by strip, each by one thread.

// Rows that are kept: of the doubled map those of a row of tiles, and those before them that the filter still reads; of
// the map between the layers a tile's, and those that are filtered before they are needed.
constexpr int UNFILTERED_ROWS = LargeUpConv::OUTPUTS + 3;
constexpr int MIDDLE_ROWS = LargeConv::SAMPLES + LargeUpConv::OUTPUTS - 1;
constexpr int MIDDLE_COLUMNS = STRIP_TILES * LargeConv::STEP + 2;
constexpr int UNFILTERED_COLUMNS = MIDDLE_COLUMNS + 3 + 2 * (LargeUpConv::OUTPUTS - 1);

template <class Element>
long strip_scratch_size(const BlockParams& block) {
  return BlockTileBatch<LargeUpConv, Element>::memory(block.up, PRIVATE_BATCH_TILES) +
         BlockTileBatch<LargeConv, Element>::memory(block.conv, PRIVATE_BATCH_TILES) +
         (UNFILTERED_ROWS * UNFILTERED_COLUMNS + MIDDLE_ROWS * MIDDLE_COLUMNS) *
             static_cast<long>(block.conv.in_channels);
}

// Batch tiles of a row.
template <class Algorithm>
Range tiles_in_row(const ModulatedConvParams& layer, int row, Range columns) {
  const int first = row * tiles_across<Algorithm>(layer);
  return {first + columns.begin, first + columns.end};
}

// Rows and columns count the tiles of the convolution.
template <class Element>
void run_strip(const BlockParams& block, const float* x, float* y, float* rgb, float* memory, Range rows,
               Range columns) {
  const ModulatedConvParams &up = block.up, &conv = block.conv;
  // What the convolution reads of the map between the layers, and the tiles that the filter reads for it.
  const Range across = {std::max(columns.begin * LargeConv::STEP - 1, 0),
                        std::min(columns.end * LargeConv::STEP + 1, conv.size)};
  const Range up_columns = {std::max(across.begin - 1, 0) / LargeUpConv::OUTPUTS,
                            (across.end + 1) / LargeUpConv::OUTPUTS + 1};

  BlockTileBatch<LargeUpConv, Element> up_tiles(up, PRIVATE_BATCH_TILES, memory);
  memory += BlockTileBatch<LargeUpConv, Element>::memory(up, PRIVATE_BATCH_TILES);
  BlockTileBatch<LargeConv, Element> tiles(conv, PRIVATE_BATCH_TILES, memory);
  memory += BlockTileBatch<LargeConv, Element>::memory(conv, PRIVATE_BATCH_TILES);
  const Range unfiltered_columns = {up_columns.begin * LargeUpConv::OUTPUTS, up_columns.end * LargeUpConv::OUTPUTS};
  const UnfilteredMap unfiltered = {memory, UNFILTERED_ROWS, unfiltered_columns};
  memory += UnfilteredMap::size(UNFILTERED_ROWS, unfiltered_columns.end - unfiltered_columns.begin, up.out_channels);
  const FeatureMap<float> middle = {memory, MIDDLE_ROWS, conv.in_channels, across};

  int ready = std::max(rows.begin * LargeConv::STEP - 1, 0);   // up to this row the map middle the layers is made
  int up_row = std::max(ready - 1, 0) / LargeUpConv::OUTPUTS;  // and up to this row of tiles the unfiltered map
  const int last = std::min(rows.end * LargeConv::STEP + 1, conv.size);
  for (int row = rows.begin; row < rows.end; ++row) {
    while (ready < std::min((row + 1) * LargeConv::STEP + 1, conv.size)) {
      convolve_in_private_batches(up_tiles, input_map(up, x), tiles_in_row<LargeUpConv>(up, up_row++, up_columns),
                                  [&](const TileProducts<Element>& sums, int r, int column) {
                                    unfiltered_epilogue<LargeUpConv>(up, sums, r, column, unfiltered);
                                  });
      const int end = std::min(up_row * LargeUpConv::OUTPUTS - 2, last);  // the filter reads two rows further
      fir_filter(up, unfiltered, {ready, end}, across, middle);
      ready = std::max(ready, end);
    }
    convolve_in_private_batches(tiles, read_only(middle), tiles_in_row<LargeConv>(conv, row, columns),
                                [&](const TileProducts<Element>& sums, int r, int column) {
                                  synthesis_epilogue<LargeConv>(conv, sums, r, column, y, rgb);
                                });
  }
}

template <class Element>
void run_strips(const BlockParams& block, const float* x, float* y, float* rgb, float* memory) {
  const int across = tiles_across<LargeConv>(block.conv);
  memory += omp_get_thread_num() * strip_scratch_size<Element>(block);
  for (int first = 0; first < across; first += STRIP_TILES)
    run_strip<Element>(block, x, y, rgb, memory, thread_range(across), {first, std::min(first + STRIP_TILES, across)});
}

// ---- Either way.

inline bool uses_small_tiles(const BlockParams& block) { return block.conv.size <= SMALL_MAP_SIZE; }

inline bool runs_in_strips(const BlockParams& block) {
  return !uses_small_tiles(block) && block.conv.in_channels <= MAX_STRIP_CHANNELS;
}

template <class Element>
long block_scratch_size(const BlockParams& block, int threads) {
  if (runs_in_strips(block)) return threads * strip_scratch_size<Element>(block);
  return uses_small_tiles(block) ? layers_scratch_size<SmallUpConv, SmallConv, Element>(block, threads)
                                 : layers_scratch_size<LargeUpConv, LargeConv, Element>(block, threads);
}

template <class Element>
void run_block(const BlockParams& block, const float* x, float* y, float* rgb, float* memory, int threads) {
#pragma omp parallel num_threads(threads)
  {
    if (runs_in_strips(block))
      run_strips<Element>(block, x, y, rgb, memory);
    else if (uses_small_tiles(block))
      run_layer_by_layer<SmallUpConv, SmallConv, Element>(block, x, y, rgb, memory, threads);
    else
      run_layer_by_layer<LargeUpConv, LargeConv, Element>(block, x, y, rgb, memory, threads);
    _mm_sfence();  // what was streamed is to be seen by all
  }
}

}  // namespace toonify
