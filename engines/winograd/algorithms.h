// Winograd's minimal filtering (Lavin and Gray, arXiv 1509.09308) along one axis, and the forms that are used.
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
struct ToomCook {
  static constexpr int POINTS = OUTPUTS + TAPS - 1;

  // B, A and G. The numbers are dyadic, so that all of B and A is exact in double. Rows of B and of G are brought to
  // nearly the same norm, by powers of two that A takes back: numbers of fixed point need it, others do not mind.
  double samples[POINTS][POINTS] = {};
  double outputs[OUTPUTS][POINTS] = {};
  double taps[POINTS][TAPS] = {};

  constexpr explicit ToomCook(const double (&numbers)[POINTS - 1]) {
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
    for (int p = 1; p < POINTS; ++p) {
      const double gain = balance(samples[p], samples[0]) * balance(taps[p], taps[0]);
      for (int k = 0; k < OUTPUTS; ++k) outputs[k][p] /= gain;
    }
  }

 private:
  // The product of (number p - number q) over all others.
  static constexpr double spread(const double (&numbers)[POINTS - 1], int p) {
    double product = 1;
    for (int q = 0; q < POINTS - 1; ++q)
      if (q != p) product *= numbers[p] - numbers[q];
    return product;
  }

  // Multiplies a row by a power of two, so that its norm is within a factor of sqrt 2 of the other's; returns it.
  template <int SIZE>
  static constexpr double balance(double (&row)[SIZE], const double (&other)[SIZE]) {
    double squares = 0, wanted = 0, gain = 1;
    for (int k = 0; k < SIZE; ++k) squares += row[k] * row[k], wanted += other[k] * other[k];
    for (; 2 * gain * gain * squares <= wanted; gain *= 2) {
    }
    for (; gain * gain * squares > 2 * wanted; gain /= 2) {
    }
    for (int k = 0; k < SIZE; ++k) row[k] *= gain;
    return gain;
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
struct Conv3x3 {
  static_assert(SIZE == 2 || SIZE == 4);
  static constexpr int TAPS = 3;
  static constexpr int PADDING = 1;         // a tile's first sample is so far before its first output
  static constexpr int PREFETCH_TILES = 0;  // so many tiles further samples are fetched: of maps that no cache holds
  static constexpr int UPSAMPLING = 1;      // of the output's size
  static constexpr int STEP = SIZE;         // inputs from one tile to the next
  static constexpr int SAMPLES = STEP + 2;  // inputs of a tile, from the one before its first output
  static constexpr int POINTS = STEP + 2;
  static constexpr int OUTPUTS = STEP;

  static constexpr ToomCook<STEP, 3> matrices() {
    if constexpr (STEP == 2)
      return ToomCook<2, 3>({0, 1, -1});
    else
      return ToomCook<4, 3>({0, 1, -1, 2, -2});
  }
  static constexpr ToomCook<STEP, 3> MATRICES = matrices();

  static constexpr float samples(int point, int sample) { return MATRICES.samples[point][sample]; }
  static constexpr float outputs(int output, int point) { return MATRICES.outputs[output][point]; }
  static constexpr float taps(int point, int tap) { return MATRICES.taps[point][tap]; }
};

// A transposed 3x3 convolution with stride 2, not yet filtered: tiles of 2 STEP x 2 STEP outputs of STEP x STEP inputs.
// With 3, 49 products for 81; with 2, 25 for 36.
//
//     out[2i] = taps[2] in[i - 1] + taps[0] in[i],  out[2i + 1] = taps[1] in[i]
//
// The even outputs are a correlation with two taps; the odd ones take a product each.
template <int SIZE>
struct UpConv3x3 {
  static_assert(SIZE == 2 || SIZE == 3);
  static constexpr int TAPS = 3;
  static constexpr int PADDING = 1;
  static constexpr int PREFETCH_TILES = 4;
  static constexpr int UPSAMPLING = 2;
  static constexpr int STEP = SIZE;
  static constexpr int SAMPLES = STEP + 1;
  static constexpr int EVEN = STEP + 1;
  static constexpr int POINTS = EVEN + STEP;
  static constexpr int OUTPUTS = 2 * STEP;

  static constexpr ToomCook<STEP, 2> matrices() {
    if constexpr (STEP == 2)
      return ToomCook<2, 2>({0, 1});
    else
      return ToomCook<3, 2>({0, 1, -1});
  }
  static constexpr ToomCook<STEP, 2> MATRICES = matrices();

  static constexpr float samples(int point, int sample) {
    return point < EVEN ? MATRICES.samples[point][sample] : sample == point - EVEN + 1;
  }
  static constexpr float outputs(int output, int point) {
    if (output % 2) return point == EVEN + output / 2;
    return point < EVEN ? MATRICES.outputs[output / 2][point] : 0;
  }
  static constexpr float taps(int point, int tap) {
    if (point >= EVEN) return tap == 1;
    return tap == 1 ? 0 : MATRICES.taps[point][tap == 0 ? 1 : 0];
  }
};

// A 3x3 convolution with stride 2: tiles of SIZE x SIZE outputs. With 2, 25 products for 36; with 1 it is the direct
// one.
//
//     out[i] = (taps[0] in[2i - 1] + taps[2] in[2i + 1]) + taps[1] in[2i]
//
// In parentheses is a correlation with two taps; the rest takes a product each.
template <int SIZE>
struct StridedConv3x3 {
  static_assert(SIZE == 1 || SIZE == 2);
  static constexpr int TAPS = 3;
  static constexpr int PADDING = 1;
  static constexpr int PREFETCH_TILES = 0;
  static constexpr int STEP = 2 * SIZE;
  static constexpr int SAMPLES = STEP + 1;
  static constexpr int ODD = SIZE + 1;
  static constexpr int POINTS = ODD + SIZE;
  static constexpr int OUTPUTS = SIZE;

  static constexpr ToomCook<SIZE, 2> matrices() {
    if constexpr (SIZE == 1)
      return ToomCook<1, 2>({0});
    else
      return ToomCook<2, 2>({0, 1});
  }
  static constexpr ToomCook<SIZE, 2> MATRICES = matrices();

  static constexpr float samples(int point, int sample) {
    if (point >= ODD) return sample == 2 * (point - ODD) + 1;
    return sample % 2 ? 0 : MATRICES.samples[point][sample / 2];
  }
  static constexpr float outputs(int output, int point) {
    return point < ODD ? MATRICES.outputs[output][point] : output == point - ODD;
  }
  static constexpr float taps(int point, int tap) {
    if (point >= ODD) return tap == 1;
    return tap == 1 ? 0 : MATRICES.taps[point][tap / 2];
  }
};

// A 1x1 convolution.
template <int STRIDE>
struct Conv1x1 {
  static constexpr int TAPS = 1;
  static constexpr int PADDING = 0;
  static constexpr int PREFETCH_TILES = 0;
  static constexpr int STEP = STRIDE;
  static constexpr int SAMPLES = 1;
  static constexpr int POINTS = 1;
  static constexpr int OUTPUTS = 1;

  static constexpr float samples(int, int) { return 1; }
  static constexpr float outputs(int, int) { return 1; }
  static constexpr float taps(int, int) { return 1; }
};

constexpr int SMALL_MAP_SIZE = 16;  // maps, up to which small tiles take less time: there are few, and fewer weights

using SmallUpConv = UpConv3x3<2>;
using SmallConv = Conv3x3<2>;
using LargeUpConv = UpConv3x3<3>;
using LargeConv = Conv3x3<4>;

// Calls `with` the form of a convolution: by its input's size, its taps along each side, its stride.
template <class Function>
auto dispatch_algorithm(int size, int taps, int stride, Function function) {
  if (taps == 1) return stride == 1 ? function(Conv1x1<1>{}) : function(Conv1x1<2>{});
  if (stride == 1) return size <= SMALL_MAP_SIZE ? function(SmallConv{}) : function(LargeConv{});
  return size <= SMALL_MAP_SIZE ? function(StridedConv3x3<1>{}) : function(StridedConv3x3<2>{});
}

}  // namespace toonify
