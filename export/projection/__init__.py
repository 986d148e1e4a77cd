"""Projection of a face into W+ by optimisation, for codes that are nearer to it than an encoder's."""
