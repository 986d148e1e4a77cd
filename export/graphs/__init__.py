"""ONNX models of the reference networks, with the contract's names, shapes and dtypes, for any batch size.

Each module writes the graph of one network from the parameters of its PyTorch module: ``generator``, ``mapping``,
``encoder``, ``isf`` and ``classifier``. ``layers`` writes PyTorch's own layers, and ``functions`` defines the modulated
convolution. Constants are folded: gains into weights, a normalisation after a convolution into that convolution.
"""
