// Filters to what the products take.

#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "products.h"
#include "tiles.h"

namespace toonify {

// G kernel G^T of one output's filters [I, TAPS, TAPS] -> [points, I].
template <class Form>
std::vector<double> points_from_taps(int in, const float* kernels) {
  constexpr int P = Form::POINTS, T = Form::TAPS;
  std::vector<double> points(P * P * in);
  for (int i = 0; i < in; ++i)
    for (int p = 0; p < P; ++p) {
      double row[T] = {};
      for (int a = 0; a < T; ++a)
        for (int b = 0; b < T; ++b) row[b] += Form::taps(p, a) * kernels[(i * T + a) * T + b];
      for (int q = 0; q < P; ++q) {
        double sum = 0;
        for (int b = 0; b < T; ++b) sum += Form::taps(q, b) * row[b];
        points[(p * P + q) * in + i] = sum;
      }
    }
  return points;
}

// What a unit of fixed point is worth, of an output's filters [points, I].
inline double unit_of(const std::vector<double>& points, int in) {
  double largest = 1e-30;
  for (size_t first = 0; first < points.size(); first += in) {
    double squares = 0;
    for (int i = 0; i < in; ++i) squares += points[first + i] * points[first + i];
    largest = std::max(largest, squares);
  }
  return std::sqrt(largest) / FIXED_NORM;
}

inline void put(double value, float& number, int) { number = static_cast<float>(value); }

inline void put(double value, Pair& number, int half) {
  number |= static_cast<Pair>((std::lrint(value) & 0xffff) << 16 * half);
}

// weights [O, I, TAPS, TAPS] -> transformed [points, O / LANES, I, LANES], with numbers of I channels, which was zeros,
// times the units [O] that it is in.
template <class Form, class Number>
void transform_weights(int in, int out, const float* weights, Number* transformed, float* units) {
#pragma omp parallel for
  for (int o = 0; o < out; ++o) {
    const auto points = points_from_taps<Form>(in, weights + static_cast<long>(o) * in * Form::TAPS * Form::TAPS);
    const double unit = CHANNELS<Number> > 1 ? unit_of(points, in) : 1;
    units[o] = static_cast<float>(unit);
    for (int point = 0; point < Form::POINTS * Form::POINTS; ++point)
      for (int i = 0; i < in; ++i) {
        const long panel = (static_cast<long>(point) * out + o) / LANES * (in / CHANNELS<Number>);
        const Place place = place_of<Number>(i);
        put(points[static_cast<long>(point) * in + i] / unit, transformed[(panel + place.number) * LANES + o % LANES],
            place.half);
      }
  }
}

}  // namespace toonify
