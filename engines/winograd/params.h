// What the kernels take; library.py has these structures too. Channels come in multiples of toonify_channel_multiple,
// arrays are aligned to 64 bytes.

#pragma once

#include <cstdint>

#include "simd.h"

namespace toonify {

// A convolution's weights [O, I, TAPS, TAPS] as they come, and what its form is chosen by.
struct RawWeights {
  int32_t size, in_channels, out_channels;  // height and width of the input; channels, any number
  int32_t taps, stride, up;                 // along each side; of the input; whether it doubles the map
  const float* data;                        // the taps of one input and output lie together
  int64_t output_stride, input_stride;      // from the taps of one to those of the next one
};

// A modulated 3x3 convolution of one picture, with what follows it.
struct ModulatedConvParams {
  int32_t size, in_channels, out_channels;  // height and width of the input, channels
  float clamp;                              // of the activation
  const void* weights;                      // [points, O / LANES, I, LANES], transformed
  const float* style;                       // [I]
  const float* demodulation;                // [O]
  const float* noise;                       // [H, W] of the output
  const float* bias;                        // [O]
  const float* rgb_weight;                  // [3, O], toRGB's weight times its style; not read of up-convolutions
};

// A synthesis block; `up` has no weights in the lowest one.
struct BlockParams {
  ModulatedConvParams up, conv;
};

// A convolution that is not modulated, with zeros around its input, and what is before and after it:
//
//     y = slope(gain conv(scale x + shift) + bias)
struct ConvParams {
  int32_t size, in_channels, out_channels;  // height and width of the input, channels
  int32_t taps, stride;                     // 3 or 1 along each side, 1 or 2
  const void* weights;                      // as above
  const float *scale, *shift;               // [I]
  const float *gain, *bias;                 // [O]
  const float* slope;                       // [O], of what is negative
};

TOONIFY_INLINE Vector prologue(const ModulatedConvParams& layer, Vector x, int channel) {
  return x * load(layer.style + channel);
}

TOONIFY_INLINE Vector prologue(const ConvParams& layer, Vector x, int channel) {
  return x * load(layer.scale + channel) + load(layer.shift + channel);
}

}  // namespace toonify
