"""ONNX models of the reference networks, with the contract's names, shapes and dtypes, for any batch size.

Each module writes the graph of one network from the parameters of its PyTorch module: ``generator`` for StyleGAN2,
``stylegan1``, ``mapping``, ``encoder``, ``isf`` and ``classifier``. ``layers`` writes PyTorch's own layers, ``codes``
what both generators have in common, and ``functions`` defines the modulated convolution. Constants are folded: gains
into weights, a normalisation after a convolution into that convolution.
"""
