"""Reference networks in PyTorch: generators, encoders, editing heads and the classifier.

``generator`` is StyleGAN2, ``stylegan1`` the generator of 2018, and ``architectures`` chooses between them. ``encoder``
reads faces by a ``trunk``, ``restyle`` runs it in steps with its decoder, and ``isf``, ``directions`` and
``classifier`` are the heads.
"""
