"""Fused GPU kernels for the generator's 1024 path, in OpenAI's Triton language (the package ``triton``).

| module | one pass over |
|---|---|
| ``tail`` | a convolution's output: FIR filter where the size doubled, demodulation, noise, bias, activation, style |
| ``to_rgb`` | a convolution's output: the same, and ToRGB added to the images below; the last one gives the picture |
| ``conv_rgb`` | a convolution's input: the 3x3 convolution with all of that behind it |
| ``conv_up`` | an up-convolution's input: the convolution with its FIR filter and tail |

``reference`` has the formulas in plain PyTorch, ``weights`` makes operands of a network's weights, ``ahead_of_time``
compiles a launch to PTX without a GPU. Maps are float16 [N, C, H, W] in channels_last, of any size; 16 bytes are moved
at a time where C is a multiple of 8. Styles, demodulation, biases and all sums are float32.

The activation's gain sqrt 2 is folded into demodulation, noise and bias, as in the exported ONNX functions. With
TRITON_INTERPRET=1 in the environment before the first import, the kernels run on a CPU in Triton's interpreter.
"""
