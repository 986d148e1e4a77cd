// A convolution's weights to what the products take.

#pragma once

#include <omp.h>

#include <cmath>

#include "buffer.h"
#include "filters.h"
#include "layers.h"
#include "matrices.h"
#include "products.h"
#include "tiles.h"
#include "vectors.h"

namespace toonify {

// Calls `with` the form of the convolution that weights belong to.
template <class With>
auto with_form(const Weights& weights, With with) {
  if (!weights.up) return with_form(weights.size, weights.taps, weights.stride, with);
  return 2 * weights.size <= SMALL ? with(SmallUp{}) : with(LargeUp{});
}

// Channels are made up to a multiple of this.
template <class Number>
constexpr int MULTIPLE = LANES * CHANNELS<Number>;

template <class Number>
int made_up(int channels) {
  return (channels + MULTIPLE<Number> - 1) / MULTIPLE<Number> * MULTIPLE<Number>;
}

// The taps of LANES outputs and of some inputs, [I, TAPS * TAPS, LANES]; zeros where there is no such channel.
template <class Form>
void collect_taps(const Weights& weights, int output, Span inputs, float* taps) {
  constexpr int T = Form::TAPS * Form::TAPS;
  for (int lane = 0; lane < LANES; ++lane)
    for (int input = inputs.first; input < inputs.last; ++input) {
      const float* from = weights.first + (output + lane) * weights.of_output + input * weights.of_input;
      const bool exists = output + lane < weights.out && input < weights.in;
      float* to = taps + static_cast<long>(input - inputs.first) * T * LANES + lane;
      for (int tap = 0; tap < T; ++tap) to[tap * LANES] = exists ? from[tap] : 0;
    }
}

// G taps G^T of one input.
template <class Form>
TOONIFY_INLINE void points_from_taps(const float* taps, Vector* points) {
  constexpr int P = Form::POINTS, T = Form::TAPS;
  Vector halfway[T][P];
  for (int b = 0; b < T; ++b) {
    Vector column[T];
    for (int a = 0; a < T; ++a) column[a] = load(taps + (a * T + b) * LANES);
    multiply<P, T, Form::taps>(column, halfway[b]);
  }
  for (int p = 0; p < P; ++p) {
    Vector row[T];
    for (int b = 0; b < T; ++b) row[b] = halfway[b][p];
    multiply<P, T, Form::taps>(row, points + p * P);
  }
}

// What a unit of fixed point is worth, of each output of taps [I, TAPS * TAPS, LANES].
template <class Form>
Vector units_of(const float* taps, int in) {
  constexpr int P = Form::POINTS * Form::POINTS, T = Form::TAPS * Form::TAPS;
  Vector squares[P] = {}, points[P], largest = Vector{} + 1e-30f;
  for (int i = 0; i < in; ++i) {
    points_from_taps<Form>(taps + static_cast<long>(i) * T * LANES, points);
    for (int p = 0; p < P; ++p) squares[p] += points[p] * points[p];
  }
  for (int p = 0; p < P; ++p) largest = larger(largest, squares[p]);
  for (int lane = 0; lane < LANES; ++lane) largest[lane] = std::sqrt(largest[lane]);
  return largest / WEIGHT_NORM;
}

// One point of a number's channels; the second channel's points are `second` further.
TOONIFY_INLINE void put(float* to, const Vector* points, Vector, int) { stream(to, points[0]); }

TOONIFY_INLINE void put(Pair* to, const Vector* points, Vector scale, int second) {
  stream(to, paired(nearest(points[0], scale), nearest(points[second], scale)));
}

// LANES outputs' weights, which are a panel, and the units that they are in; `taps` is room for all of their taps.
template <class Form, class Number>
void transform_panel(const Weights& weights, int output, float* taps, Number* transformed, float* units) {
  constexpr int P = Form::POINTS * Form::POINTS, T = Form::TAPS * Form::TAPS, BOTH = CHANNELS<Number>;
  const int in = made_up<Number>(weights.in), out = made_up<Number>(weights.out), numbers = in / BOTH;
  for (int input = 0; input < in; input += LANES)  // as many as the first cache holds
    collect_taps<Form>(weights, output, {input, input + LANES}, taps + static_cast<long>(input) * T * LANES);
  const Vector unit = BOTH > 1 ? units_of<Form>(taps, in) : Vector{} + 1, scale = 1 / unit;
  store(units + output, unit);
  for (int number = 0; number < numbers; ++number) {
    Vector points[BOTH * P];
    for (int k = 0; k < BOTH; ++k)
      points_from_taps<Form>(taps + (channel_of<Number>(number) + k * LANES) * T * LANES, points + k * P);
    for (int p = 0; p < P; ++p)
      put(transformed + ((static_cast<long>(p) * out + output) / LANES * numbers + number) * LANES, points + p, scale,
          P);
  }
}

// -> transformed [points, O / LANES, I, LANES], with numbers of I channels, times the units [O] that it is in.
template <class Number>
void transform_weights(const Weights& weights, Number* transformed, float* units, int threads) {
  with_form(weights, [&](auto form) {
    using Form = decltype(form);
#pragma omp parallel num_threads(threads)
    {
      const Buffer taps(static_cast<long>(made_up<Number>(weights.in)) * Form::TAPS * Form::TAPS * LANES);
#pragma omp for schedule(dynamic)
      for (int output = 0; output < made_up<Number>(weights.out); output += LANES)
        transform_panel<Form>(weights, output, taps.get(), transformed, units);
      _mm_sfence();  // what was streamed is to be seen by all
    }
  });
}

}  // namespace toonify
