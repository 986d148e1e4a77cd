// The parameters of the kernels. library.py declares the same structures for ctypes, field by field. Except in
// RawWeights channels are padded to multiples of toonify_channel_multiple, and arrays are aligned to 64 bytes.

#pragma once

#include <cstdint>

#include "simd.h"

namespace toonify {

// A convolution's weights [O, I, TAPS, TAPS] before their transform, and what its algorithm is chosen by.
struct RawWeights {
  int32_t size, in_channels, out_channels;  // height and width of the input; channels, not padded
  int32_t taps, stride, up;                 // taps along each side; 1 or 2; 1 for an up-convolution
  const float* data;                        // the taps of one input and output channel are contiguous
  int64_t output_stride, input_stride;      // in floats, from one channel's taps to the next one's
};

// A modulated 3x3 convolution of one picture, and its epilogue: demodulation, noise, bias, leaky ReLU, clamp, toRGB.
struct ModulatedConvParams {
  int32_t size, in_channels, out_channels;  // height and width of the input, channels
  float clamp;                              // of the activation; FLT_MAX for none
  const void* weights;                      // [points, O / LANES, I, LANES], transformed
  const float* style;                       // [I]
  const float* demodulation;                // [O]
  const float* noise;                       // [H, W] of the output
  const float* bias;                        // [O]
  const float* rgb_weight;                  // [3, O], toRGB's weight times its style; not read in up-convolutions
};

// A synthesis block; in the lowest one `up.weights` is null.
struct BlockParams {
  ModulatedConvParams up, conv;
};

// A zero-padded convolution of an encoder, its prologue (a folded batch normalisation) and its epilogue (PReLU):
//
//     y = prelu(gain conv(scale x + shift) + bias)
struct ConvParams {
  int32_t size, in_channels, out_channels;  // height and width of the input, channels
  int32_t taps, stride;                     // taps along each side, 3 or 1; stride 1 or 2
  const void* weights;                      // [points, O / LANES, I, LANES], transformed
  const float *scale, *shift;               // [I]
  const float *gain, *bias;                 // [O]
  const float* slope;                       // [O], the factor of negative values
};

// What is done to LANES channels of a sample before the input transform.
TOONIFY_INLINE Vector prologue(const ModulatedConvParams& layer, Vector x, int channel) {
  return x * load(layer.style + channel);
}

TOONIFY_INLINE Vector prologue(const ConvParams& layer, Vector x, int channel) {
  return x * load(layer.scale + channel) + load(layer.shift + channel);
}

}  // namespace toonify
