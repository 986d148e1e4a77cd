"""Measures of generators, encoders and heads: distances of pictures, and the figures of the papers.

``inputs``, ``opening`` and ``subjects`` turn paths into functions of arrays, ``measuring`` applies the measures to
them, and ``report`` shows the figures. The measures are in ``perception`` (PPL, PIR, diversity), ``frechet`` (FID),
``attributes`` (mAcc), ``recognition`` (FRS) and ``pictures`` (SSIM); ``lpips`` and ``inception`` are their networks.
"""
