// Products with small matrices, whose coefficients are known to the compiler.

#pragma once

#include <utility>

#include "simd.h"

namespace toonify {

using Matrix = float (*)(int row, int column);

template <Matrix M>
constexpr float transposed(int row, int column) {
  return M(column, row);
}

// Whether a row and the next one differ in signs alone, and that row is not the second one of such a pair.
template <int OUT, int IN, Matrix M>
constexpr bool starts_sign_pair(int row) {
  if (row < 0 || row + 1 >= OUT || starts_sign_pair<OUT, IN, M>(row - 1)) return false;
  bool differs = false;
  for (int column = 0; column < IN; ++column) {
    const float sum = M(row, column) + M(row + 1, column), difference = M(row, column) - M(row + 1, column);
    if (sum != 0 && difference != 0) return false;
    differs = differs || difference != 0;
  }
  return differs;
}

// Columns of a row: all of them, or those that the next row has with the same sign, or with the opposite one.
enum class ColumnSubset { ALL, EQUAL, OPPOSITE };

template <Matrix M>
constexpr float coefficient(ColumnSubset subset, int row, int column) {
  if (subset != ColumnSubset::ALL && (subset == ColumnSubset::EQUAL) != (M(row, column) == M(row + 1, column)))
    return 0;
  return M(row, column);
}

template <Matrix M, ColumnSubset SUBSET, int ROW, bool ONES, int COLUMN>
TOONIFY_INLINE void add_term(const Vector* x, Vector& sum) {
  constexpr float factor = coefficient<M>(SUBSET, ROW, COLUMN);
  if constexpr (ONES && factor == 1)
    sum += x[COLUMN];
  else if constexpr (!ONES && factor != 1 && factor != 0)
    sum += factor * x[COLUMN];
}

// A row times x, or a part of it. What needs no multiplication is added first.
template <Matrix M, ColumnSubset SUBSET, int ROW, int... COLUMNS>
TOONIFY_INLINE Vector dot_row(const Vector* x, std::integer_sequence<int, COLUMNS...>) {
  Vector sum = {};
  (add_term<M, SUBSET, ROW, true, COLUMNS>(x, sum), ...);
  (add_term<M, SUBSET, ROW, false, COLUMNS>(x, sum), ...);
  return sum;
}

// The rows from ROW on; of a pair, the columns with the same sign are summed once, and those with the opposite one.
template <int OUT, int IN, Matrix M, int ROW = 0>
TOONIFY_INLINE void multiply_rows(const Vector* x, Vector* y) {
  constexpr std::make_integer_sequence<int, IN> columns;
  if constexpr (ROW < OUT && starts_sign_pair<OUT, IN, M>(ROW)) {
    const Vector same = dot_row<M, ColumnSubset::EQUAL, ROW>(x, columns);
    const Vector opposite = dot_row<M, ColumnSubset::OPPOSITE, ROW>(x, columns);
    y[ROW] = same + opposite, y[ROW + 1] = same - opposite;
    multiply_rows<OUT, IN, M, ROW + 2>(x, y);
  } else if constexpr (ROW < OUT) {
    y[ROW] = dot_row<M, ColumnSubset::ALL, ROW>(x, columns);
    multiply_rows<OUT, IN, M, ROW + 1>(x, y);
  }
}

// Instead of each pair of columns, the sum and the difference of what they are multiplied with.
template <int OUT, int IN, Matrix M, int COLUMN = 0>
TOONIFY_INLINE void butterfly_columns(const Vector* x, Vector* butterflies) {
  if constexpr (COLUMN < IN && starts_sign_pair<IN, OUT, transposed<M>>(COLUMN)) {
    butterflies[COLUMN] = x[COLUMN] + x[COLUMN + 1], butterflies[COLUMN + 1] = x[COLUMN] - x[COLUMN + 1];
    butterfly_columns<OUT, IN, M, COLUMN + 2>(x, butterflies);
  } else if constexpr (COLUMN < IN) {
    butterflies[COLUMN] = x[COLUMN];
    butterfly_columns<OUT, IN, M, COLUMN + 1>(x, butterflies);
  }
}

// M for what `butterfly_columns` gives.
template <int OUT, int IN, Matrix M>
constexpr float after_butterfly(int row, int column) {
  if (starts_sign_pair<IN, OUT, transposed<M>>(column))
    return M(row, column) == M(row, column + 1) ? M(row, column) : 0;
  if (starts_sign_pair<IN, OUT, transposed<M>>(column - 1))
    return M(row, column - 1) == M(row, column) ? 0 : M(row, column - 1);
  return M(row, column);
}

// y [OUT] = M x [IN].
template <int OUT, int IN, Matrix M>
TOONIFY_INLINE void apply_matrix(const Vector* x, Vector* y) {
  Vector butterflies[IN];
  butterfly_columns<OUT, IN, M>(x, butterflies);
  multiply_rows<OUT, IN, after_butterfly<OUT, IN, M>>(butterflies, y);
}

}  // namespace toonify
