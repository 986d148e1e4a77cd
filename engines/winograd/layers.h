// What the kernels take; library.py has these structures too.

#pragma once

#include <cstdint>

namespace toonify {

// A modulated 3x3 convolution of one picture, with what follows it. Channels are multiples of LANES, arrays are aligned
// to 64 bytes.
struct Layer {
  int32_t size, in, out;      // height and width of the input, channels
  float clamp;                // of the activation
  const float* weights;       // [points, O / LANES, I, LANES], transformed
  const float* style;         // [I]
  const float* demodulation;  // [O]
  const float* noise;         // [H, W] of the output
  const float* bias;          // [O]
  const float* rgb;           // [3, O], toRGB's weight times its style; not read of up-convolutions
};

// A synthesis block; `up` has no weights in the lowest one.
struct Block {
  Layer up, conv;
};

}  // namespace toonify
