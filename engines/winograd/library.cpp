// The functions that library.py calls. Feature maps are float32 [H, W, C], images [3, H, W]. With `fixed_point` the
// convolutions' products are in fixed point. Scratch sizes are in floats.

#include <omp.h>

#include "blocks.h"
#include "encoder.h"
#include "gemv.h"
#include "rgb.h"
#include "weight_transform.h"

using namespace toonify;

extern "C" {

// True if this processor has the instruction set for which this file was compiled.
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

// The default number of threads: the cores that this process may use, or OMP_NUM_THREADS.
int toonify_max_threads() { return omp_get_max_threads(); }

// Channels are padded to multiples of this.
int toonify_channel_multiple(bool fixed_point) {
  return fixed_point ? CHANNEL_MULTIPLE<Int16Pair> : CHANNEL_MULTIPLE<float>;
}

// The number of points of a convolution's transformed weights.
int toonify_point_count(const RawWeights* weights) {
  return dispatch_algorithm(*weights, [](auto algorithm) { return algorithm.POINTS * algorithm.POINTS; });
}

// Transforms weights into [points, O / LANES, I, LANES], in elements of 32 bits: a float, or two int16 for two
// channels. They are to be multiplied by scales [O].
void toonify_transform_weights(bool fixed_point, const RawWeights* weights, void* transformed, float* scales,
                               int threads) {
  if (fixed_point)
    transform_weights(*weights, static_cast<Int16Pair*>(transformed), scales, threads);
  else
    transform_weights(*weights, static_cast<float*>(transformed), scales, threads);
}

// The scratch size of toonify_run_block.
long toonify_block_scratch_size(bool fixed_point, const BlockParams* block, int threads) {
  return (fixed_point ? block_scratch_size<Int16Pair> : block_scratch_size<float>)(*block, threads);
}

// Runs a synthesis block: x -> y, unless y is null, and toRGB's products into rgb.
void toonify_run_block(bool fixed_point, const BlockParams* block, const float* x, float* y, float* rgb, float* scratch,
                       int threads) {
  (fixed_point ? run_block<Int16Pair> : run_block<float>)(*block, x, y, rgb, scratch, threads);
}

// The scratch size of toonify_convolve.
long toonify_convolution_scratch_size(bool fixed_point, const ConvParams* layer, int threads) {
  return (fixed_point ? convolution_scratch_size<Int16Pair> : convolution_scratch_size<float>)(*layer, threads);
}

// Runs a convolution of an encoder: x -> y.
void toonify_convolve(bool fixed_point, const ConvParams* layer, const float* x, float* y, float* scratch,
                      int threads) {
  (fixed_point ? convolve<Int16Pair> : convolve<float>)(*layer, x, y, scratch, threads);
}

// The mean of each channel: x [PIXELS, C] -> means [C].
void toonify_channel_means(int pixels, int channels, const float* x, float* means, int threads) {
  channel_means(pixels, channels, x, means, threads);
}

// x [H, W, C] = x times gates [C] + every STRIDE-th row and column of the map shortcut.
void toonify_gate_and_add(int size, int channels, const float* gates, int stride, const float* shortcut, float* x,
                          int threads) {
  gate_and_add(size, channels, gates, stride, shortcut, x, threads);
}

// y [2 H, 2 W, C] += x [H, W, C], upsampled bilinearly with aligned corners.
void toonify_add_upsampled(int size, int channels, const float* x, float* y, int threads) {
  add_upsampled(size, channels, x, y, threads);
}

// y [R] = M [R, C] x [C], C a multiple of LANES.
void toonify_gemv(int rows, int columns, const float* matrix, const float* x, float* y, int threads) {
  gemv(rows, columns, matrix, x, y, threads);
}

// rgb = clamp(rgb + bias) + the image of the resolution below, upsampled; `lower` is null at the lowest resolution.
void toonify_add_skip(int size, const float* bias, float clamp, const float* lower, float* rgb, int threads) {
  add_skip(size, bias, clamp, lower, rgb, threads);
}

// An image rgb [3, H, W], -1 to 1, to a picture [H, W, 3], 0 to 255.
void toonify_rgb_to_uint8(int size, const float* rgb, uint8_t* picture, int threads) {
  rgb_to_uint8(size, rgb, picture, threads);
}
}
