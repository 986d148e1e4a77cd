// Winograd's minimal filtering (Lavin and Gray, arXiv 1509.09308): the transforms along one axis, and the algorithms
// F(m x m, r x r) that are used.
//
// F(m, r) computes m outputs of a correlation with r taps by m + r - 1 products instead of m r:
//
//     outputs = A^T ((G taps) * (B^T samples)),  * element by element
//
// with one product for each of m + r - 2 interpolation points, at which polynomials are evaluated (Toom and Cook), and
// one for the point at infinity. An algorithm applies the transforms along both axes of a tile.

#pragma once

namespace toonify {

// The transforms of F(OUTPUTS, TAPS) along one axis.
template <int OUTPUTS, int TAPS>
struct ToomCook {
  static constexpr int POINTS = OUTPUTS + TAPS - 1;

  // B^T, A^T and G. The points are dyadic, so that B^T and A^T are exact in double. The rows of B^T and of G are scaled
  // to nearly equal norms by powers of two, which A^T reverts: fixed point needs it, since all points of a tile share
  // one scale, and in float32 it changes no rounding.
  double input_transform[POINTS][POINTS] = {};
  double output_transform[OUTPUTS][POINTS] = {};
  double weight_transform[POINTS][TAPS] = {};

  constexpr explicit ToomCook(const double (&points)[POINTS - 1]) {
    for (int p = 0; p < POINTS - 1; ++p) {
      double power = 1;
      for (int k = 0; k < POINTS; ++k, power *= points[p]) {
        if (k < OUTPUTS) output_transform[k][p] = power;
        if (k < TAPS) weight_transform[p][k] = power / difference_product(points, p);
      }
      set_input_row(points, p);
    }
    output_transform[OUTPUTS - 1][POINTS - 1] = 1;
    weight_transform[POINTS - 1][TAPS - 1] = 1;
    set_input_row(points, POINTS - 1);
    for (int p = 1; p < POINTS; ++p) {
      const double gain =
          balance(input_transform[p], input_transform[0]) * balance(weight_transform[p], weight_transform[0]);
      for (int k = 0; k < OUTPUTS; ++k) output_transform[k][p] /= gain;
    }
  }

 private:
  // The product of (point p - point q) over all q other than p.
  static constexpr double difference_product(const double (&points)[POINTS - 1], int p) {
    double product = 1;
    for (int q = 0; q < POINTS - 1; ++q)
      if (q != p) product *= points[p] - points[q];
    return product;
  }

  // Multiplies a row by a power of two, such that its norm is within a factor of sqrt 2 of the other's; returns the
  // power.
  template <int SIZE>
  static constexpr double balance(double (&row)[SIZE], const double (&other)[SIZE]) {
    double squares = 0, target = 0, gain = 1;
    for (int k = 0; k < SIZE; ++k) squares += row[k] * row[k], target += other[k] * other[k];
    for (; 2 * gain * gain * squares <= target; gain *= 2) {
    }
    for (; gain * gain * squares > 2 * target; gain /= 2) {
    }
    for (int k = 0; k < SIZE; ++k) row[k] *= gain;
    return gain;
  }

  // Row p of B^T: the coefficients of the polynomial that is the product of (x - point q) over all q other than p.
  constexpr void set_input_row(const double (&points)[POINTS - 1], int p) {
    input_transform[p][0] = 1;
    for (int q = 0, degree = 1; q < POINTS - 1; ++q) {
      if (q == p) continue;
      for (int k = degree; k >= 0; --k)
        input_transform[p][k] = (k ? input_transform[p][k - 1] : 0) - points[q] * input_transform[p][k];
      ++degree;
    }
  }
};

// A 3x3 convolution, F(SIZE x SIZE, 3 x 3): F(4 x 4, 3 x 3) takes 36 products instead of 144, F(2 x 2, 3 x 3) 16
// instead of 36.
//
// F(4 x 4, 3 x 3) was fastest, or nearly so, at every resolution. A layer took, in ms, with outputs of 4x4, 5x5 and
// 6x6: 32.5, 30.5 and 29.7 at 1024; 26.3, 27.9 and 28.1 at 512; 24.9, 26.8 and 28.2 at 256; 19.8, 20.3 and 28.0 at
// 128; 19.7, 20.2 and 21.2 at 64 (Emerald Rapids, float32). In fixed point 6x6 took 0.93 of the time at 64, 0.99
// to 1.00 at 128 to 512 and 1.04 at 1024, and a layer lost 5 dB.
template <int SIZE>
struct Conv3x3 {
  static_assert(SIZE == 2 || SIZE == 4);
  static constexpr int TAPS = 3;
  static constexpr int PADDING = 1;         // samples of a tile before its first output
  static constexpr int PREFETCH_TILES = 0;  // how many tiles ahead samples are prefetched; 0 for none
  static constexpr int UPSAMPLING = 1;      // the output's size over the input's
  static constexpr int STEP = SIZE;         // samples from one tile to the next
  static constexpr int SAMPLES = STEP + 2;  // samples of a tile, along one axis
  static constexpr int POINTS = STEP + 2;   // along one axis
  static constexpr int OUTPUTS = STEP;      // along one axis

  static constexpr ToomCook<STEP, 3> matrices() {
    if constexpr (STEP == 2)
      return ToomCook<2, 3>({0, 1, -1});
    else
      return ToomCook<4, 3>({0, 1, -1, 2, -2});
  }
  static constexpr ToomCook<STEP, 3> MATRICES = matrices();

  static constexpr float input_transform(int point, int sample) { return MATRICES.input_transform[point][sample]; }
  static constexpr float output_transform(int output, int point) { return MATRICES.output_transform[output][point]; }
  static constexpr float weight_transform(int point, int tap) { return MATRICES.weight_transform[point][tap]; }
};

// A transposed 3x3 convolution with stride 2, before its FIR filter: a tile of STEP x STEP samples gives 2 STEP x 2
// STEP outputs. With a STEP of 3 it takes 49 products instead of 81, with 2 it takes 25 instead of 36.
//
//     out[2i] = taps[2] in[i - 1] + taps[0] in[i],  out[2i + 1] = taps[1] in[i]
//
// The even outputs are a correlation with two taps; the odd ones take a product each.
//
// A STEP of 3 was fastest. An up-convolution took, in ms, with 2, 3 and 4: 43.6, 41.9 and 42.7 at 1024; 29.0, 26.5
// and 32.5 at 128; 15.5, 14.0 and 19.1 at 64 (Emerald Rapids, float32).
template <int SIZE>
struct UpConv3x3 {
  static_assert(SIZE == 2 || SIZE == 3);
  static constexpr int TAPS = 3;
  static constexpr int PADDING = 1;
  static constexpr int PREFETCH_TILES = 4;  // 63 -> 57 ms at 1024, 47 -> 42 at 512 (Zen 4, fixed point)
  static constexpr int UPSAMPLING = 2;
  static constexpr int STEP = SIZE;
  static constexpr int SAMPLES = STEP + 1;
  static constexpr int EVEN = STEP + 1;  // points of the even outputs
  static constexpr int POINTS = EVEN + STEP;
  static constexpr int OUTPUTS = 2 * STEP;

  static constexpr ToomCook<STEP, 2> matrices() {
    if constexpr (STEP == 2)
      return ToomCook<2, 2>({0, 1});
    else
      return ToomCook<3, 2>({0, 1, -1});
  }
  static constexpr ToomCook<STEP, 2> MATRICES = matrices();

  static constexpr float input_transform(int point, int sample) {
    return point < EVEN ? MATRICES.input_transform[point][sample] : sample == point - EVEN + 1;
  }
  static constexpr float output_transform(int output, int point) {
    if (output % 2) return point == EVEN + output / 2;
    return point < EVEN ? MATRICES.output_transform[output / 2][point] : 0;
  }
  static constexpr float weight_transform(int point, int tap) {
    if (point >= EVEN) return tap == 1;
    return tap == 1 ? 0 : MATRICES.weight_transform[point][tap == 0 ? 1 : 0];
  }
};

// A 3x3 convolution with stride 2: tiles of SIZE x SIZE outputs. With a SIZE of 2 it takes 25 products instead of 36,
// with 1 it is the direct convolution.
//
//     out[i] = (taps[0] in[2i - 1] + taps[2] in[2i + 1]) + taps[1] in[2i]
//
// The term in parentheses is a correlation with two taps; the rest takes a product each.
//
// An encoder takes 272 ms with a SIZE of 2, 284 ms and 140 MB more with 3 (Zen 4, fixed point).
template <int SIZE>
struct StridedConv3x3 {
  static_assert(SIZE == 1 || SIZE == 2);
  static constexpr int TAPS = 3;
  static constexpr int PADDING = 1;
  static constexpr int PREFETCH_TILES = 0;
  static constexpr int STEP = 2 * SIZE;
  static constexpr int SAMPLES = STEP + 1;
  static constexpr int ODD = SIZE + 1;  // points of the odd samples in[2i - 1] and in[2i + 1]
  static constexpr int POINTS = ODD + SIZE;
  static constexpr int OUTPUTS = SIZE;

  static constexpr ToomCook<SIZE, 2> matrices() {
    if constexpr (SIZE == 1)
      return ToomCook<1, 2>({0});
    else
      return ToomCook<2, 2>({0, 1});
  }
  static constexpr ToomCook<SIZE, 2> MATRICES = matrices();

  static constexpr float input_transform(int point, int sample) {
    if (point >= ODD) return sample == 2 * (point - ODD) + 1;
    return sample % 2 ? 0 : MATRICES.input_transform[point][sample / 2];
  }
  static constexpr float output_transform(int output, int point) {
    return point < ODD ? MATRICES.output_transform[output][point] : output == point - ODD;
  }
  static constexpr float weight_transform(int point, int tap) {
    if (point >= ODD) return tap == 1;
    return tap == 1 ? 0 : MATRICES.weight_transform[point][tap / 2];
  }
};

// A 1x1 convolution: one point, whose transforms are the identity.
template <int STRIDE>
struct Conv1x1 {
  static constexpr int TAPS = 1;
  static constexpr int PADDING = 0;
  static constexpr int PREFETCH_TILES = 0;
  static constexpr int STEP = STRIDE;
  static constexpr int SAMPLES = 1;
  static constexpr int POINTS = 1;
  static constexpr int OUTPUTS = 1;

  static constexpr float input_transform(int, int) { return 1; }
  static constexpr float output_transform(int, int) { return 1; }
  static constexpr float weight_transform(int, int) { return 1; }
};

// Height and width of the output up to which layers use small tiles (of the input, for encoders). Such a map has few
// tiles, and small tiles have fewer points and therefore fewer weights to read. Blocks took 5.4 -> 4.2 ms at 16, 3.9
// -> 2.3 at 8 and 1.6 -> 0.6 at 4, and the engine 725 -> 615 MiB (Emerald Rapids, float32).
constexpr int SMALL_MAP_SIZE = 16;

using SmallUpConv = UpConv3x3<2>;
using SmallConv = Conv3x3<2>;
using LargeUpConv = UpConv3x3<3>;
using LargeConv = Conv3x3<4>;

// Calls `function` with the algorithm for a convolution, by the input's height and width, taps along each side and
// stride.
template <class Function>
auto dispatch_algorithm(int size, int taps, int stride, Function function) {
  if (taps == 1) return stride == 1 ? function(Conv1x1<1>{}) : function(Conv1x1<2>{});
  if (stride == 1) return size <= SMALL_MAP_SIZE ? function(SmallConv{}) : function(LargeConv{});
  return size <= SMALL_MAP_SIZE ? function(StridedConv3x3<1>{}) : function(StridedConv3x3<2>{});
}

}  // namespace toonify
