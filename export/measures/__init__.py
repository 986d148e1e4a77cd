"""Measures of generators, encoders and heads: distances of pictures, and the figures of the papers."""
