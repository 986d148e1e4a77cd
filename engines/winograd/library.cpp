// What Python calls. Maps are float32 [H, W, C], planes of colours [3, H, W]. `fixed` asks for products of fixed point.

#include <omp.h>

#include "blocks.h"
#include "encoder.h"
#include "gemv.h"
#include "rgb.h"
#include "weight_transform.h"

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
int toonify_max_threads() { return omp_get_max_threads(); }

// Channels come in multiples of these.
int toonify_channel_multiple(bool fixed_point) {
  return fixed_point ? CHANNEL_MULTIPLE<Int16Pair> : CHANNEL_MULTIPLE<float>;
}

// Of transformed weights.
int toonify_point_count(const RawWeights* weights) {
  return dispatch_algorithm(*weights, [](auto algorithm) { return algorithm.POINTS * algorithm.POINTS; });
}

// -> [points, O / LANES, I, LANES]: numbers of 32 bits, of fixed point for two channels. Times units [O] they are the
// weights'.
void toonify_transform_weights(bool fixed_point, const RawWeights* weights, void* transformed, float* units,
                               int threads) {
  if (fixed_point)
    transform_weights(*weights, static_cast<Int16Pair*>(transformed), units, threads);
  else
    transform_weights(*weights, static_cast<float*>(transformed), units, threads);
}

// How many numbers of memory toonify_run_block needs.
long toonify_block_scratch_size(bool fixed_point, const BlockParams* block, int threads) {
  return (fixed_point ? block_scratch_size<Int16Pair> : block_scratch_size<float>)(*block, threads);
}

// x -> y, which may be null, and toRGB's products.
void toonify_run_block(bool fixed_point, const BlockParams* block, const float* x, float* y, float* rgb, float* memory,
                       int threads) {
  (fixed_point ? run_block<Int16Pair> : run_block<float>)(*block, x, y, rgb, memory, threads);
}

long toonify_convolution_scratch_size(bool fixed_point, const ConvParams* layer, int threads) {
  return (fixed_point ? convolution_scratch_size<Int16Pair> : convolution_scratch_size<float>)(*layer, threads);
}

// x -> y.
void toonify_convolve(bool fixed_point, const ConvParams* layer, const float* x, float* y, float* memory, int threads) {
  (fixed_point ? convolve<Int16Pair> : convolve<float>)(*layer, x, y, memory, threads);
}

// x [PIXELS, C] -> [C].
void toonify_channel_means(int pixels, int channels, const float* x, float* result, int threads) {
  channel_means(pixels, channels, x, result, threads);
}

// x [H, W, C] times gates [C], + each STRIDE-th row and column of a map.
void toonify_gate_and_add(int size, int channels, const float* gates, int stride, const float* shortcut, float* x,
                          int threads) {
  gate_and_add(size, channels, gates, stride, shortcut, x, threads);
}

// y [2 H, 2 W, C] + x [H, W, C], bilinear.
void toonify_add_upsampled(int size, int channels, const float* x, float* y, int threads) {
  add_upsampled(size, channels, x, y, threads);
}

// y [R] = M [R, C] x [C], C a multiple of LANES.
void toonify_gemv(int rows, int columns, const float* matrix, const float* x, float* y, int threads) {
  gemv(rows, columns, matrix, x, y, threads);
}

// rgb + bias, clamped, + the picture below, upsampled; null where there is none.
void toonify_add_skip(int size, const float* bias, float clamp, const float* skip, float* rgb, int threads) {
  add_skip(size, bias, clamp, skip, rgb, threads);
}

// -1..1 -> levels [H, W, 3].
void toonify_rgb_to_uint8(int size, const float* rgb, uint8_t* picture, int threads) {
  rgb_to_uint8(size, rgb, picture, threads);
}
}
