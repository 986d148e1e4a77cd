// Products with small matrices, whose coefficients are known to the compiler.

#pragma once

#include <utility>

#include "vectors.h"

namespace toonify {

using Coefficients = float (*)(int row, int column);

template <Coefficients M>
constexpr float transposed(int row, int column) {
  return M(column, row);
}

// Whether a row and the next one differ in signs alone, and that row is not the second one of such a pair.
template <int OUT, int IN, Coefficients M>
constexpr bool starts_pair(int row) {
  if (row < 0 || row + 1 >= OUT || starts_pair<OUT, IN, M>(row - 1)) return false;
  bool differs = false;
  for (int column = 0; column < IN; ++column) {
    const float sum = M(row, column) + M(row + 1, column), difference = M(row, column) - M(row + 1, column);
    if (sum != 0 && difference != 0) return false;
    differs = differs || difference != 0;
  }
  return differs;
}

// Columns of a row: all of them, or those that the next row has with the same sign, or with the opposite one.
enum class Part { ALL, SAME, OPPOSITE };

template <Coefficients M>
constexpr float coefficient(Part part, int row, int column) {
  if (part != Part::ALL && (part == Part::SAME) != (M(row, column) == M(row + 1, column))) return 0;
  return M(row, column);
}

template <Coefficients M, Part PART, int ROW, bool ONES, int COLUMN>
TOONIFY_INLINE void add_term(const Vector* x, Vector& sum) {
  constexpr float factor = coefficient<M>(PART, ROW, COLUMN);
  if constexpr (ONES && factor == 1)
    sum += x[COLUMN];
  else if constexpr (!ONES && factor != 1 && factor != 0)
    sum += factor * x[COLUMN];
}

// A row times x, or a part of it. What needs no multiplication is added first.
template <Coefficients M, Part PART, int ROW, int... COLUMNS>
TOONIFY_INLINE Vector row_times(const Vector* x, std::integer_sequence<int, COLUMNS...>) {
  Vector sum = {};
  (add_term<M, PART, ROW, true, COLUMNS>(x, sum), ...);
  (add_term<M, PART, ROW, false, COLUMNS>(x, sum), ...);
  return sum;
}

// The rows from ROW on; of a pair, the columns with the same sign are summed once, and those with the opposite one.
template <int OUT, int IN, Coefficients M, int ROW = 0>
TOONIFY_INLINE void rows_times(const Vector* x, Vector* y) {
  constexpr std::make_integer_sequence<int, IN> columns;
  if constexpr (ROW < OUT && starts_pair<OUT, IN, M>(ROW)) {
    const Vector same = row_times<M, Part::SAME, ROW>(x, columns);
    const Vector opposite = row_times<M, Part::OPPOSITE, ROW>(x, columns);
    y[ROW] = same + opposite, y[ROW + 1] = same - opposite;
    rows_times<OUT, IN, M, ROW + 2>(x, y);
  } else if constexpr (ROW < OUT) {
    y[ROW] = row_times<M, Part::ALL, ROW>(x, columns);
    rows_times<OUT, IN, M, ROW + 1>(x, y);
  }
}

// Instead of each pair of columns, the sum and the difference of what they are multiplied with.
template <int OUT, int IN, Coefficients M, int COLUMN = 0>
TOONIFY_INLINE void pair_columns(const Vector* x, Vector* paired) {
  if constexpr (COLUMN < IN && starts_pair<IN, OUT, transposed<M>>(COLUMN)) {
    paired[COLUMN] = x[COLUMN] + x[COLUMN + 1], paired[COLUMN + 1] = x[COLUMN] - x[COLUMN + 1];
    pair_columns<OUT, IN, M, COLUMN + 2>(x, paired);
  } else if constexpr (COLUMN < IN) {
    paired[COLUMN] = x[COLUMN];
    pair_columns<OUT, IN, M, COLUMN + 1>(x, paired);
  }
}

// M for what `pair_columns` gives.
template <int OUT, int IN, Coefficients M>
constexpr float on_pairs(int row, int column) {
  if (starts_pair<IN, OUT, transposed<M>>(column)) return M(row, column) == M(row, column + 1) ? M(row, column) : 0;
  if (starts_pair<IN, OUT, transposed<M>>(column - 1))
    return M(row, column - 1) == M(row, column) ? 0 : M(row, column - 1);
  return M(row, column);
}

// y [OUT] = M x [IN].
template <int OUT, int IN, Coefficients M>
TOONIFY_INLINE void multiply(const Vector* x, Vector* y) {
  Vector paired[IN];
  pair_columns<OUT, IN, M>(x, paired);
  rows_times<OUT, IN, on_pairs<OUT, IN, M>>(paired, y);
}

}  // namespace toonify
