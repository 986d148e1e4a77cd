// Winograd's minimal filtering (Lavin and Gray, arXiv 1509.09308) along one axis, and the two forms that are used.
//
// M outputs of a correlation with R taps need M + R - 1 products instead of M R:
//
//     outputs = A ((G taps) * (B samples)),  * element by element
//
// with one product for each of M + R - 2 numbers, at which polynomials are evaluated (Toom and Cook), and one for
// infinity. A form is applied along both axes.

#pragma once

namespace toonify {

template <int OUTPUTS, int TAPS>
struct Filter {
  static constexpr int POINTS = OUTPUTS + TAPS - 1;

  // B, A and G. The numbers are dyadic, so that all of B and A is exact in double.
  double samples[POINTS][POINTS] = {};
  double outputs[OUTPUTS][POINTS] = {};
  double taps[POINTS][TAPS] = {};

  constexpr explicit Filter(const double (&numbers)[POINTS - 1]) {
    for (int p = 0; p < POINTS - 1; ++p) {
      double power = 1;
      for (int k = 0; k < POINTS; ++k, power *= numbers[p]) {
        if (k < OUTPUTS) outputs[k][p] = power;
        if (k < TAPS) taps[p][k] = power / spread(numbers, p);
      }
      expand(numbers, p);
    }
    outputs[OUTPUTS - 1][POINTS - 1] = 1;
    taps[POINTS - 1][TAPS - 1] = 1;
    expand(numbers, POINTS - 1);
  }

 private:
  // The product of (number p - number q) over all others.
  static constexpr double spread(const double (&numbers)[POINTS - 1], int p) {
    double product = 1;
    for (int q = 0; q < POINTS - 1; ++q)
      if (q != p) product *= numbers[p] - numbers[q];
    return product;
  }

  // Row p of B: the coefficients of the product of (x - number q) over all others.
  constexpr void expand(const double (&numbers)[POINTS - 1], int p) {
    samples[p][0] = 1;
    for (int q = 0, degree = 1; q < POINTS - 1; ++q) {
      if (q == p) continue;
      for (int k = degree; k >= 0; --k) samples[p][k] = (k ? samples[p][k - 1] : 0) - numbers[q] * samples[p][k];
      ++degree;
    }
  }
};

// A 3x3 convolution: tiles of STEP x STEP outputs. With 4, 36 products for 144; with 2, 16 for 36.
template <int SIZE>
struct Plain {
  static_assert(SIZE == 2 || SIZE == 4);
  static constexpr int FACTOR = 1;          // of the output's size
  static constexpr int STEP = SIZE;         // inputs from one tile to the next
  static constexpr int SAMPLES = STEP + 2;  // inputs of a tile, from the one before its first output
  static constexpr int POINTS = STEP + 2;
  static constexpr int OUTPUTS = STEP;

  static constexpr Filter<STEP, 3> filter() {
    if constexpr (STEP == 2)
      return Filter<2, 3>({0, 1, -1});
    else
      return Filter<4, 3>({0, 1, -1, 2, -2});
  }
  static constexpr Filter<STEP, 3> FILTER = filter();

  static constexpr float samples(int point, int sample) { return FILTER.samples[point][sample]; }
  static constexpr float outputs(int output, int point) { return FILTER.outputs[output][point]; }
  static constexpr double taps(int point, int tap) { return FILTER.taps[point][tap]; }
};

// A transposed 3x3 convolution with stride 2, not yet filtered: tiles of 2 STEP x 2 STEP outputs of STEP x STEP inputs.
// With 3, 49 products for 81; with 2, 25 for 36.
//
//     out[2i] = taps[2] in[i - 1] + taps[0] in[i],  out[2i + 1] = taps[1] in[i]
//
// The even outputs are a correlation with two taps; the odd ones take a product each.
template <int SIZE>
struct Up {
  static_assert(SIZE == 2 || SIZE == 3);
  static constexpr int FACTOR = 2;
  static constexpr int STEP = SIZE;
  static constexpr int SAMPLES = STEP + 1;
  static constexpr int EVEN = STEP + 1;
  static constexpr int POINTS = EVEN + STEP;
  static constexpr int OUTPUTS = 2 * STEP;

  static constexpr Filter<STEP, 2> filter() {
    if constexpr (STEP == 2)
      return Filter<2, 2>({0, 1});
    else
      return Filter<3, 2>({0, 1, -1});
  }
  static constexpr Filter<STEP, 2> FILTER = filter();

  static constexpr float samples(int point, int sample) {
    return point < EVEN ? FILTER.samples[point][sample] : sample == point - EVEN + 1;
  }
  static constexpr float outputs(int output, int point) {
    if (output % 2) return point == EVEN + output / 2;
    return point < EVEN ? FILTER.outputs[output / 2][point] : 0;
  }
  static constexpr double taps(int point, int tap) {
    if (point >= EVEN) return tap == 1;
    return tap == 1 ? 0 : FILTER.taps[point][tap == 0 ? 1 : 0];
  }
};

}  // namespace toonify
