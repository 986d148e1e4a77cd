// StyleGAN2's synthesis blocks for one picture: an up-convolution, a convolution, toRGB.
//
// Sizes are powers of two from 4 on. A block is run in one of two ways. Where the weights are large, all threads run
// one layer after the other. Where the feature maps are large, each thread takes strips of the picture through both
// layers, so that the map between the layers never leaves its cache: a block at 1024 took 76 -> 70 ms, with 134 MB less
// (Emerald Rapids, float32).

#pragma once

#include <omp.h>

#include <algorithm>

#include "convolution.h"
#include "synthesis.h"

namespace toonify {

// Channels up to which a block is run in strips: both layers' weights stay in a core's L2 cache or near it (36 points
// of 128 x 128 channels are 2.25 MiB in float32, half of that in fixed point). Strips for 256 channels made no
// difference (0.96 to 1.01; Zen 4, fixed point).
constexpr int MAX_STRIP_CHANNELS = 128;

// Width of a strip, in tiles of the convolution: L2 blocking for the rows of the two maps between the layers. With 64 a
// block at 1024 took 70 ms, with whole rows 72 (Emerald Rapids, float32).
constexpr int STRIP_TILES = 64;

template <class Algorithm, class Element>
using BlockTileBatch = TileBatch<Algorithm, Element, ModulatedConvParams>;

// Height and width of an up-convolution's output before its FIR filter, in whole tiles.
template <class Algorithm>
int unfiltered_size(const ModulatedConvParams& up) {
  return tiles_across<Algorithm>(up) * Algorithm::OUTPUTS;
}

inline FeatureMap<const float> read_only(const FeatureMap<float>& map) {
  return {map.data, map.rows, map.channels, map.columns};
}

// ---- Layer by layer, each by all threads. Each thread calls these functions.

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
void convolve_up(const ModulatedConvParams& up, const float* x, float* scratch, int threads,
                 const FeatureMap<float>& y) {
  const int size = unfiltered_size<Algorithm>(up);
  const UnfilteredMap unfiltered = {scratch, size, {0, size}};
  scratch += UnfilteredMap::size(size, size, up.out_channels);
  convolve_layer<Algorithm, Element>(up, x, scratch, threads,
                                     [&](const TileProducts<Element>& products, int row, int column) {
                                       unfiltered_epilogue<Algorithm>(up, products, row, column, unfiltered);
                                     });
  constexpr int ROWS_PER_TASK = 2 * FIR_ROWS;
#pragma omp for
  for (int row = 0; row < y.rows; row += ROWS_PER_TASK)
    fir_filter(up, unfiltered, {row, std::min(row + ROWS_PER_TASK, y.rows)}, y.columns, y);
}

template <class UpAlgorithm, class ConvAlgorithm, class Element>
void run_layer_by_layer(const BlockParams& block, const float* x, float* y, float* rgb, float* scratch, int threads) {
  const ModulatedConvParams& conv = block.conv;
  if (block.up.weights) {
    float* middle = scratch;
    scratch += middle_map_size(block);
    convolve_up<UpAlgorithm, Element>(block.up, x, scratch, threads,
                                      {middle, conv.size, conv.in_channels, {0, conv.size}});
    x = middle;
  }
  convolve_layer<ConvAlgorithm, Element>(conv, x, scratch, threads,
                                         [&](const TileProducts<Element>& products, int row, int column) {
                                           synthesis_epilogue<ConvAlgorithm>(conv, products, row, column, y, rgb);
                                         });
}

// ---- Strip by strip, each through both layers by one thread.

// The sizes of a strip's ring buffers. The unfiltered map keeps the rows of one row of tiles and the three rows before
// them that the filter still reads; the middle map, between the layers, keeps a tile's rows and those that are filtered
// before they are needed.
constexpr int UNFILTERED_ROWS = LargeUpConv::OUTPUTS + 3;
constexpr int MIDDLE_ROWS = LargeConv::SAMPLES + LargeUpConv::OUTPUTS - 1;
constexpr int MIDDLE_COLUMNS = STRIP_TILES * LargeConv::STEP + 2;
constexpr int UNFILTERED_COLUMNS = MIDDLE_COLUMNS + 3 + 2 * (LargeUpConv::OUTPUTS - 1);

template <class Element>
long strip_scratch_size(const BlockParams& block) {
  return BlockTileBatch<LargeUpConv, Element>::scratch_size(block.up, PRIVATE_BATCH_TILES) +
         BlockTileBatch<LargeConv, Element>::scratch_size(block.conv, PRIVATE_BATCH_TILES) +
         (UNFILTERED_ROWS * UNFILTERED_COLUMNS + MIDDLE_ROWS * MIDDLE_COLUMNS) *
             static_cast<long>(block.conv.in_channels);
}

// The indices of a range of tiles in a row of tiles.
template <class Algorithm>
Range tiles_in_row(const ModulatedConvParams& layer, int row, Range columns) {
  const int first = row * tiles_across<Algorithm>(layer);
  return {first + columns.begin, first + columns.end};
}

// Runs one strip. `rows` and `columns` count the tiles of the convolution.
template <class Element>
void run_strip(const BlockParams& block, const float* x, float* y, float* rgb, float* scratch, Range rows,
               Range columns) {
  const ModulatedConvParams &up = block.up, &conv = block.conv;
  // The columns of the middle map that the convolution reads, and the up-convolution's tiles that the filter reads.
  const Range middle_columns = {std::max(columns.begin * LargeConv::STEP - 1, 0),
                                std::min(columns.end * LargeConv::STEP + 1, conv.size)};
  const Range up_columns = {std::max(middle_columns.begin - 1, 0) / LargeUpConv::OUTPUTS,
                            (middle_columns.end + 1) / LargeUpConv::OUTPUTS + 1};

  BlockTileBatch<LargeUpConv, Element> up_tiles(up, PRIVATE_BATCH_TILES, scratch);
  scratch += BlockTileBatch<LargeUpConv, Element>::scratch_size(up, PRIVATE_BATCH_TILES);
  BlockTileBatch<LargeConv, Element> tiles(conv, PRIVATE_BATCH_TILES, scratch);
  scratch += BlockTileBatch<LargeConv, Element>::scratch_size(conv, PRIVATE_BATCH_TILES);
  const Range unfiltered_columns = {up_columns.begin * LargeUpConv::OUTPUTS, up_columns.end * LargeUpConv::OUTPUTS};
  const UnfilteredMap unfiltered = {scratch, UNFILTERED_ROWS, unfiltered_columns};
  scratch += UnfilteredMap::size(UNFILTERED_ROWS, unfiltered_columns.end - unfiltered_columns.begin, up.out_channels);
  const FeatureMap<float> middle = {scratch, MIDDLE_ROWS, conv.in_channels, middle_columns};

  int middle_end = std::max(rows.begin * LargeConv::STEP - 1, 0);   // the middle map is complete up to this row
  int up_row = std::max(middle_end - 1, 0) / LargeUpConv::OUTPUTS;  // the unfiltered map up to this row of tiles
  const int last = std::min(rows.end * LargeConv::STEP + 1, conv.size);
  for (int row = rows.begin; row < rows.end; ++row) {
    while (middle_end < std::min((row + 1) * LargeConv::STEP + 1, conv.size)) {
      convolve_in_private_batches(up_tiles, input_map(up, x), tiles_in_row<LargeUpConv>(up, up_row++, up_columns),
                                  [&](const TileProducts<Element>& products, int r, int column) {
                                    unfiltered_epilogue<LargeUpConv>(up, products, r, column, unfiltered);
                                  });
      const int end = std::min(up_row * LargeUpConv::OUTPUTS - 2, last);  // the filter reads two rows more
      fir_filter(up, unfiltered, {middle_end, end}, middle_columns, middle);
      middle_end = std::max(middle_end, end);
    }
    convolve_in_private_batches(tiles, read_only(middle), tiles_in_row<LargeConv>(conv, row, columns),
                                [&](const TileProducts<Element>& products, int r, int column) {
                                  synthesis_epilogue<LargeConv>(conv, products, r, column, y, rgb);
                                });
  }
}

template <class Element>
void run_strips(const BlockParams& block, const float* x, float* y, float* rgb, float* scratch) {
  const int across = tiles_across<LargeConv>(block.conv);
  scratch += omp_get_thread_num() * strip_scratch_size<Element>(block);
  for (int first = 0; first < across; first += STRIP_TILES)
    run_strip<Element>(block, x, y, rgb, scratch, thread_range(across), {first, std::min(first + STRIP_TILES, across)});
}

// ---- The choice between the two.

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
void run_block(const BlockParams& block, const float* x, float* y, float* rgb, float* scratch, int threads) {
#pragma omp parallel num_threads(threads)
  {
    if (runs_in_strips(block))
      run_strips<Element>(block, x, y, rgb, scratch);
    else if (uses_small_tiles(block))
      run_layer_by_layer<SmallUpConv, SmallConv, Element>(block, x, y, rgb, scratch, threads);
    else
      run_layer_by_layer<LargeUpConv, LargeConv, Element>(block, x, y, rgb, scratch, threads);
    _mm_sfence();  // makes non-temporal stores visible to all threads
  }
}

}  // namespace toonify
