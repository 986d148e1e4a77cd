// A convolution's weights to what the products take.

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

// Calls `with` the form of the convolution that weights belong to.
template <class Function>
auto dispatch_algorithm(const RawWeights& weights, Function function) {
  if (!weights.up) return dispatch_algorithm(weights.size, weights.taps, weights.stride, function);
  return 2 * weights.size <= SMALL_MAP_SIZE ? function(SmallUpConv{}) : function(LargeUpConv{});
}

// Channels are made up to a multiple of this.
template <class Element>
constexpr int CHANNEL_MULTIPLE = LANES * CHANNELS_PER_ELEMENT<Element>;

template <class Element>
int round_up(int channels) {
  return (channels + CHANNEL_MULTIPLE<Element> - 1) / CHANNEL_MULTIPLE<Element> * CHANNEL_MULTIPLE<Element>;
}

// The taps of LANES outputs and of some inputs, [I, TAPS * TAPS, LANES]; zeros where there is no such channel.
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

// G taps G^T of one input.
template <class Algorithm>
TOONIFY_INLINE void transform_taps(const float* taps, Vector* points) {
  constexpr int P = Algorithm::POINTS, T = Algorithm::TAPS;
  Vector partial[T][P];
  for (int b = 0; b < T; ++b) {
    Vector column[T];
    for (int a = 0; a < T; ++a) column[a] = load(taps + (a * T + b) * LANES);
    apply_matrix<P, T, Algorithm::taps>(column, partial[b]);
  }
  for (int p = 0; p < P; ++p) {
    Vector row[T];
    for (int b = 0; b < T; ++b) row[b] = partial[b][p];
    apply_matrix<P, T, Algorithm::taps>(row, points + p * P);
  }
}

// What a unit of fixed point is worth, of each output of taps [I, TAPS * TAPS, LANES].
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

// One point of a number's channels; the second channel's points are `second` further.
TOONIFY_INLINE void store_element(float* to, const Vector* points, Vector, int) { stream(to, points[0]); }

TOONIFY_INLINE void store_element(Int16Pair* to, const Vector* points, Vector scale, int second) {
  stream(to, pack_int16_pairs(round_to_int16(points[0], scale), round_to_int16(points[second], scale)));
}

// LANES outputs' weights, which are a panel, and the units that they are in; `taps` is room for all of their taps.
template <class Algorithm, class Element>
void transform_panel(const RawWeights& weights, int output, float* taps, Element* transformed, float* units) {
  constexpr int P = Algorithm::POINTS * Algorithm::POINTS, T = Algorithm::TAPS * Algorithm::TAPS,
                C = CHANNELS_PER_ELEMENT<Element>;
  const int in = round_up<Element>(weights.in_channels), out = round_up<Element>(weights.out_channels),
            numbers = in / C;
  for (int input = 0; input < in; input += LANES)  // as many as the first cache holds
    gather_taps<Algorithm>(weights, output, {input, input + LANES}, taps + static_cast<long>(input) * T * LANES);
  const Vector unit = C > 1 ? weight_scales<Algorithm>(taps, in) : Vector{} + 1, scale = 1 / unit;
  store(units + output, unit);
  for (int number = 0; number < numbers; ++number) {
    Vector points[C * P];
    for (int k = 0; k < C; ++k)
      transform_taps<Algorithm>(taps + (first_channel<Element>(number) + k * LANES) * T * LANES, points + k * P);
    for (int p = 0; p < P; ++p)
      store_element(transformed + ((static_cast<long>(p) * out + output) / LANES * numbers + number) * LANES,
                    points + p, scale, P);
  }
}

// -> transformed [points, O / LANES, I, LANES], with numbers of I channels, times the units [O] that it is in.
template <class Element>
void transform_weights(const RawWeights& weights, Element* transformed, float* units, int threads) {
  dispatch_algorithm(weights, [&](auto algorithm) {
    using Algorithm = decltype(algorithm);
#pragma omp parallel num_threads(threads)
    {
      const AlignedBuffer taps(static_cast<long>(round_up<Element>(weights.in_channels)) * Algorithm::TAPS *
                               Algorithm::TAPS * LANES);
#pragma omp for schedule(dynamic)
      for (int output = 0; output < round_up<Element>(weights.out_channels); output += LANES)
        transform_panel<Algorithm>(weights, output, taps.get(), transformed, units);
      _mm_sfence();  // what was streamed is to be seen by all
    }
  });
}

}  // namespace toonify
