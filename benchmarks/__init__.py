"""Benchmarks of this package, with their raw results and the tables made from them; see README.md here."""
