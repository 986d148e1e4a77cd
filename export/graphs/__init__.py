"""ONNX models of the reference networks, with the contract's names, shapes and dtypes, for any batch size.

Each module writes the graph of one network from the parameters of its PyTorch module: ``generator`` for StyleGAN2,
``live_generator`` for several of them whose weights are blended in the graph, ``stylegan1``, ``mapping``, ``encoder``,
``restyle``, ``isf``, ``directions`` and ``classifier``. ``architectures`` chooses a generator's graph, ``layers``
writes PyTorch's own layers, ``codes`` what both generators have in common, ``operands`` the constants of a generator's
layers, and ``functions`` defines the modulated convolution. Constants are folded: gains into weights, a normalisation
after a convolution into that convolution.
"""
