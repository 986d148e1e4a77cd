"""Benchmarks of this package, with their raw results and the tables generated from them; see benchmarks/README.md."""
