// What Python calls. Maps are float32 [H, W, C], planes of colours [3, H, W].

#include <omp.h>

#include "blocks.h"
#include "picture.h"
#include "styles.h"

using namespace toonify;

extern "C" {

// Whether this processor runs what this file was compiled to.
bool toonify_runs_here() {
#ifdef __AVX512F__
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#else
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
#endif
}

// All that this process may use.
int toonify_threads() { return omp_get_max_threads(); }

// Channels come in multiples of these.
int toonify_lanes() { return LANES; }

// Of transformed weights, in the block that gives pictures of this size.
int toonify_points(bool up, int size) { return points(up, size); }

// [O, I, 3, 3] -> [points, O / LANES, I, LANES].
void toonify_transform_weights(bool up, int size, int in, int out, const float* weights, float* transformed) {
  transform_weights(up, size, in, out, weights, transformed);
}

// How many numbers of memory toonify_run_block needs.
long toonify_block_memory(const Block* block, int threads) { return block_memory(*block, threads); }

// x -> y, which may be null, and toRGB's products.
void toonify_run_block(const Block* block, const float* x, float* y, float* rgb, float* memory, int threads) {
  run_block(*block, x, y, rgb, memory, threads);
}

// y [R] = M [R, C] x [C], C a multiple of LANES.
void toonify_multiply_vector(int rows, int columns, const float* matrix, const float* x, float* y, int threads) {
  multiply_vector(rows, columns, matrix, x, y, threads);
}

// rgb + bias, clamped, + the picture below, upsampled; null where there is none.
void toonify_add_below(int size, const float* bias, float clamp, const float* below, float* rgb, int threads) {
  add_below(size, bias, clamp, below, rgb, threads);
}

// -1..1 -> levels [H, W, 3].
void toonify_quantise(int size, const float* rgb, uint8_t* picture, int threads) {
  quantise(size, rgb, picture, threads);
}
}
