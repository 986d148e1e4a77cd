// What Python calls. Maps are float32 [H, W, C], planes of colours [3, H, W]. `fixed` asks for products of fixed point.

#include <omp.h>

#include "blocks.h"
#include "encoder.h"
#include "picture.h"
#include "styles.h"
#include "weights.h"

using namespace toonify;

extern "C" {

// Whether this processor runs what this file was compiled to.
bool toonify_runs_here() {
#ifdef __AVX512F__
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")
#ifdef __AVX512VNNI__
         && __builtin_cpu_supports("avx512vnni")
#endif
      ;
#else
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
#endif
}

// All that this process may use.
int toonify_threads() { return omp_get_max_threads(); }

// Channels come in multiples of these.
int toonify_channels(bool fixed) { return fixed ? MULTIPLE<Pair> : MULTIPLE<float>; }

// Of transformed weights.
int toonify_points(const Weights* weights) {
  return with_form(*weights, [](auto form) { return form.POINTS * form.POINTS; });
}

// -> [points, O / LANES, I, LANES]: numbers of 32 bits, of fixed point for two channels. Times units [O] they are the
// weights'.
void toonify_transform_weights(bool fixed, const Weights* weights, void* transformed, float* units, int threads) {
  if (fixed)
    transform_weights(*weights, static_cast<Pair*>(transformed), units, threads);
  else
    transform_weights(*weights, static_cast<float*>(transformed), units, threads);
}

// How many numbers of memory toonify_run_block needs.
long toonify_block_memory(bool fixed, const Block* block, int threads) {
  return (fixed ? block_memory<Pair> : block_memory<float>)(*block, threads);
}

// x -> y, which may be null, and toRGB's products.
void toonify_run_block(bool fixed, const Block* block, const float* x, float* y, float* rgb, float* memory,
                       int threads) {
  (fixed ? run_block<Pair> : run_block<float>)(*block, x, y, rgb, memory, threads);
}

long toonify_convolution_memory(bool fixed, const Convolution* layer, int threads) {
  return (fixed ? convolution_memory<Pair> : convolution_memory<float>)(*layer, threads);
}

// x -> y.
void toonify_convolve(bool fixed, const Convolution* layer, const float* x, float* y, float* memory, int threads) {
  (fixed ? convolve<Pair> : convolve<float>)(*layer, x, y, memory, threads);
}

// x [PIXELS, C] -> [C].
void toonify_means(int pixels, int channels, const float* x, float* found, int threads) {
  means(pixels, channels, x, found, threads);
}

// x [H, W, C] times gates [C], + each STRIDE-th row and column of a map.
void toonify_gate_and_add(int size, int channels, const float* gates, int stride, const float* added, float* x,
                          int threads) {
  gate_and_add(size, channels, gates, stride, added, x, threads);
}

// y [2 H, 2 W, C] + x [H, W, C], bilinear.
void toonify_add_doubled(int size, int channels, const float* x, float* y, int threads) {
  add_doubled(size, channels, x, y, threads);
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
