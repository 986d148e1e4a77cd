// The weight transform G g G^T, from a convolution's weights to packed panels for the GEMM.
//
// Weights are transformed by panels in float32, straight from the mapped file: an encoder is loaded in 0.4 to 0.9 s,
// instead of 1.7 to 3.4 s by single values in double from a copy.

#pragma once

#include <omp.h>

#include <cmath>

#include "algorithms.h"
#include "aligned_buffer.h"
#include "constant_matrices.h"
#include "gemm.h"
#include "params.h"
#include "simd.h"
#include "transforms.h"

namespace toonify {

// Calls `function` with the algorithm of the convolution that the weights belong to.
template <class Function>
auto dispatch_algorithm(const RawWeights& weights, Function function) {
  if (!weights.up) return dispatch_algorithm(weights.size, weights.taps, weights.stride, function);
  return 2 * weights.size <= SMALL_MAP_SIZE ? function(SmallUpConv{}) : function(LargeUpConv{});
}

// Channels are padded to a multiple of this.
template <class Element>
constexpr int CHANNEL_MULTIPLE = LANES * CHANNELS_PER_ELEMENT<Element>;

template <class Element>
int round_up(int channels) {
  return (channels + CHANNEL_MULTIPLE<Element> - 1) / CHANNEL_MULTIPLE<Element> * CHANNEL_MULTIPLE<Element>;
}

// Gathers the taps of LANES output channels and a range of input channels into [I, TAPS * TAPS, LANES]; padded channels
// are zeros.
template <class Algorithm>
void gather_taps(const RawWeights& weights, int output, Range inputs, float* taps) {
  constexpr int T = Algorithm::TAPS * Algorithm::TAPS;
  for (int lane = 0; lane < LANES; ++lane)
    for (int input = inputs.begin; input < inputs.end; ++input) {
      const float* from = weights.data + (output + lane) * weights.output_stride + input * weights.input_stride;
      const bool exists = output + lane < weights.out_channels && input < weights.in_channels;
      float* to = taps + static_cast<long>(input - inputs.begin) * T * LANES + lane;
      for (int tap = 0; tap < T; ++tap) to[tap * LANES] = exists ? from[tap] : 0;
    }
}

// G g G^T for one input channel and LANES output channels.
template <class Algorithm>
TOONIFY_INLINE void transform_taps(const float* taps, Vector* points) {
  constexpr int P = Algorithm::POINTS, T = Algorithm::TAPS;
  Vector partial[T][P];
  for (int b = 0; b < T; ++b) {
    Vector column[T];
    for (int a = 0; a < T; ++a) column[a] = load(taps + (a * T + b) * LANES);
    apply_matrix<P, T, Algorithm::weight_transform>(column, partial[b]);
  }
  for (int p = 0; p < P; ++p) {
    Vector row[T];
    for (int b = 0; b < T; ++b) row[b] = partial[b][p];
    apply_matrix<P, T, Algorithm::weight_transform>(row, points + p * P);
  }
}

// The scale in fixed point for each of LANES output channels with taps [I, TAPS * TAPS, LANES]: such that the norm over
// the input channels is at most MAX_WEIGHT_NORM at every point.
template <class Algorithm>
Vector weight_scales(const float* taps, int in) {
  constexpr int P = Algorithm::POINTS * Algorithm::POINTS, T = Algorithm::TAPS * Algorithm::TAPS;
  Vector squares[P] = {}, points[P], largest = Vector{} + 1e-30f;
  for (int i = 0; i < in; ++i) {
    transform_taps<Algorithm>(taps + static_cast<long>(i) * T * LANES, points);
    for (int p = 0; p < P; ++p) squares[p] += points[p] * points[p];
  }
  for (int p = 0; p < P; ++p) largest = max(largest, squares[p]);
  for (int lane = 0; lane < LANES; ++lane) largest[lane] = std::sqrt(largest[lane]);
  return largest / MAX_WEIGHT_NORM;
}

// Stores one point of an element for LANES output channels; the second channel's points are `second` vectors further.
TOONIFY_INLINE void store_element(float* to, const Vector* points, Vector, int) { stream(to, points[0]); }

TOONIFY_INLINE void store_element(Int16Pair* to, const Vector* points, Vector inverse, int second) {
  stream(to, pack_int16_pairs(round_to_int16(points[0], inverse), round_to_int16(points[second], inverse)));
}

// Transforms a panel, the weights of LANES output channels, and stores their scales. `taps` is scratch for its taps.
template <class Algorithm, class Element>
void transform_panel(const RawWeights& weights, int output, float* taps, Element* transformed, float* scales) {
  constexpr int P = Algorithm::POINTS * Algorithm::POINTS, T = Algorithm::TAPS * Algorithm::TAPS,
                C = CHANNELS_PER_ELEMENT<Element>;
  const int in = round_up<Element>(weights.in_channels), out = round_up<Element>(weights.out_channels),
            elements = in / C;
  for (int input = 0; input < in; input += LANES)  // as many as the L1 cache holds
    gather_taps<Algorithm>(weights, output, {input, input + LANES}, taps + static_cast<long>(input) * T * LANES);
  const Vector scale = C > 1 ? weight_scales<Algorithm>(taps, in) : Vector{} + 1, inverse = 1 / scale;
  store(scales + output, scale);
  for (int element = 0; element < elements; ++element) {
    Vector points[C * P];
    for (int k = 0; k < C; ++k)
      transform_taps<Algorithm>(taps + (first_channel<Element>(element) + k * LANES) * T * LANES, points + k * P);
    for (int p = 0; p < P; ++p)
      store_element(transformed + ((static_cast<long>(p) * out + output) / LANES * elements + element) * LANES,
                    points + p, inverse, P);
  }
}

// Transforms the weights into [points, O / LANES, I, LANES], with I in elements, to be multiplied by scales [O].
template <class Element>
void transform_weights(const RawWeights& weights, Element* transformed, float* scales, int threads) {
  dispatch_algorithm(weights, [&](auto algorithm) {
    using Algorithm = decltype(algorithm);
#pragma omp parallel num_threads(threads)
    {
      const AlignedBuffer taps(static_cast<long>(round_up<Element>(weights.in_channels)) * Algorithm::TAPS *
                               Algorithm::TAPS * LANES);
#pragma omp for schedule(dynamic)
      for (int output = 0; output < round_up<Element>(weights.out_channels); output += LANES)
        transform_panel<Algorithm>(weights, output, taps.get(), transformed, scales);
      _mm_sfence();  // makes non-temporal stores visible to all threads
    }
  });
}

}  // namespace toonify
