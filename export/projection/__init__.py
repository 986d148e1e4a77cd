"""Projection of a face into W+ by optimisation, for codes that are nearer to it than an encoder's.

``run`` does a whole projection, ``projector`` takes its steps, ``objective`` is what they minimise, and
``saved_search`` keeps what a later call resumes.
"""
